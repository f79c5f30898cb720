"""The networks of the paper: one convolutional base (Table 1), three classifiers on top of it.

All take grey values, uint8 or float [N, 200, 200], standardise each patch inside (levelled ones
all alike), and give `Outputs`. GAPC is the appliance's; GMPC and TRC exist to be compared with it.
"""

from typing import Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from device.judging.levelling import CONTRAST, GREY
from device.judging.model import STANDARDISE_EPSILON
from export.graph import Weights

Kind = Literal["gapc", "gmpc", "trc"]
KINDS: tuple[Kind, ...] = ("gapc", "gmpc", "trc")

FEATURES = 64
HIDDEN = 128
"""Width of TRC's two hidden layers; the paper does not tell it."""


class Outputs(NamedTuple):
    """What a network says of N patches."""

    logits: Tensor
    """float [N, C]."""
    features: Tensor
    """float [N, 64]: what the dense layer sees (TRC: its last hidden layer, [N, 128])."""


def standardise(patches: Tensor) -> Tensor:
    """Grey values [N, H, W] to zero mean and unit variance per patch: float [N, 1, H, W]."""
    # layer_norm over all pixels is what instance_norm is for one channel, and three times as fast
    grey = patches.float()
    return F.layer_norm(grey, grey.shape[-2:], eps=STANDARDISE_EPSILON).unsqueeze(1)


def constant_standardise(patches: Tensor) -> Tensor:
    """Levelled grey values [N, H, W] to float [N, 1, H, W] (`device.judging.levelling`)."""
    return ((patches.float() - GREY) / CONTRAST).unsqueeze(1)


def base(channels: int = 1) -> nn.Sequential:
    """The convolutional base of Table 1: [N, 1, 200, 200] to [N, 64, 13, 13].

    Each "maxpool 2×2" has stride 2, whatever Table 1 prints: only so do its output sizes follow.
    Pooling stands before ReLU here, which is the same function for less memory traffic.
    """
    return nn.Sequential(
        nn.Conv2d(channels, 32, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, 32, 3, stride=2, padding=1),
        nn.MaxPool2d(2),
        nn.ReLU(),
        nn.Conv2d(32, FEATURES, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(FEATURES, FEATURES, 3, stride=1, padding=1),
        nn.ReLU(),
    )


class GlobalPoolingNet(nn.Module):
    """GAPC and GMPC: the base, maxpool, global average or maximum, dropout, one dense layer."""

    def __init__(
        self,
        kind: Literal["gapc", "gmpc"],
        classes: int,
        dropout: float = 0.5,
        *,
        levelled: bool = False,
    ) -> None:
        super().__init__()
        self.kind = kind
        self.standardise = constant_standardise if levelled else standardise
        self.base = base()
        self.dropout = nn.Dropout(dropout)
        self.dense = nn.Linear(FEATURES, classes)

    def forward(self, patches: Tensor) -> Outputs:
        """Judge patches [N, 200, 200]; other sizes work too."""
        maps = F.max_pool2d(self.base(self.standardise(patches)), 2)
        features = maps.mean((2, 3)) if self.kind == "gapc" else maps.amax((2, 3))
        return Outputs(self.dense(self.dropout(features)), features)

    def activation_maps(self, patches: Tensor) -> Tensor:
        """Class activation maps (Fig. 9): float [N, C, 13, 13].

        Map c at a place is what that place can contribute to class c's logit: the dense layer's
        weights of c times the 64 feature maps. Of two by two places the largest of each feature
        does, and of the last row and column none: the last pooling stands behind the maps.
        """
        weight = self.dense.weight[:, :, None, None]
        return F.conv2d(self.base(self.standardise(patches)), weight)


class TraditionalNet(nn.Module):
    """TRC: the base, maxpool, flatten, two hidden layers, one dense layer. Only 200 × 200."""

    def __init__(self, classes: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.kind: Kind = "trc"
        self.base = base()
        self.hidden = nn.Sequential(
            nn.Flatten(),
            nn.Linear(6 * 6 * FEATURES, HIDDEN),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(HIDDEN, HIDDEN),
            nn.ReLU(),
            nn.Dropout(dropout),
        )
        self.dense = nn.Linear(HIDDEN, classes)

    def forward(self, patches: Tensor) -> Outputs:
        """Judge patches [N, 200, 200]."""
        features = self.hidden(F.max_pool2d(self.base(standardise(patches)), 2))
        return Outputs(self.dense(features), features)


def weights_of(network: GlobalPoolingNet) -> Weights:
    """The trained weights as arrays, ready for export."""

    def arrays(layer: nn.Module) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        weight, bias = (p.detach().float().contiguous().numpy() for p in layer.parameters())
        return weight, bias

    convolutions = [layer for layer in network.base if isinstance(layer, nn.Conv2d)]
    return Weights(network.kind, [arrays(layer) for layer in convolutions], arrays(network.dense))


Network = GlobalPoolingNet | TraditionalNet


def make_network(
    kind: Kind, classes: int, dropout: float = 0.5, *, levelled: bool = False
) -> Network:
    """A new network with random weights, drawn from torch's present seed.

    `levelled`: for levelled pictures, which all are standardised alike; TRC is not made for them.
    """
    if kind == "trc":
        return TraditionalNet(classes, dropout)
    return GlobalPoolingNet(kind, classes, dropout, levelled=levelled)


@torch.inference_mode()
def predict_log_probabilities(network: Network, patches: Tensor, batch: int = 64) -> Tensor:
    """Log-probabilities of patches, uint8 [N, 200, 200], in float64 [N, C]; dropout is off."""
    training = network.training
    network.eval()
    parts = [
        F.log_softmax(network(patches[start : start + batch]).logits.double(), dim=1)
        for start in range(0, len(patches), batch)
    ]
    network.train(training)
    return torch.cat(parts)
