"""Time to a given accuracy: the appliance's recipe against plain training, in one run."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from device.judging.patches import Patches
from trainer.lab.learners import CLASSIFIERS, OnStep, PaperRecipe, judge, new_network
from trainer.lab.protocol import LabData, make_splits
from trainer.learning.networks import Network, make_network
from trainer.learning.training import Progress, Training, copy_average, keep_large_buffers, optimise

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


@dataclass(frozen=True, slots=True)
class Course:
    """What both run over."""

    patches: Patches
    labels: NDArray[np.int64]
    classes: int
    seed: int
    accuracy: Callable[[Network], float]
    """On the test images."""
    goal: float
    """The accuracy that both race to."""
    on_step: OnStep | None = None
    most_epochs: int = MOST_EPOCHS
    """Of the plain training."""


def race(data: LabData, seed: int, on_step: OnStep | None = None) -> dict[str, Any]:
    """Both trainings on all training images, and when each first reached the goal."""
    splits = make_splits(data, seed)
    train, test = splits.train, splits.test

    def accuracy(network: Network) -> float:
        log_p = judge(network, data.patches[test]).log_probabilities
        return float((log_p.argmax(axis=1) == data.labels[test]).mean())

    classes = len(data.classes)
    return run_both(
        Course(data.patches[train], data.labels[train], classes, seed, accuracy, GOAL, on_step)
    )


def run_both(course: Course) -> dict[str, Any]:
    """When each of them first reached the goal, and the curves until then.

    The other one is the appliance's recipe with its averaged weights, as it is used.
    """
    ours = _ours(course)
    plain = _plain(course, PATIENCE * ours["last"]["processor_s"])
    return {"ours": ours, "plain": plain, "goal": course.goal, "seed": course.seed}


def our_training(course: Course) -> tuple[list[torch.Tensor], Iterator[float]]:
    """(running average of the weights, losses of the steps) of the appliance's training."""
    torch.manual_seed(course.seed)
    training = Training()
    network = make_network(training.network, course.classes, training.dropout)
    average = [torch.zeros_like(p) for p in network.parameters()]
    rng = np.random.default_rng([course.seed, 0])
    return average, optimise(network, average, course.patches, course.labels, training, rng)


def plain_training(course: Course) -> tuple[Network, Iterator[float]]:
    """(network, losses of the steps) of the paper's recipe as anyone would write it.

    Single precision, NCHW, float images in memory, each epoch shuffled.
    """
    torch.manual_seed(course.seed)
    recipe = PaperRecipe(epochs=course.most_epochs)
    network = new_network(CLASSIFIERS["gapc"], course.classes, recipe)
    network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    return network, _plain_steps(network, course, recipe)


def _plain_steps(network: Network, course: Course, recipe: PaperRecipe) -> Iterator[float]:
    rng = np.random.default_rng(course.seed)
    optimiser = torch.optim.SGD(network.parameters(), recipe.rate, momentum=recipe.momentum)
    images, targets = torch.from_numpy(course.patches).float(), torch.from_numpy(course.labels)
    for epoch in range(recipe.epochs):
        optimiser.param_groups[0]["lr"] = recipe.rate_at(epoch)
        order = rng.permutation(len(images))
        for start in range(0, len(order), recipe.batch):
            network.train()
            chosen = torch.from_numpy(order[start : start + recipe.batch])
            loss = F.cross_entropy(network(images[chosen]).logits, targets[chosen])
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            yield loss.item()


def _plain(course: Course, patience: float) -> dict[str, Any]:
    network, losses = plain_training(course)
    steps = PaperRecipe(epochs=course.most_epochs).steps(len(course.patches))
    return _run(course, losses, steps, lambda _step: network, patience)


def _ours(course: Course) -> dict[str, Any]:
    keep_large_buffers()
    average, losses = our_training(course)
    training = Training()
    snapshot = make_network(training.network, course.classes, training.dropout)

    def averaged(step: int) -> Network:
        copy_average(snapshot, average, 1 - training.averaging**step)
        return snapshot

    return _run(course, losses, training.steps(len(course.patches)), averaged, math.inf)


def _run(
    course: Course,
    losses: Iterator[float],
    steps: int,
    network: Callable[[int], Network],
    patience: float,
) -> dict[str, Any]:
    """Train until the goal is reached, patience (in processor time) or the steps are over."""
    clock, curve = Clock(), []
    for step, loss in enumerate(losses, 1):
        if course.on_step is not None:
            course.on_step(Progress(step, steps, loss))
        if step % EVERY == 0:
            clock.stop()
            curve.append(_point(step, clock, course.accuracy(network(step))))
            if curve[-1]["accuracy"] >= course.goal or clock.processor >= patience:
                break
            clock.start()
    reached = bool(curve) and curve[-1]["accuracy"] >= course.goal
    return {"reached": reached, "last": curve[-1] if curve else None, "curve": curve}


def _point(step: int, clock: Clock, accuracy: float) -> dict[str, float]:
    return {
        "step": step,
        "processor_s": round(clock.processor, 2),
        "wall_s": round(clock.wall, 2),
        "accuracy": round(accuracy, 6),
    }
