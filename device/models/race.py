"""The race at activation: whether the int8 form of a model judges here, or its float32 form.

int8 pays only where the processor multiplies bytes, and rounding moves the scores a little. So
every device measures both, on its own processor, on pictures of its own stream and on the trainer's
golden patches.
"""

import statistics
import time
from dataclasses import dataclass, replace

import cv2
import numpy as np
from sqlite_utils import Database

from config.errors import UserError
from config.settings import PATCH_SIZE, Settings
from device.judging.model import Model, Variant, load_model_bytes
from device.judging.patches import Patches
from device.judging.verdict import judge
from device.system.clock import stamp

LEAST_SPEEDUP = 1.15
"""The int8 form must be so many times as fast."""
LEAST_SAME = 0.99
"""Share of patches that must get the same class and the same doubt."""
MOST_OTHER_CLASS = 0.001
"""Share of patches that may get another class; accuracy cannot change by more."""
FEWEST_PATCHES = 30
"""Without so many pictures to compare a device stays with float32."""
MOST_PATCHES = 300
PAIRS = 15
TIMED_PATCHES = 4


@dataclass(frozen=True, slots=True)
class Alike:
    """How alike two forms of a model judge."""

    patches: int
    same: float
    """Share of patches with the same class and the same doubt."""
    other_class: float
    """Share of patches with another class."""

    @property
    def good(self) -> bool:
        """Whether one form may stand for the other."""
        return self.same >= LEAST_SAME and self.other_class <= MOST_OTHER_CLASS


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a race said."""

    variant: Variant
    """The form that judges from now on."""
    why: str
    speedup: float | None = None
    """Time of float32 over time of int8; None: there was nothing to race."""
    alike: Alike | None = None


def alike(float32: Model, int8: Model, patches: Patches) -> Alike:
    """Compare both forms on patches, uint8 [N, 200, 200]."""
    a, b = judge(float32, patches), judge(int8, patches)
    same_class = a.predicted == b.predicted
    same = same_class & (a.unsure == b.unsure)
    return Alike(len(patches), float(same.mean()), float(1 - same_class.mean()))


def race(content: bytes, patches: Patches, settings: Settings) -> Outcome:
    """Race the two forms of a model file.

    `patches`, uint8 [N, 200, 200], stand for the device's stream. An int8 form that cannot be run
    here loses; the model is none the worse.
    """
    if settings.device.int8 == "never":
        return Outcome("float32", "device.int8 is never")
    try:
        model = load_model_bytes(content, "the model", settings.device.threads, "int8")
    except UserError as error:
        return Outcome("float32", str(error))
    if model.int8 is None:
        return Outcome("float32", "the model has no int8 form")
    if len(patches) < FEWEST_PATCHES:
        return Outcome("float32", f"{len(patches)} pictures to compare, {FEWEST_PATCHES} needed")
    float32 = replace(model, int8=None)
    found = alike(float32, model, patches)
    faster = speedup(float32, model, patches[:TIMED_PATCHES])
    said = f"{faster:.2f} times as fast, {100 * found.same:.1f} % of {len(patches)} judged alike"
    if found.good and faster >= LEAST_SPEEDUP:
        return Outcome("int8", said, faster, found)
    return Outcome("float32", f"int8 is {said}", faster, found)


def speedup(float32: Model, int8: Model, patches: Patches) -> float:
    """How many times as fast the int8 form is: median of pairs, measured in turn."""

    def seconds(model: Model) -> float:
        began = time.perf_counter()
        model.log_probabilities(patches)
        return time.perf_counter() - began

    return statistics.median(seconds(float32) / seconds(int8) for _ in range(PAIRS))


def stream_patches(db: Database, recipe: str, most: int = MOST_PATCHES) -> Patches:
    """The last patches of a recipe that were kept by chance, not for their score: uint8 [N, 200,
    200]."""
    rows = db.execute(
        "SELECT patches.png FROM flags JOIN patches ON patches.id = flags.patch_id "
        "JOIN frames ON frames.id = flags.frame_id "
        "WHERE flags.reason IN ('audit', 'cold-start') AND frames.recipe = ? "
        "AND length(patches.png) > 0 "  # others went to make room
        "ORDER BY flags.id DESC LIMIT ?",
        [recipe, most],
    ).fetchall()
    side = PATCH_SIZE
    pictures = [cv2.imdecode(np.frombuffer(row[0], np.uint8), cv2.IMREAD_GRAYSCALE) for row in rows]
    whole = [p for p in pictures if p is not None and p.shape == (side, side)]
    return np.stack(whole).astype(np.uint8) if whole else np.empty((0, side, side), np.uint8)


def record_race(db: Database, model_id: str, outcome: Outcome) -> None:
    """Store what a race said; the last one of a model counts."""
    found = outcome.alike
    db.execute(
        "INSERT INTO races (model_id, variant, why, speedup, patches, same, wall_ns, "
        "monotonic_ns, boot_id, clock_ok) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            model_id, outcome.variant, outcome.why, outcome.speedup,
            0 if found is None else found.patches, None if found is None else found.same, *stamp(),
        ],
    )  # fmt: skip


def last_race(db: Database, model_id: str) -> tuple[Variant, str] | None:
    """The form of a model that judges here, and why; None: it was never raced."""
    row = db.execute(
        "SELECT variant, why FROM races WHERE model_id = ? ORDER BY id DESC LIMIT 1", [model_id]
    ).fetchone()
    return None if row is None else ("int8" if row[0] == "int8" else "float32", row[1])


def variant_of(db: Database, model_id: str) -> Variant:
    """The form of a model that judges here."""
    found = last_race(db, model_id)
    return "float32" if found is None else found[0]
