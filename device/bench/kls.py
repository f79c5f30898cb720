"""What it takes to decide about a patch once the network has spoken.

Timed: class, KLS, threshold, verdict and the choice of questions (`device.judging.verdict`,
`device.loop.asking`), patch by patch, on what the network said before; flagged patches with their
identity and fingerprint among them. Yardstick: the network on the same patches, one by one. Both
by processor time.
"""

import shutil
import time
from dataclasses import replace
from typing import Any, cast

import onnxruntime as ort

from device.bench.loop import new_device
from device.bench.row import Inputs, Row, affinity, bare, pairs, repeated, row_of, timed
from device.judging.model import Model
from device.judging.patches import Cutter
from device.judging.verdict import frame_verdict, judge
from device.loop.asking import Asker
from device.models.models_in_use import in_force
from device.store.database import open_store

PATCHES, PATCHES_QUICK = 3000, 120


class Spoken:
    """A session that says again what the network said of a patch: it takes no time."""

    def __init__(self, model: Model, inputs: Inputs) -> None:
        self._said = model.log_probabilities(inputs.patches)
        self._next = 0

    def run(self, _names: Any, _feeds: Any) -> list[Any]:
        """The next patch's log-probabilities, float32 [1, C]."""
        number = self._next % len(self._said)
        self._next += 1
        return [self._said[number : number + 1]]


def measure(inputs: Inputs) -> list[Row]:
    """Microseconds per patch, against those of its inference."""
    count = PATCHES_QUICK if inputs.quick else PATCHES
    numbers = repeated(inputs.patches, count)
    patches = [inputs.patches[i : i + 1] for i in range(len(inputs.patches))]
    settings = new_device(inputs.settings, inputs.scratch / "kls", inputs.model_file)
    db = open_store(settings.device.data)
    cutter, cycle = Cutter(settings.recipe), in_force(db).cycle

    def figure() -> float:
        session = cast(ort.InferenceSession, Spoken(inputs.model, inputs))
        model = replace(inputs.model, session=session)
        asker = Asker(settings, db, cycle, model.metadata.classes)
        cuts = [cutter.cut(patch[0]) for patch in patches]

        def decide() -> None:
            for number in numbers:
                cut = cuts[number]
                judged = judge(model, cut.patches)
                predicted, scores = judged.predicted.tolist(), judged.scores.tolist()
                frame_verdict(predicted, judged.unsure.tolist(), model.passes)
                asker.choose(cut.patches, cut.regions, predicted, scores, judged.log_probabilities)

        return 1e6 * timed(decide, time.thread_time) / count

    def yardstick() -> float:
        took = timed(lambda: bare(inputs.model, inputs.patches), time.thread_time)
        return 1e6 * took / len(inputs.patches)

    with affinity(1):
        found = pairs(inputs.runs, yardstick, figure)
    db.close()
    shutil.rmtree(settings.device.data)
    return [row_of("KLS, verdict and choice, one patch", "µs", "its inference", "≤ 0.02", *found)]
