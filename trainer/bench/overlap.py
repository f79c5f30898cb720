"""Frames of 1280 × 1024 pixels whose patches overlap by 52 %: shared feature maps or each alone.

Timed: a frame is cut, levelled and judged on feature maps that its 108 patches share, as the loop
does. Yardstick: the same patches without levelling, each judged alone. Both in float32 on one core,
by processor time; the second row lets the int8 form judge alone. The weights are random: they cost
as much as learnt ones.
"""

from config.settings import PATCH_SIZE, Recipe
from device.bench.frames import PATCHES, frame_of
from device.bench.row import NO_AIM, Inputs, Row, affinity, pairs, per_call, repeated, row_of
from device.judging.model import Model, load_model
from device.judging.patches import Cutter
from device.judging.verdict import judge
from trainer.bench.untrained import untrained_model

STEP = 96
"""Pixels between patches."""
LEAST_S, LEAST_QUICK_S = 0.5, 0.05
SAME_PATCHES = 20
"""The random weights are fitted to so many."""


def measure(inputs: Inputs) -> list[Row]:
    """Frames per second, against patches judged alone."""
    frame = frame_of(inputs.patches[repeated(inputs.patches, PATCHES)])
    few = inputs.patches[:SAME_PATCHES]
    recipe = inputs.settings.recipe
    changes = {"regions": "grid", "grid_overlap_px": PATCH_SIZE - STEP}
    alone = recipe.model_copy(update=changes)
    together = recipe.model_copy(update=changes | {"shared_maps": True})
    least_s = LEAST_QUICK_S if inputs.quick else LEAST_S

    def rate(model: Model, recipe: Recipe) -> float:
        cutter = Cutter(recipe)

        def once() -> None:
            cut = cutter.cut(frame)
            judge(model, cut.patches, shared=() if cut.shared is None else (cut.shared,))

        return 1 / per_call(once, least_s)

    shared = untrained_model(inputs.scratch / "levelled.onnx", together, few)
    file = inputs.scratch / "plain.onnx"
    plain, int8 = untrained_model(file, alone, few), load_model(file, variant="int8")
    rows = []
    with affinity(1):
        for yardstick, model, aim in (("alone", plain, "≥ 2"), ("alone, int8", int8, NO_AIM)):
            found = pairs(
                inputs.runs,
                lambda some=model: rate(some, alone),  # type: ignore[misc]
                lambda: rate(shared, together),
            )
            name = f"overlapping patches, shared maps, {frame.shape[1]}×{frame.shape[0]}"
            rows.append(row_of(name, "frames/s", yardstick, aim, *found))
    return rows
