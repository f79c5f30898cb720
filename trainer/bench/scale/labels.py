"""Labels per night: a night from the merge to its report, while the labels become more.

Timed: `trainer.night.night.run_night` on the labels of one device, every stage of it, by the
processor time of this process, but for its trainings, which are two steps long here. To it are
added the steps that the appliance would train for so many labels, all folds counted, times the
processor time of a step: so that a night of 2,000 labels need not be waited for.
"""

import shutil
import statistics
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from device.bench.growth import Growth, growth_of, repeated
from device.bench.row import Inputs
from device.exchange.folder import FolderPlace
from trainer.bench.scale.batches import Picture, pictures, push_batch, site
from trainer.bench.training_step import threads
from trainer.learning.networks import make_network
from trainer.learning.training import Training, keep_large_buffers, optimise
from trainer.night.night import Night, run_night
from trainer.publishing.keys import make_keys

SIZES = (125, 250, 500, 1000, 2000)
QUICK = (16, 32, 64)


def measure(inputs: Inputs) -> list[Growth]:
    """Seconds of a whole night, and of all of it but its trainings. Measured once."""
    keep_large_buffers()
    sizes = QUICK if inputs.quick else SIZES
    seen = pictures(max(sizes))
    rest: dict[int, list[float]] = {}
    with threads(1):
        step = step_s(seen[:32])

        def cost(labels: int) -> float:
            rest[labels] = [night_s(inputs, seen[:labels])]
            return rest[labels][0] + step * steps_of(labels, inputs.settings.trainer.folds)

        costs = repeated(sizes, 1, cost)
    return [
        growth_of("labels per night", "labels", "a night, one core", "s", costs),
        growth_of("labels per night, no training", "labels", "the rest of it", "s", rest),
    ]


def steps_of(labels: int, folds: int) -> int:
    """Steps of all trainings of a night: of the model, and of each fold on the others' labels."""
    training = Training()
    inside = labels - labels // folds if folds >= 2 else 0
    return training.steps(labels) + (folds * training.steps(inside) if folds >= 2 else 0)


def step_s(seen: list[Picture]) -> float:
    """Processor seconds of a training step: the median of some."""
    patches = np.stack([picture.pixels for picture in seen])
    training = Training()
    network = make_network(training.network, 4, training.dropout)
    average = [torch.zeros_like(p) for p in network.parameters()]
    labels = np.arange(len(patches)) % 4
    course = optimise(network, average, patches, labels, training, np.random.default_rng(0))
    times = []
    for _ in range(10):
        began = time.process_time()
        next(course)
        times.append(time.process_time() - began)
    return statistics.median(times[3:])


def night_s(inputs: Inputs, seen: list[Picture]) -> float:
    """Processor seconds of a night whose trainings have two steps.

    Raises:
        RuntimeError: it did not learn from all labels.
    """
    folder = inputs.scratch / "labels"
    settings = site(inputs.settings, folder)
    exchange = Path(settings.exchange.url)
    exchange.mkdir(parents=True)
    make_keys(settings, folder / "stick")
    push_batch(FolderPlace(exchange), folder, "box", seen)
    began = time.process_time()
    night = run_night(settings, training=replace(Training(), fewest_steps=2, most_steps=2))
    took = time.process_time() - began
    if not isinstance(night, Night) or night.labels != len(seen):
        raise RuntimeError(f"the night did not learn from {len(seen)} labels: {night}")
    shutil.rmtree(folder)
    return took
