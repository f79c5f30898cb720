"""Class activation maps of a model that KLS has fed (Fig. 9)."""

from typing import Any

import numpy as np
import torch

from trainer.lab.algorithm import Settings, run
from trainer.lab.arms import Arm, make_learner, pool_of
from trainer.lab.figures import heat_maps
from trainer.lab.learners import BestLearner, OnStep
from trainer.lab.protocol import LabData, make_splits
from trainer.lab.strategies import make_strategy
from trainer.learning.networks import GlobalPoolingNet

SHARES = (0.03, 0.06)
"""Labelled share of all images at each training."""


def activation_maps(data: LabData, seed: int, on_step: OnStep | None = None) -> Any:
    """A figure of one rightly judged test image of every class with its class's map.

    The paper's model comes from Algorithm I with KLS, and so does this one, with the recipe of
    the appliance.
    """
    arm = Arm("best", schedule="best")
    splits = make_splits(data, seed)
    pool, initial = pool_of(arm, data, splits, seed)
    learner = make_learner(arm, len(data.classes), seed)
    assert isinstance(learner, BestLearner)
    for _ in run(
        data.patches[pool],
        initial,
        lambda chosen: data.labels[pool[chosen]],
        make_strategy(arm.strategy, seed),
        learner,
        Settings([round(share * len(data.labels)) for share in SHARES]),
        on_step,
    ):
        pass
    network = learner.network
    assert isinstance(network, GlobalPoolingNet)
    log_p = learner.judge(data.patches[splits.test]).log_probabilities
    labels = data.labels[splits.test]
    right = log_p.argmax(axis=1) == labels
    chosen = [
        splits.test[np.flatnonzero(right & (labels == label))[0]]
        for label in range(len(data.classes))
        if (right & (labels == label)).any()
    ]
    patches = data.patches[chosen]
    with torch.inference_mode():
        maps = network.activation_maps(torch.from_numpy(patches)).float().numpy()
    own = maps[np.arange(len(chosen)), data.labels[chosen]]
    return heat_maps(patches, own, [data.classes[data.labels[i]] for i in chosen])
