"""Training that also learns from unlabelled patches: pseudo-labels, strong against weak views.

After FixMatch (Sohn et al., NeurIPS 2020), on top of the appliance's recipe: the averaged weights
judge a weak view of an unlabelled patch; where they are sure enough, the network must say the same
of a strong view.
"""

import copy
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from device.judging.patches import Patches
from trainer.lab.learners import BestLearner, Fitted, Lesson, OnStep
from trainer.learning.augmentation import augment
from trainer.learning.networks import Network
from trainer.learning.training import Training, copy_average, has_bfloat16


@dataclass(frozen=True, slots=True)
class Consistency:
    """How unlabelled patches take part."""

    batch: int = 32
    """Unlabelled patches in each step."""
    confidence: float = 0.95
    """Probability from which a pseudo-label counts."""
    weight: float = 1.0
    """Of the unlabelled loss beside the labelled one."""
    after: float = 0.3
    """Share of the steps before unlabelled patches take part: until then averages are worthless."""
    light: float = 0.9
    """Ramps of light of strong views, in standard deviations."""
    hidden: float = 0.4
    """Side of the square that a strong view hides, as a share of the patch's side."""


class UnlabelledLoss:
    """The loss of a step on unlabelled patches; counts how its pseudo-labels did."""

    def __init__(self, patches: Patches, setting: Consistency, training: Training, seed: int):
        self._patches, self._setting, self._training = patches, setting, training
        self._rng = np.random.default_rng([seed, 4])
        self._teacher: Network | None = None
        self.offered = 0
        self.used = 0

    def __call__(
        self, network: Network, average: list[Tensor], step: int, steps: int
    ) -> Tensor | None:
        """Mean cross-entropy against the pseudo-labels that count; None: none yet."""
        if step < self._setting.after * steps or not len(self._patches):
            return None
        if self._teacher is None:
            self._teacher = copy.deepcopy(network)
        teacher = self._teacher.eval()
        copy_average(teacher, average, 1 - self._training.averaging**step)
        chosen = self._rng.integers(0, len(self._patches), self._setting.batch)
        shift = self._training.shift
        weak = [augment(self._patches[i], self._rng, shift, 0) for i in chosen]
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=has_bfloat16()):
            logits = teacher(torch.from_numpy(np.stack(weak))).logits
        sure, pseudo = logits.float().softmax(dim=1).max(dim=1)
        counts = sure >= self._setting.confidence
        self.offered += len(chosen)
        self.used += int(counts.sum())
        if not counts.any():
            return None
        strong = np.stack([self._strong(self._patches[i]) for i in chosen[counts.numpy()]])
        with torch.autocast("cpu", torch.bfloat16, enabled=has_bfloat16()):
            logits = network(torch.from_numpy(strong)).logits
        loss = F.cross_entropy(logits.float(), pseudo[counts], reduction="sum")
        return self._setting.weight * loss / len(chosen)

    def _strong(self, patch: NDArray[np.uint8]) -> NDArray[np.float32]:
        view = augment(patch, self._rng, self._training.shift, self._setting.light)
        side = round(self._setting.hidden * len(view))
        top, left = self._rng.integers(0, len(view) - side + 1, 2)
        view[top : top + side, left : left + side] = view.mean()
        return view


@dataclass(slots=True)
class ConsistencyLearner(BestLearner):
    """The appliance's recipe with unlabelled patches beside the labelled ones."""

    setting: Consistency = field(default_factory=Consistency)
    used_share: float = 0.0
    """Share of the unlabelled views of the last training whose pseudo-label counted."""

    def fit(self, lesson: Lesson, on_step: OnStep | None = None) -> Fitted:
        """See `Learner`."""
        also = UnlabelledLoss(lesson.unlabelled, self.setting, self.training, self.seed)
        fitted = self._train(lesson, on_step, also)
        self.used_share = also.used / max(also.offered, 1)
        return fitted
