"""The int8 form of a model against its float32 form, by the same calls the loop judges with.

Timed: patches per second of the int8 form, one patch and 30 patches in a call, its standardisation
included. Yardstick: the float32 form. Both on one core, by processor time. The last row is the
share of the patches that get the same class and the same doubt from both (`device.models.race`);
of a network that has learnt nothing it says little, and has no aim.
"""

import sys

from config.errors import UserError
from device.bench.row import NO_AIM, Inputs, Row, affinity, pairs, per_call, repeated, row_of
from device.judging.model import Model, load_model
from device.judging.patches import Patches
from device.models.race import LEAST_SAME, alike

TOGETHER = (1, 30)
LEAST_S, LEAST_QUICK_S = 0.5, 0.05


def measure(inputs: Inputs) -> list[Row]:
    """Patches per second, and the share judged alike; no row where the model has no int8 form."""
    try:
        int8 = load_model(inputs.model_file, variant="int8")
    except UserError as error:
        print(f"int8: not measured: {error}", file=sys.stderr)
        return []
    if int8.int8 is None:
        print("int8: not measured, for the model has no int8 form", file=sys.stderr)
        return []
    least_s = LEAST_QUICK_S if inputs.quick else LEAST_S
    rows = []
    with affinity(1):
        for count in TOGETHER:
            patches = inputs.patches[repeated(inputs.patches, count)]
            found = pairs(
                inputs.runs,
                lambda some=patches: _rate(inputs.model, some, least_s),  # type: ignore[misc]
                lambda some=patches: _rate(int8, some, least_s),  # type: ignore[misc]
            )
            name = f"int8, {count} {'patch' if count == 1 else 'patches'} a call"
            rows.append(row_of(name, "patches/s", "float32", "≥ 1.8", *found))
    same = alike(inputs.model, int8, inputs.patches).same
    values, runs = [100 * same] * inputs.runs, [same] * inputs.runs
    aim = f"≥ {LEAST_SAME:g}" if inputs.model.metadata.labels else NO_AIM
    return [*rows, row_of("int8, same class and doubt", "%", "float32", aim, values, runs)]


def _rate(model: Model, patches: Patches, least_s: float) -> float:
    return len(patches) / per_call(lambda: model.log_probabilities(patches), least_s)
