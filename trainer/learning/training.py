"""One training run: labelled patches, settings and a seed in; a network out."""

import ctypes
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from device.judging.patches import Patches
from trainer.learning.augmentation import augment
from trainer.learning.muon import Muon
from trainer.learning.networks import Kind, Network, make_network

AlsoLoss = Callable[[Network, list[Tensor], int, int], Tensor | None]
"""A further loss: of the network, its running average (from zero), the steps done, all steps."""

STARTS = 3
"""Starts that may learn nothing before a run is taken as it is (seen: none in 106 runs)."""


@dataclass(frozen=True, slots=True)
class Training:
    """How a network is trained; the defaults are those of the appliance (docs/training.md)."""

    network: Kind = "gapc"
    steps_per_root: float = 54.4
    """Steps are this times the square root of the number of patches, within the bounds below."""
    fewest_steps: int = 300
    most_steps: int = 1600
    batch: int = 32
    kernel_lr: float = 0.02
    """Learning rate of the convolution kernels (Muon), at its peak."""
    other_lr: float = 3e-3
    """Learning rate of the biases and the dense layer (AdamW), at its peak."""
    warm_up: float = 0.3
    """Share of the steps in which the learning rate rises."""
    dropout: float = 0.5
    smoothing: float = 0.05
    """Label smoothing: share of the target spread over all classes."""
    averaging: float = 0.98
    """Decay of the running average of the weights, which is the result."""
    shift: float = 0.1
    """Largest shift of a view, as a share of the patch's side."""
    light: float = 0.3
    """Strength of the random ramps of light, in standard deviations of the patch."""
    levelled: bool = False
    """Whether the patches are of levelled frames (`device.judging.levelling`)."""

    def steps(self, patches: int) -> int:
        """Optimiser steps for so many patches."""
        steps = round(self.steps_per_root * math.sqrt(patches))
        return min(max(steps, self.fewest_steps), self.most_steps)


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a training run is."""

    step: int
    steps: int
    loss: float
    """Cross-entropy of the last batch, in nats."""


@dataclass(frozen=True, slots=True)
class Trained:
    """The result of a training run."""

    network: Network
    """With the averaged weights, in evaluation mode."""
    steps: int
    """Steps that were done; fewer than planned if it was stopped."""
    stopped: bool
    seconds: float


def train(
    patches: Patches,
    labels: NDArray[np.int64],
    classes: int,
    training: Training,
    seed: int,
    on_step: Callable[[Progress], bool | None] | None = None,
    *,
    also: AlsoLoss | None = None,
) -> Trained:
    """Train a network from scratch on labelled patches, uint8 [N, 200, 200] and int64 [N].

    The same arguments on the same machine with the same number of threads give the same weights.
    `on_step` is told of every step; once it returns True, the run ends with the weights averaged
    so far. Ctrl-C ends it in the same way. A start that learns nothing is made anew. `also` adds
    to the loss of every step.

    Raises:
        ValueError: no patches, or a label out of range.
    """
    if not len(patches) or labels.min() < 0 or labels.max() >= classes:
        raise ValueError("needs patches whose labels are all below the number of classes")
    keep_large_buffers()
    began = time.monotonic()
    chance = chance_loss(labels, training.smoothing, classes)
    for start in range(STARTS):
        torch.manual_seed(seed + start * 1_000_003)
        network = make_network(
            training.network, classes, training.dropout, levelled=training.levelled
        )
        average = [torch.zeros_like(p) for p in network.parameters()]
        losses: list[float] = []
        rng = np.random.default_rng([seed, start])
        stopped = False
        try:
            for loss in optimise(network, average, patches, labels, training, rng, also):
                losses.append(loss)
                here = Progress(len(losses), training.steps(len(patches)), loss)
                if on_step is not None and on_step(here):
                    stopped = True
                    break
                half = 2 * here.step == here.steps and start + 1 < STARTS
                if half and is_dead(losses, chance):
                    break
        except KeyboardInterrupt:
            stopped = True
        if stopped or not is_dead(losses, chance):
            break
    if losses:
        copy_average(network, average, 1 - training.averaging ** len(losses))
    return Trained(network.eval(), len(losses), stopped, time.monotonic() - began)


def optimise(
    network: Network,
    average: list[Tensor],
    patches: Patches | NDArray[np.float32],
    labels: NDArray[np.int64],
    training: Training,
    rng: np.random.Generator,
    also: AlsoLoss | None = None,
    half_precision: bool | None = None,
) -> Iterator[float]:
    """The training loop: optimises `network` in place, yields the labelled loss of every step.

    `average` takes up the running average of the weights. `half_precision`: whether to multiply in
    bfloat16; None: where the CPU does so natively.
    """
    network.train()
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    parameters = list(network.parameters())
    kernels = [p for p in parameters if p.ndim == 4]
    others = [p for p in parameters if p.ndim != 4]
    optimisers: list[tuple[torch.optim.Optimizer, float]] = [
        (Muon(kernels, training.kernel_lr), training.kernel_lr),
        (torch.optim.AdamW(others, training.other_lr, weight_decay=0), training.other_lr),
    ]
    targets = torch.from_numpy(labels)
    half_precision = has_bfloat16() if half_precision is None else half_precision
    steps = training.steps(len(patches))
    order = np.empty(0, np.int64)
    for step in range(steps):
        while len(order) < training.batch:
            order = np.concatenate([order, rng.permutation(len(patches))])
        chosen, order = order[: training.batch], order[training.batch :]
        views = [augment(patches[i], rng, training.shift, training.light) for i in chosen]
        for optimiser, peak in optimisers:
            optimiser.param_groups[0]["lr"] = peak * one_cycle(step / steps, training.warm_up)
        with torch.autocast("cpu", torch.bfloat16, enabled=half_precision):
            logits = network(torch.from_numpy(np.stack(views))).logits
        loss = F.cross_entropy(logits.float(), targets[chosen], label_smoothing=training.smoothing)
        more = None if also is None else also(network, average, step, steps)
        network.zero_grad()
        (loss if more is None else loss + more).backward()  # type: ignore[no-untyped-call]
        for optimiser, _ in optimisers:
            optimiser.step()
        torch._foreach_lerp_(average, [p.detach() for p in parameters], 1 - training.averaging)
        yield loss.item()


def is_dead(losses: list[float], chance: float) -> bool:
    """Whether the last losses are hardly better than answering by chance, or are no numbers: a bad
    start."""
    return bool(losses) and not float(np.mean(losses[-20:])) <= 0.95 * chance


def chance_loss(labels: NDArray[np.int64], smoothing: float, classes: int) -> float:
    """The loss, in nats, of always answering the shares of the classes."""
    shares = np.bincount(labels, minlength=classes) / len(labels)
    shares = shares * (1 - smoothing) + smoothing / classes
    return float(-np.sum(shares * np.log(np.maximum(shares, 1e-300))))


def one_cycle(done: float, warm_up: float) -> float:
    """The learning rate as a share of its peak when `done` of the run is over (L. Smith 2018)."""
    if done < warm_up:
        rate = 0.5 - 0.5 * math.cos(math.pi * done / warm_up)
    else:
        rate = 0.5 + 0.5 * math.cos(math.pi * (done - warm_up) / (1 - warm_up))
    return max(rate, 0.01)


@torch.no_grad()
def copy_average(network: Network, average: list[Tensor], weight: float) -> None:
    """Replace the weights by their running average, which started from zero: hence `weight`."""
    for parameter, mean in zip(network.parameters(), average, strict=True):
        parameter.copy_(mean / weight)


def has_bfloat16() -> bool:
    """Whether this CPU multiplies bfloat16 natively; there it nearly doubles the speed."""
    return bool(torch.cpu._is_avx512_bf16_supported())


def keep_large_buffers() -> None:
    """Have glibc keep freed feature maps for the next step.

    By default it hands every large buffer back to the kernel, which clears it again at the next
    allocation: a third of the time of a step.
    """
    try:
        libc = ctypes.CDLL("libc.so.6")
    except OSError:  # not glibc
        return
    mmap_threshold, trim_threshold = -3, -1
    libc.mallopt(mmap_threshold, 1 << 30)
    libc.mallopt(trim_threshold, (1 << 31) - 1)
