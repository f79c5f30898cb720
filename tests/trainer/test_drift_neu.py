"""How soon drift is seen on real steel: NEU-CLS images (Song & Yan 2013) in a changing stream."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from camera.folder import find_images, read_grey
from camera.quality import sharpness
from device.drift.detection import BINS, LAG, ScoreReference, frames_moved, kind_of
from device.judging.kls import (
    LEAST_BIN,
    Floats,
    Ints,
    fit_baselines,
    kls,
    predicted_classes,
    score_bins,
)
from device.judging.patches import to_patch
from trainer.learning.networks import Network, predict_log_probabilities
from trainer.learning.training import Training, train

BLOCK = 200
CLASS = "new surface"


class Judged:
    """Images as the loop sees them: looks, predicted class, score bin."""

    def __init__(
        self, patches: NDArray[np.uint8], judge: Callable[[NDArray[np.uint8]], tuple[Ints, Ints]]
    ) -> None:
        mean = patches.mean(axis=(1, 2))
        contrast = patches.std(axis=(1, 2))
        sharp = np.array([sharpness(patch) for patch in patches])
        self.looks = np.log(np.stack([mean, contrast / mean, sharp], 1))
        self.predicted, self.bins = judge(patches)

    def block(self, chosen: Ints, classes: int) -> tuple[Floats, Ints]:
        """Of some images: looks added up, and how many have each class and score."""
        scores = np.zeros((classes, BINS), np.int64)
        np.add.at(scores, (self.predicted[chosen], self.bins[chosen] - LEAST_BIN), 1)
        return self.looks[chosen].sum(axis=0), scores


def blurred(patches: NDArray[np.uint8], sigma: float) -> NDArray[np.uint8]:
    return np.stack([np.asarray(cv2.GaussianBlur(p, (0, 0), sigma), np.uint8) for p in patches])


def blocks_until_seen(
    usual: Judged, now: Judged, share: float, of: Ints, classes: int, rng: np.random.Generator
) -> tuple[int, str] | None:
    """Blocks from the change until it is seen, and its name; None: not within 48 blocks.

    Lots of 24 blocks hold the classes in shares of their own.
    """
    looks, scores = [], []
    groups = [np.flatnonzero(of == c) for c in range(int(of.max()) + 1)]
    for i in range(288 + LAG + 48):
        if i % 24 == 0:
            mix = rng.dirichlet(np.full(len(groups), 20.0))
        counts = rng.multinomial(BLOCK, mix)
        chosen = np.concatenate([rng.choice(g, n) for g, n in zip(groups, counts, strict=True)])
        if i >= 288 + LAG:
            new = rng.random(BLOCK) < share
            late = rng.choice(len(now.bins), int(new.sum()))
            if share == 1:  # the same images, changed
                late = chosen
            a, b = usual.block(chosen[~new], classes), now.block(late, classes)
            looks.append((a[0] + b[0]) / BLOCK)
            scores.append(a[1] + b[1])
        else:
            one = usual.block(chosen, classes)
            looks.append(one[0] / BLOCK)
            scores.append(one[1])
    all_looks, all_scores = np.stack(looks), np.stack(scores)
    reference = ScoreReference(all_scores[:288])
    names = [str(c) for c in range(classes)]
    for i in range(288 + LAG, len(all_looks)):
        recent = slice(i - LAG + 1, i + 1)
        moved = frames_moved(all_looks[:288], all_looks[recent])
        moved += reference.moved(all_scores[recent], names)
        if (kind := kind_of(moved)) is not None:
            return i - 288 - LAG + 1, kind
    return None


def judging(
    network: Network, learnt: NDArray[np.uint8]
) -> Callable[[NDArray[np.uint8]], tuple[Ints, Ints]]:
    """What a network and its baselines say of patches: predicted classes and score bins."""

    def log_probabilities(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.asarray(predict_log_probabilities(network, torch.from_numpy(images)).numpy())

    baselines = fit_baselines(log_probabilities(learnt))

    def judge(images: NDArray[np.uint8]) -> tuple[Ints, Ints]:
        log_p = log_probabilities(images)
        return predicted_classes(log_p), score_bins(kls(log_p, baselines))

    return judge


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_changes_on_real_steel(neu_cls: Path) -> None:
    folders = sorted(p for p in neu_cls.iterdir() if p.is_dir())
    patches = [np.stack([to_patch(read_grey(f)) for f in find_images(p)]) for p in folders]
    rng = np.random.default_rng(0)
    print()
    for left_out in range(len(folders)):
        known = [p for c, p in enumerate(patches) if c != left_out]
        classes = len(known)
        learnt = np.concatenate([p[:30] for p in known])
        labels = np.repeat(np.arange(classes), 30)
        network = train(learnt, labels, classes, Training(), seed=0).network
        judge = judging(network, learnt)
        unseen = np.concatenate([p[30:] for p in known])
        of = np.repeat(np.arange(classes), [len(p) - 30 for p in known])
        usual = Judged(unseen, judge)
        changes = {
            "nothing": (usual, 0.0),
            "5 % of a new class": (Judged(patches[left_out], judge), 0.05),
        }
        if left_out == 0:
            changes |= {
                "light -20 %": (Judged(np.asarray(unseen * 0.8, np.uint8), judge), 1.0),
                "blur of 1 pixel": (Judged(blurred(unseen, 1.0), judge), 1.0),
                "all of a new class": (Judged(patches[left_out], judge), 0.999),
            }
        for name, (now, share) in changes.items():
            runs = [blocks_until_seen(usual, now, share, of, classes, rng) for _ in range(5)]
            seen = sorted(run[0] for run in runs if run is not None)
            kinds = sorted({run[1] for run in runs if run is not None})
            print(
                f"without {folders[left_out].name}: {name}: seen {len(seen)} of 5, "
                f"after {np.median(seen) if seen else '-'} blocks of {BLOCK}, {kinds}"
            )
            if name == "nothing":
                assert not seen
            if name.startswith(("light", "blur", "all")):
                assert len(seen) == 5
