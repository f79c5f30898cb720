"""A night's training on 1,000 labels, against a plain PyTorch loop of the same epochs.

How many steps each needs to a given accuracy is a matter of the seed, not of the machine: that is
found once (`trainer.lab.speed`, which also says what plain is). Timed, in turn: a step of each.
The ratio is the plain loop's time to the accuracy over ours; where the plain loop has not reached
it when its epochs are over, the ratio is only a lower bound, and the row says so.

With a folder of class folders as `--frames` the accuracy is 97.8 %; with simulated patches, 90 %.
Only training is compared: the folds that a night trains besides, to know what it does not know,
have no counterpart in a plain loop (docs/night.md has the whole night).
"""

import statistics
import time
from collections.abc import Callable, Iterator

import numpy as np

from camera.milled_steel import CLASSES, random_patch
from config.errors import UserError
from device.bench.row import Inputs, Row, affinity, cores, pairs, row_of
from trainer.bench.training_step import threads
from trainer.lab.learners import judge
from trainer.lab.protocol import LabData, lab_data
from trainer.lab.speed import GOAL, Course, our_training, plain_training, run_both
from trainer.learning.networks import Network
from trainer.learning.training import Training, keep_large_buffers

LABELS, TESTED = 1000, 400
QUICK_LABELS, QUICK_TESTED = 120, 40
SIMULATED_GOAL, QUICK_GOAL = 0.9, 0.3
QUICK_EPOCHS = 8
AIM = "≥ 4"


def measure(inputs: Inputs) -> list[Row]:
    """Seconds of training to the accuracy, and how many times as long the plain loop takes.

    Raises:
        UserError: our own training does not reach the accuracy on these pictures.
    """
    keep_large_buffers()
    data, goal = material(inputs)
    count = 1 if inputs.quick else min(cores(), 2)
    with affinity(count), threads(count):
        course = course_of(data, goal, inputs)
        found = run_both(course)
        if not found["ours"]["reached"]:
            best = max(point["accuracy"] for point in found["ours"]["curve"])
            raise UserError(
                f"night: our training reaches {best:.1%} on {data.name}, not {goal:.1%}: nothing "
                "to compare; give other pictures with --frames"
            )
        ours, plain = found["ours"]["last"]["step"], found["plain"]["last"]["step"]
        seconds, ratios = pairs(
            inputs.runs,
            timed_steps(plain_training(course)[1], plain, inputs),
            timed_steps(our_training(course)[1], ours, inputs),
        )
    than = "" if found["plain"]["reached"] else ", which falls short of it"
    return [
        row_of(
            f"{len(course.patches):,} labels of {data.name} to {goal:.1%}, "
            f"{count} core{'s' if count > 1 else ''}",
            "s",
            f"plain PyTorch loop{than}",
            AIM,
            seconds,
            [1 / ratio for ratio in ratios],
        )
    ]


def material(inputs: Inputs) -> tuple[LabData, float]:
    """Labelled pictures, and the accuracy to reach: the folder's, or simulated ones."""
    names = [file.parent.name for file in inputs.files]
    if len(classes := sorted(set(names))) >= 2 and not inputs.quick:
        labels = np.array([classes.index(name) for name in names])
        return lab_data(inputs.files[0].parent.parent.name, inputs.patches, labels, classes), GOAL
    count = QUICK_LABELS + QUICK_TESTED if inputs.quick else LABELS + TESTED
    labels = np.arange(count) % len(CLASSES)
    patches = np.stack([random_patch(10_000 + i, CLASSES[c]).image for i, c in enumerate(labels)])
    data = lab_data("simulated plates", patches, labels, list(CLASSES))
    return data, QUICK_GOAL if inputs.quick else SIMULATED_GOAL


def course_of(data: LabData, goal: float, inputs: Inputs) -> Course:
    """1,000 pictures to learn from, drawn at random, and up to 400 others to test."""
    order = np.random.default_rng(0).permutation(len(data.labels))
    labels, tested = (QUICK_LABELS, QUICK_TESTED) if inputs.quick else (LABELS, TESTED)
    labels = min(labels, len(order) * 3 // 4)
    learnt, test = order[:labels], order[labels : labels + tested]

    def accuracy(network: Network) -> float:
        log_p = judge(network, data.patches[test]).log_probabilities
        return float((log_p.argmax(axis=1) == data.labels[test]).mean())

    training = Training()
    same_epochs = round(training.steps(labels) * training.batch / labels)
    return Course(
        data.patches[learnt],
        data.labels[learnt],
        len(data.classes),
        seed=0,
        accuracy=accuracy,
        goal=goal,
        most_epochs=QUICK_EPOCHS if inputs.quick else same_epochs,
    )


def timed_steps(losses: Iterator[float], steps: int, inputs: Inputs) -> Callable[[], float]:
    """What runs some steps of a training and tells the seconds of `steps`, by the median."""
    for _ in range(3):  # the first ones choose algorithms and get memory
        next(losses)

    def figure() -> float:
        times = []
        for _ in range(2 if inputs.quick else 15):
            began = time.perf_counter()
            next(losses)
            times.append(time.perf_counter() - began)
        return steps * statistics.median(times)

    return figure
