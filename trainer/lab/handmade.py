"""The rival without a network: hand-made features with a linear classifier."""

import hashlib
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from config.errors import UserError
from device.judging.patches import Patches
from trainer.lab.candidates import Judged
from trainer.lab.learners import Fitted, Lesson, OnStep

FEATURES = ("hog", "lbp")
RINGS = ((8, 1), (16, 2), (24, 3))
"""Points and radius of each local binary pattern (Ojala et al. 2002)."""


_DESCRIBED: dict[tuple[bytes, str], NDArray[np.float32]] = {}
"""Features of every patch seen; they never change, and all arms share them (7 kB each)."""


class HandmadeLearner:
    """HOG and/or LBP features, standardised, under logistic regression.

    `name` is `hog`, `lbp` or `hog+lbp`.
    """

    def __init__(self, name: str, classes: int) -> None:
        self._kinds = name.split("+")
        if not set(self._kinds) <= set(FEATURES):
            raise UserError(f"no hand-made features {name!r}; there are hog, lbp, hog+lbp")
        self._classes = classes
        self._model: Any = None
        self._known = np.empty(0, np.int64)

    def fit(self, lesson: Lesson, _on_step: OnStep | None = None) -> Fitted:
        """See `Learner`; there are no steps."""
        from sklearn.linear_model import LogisticRegression  # noqa: PLC0415
        from sklearn.pipeline import make_pipeline  # noqa: PLC0415
        from sklearn.preprocessing import StandardScaler  # noqa: PLC0415

        began = time.monotonic()
        self._known = np.unique(lesson.labels)
        if len(self._known) == 1:  # nothing to tell apart yet
            return Fitted(0, 0.0)
        self._model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
        self._model.fit(self._features(lesson.patches), lesson.labels)
        return Fitted(0, time.monotonic() - began)

    def judge(self, patches: Patches) -> Judged:
        """See `Learner`. A class without a label has probability 0."""
        features = self._features(patches)
        log_p = np.full((len(patches), self._classes), -np.inf)
        if len(self._known) == 1:
            log_p[:, self._known] = 0
        elif len(patches):
            log_p[:, self._known] = self._model.predict_log_proba(features)
        return Judged(log_p, features)

    def _features(self, patches: Patches) -> NDArray[np.float32]:
        rows = []
        for patch in patches:
            key = (hashlib.blake2b(patch.tobytes(), digest_size=16).digest(), "+".join(self._kinds))
            if key not in _DESCRIBED:
                _DESCRIBED[key] = describe(patch, self._kinds)
            rows.append(_DESCRIBED[key])
        width = len(describe(np.zeros((200, 200), np.uint8), self._kinds)) if not rows else 0
        return np.stack(rows) if rows else np.empty((0, width), np.float32)


def describe(patch: NDArray[np.uint8], kinds: list[str]) -> NDArray[np.float32]:
    """Hand-made features of a patch, uint8 [s, s]: float32 [D]."""
    from skimage.feature import hog, local_binary_pattern  # noqa: PLC0415

    parts = []
    if "hog" in kinds:
        cell = max(patch.shape[0] // 8, 1)
        parts.append(hog(patch, 9, (cell, cell), (2, 2)))
    if "lbp" in kinds:
        for points, radius in RINGS:
            codes = local_binary_pattern(  # type: ignore[no-untyped-call]
                patch, points, radius, "uniform"
            )
            counts = np.bincount(codes.astype(int).ravel(), minlength=points + 2)
            parts.append(np.sqrt(counts / codes.size))
    return np.concatenate(parts).astype(np.float32)
