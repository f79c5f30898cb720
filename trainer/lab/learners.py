"""Classifiers that Algorithm I can train: the paper's six and the appliance's recipe."""

import hashlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn

from device.judging.kls import Floats
from device.judging.patches import Patches
from trainer.lab.candidates import Judged
from trainer.learning.augmentation import augment
from trainer.learning.memory import Memory, run_key
from trainer.learning.networks import Kind, Network, make_network
from trainer.learning.training import (
    AlsoLoss,
    Progress,
    Trained,
    Training,
    has_bfloat16,
    keep_large_buffers,
    train,
)

OnStep = Callable[[Progress], bool | None]


@dataclass(frozen=True, slots=True)
class Fitted:
    """What one training took."""

    steps: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Lesson:
    """What there is to learn from."""

    patches: Patches
    """Labelled patches, uint8 [N, s, s]."""
    labels: NDArray[np.int64]
    """int64 [N]."""
    unlabelled: Patches
    """All others of the pool, uint8 [M, s, s]; most learners ignore them."""


class Learner(Protocol):
    """A classifier that can be trained again and again."""

    def fit(self, lesson: Lesson, on_step: OnStep | None = None, /) -> Fitted:
        """Train; where the weights of the training before are kept depends on the recipe."""
        ...

    def judge(self, patches: Patches) -> Judged:
        """What the classifier says of patches now."""
        ...


@dataclass(frozen=True, slots=True)
class Classifier:
    """A row of Table 2."""

    network: Kind
    dropout: float
    augmented: bool = False


CLASSIFIERS: dict[str, Classifier] = {
    "gapc": Classifier("gapc", 0.5),
    "gmpc": Classifier("gmpc", 0.5),
    "trc": Classifier("trc", 0.0),
    "trc+augmentation": Classifier("trc", 0.0, augmented=True),
    "trc+dropout": Classifier("trc", 0.5),
    "trc+augmentation+dropout": Classifier("trc", 0.5, augmented=True),
}


@dataclass(frozen=True, slots=True)
class PaperRecipe:
    """How the paper trains, as far as it says; the rest is ours (docs/laboratory.md)."""

    epochs: int = 50
    """Of every round; not in our copy of the paper."""
    batch: int = 32
    """Not in our copy of the paper."""
    momentum: float = 0.9
    """Not in our copy of the paper; the size of its model file speaks for SGD with momentum."""
    rate: float = 0.01
    """Initial learning rate of Eq. 7."""
    decay_rate: float = 0.96
    decay_step: float = 162
    initialisation: Literal["glorot", "torch"] = "glorot"
    """Glorot as in Keras, which the size of the paper's model file points to."""
    keep: bool = True
    """Whether a round goes on from the weights of the round before (Algorithm I, line 10)."""

    def rate_at(self, epoch: int) -> float:
        """The learning rate of an epoch, counted from 0 in each round (Eq. 7)."""
        return self.rate / (1 + self.decay_rate * epoch / self.decay_step)

    def steps(self, patches: int) -> int:
        """Optimiser steps of a round with so many patches."""
        return self.epochs * math.ceil(patches / self.batch)


@dataclass(slots=True, kw_only=True)
class NetworkLearner:
    """What all learners with a network have in common."""

    network: Network | None = None
    """None before the first training."""

    def judge(self, patches: Patches) -> Judged:
        """See `Learner`."""
        assert self.network is not None, "judges after its first training"
        return judge(self.network, patches)


@dataclass(slots=True)
class PaperLearner(NetworkLearner):
    """One of the paper's classifiers with the paper's training; keeps its weights in between."""

    classifier: Classifier
    classes: int
    seed: int
    recipe: PaperRecipe = field(default_factory=PaperRecipe)
    on_epoch: Callable[[int, float], None] | None = None
    """Told of every epoch of a round: its number from 0 and its mean training loss."""
    _rounds: int = 0

    def fit(self, lesson: Lesson, on_step: OnStep | None = None) -> Fitted:
        """See `Learner`."""
        patches = lesson.patches
        keep_large_buffers()
        began = time.monotonic()
        rng = np.random.default_rng([self.seed, self._rounds])
        if self.network is None or not self.recipe.keep:
            torch.manual_seed(self.seed)
            self.network = new_network(self.classifier, self.classes, self.recipe)
        torch.manual_seed(self.seed + 1_000_003 * (self._rounds + 1))  # dropout of this round
        self._rounds += 1
        network = self.network.train()
        optimiser = torch.optim.SGD(
            network.parameters(), self.recipe.rate, momentum=self.recipe.momentum
        )
        targets, half = torch.from_numpy(lesson.labels), has_bfloat16()
        step, steps = 0, self.recipe.steps(len(patches))
        for epoch in range(self.recipe.epochs):
            optimiser.param_groups[0]["lr"] = self.recipe.rate_at(epoch)
            order = rng.permutation(len(patches))
            losses = []
            for start in range(0, len(order), self.recipe.batch):
                chosen = order[start : start + self.recipe.batch]
                views = self._views(patches[chosen], rng)
                with torch.autocast("cpu", torch.bfloat16, enabled=half):
                    logits = network(views).logits
                loss = F.cross_entropy(logits.float(), targets[chosen])
                optimiser.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimiser.step()
                step += 1
                losses.append(loss.item())
                if on_step is not None:
                    on_step(Progress(step, steps, losses[-1]))
            if self.on_epoch is not None:
                self.on_epoch(epoch, float(np.mean(losses)))
        network.eval()
        return Fitted(step, time.monotonic() - began)

    def _views(self, patches: Patches, rng: np.random.Generator) -> torch.Tensor:
        if not self.classifier.augmented:
            return torch.from_numpy(patches)
        return torch.from_numpy(np.stack([augment(patch, rng, 0.1, 0) for patch in patches]))


@dataclass(slots=True)
class BestLearner(NetworkLearner):
    """The appliance's recipe: from scratch every time (docs/training.md)."""

    classes: int
    seed: int
    training: Training = field(default_factory=Training)
    memory: Memory | None = None
    """Finished trainings; what was trained on exactly the same before is taken from there."""

    def fit(self, lesson: Lesson, on_step: OnStep | None = None) -> Fitted:
        """See `Learner`."""
        ids = [hashlib.sha256(patch.tobytes()).hexdigest() for patch in lesson.patches]
        key = run_key(ids, lesson.labels, self.classes, self.training, self.seed)
        known = self.memory.recall(key, self.training, self.classes) if self.memory else None
        if known is not None:
            self.network = known.network
            return Fitted(known.steps, known.seconds)
        fitted = self._train(lesson, on_step)
        if self.memory is not None and self.network is not None:
            trained = Trained(self.network, fitted.steps, stopped=False, seconds=fitted.seconds)
            self.memory.keep(key, trained)
        return fitted

    def _train(
        self, lesson: Lesson, on_step: OnStep | None, also: AlsoLoss | None = None
    ) -> Fitted:
        """Train in any case. Raises KeyboardInterrupt if it was stopped."""
        labelled = lesson.patches, lesson.labels
        trained = train(*labelled, self.classes, self.training, self.seed, on_step, also=also)
        if trained.stopped:
            raise KeyboardInterrupt
        self.network = trained.network
        return Fitted(trained.steps, trained.seconds)


def new_network(classifier: Classifier, classes: int, recipe: PaperRecipe) -> Network:
    """A network with random weights drawn from torch's present seed."""
    network = make_network(classifier.network, classes, classifier.dropout)
    if recipe.initialisation == "glorot":
        for layer in network.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
                assert layer.bias is not None
                nn.init.zeros_(layer.bias)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network


@torch.inference_mode()
def judge(network: Network, patches: Patches, batch: int = 64) -> Judged:
    """What a network says of patches, uint8 [N, s, s]; in single precision, dropout off."""
    training = network.training
    network.eval()
    log_p, features = [], []
    for start in range(0, len(patches), batch):
        outputs = network(torch.from_numpy(patches[start : start + batch]))
        log_p.append(F.log_softmax(outputs.logits.double(), dim=1).numpy())
        features.append(outputs.features.float().numpy())
    network.train(training)
    if not log_p:
        classes, width = network.dense.out_features, network.dense.in_features
        return Judged(np.empty((0, classes)), np.empty((0, width), np.float32))
    return Judged(np.concatenate(log_p), np.concatenate(features))


def in_eight_orientations(learner: Learner, patches: Patches) -> Floats:
    """Log-probabilities of patches in each of the flips and quarter turns: float64 [8, N, C]."""
    flipped = (patches, patches[:, :, ::-1])
    views = [np.rot90(side, turn, (1, 2)) for side in flipped for turn in range(4)]
    judged = [learner.judge(np.ascontiguousarray(view)).log_probabilities for view in views]
    return np.stack(judged)
