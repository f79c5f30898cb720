"""Time to a given accuracy: the appliance's recipe against plain training, in one run."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from device.patches import Patches
from trainer.lab.learners import CLASSIFIERS, OnStep, PaperRecipe, judge, new_network
from trainer.lab.protocol import LabData, make_splits
from trainer.networks import Network, make_network
from trainer.training import Progress, Training, copy_average, keep_large_buffers, optimise

GOAL = 0.978
"""Accuracy on the test images that both race to: the paper's at 44 %."""
EVERY = 25
"""Steps between two looks at the test images, which the clock leaves out."""
MOST_EPOCHS = 100
PATIENCE = 8
"""The plain training gives up after this many times the other's processor time."""


class Clock:
    """Processor and wall time of training alone, in seconds."""

    def __init__(self) -> None:
        self.processor = self.wall = 0.0
        self._last = (time.process_time(), time.monotonic())

    def stop(self) -> None:
        """What was done since `start` counts."""
        self.processor += time.process_time() - self._last[0]
        self.wall += time.monotonic() - self._last[1]

    def start(self) -> None:
        """Go on."""
        self._last = (time.process_time(), time.monotonic())


def race(data: LabData, seed: int, on_step: OnStep | None = None) -> dict[str, Any]:
    """Both trainings on all training images, and when each first reached the goal.

    Plain: the paper's recipe as anyone would write it, in single precision, NCHW, float images,
    each epoch shuffled. The other: the appliance's recipe with its averaged weights, as it is used.
    """
    splits = make_splits(data, seed)
    train, test = splits.train, splits.test
    classes = len(data.classes)

    def accuracy(network: Network) -> float:
        log_p = judge(network, data.patches[test]).log_probabilities
        return float((log_p.argmax(axis=1) == data.labels[test]).mean())

    course = Course(data.patches[train], data.labels[train], classes, seed, accuracy, on_step)
    ours = _ours(course)
    plain = _plain(course, PATIENCE * ours["last"]["processor_s"])
    return {"ours": ours, "plain": plain, "goal": GOAL, "seed": seed}


@dataclass(frozen=True, slots=True)
class Course:
    """What both run over."""

    patches: Patches
    labels: NDArray[np.int64]
    classes: int
    seed: int
    accuracy: Callable[[Network], float]
    """On the test images."""
    on_step: OnStep | None


def _plain(course: Course, patience: float) -> dict[str, Any]:
    torch.manual_seed(course.seed)
    rng = np.random.default_rng(course.seed)
    patches, labels = course.patches, course.labels
    recipe = PaperRecipe(epochs=MOST_EPOCHS)
    network = new_network(CLASSIFIERS["gapc"], course.classes, recipe)
    network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    optimiser = torch.optim.SGD(network.parameters(), recipe.rate, momentum=recipe.momentum)
    images, targets = torch.from_numpy(patches).float(), torch.from_numpy(labels)
    clock, curve, step = Clock(), [], 0
    for epoch in range(recipe.epochs):
        optimiser.param_groups[0]["lr"] = recipe.rate_at(epoch)
        order = rng.permutation(len(patches))
        for start in range(0, len(order), recipe.batch):
            network.train()
            chosen = torch.from_numpy(order[start : start + recipe.batch])
            loss = F.cross_entropy(network(images[chosen]).logits, targets[chosen])
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            step += 1
            if course.on_step is not None:
                course.on_step(Progress(step, recipe.steps(len(patches)), loss.item()))
            if step % EVERY == 0:
                clock.stop()
                curve.append(_point(step, clock, course.accuracy(network)))
                if curve[-1]["accuracy"] >= GOAL or clock.processor >= patience:
                    return _told(curve)
                clock.start()
    return _told(curve)


def _ours(course: Course) -> dict[str, Any]:
    keep_large_buffers()
    torch.manual_seed(course.seed)
    training, patches = Training(), course.patches
    network = make_network(training.network, course.classes, training.dropout)
    snapshot = make_network(training.network, course.classes, training.dropout)
    average = [torch.zeros_like(p) for p in network.parameters()]
    rng = np.random.default_rng([course.seed, 0])
    clock, curve = Clock(), []
    losses = optimise(network, average, patches, course.labels, training, rng)
    for step, loss in enumerate(losses, 1):
        if course.on_step is not None:
            course.on_step(Progress(step, training.steps(len(patches)), loss))
        if step % EVERY == 0:
            clock.stop()
            copy_average(snapshot, average, 1 - training.averaging**step)
            curve.append(_point(step, clock, course.accuracy(snapshot)))
            if curve[-1]["accuracy"] >= GOAL:
                break
            clock.start()
    return _told(curve)


def _point(step: int, clock: Clock, accuracy: float) -> dict[str, float]:
    return {
        "step": step,
        "processor_s": round(clock.processor, 2),
        "wall_s": round(clock.wall, 2),
        "accuracy": round(accuracy, 6),
    }


def _told(curve: list[dict[str, float]]) -> dict[str, Any]:
    reached = bool(curve) and curve[-1]["accuracy"] >= GOAL
    return {"reached": reached, "last": curve[-1] if curve else None, "curve": curve}
