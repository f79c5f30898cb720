"""The loop's side of drift: frames are added to a block; costs a few sums a frame."""

import time
from collections.abc import Sequence

from camera.capture import Captured
from camera.source import GreyImage
from config.settings import Drift, Recipe
from device.drift.detection import Gathering
from device.drift.log import EndedBlock
from device.judging.kls import LEAST_BIN

NO_BIN = LEAST_BIN - 1


class Watch:
    """Gathers the present block, of one part and one model."""

    def __init__(self, settings: Drift, recipe: Recipe) -> None:
        self._settings = settings
        self._recipe = recipe
        self._part, self._model_id = "", ""
        self._classes: list[str] = []
        self._began = 0.0
        self._usual: GreyImage | None = None
        self._odd: GreyImage | None = None
        self._highest = NO_BIN
        self._gathering = self._fresh()

    def follow(self, part: str, model_id: str, classes: list[str]) -> None:
        """Go on with this part and model, which has these classes; a block of another one is given
        up."""
        if (part, model_id) != (self._part, self._model_id):
            self._part, self._model_id, self._classes = part, model_id, classes
            self._begin()

    def see(
        self, captured: Captured, predicted: Sequence[int] | None, bins: Sequence[int] | None
    ) -> None:
        """Add a judged frame, and its N patches' classes and score bins."""
        if captured.looks is None:
            return
        if not self._gathering.frames:
            self._began = time.monotonic()
            self._usual = captured.frame.image.copy()  # the camera may use its memory again
        self._gathering.add_frame(*captured.looks)
        if predicted is None or bins is None:
            return
        self._gathering.add_scores(predicted, bins)
        if (highest := max(bins)) > self._highest:
            self._highest, self._odd = highest, captured.frame.image.copy()

    def ended(self, now: float) -> EndedBlock | None:
        """The block, if it is long enough at this moment of the monotonic clock; else None."""
        settings, gathering = self._settings, self._gathering
        if (
            gathering.frames < settings.block_frames
            or now - self._began < settings.block_s
            or self._usual is None
        ):
            return None
        ended = EndedBlock(
            gathering.block(), self._recipe.name, self._part, self._model_id,
            self._classes or self._recipe.classes, self._usual, self._odd,
        )  # fmt: skip
        self._begin()
        return ended

    def _begin(self) -> None:
        self._gathering = self._fresh()
        self._usual = self._odd = None
        self._highest = NO_BIN

    def _fresh(self) -> Gathering:
        return Gathering(len(self._classes) if self._model_id else 0)
