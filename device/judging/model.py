"""A model: one ONNX file that carries all a device needs (contract: format 1).

Input `patches` uint8 [N, 200, 200]. Outputs `log_probabilities` float32 [N, C], `features`
float32 [N, F] and `activation_maps` float32 [N, C, 13, 13]. N is free. Standardisation is inside
the graph. A model of levelled pictures (`device.judging.levelling`) takes whole frames too, uint8
[N, H, W], and has a fourth output, `window_log_probabilities` float32 [N, C, rows, columns]: those
of the patches at every 32nd pixel. Everything else is one JSON document in the file's metadata:
`ModelMetadata`.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from config.errors import UserError
from config.settings import MAP_STEP, PATCH_SIZE
from device.judging.int8 import INT8_KEY, Int8, unpack
from device.judging.kls import Baselines
from device.judging.onnx_file import check_model_file
from device.judging.patches import Patches, Shared, Some

FORMAT = 1
METADATA_KEY = "millsight"
LARGEST_BYTES = 578_700
"""The paper's model size (section 4.3): the whole file must stay within it, and a larger one is not
read into memory at all."""

STANDARDISE_EPSILON = 1.0
"""The graph standardises a patch to (x − mean) / √(variance + this): a flat patch must not
become amplified noise."""


TILE = 1536
"""Side of the largest part of a frame that is judged at once, in pixels. It bounds memory, which a
frame of 1280 × 1024 raises by 110 to 120 MB."""


class Unfit(UserError):
    """A model that may be good, and does not fit what is here: the program or the recipe."""


class ModelMetadata(BaseModel):
    """What a model file says of itself."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: int
    """Version of this contract."""
    network: str
    """Architecture: `gapc` or `gmpc`."""
    classes: list[str]
    """Class names in the order of the outputs."""
    pass_classes: list[str]
    """The classes that are good."""
    strategy: Literal["kls", "kls_floor"]
    """The score that baselines and thresholds were made with."""
    baselines: list[list[float] | None]
    """Average PDC per predicted class (Eq. 4); None where no labelled patch was predicted so."""
    baseline_counts: list[int]
    """Labelled patches behind each baseline."""
    thresholds: list[float | None]
    """Score per class above which a patch is unsure; None: every patch of the class is."""
    labels: int
    """Number of labelled patches it was trained on."""
    labels_digest: str
    """SHA-256 over the ids and classes of these patches."""
    metrics: dict[str, float]
    """What was measured at training, by name; accuracies are shares from 0 to 1."""
    parent: str | None
    """Id of the model that was in use when this one was trained."""
    seed: int
    """Seed of the training run."""
    code_version: str
    """Version of millsight that made it."""
    created_at: str
    """When, in UTC, ISO 8601."""
    levelled: bool = False
    """Whether it judges levelled pictures, whose patches can share feature maps."""

    @model_validator(mode="after")
    def _shapes_agree(self) -> "ModelMetadata":
        classes = len(self.classes)
        if self.format != FORMAT:
            raise ValueError(f"format {self.format}, this program knows format {FORMAT}")
        if classes < 2 or len(set(self.classes)) != classes:
            raise ValueError("needs at least two classes, each once")
        if not set(self.pass_classes) <= set(self.classes):
            raise ValueError("pass_classes names a class that is not in classes")
        for name in ("baselines", "baseline_counts", "thresholds"):
            if len(getattr(self, name)) != classes:
                raise ValueError(f"{name} must have one entry for each of {classes} classes")
        for row in self.baselines:
            if row is not None and (
                len(row) != classes or min(row) < 0 or not abs(sum(row) - 1) <= 1e-3
            ):
                raise ValueError("a baseline is not a distribution over the classes")
        if any(t is not None and not t >= 0 for t in self.thresholds):
            raise ValueError("a threshold is negative or not a number")
        return self


Variant = Literal["float32", "int8"]
"""The two forms of a model's graph (`device.judging.int8`)."""


class Outputs(NamedTuple):
    """What the network says of N patches."""

    log_probabilities: NDArray[np.float32]
    """float32 [N, C]."""
    features: NDArray[np.float32]
    """float32 [N, F]: the pooled features in front of the dense layer."""
    activation_maps: NDArray[np.float32]
    """float32 [N, C, 13, 13]: class activation maps (Fig. 9); warmer means more contribution."""


@dataclass(frozen=True)
class Model:
    """A loaded, checked and warmed-up model."""

    id: str
    """SHA-256 of the file, in hex."""
    metadata: ModelMetadata
    size: int
    """Bytes of the file."""
    session: ort.InferenceSession
    int8: Int8 | None = None
    """Its int8 form, where that is what judges."""

    @property
    def variant(self) -> Variant:
        """The form that judges."""
        return "float32" if self.int8 is None else "int8"

    @cached_property
    def baselines(self) -> Baselines:
        """Baselines as arrays; NaN rows where there is none."""
        classes = len(self.metadata.classes)
        missing = [float("nan")] * classes
        rows = [missing if row is None else row for row in self.metadata.baselines]
        return Baselines(np.array(rows), np.array(self.metadata.baseline_counts))

    @cached_property
    def thresholds(self) -> NDArray[np.float64]:
        """float64 [C]; −inf where a class has none, so that its patches are unsure."""
        return np.array([-np.inf if t is None else t for t in self.metadata.thresholds])

    @cached_property
    def passes(self) -> list[bool]:
        """Whether each class is good."""
        return [name in self.metadata.pass_classes for name in self.metadata.classes]

    def with_thresholds(self, thresholds: Mapping[str, float]) -> "Model":
        """The same model with other thresholds, for the classes that are named."""
        if not thresholds:
            return self
        said = self.metadata
        pairs = zip(said.classes, said.thresholds, strict=True)
        mixed = [thresholds.get(name, own) for name, own in pairs]
        return replace(self, metadata=said.model_copy(update={"thresholds": mixed}))

    def log_probabilities(self, patches: Some) -> NDArray[np.float32]:
        """Judge N patches: float32 [N, C].

        One by one: the feature maps of more do not stay in the cache, least of all while the other
        core works.
        """
        if self.int8 is not None:
            return self.int8.log_probabilities(patches)
        run = self.session.run
        parts = [
            run(["log_probabilities"], {"patches": np.ascontiguousarray(patch)[None]})[0]
            for patch in patches
        ]
        return np.asarray(parts[0]) if len(parts) == 1 else np.concatenate(parts)

    def shared_log_probabilities(self, shared: Shared) -> NDArray[np.float32]:
        """Judge all patches of a levelled frame at once, row by row: float32 [N, C].

        Like `log_probabilities` of each, but for what is around a patch: alone it has zeros there.
        A frame too large for its feature maps is judged by tiles, with the same result.
        """
        height, width = shared.frame.shape
        rows = []
        for above in tiles(height):
            row = []
            for left in tiles(width):
                part = np.ascontiguousarray(shared.frame[above.pixels, left.pixels])
                (found,) = self.session.run(["window_log_probabilities"], {"patches": part[None]})
                row.append(found[0, :, above.windows, left.windows])
            rows.append(np.concatenate(row, axis=2))
        every = np.concatenate(rows, axis=1)[:, :: shared.step, :: shared.step]
        return np.ascontiguousarray(every.reshape(len(every), -1).T)

    def outputs(self, patches: Patches) -> Outputs:
        """Everything the network says of patches, uint8 [N, 200, 200]; always in float32."""
        return Outputs(*self.session.run(list(Outputs._fields), {"patches": patches}))


class Tile(NamedTuple):
    """A part of a frame, along one side."""

    pixels: slice
    windows: slice
    """Patches at every `MAP_STEP`th pixel that it judges as the whole frame would."""


def tiles(side: int) -> list[Tile]:
    """The tiles of a frame's side, in pixels; each patch of the frame is in one of them.

    The outermost cells of the feature maps depend on pixels outside: a patch is judged by a tile
    that has at least a cell more around it, where the frame goes on.
    """
    found = []
    first, start = 0, 0
    while True:
        last = start + TILE >= side
        end = side if last else start + TILE
        count = (end - start - PATCH_SIZE) // MAP_STEP + (1 if last else 0)
        found.append(Tile(slice(start, end), slice(first, count)))
        if last:
            return found
        start += MAP_STEP * (count - 1)
        first = 1


def read_model_file(path: Path) -> bytes:
    """The bytes of a model file.

    Raises:
        UserError: missing, unreadable, or far too large.
    """
    try:
        size = path.stat().st_size
        if size > LARGEST_BYTES:
            raise UserError(
                f"{path}: {size} bytes; a model has at most {LARGEST_BYTES}: not a millsight model"
            )
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None


def load_model(path: Path, threads: int = 1, variant: Variant = "float32") -> Model:
    """Load a model file, check it against the contract, and warm it up.

    With `variant` int8 its int8 form judges, if the file has one.

    Raises:
        UserError: not a whole ONNX file, not what our exporter writes (`device.judging.onnx_file`),
            not a millsight model, of another format, or broken inside (weights that give NaN,
            outputs that are no probabilities).
    """
    return load_model_bytes(read_model_file(path), str(path), threads, variant)


def load_model_bytes(
    data: bytes, name: str, threads: int = 1, variant: Variant = "float32"
) -> Model:
    """Like `load_model`, from bytes; `name` stands in the errors."""
    if len(data) > LARGEST_BYTES:
        raise UserError(
            f"{name}: {len(data)} bytes; a model has at most {LARGEST_BYTES}: not a millsight model"
        )
    check_model_file(data, name)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what goes wrong is raised; nothing on stderr besides
    if threads > 1:
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # noqa: BLE001 - ONNX Runtime has no common error class
        reason = str(error).splitlines()[0][:200]
        raise UserError(
            f"{name}: not an ONNX model that can be run ({reason}); copy it again or retrain"
        ) from None
    metadata = _read_metadata(session, name)
    _check_signature(session, metadata, name)
    int8 = None
    packed = session.get_modelmeta().custom_metadata_map.get(INT8_KEY)
    if variant == "int8" and packed is not None:
        int8 = unpack(packed, STANDARDISE_EPSILON, options, name)
    model = Model(hashlib.sha256(data).hexdigest(), metadata, len(data), session, int8)
    self_test(model, name)
    return model


def _read_metadata(session: ort.InferenceSession, name: str) -> ModelMetadata:
    text = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
    if text is None:
        raise UserError(f"{name}: an ONNX file, but not a millsight model; export it again")
    try:
        found = json.loads(text)
        if isinstance(found, dict) and found.get("format") != FORMAT:
            raise Unfit(
                f"{name}: a model of format {found.get('format')}, this program knows format "
                f"{FORMAT}; update millsight, or export the model again"
            )
        return ModelMetadata.model_validate(found)
    except json.JSONDecodeError:
        raise UserError(f"{name}: its metadata is not JSON; export it again") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "metadata"
        raise UserError(f"{name}: metadata: {where}: {first['msg']}; export it again") from None


def _check_signature(session: ort.InferenceSession, metadata: ModelMetadata, name: str) -> None:
    classes = len(metadata.classes)
    inputs = {i.name: (i.type, i.shape[1:]) for i in session.get_inputs()}
    outputs = {o.name: (o.type, o.shape[1:]) for o in session.get_outputs()}
    sides = ["H", "W"] if metadata.levelled else [PATCH_SIZE, PATCH_SIZE]
    if inputs != {"patches": ("tensor(uint8)", sides)}:
        raise UserError(f"{name}: its input is not `patches` uint8 [N, {sides[0]}, {sides[1]}]")
    dimensions = {"log_probabilities": 1, "features": 1, "activation_maps": 3}
    if metadata.levelled:
        dimensions["window_log_probabilities"] = 3
    for output, ndim in dimensions.items():
        kind, shape = outputs.get(output, ("", []))
        if kind != "tensor(float)" or len(shape) != ndim:
            raise UserError(f"{name}: its output `{output}` is missing or of the wrong kind")
        if output != "features" and shape[0] != classes:
            raise UserError(
                f"{name}: `{output}` has {shape[0]} classes, its metadata names {classes}"
            )


def self_test(model: Model, name: str) -> None:
    """Run three made-up patches; broken weights give NaN or sums of probabilities that are not 1.

    Raises:
        UserError: the model's outputs are no probabilities.
    """
    rng = np.random.default_rng(0)
    patches = rng.integers(0, 256, (3, PATCH_SIZE, PATCH_SIZE), dtype=np.uint8)
    patches[1] = 128  # a flat picture must not divide by its zero contrast
    patches[2] = 16 * (np.arange(PATCH_SIZE) // 10 % 16)
    try:
        outputs = model.outputs(patches)
    except Exception as error:  # noqa: BLE001 - ONNX Runtime has no common error class
        raise UserError(
            f"{name}: cannot be run ({str(error).splitlines()[0][:200]}); export it again"
        ) from None
    if not all(np.isfinite(output).all() for output in outputs):
        raise UserError(f"{name}: its outputs are not finite: broken weights; retrain")
    log_p = outputs.log_probabilities
    if model.int8 is not None:
        log_p = np.concatenate([log_p, model.int8.log_probabilities(patches)])
    total = np.exp(log_p.astype(np.float64)).sum(axis=1)
    if not np.abs(total - 1).max() <= 1e-3:
        raise UserError(f"{name}: its probabilities do not sum to 1: broken weights; retrain")
