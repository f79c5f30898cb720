"""The self-test: on this device a model says what it said where it was made, and as fast."""

import statistics
import time

import numpy as np

from config.settings import PATCH_SIZE, Update
from device.judging.model import Model
from device.judging.patches import Patches
from device.judging.verdict import judge
from device.update.client import Refused
from device.update.release import Companion, pixels_of

TIMED = 31
"""Patches timed, the model in use and the new one in turn."""


def golden_patches(companion: Companion) -> Patches:
    """The golden patches of a companion, uint8 [N, 200, 200].

    Raises:
        UserError: one is no picture.
    """
    return np.stack([pixels_of(patch) for patch in companion.patches])


def check_companion(model: Model, companion: Companion, limits: Update) -> None:
    """Judge the golden patches of the companion, and compare.

    Raises:
        Refused: a class, a verdict, or a log-probability beyond `update.tolerance` is another one
            than the trainer's.
        UserError: a golden patch is no picture.
    """
    name, classes = model.id[:12], model.metadata.classes
    patches = golden_patches(companion)
    judged = judge(model, patches)
    for i, golden in enumerate(companion.patches):
        if len(golden.log_probabilities) != len(classes):
            raise Refused(f"{name}: its companion is for {len(golden.log_probabilities)} classes")
        predicted, unsure = classes[judged.predicted[i]], bool(judged.unsure[i])
        apart = np.abs(judged.log_probabilities[i] - np.array(golden.log_probabilities)).max()
        if (predicted, unsure) != (golden.predicted, golden.unsure):
            raise Refused(
                f"{name}: self-test failed: golden patch {i + 1} of {len(patches)} is "
                f"{predicted}{' (unsure)' if unsure else ''} here, and {golden.predicted}"
                f"{' (unsure)' if golden.unsure else ''} where it was made"
            )
        if not apart <= limits.tolerance:
            raise Refused(
                f"{name}: self-test failed: log-probabilities of golden patch {i + 1} of "
                f"{len(patches)} differ by {apart:.2g} (limit {limits.tolerance:g})"
            )


def check_speed(model: Model, in_use: Model | None, limits: Update) -> None:
    """Compare the time of a patch with that of the model in use, in turn.

    Raises:
        Refused: it is slower than `update.largest_slowdown` allows.
    """
    if in_use is None:
        return
    patch = np.zeros((1, PATCH_SIZE, PATCH_SIZE), np.uint8)

    def seconds(which: Model) -> float:
        began = time.perf_counter()
        which.log_probabilities(patch)
        return time.perf_counter() - began

    ratios = [seconds(model) / seconds(in_use) for _ in range(TIMED)]
    ratio = statistics.median(ratios)
    if ratio > limits.largest_slowdown:
        raise Refused(
            f"{model.id[:12]}: a patch takes {ratio:.1f} times as long as with the model in use "
            f"(limit {limits.largest_slowdown:g})"
        )
