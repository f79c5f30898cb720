"""From trained weights to a model file that is proven equal to them, or none at all."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from config.errors import UserError
from device.judging.int8 import pack
from device.judging.model import LARGEST_BYTES, Model, ModelMetadata, load_model_bytes
from device.judging.patches import Patches
from device.models.race import alike
from device.system.durable import write_durably
from export.graph import Weights, build_onnx
from export.int8 import build_int8, measure_ranges

LARGEST_DIFFERENCE = 1e-4
"""Between the log-probabilities of ONNX Runtime and of PyTorch."""


@dataclass(frozen=True, slots=True)
class Parity:
    """How equal two predictions of the same patches are."""

    patches: int
    largest_difference: float
    """Of log-probabilities."""
    other_class: int
    """Patches for which another class is the most probable."""

    @property
    def good(self) -> bool:
        """Whether the model may be published."""
        return self.largest_difference <= LARGEST_DIFFERENCE and self.other_class == 0


def compare(expected: NDArray[np.floating], found: NDArray[np.floating]) -> Parity:
    """Compare log-probabilities [N, C]: those of PyTorch and those of the exported model."""
    difference = np.abs(expected.astype(np.float64) - found.astype(np.float64))
    other = expected.argmax(axis=1) != found.argmax(axis=1)
    largest = float(difference.max()) if difference.size else 0.0
    return Parity(len(expected), largest if np.isfinite(largest) else np.inf, int(other.sum()))


def with_int8(weights: Weights, metadata: ModelMetadata, patches: Patches, plain: bytes) -> bytes:
    """The model file with an int8 form beside `plain`, where that judges `patches` alike.

    Whether it is used is decided on every device by a race (`device.models.race`).
    """
    if not len(patches) or metadata.levelled:  # shared maps save more, and int8 has none
        return plain
    graph, step = build_int8(weights, measure_ranges(plain, patches))
    content = build_onnx(weights, metadata, pack(graph, step))
    if len(content) > LARGEST_BYTES:
        return plain
    float32 = load_model_bytes(plain, "float32 form")
    int8 = load_model_bytes(content, "int8 form", variant="int8")
    return content if alike(float32, int8, patches).good else plain


def export_model(
    weights: Weights,
    metadata: ModelMetadata,
    patches: Patches,
    expected: NDArray[np.floating],
    path: Path,
) -> tuple[Model, Parity]:
    """Write a model file whose predictions were compared with PyTorch's.

    `patches` uint8 [N, 200, 200] and PyTorch's log-probabilities of them, `expected` [N, C], are
    the comparison. The file appears whole or not at all.

    Raises:
        UserError: the file would be too large, the predictions differ, or it cannot be written.
    """
    content = with_int8(weights, metadata, patches, build_onnx(weights, metadata))
    if len(content) > LARGEST_BYTES:
        raise UserError(
            f"{path}: {len(content)} bytes, more than {LARGEST_BYTES}: not exported; "
            "are there too many classes?"
        )
    model = load_model_bytes(content, str(path))
    parity = compare(expected, model.log_probabilities(patches))
    if not parity.good:
        raise UserError(
            f"{path}: ONNX and PyTorch differ: log-probabilities by {parity.largest_difference:.2g}"
            f" (allowed {LARGEST_DIFFERENCE:g}), another class for {parity.other_class} of "
            f"{parity.patches} patches: not exported; the model in use stays"
        )
    try:
        write_durably(path, content)
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror}") from None
    return model, parity
