"""Overlapping patches: one set of feature maps for a frame, against judging each patch alone.

Shared maps need one normalisation for what several patches share, and they have no zero padding
around every patch. This measures what both cost in accuracy; what is won in time is a row of the
bench (`trainer.bench.overlap`).
"""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from camera.milled_steel import (
    CLASSES,
    SENSOR_SIZE,
    Plate,
    random_defect,
    random_milling,
    random_optics,
    render_plate,
)
from config.errors import UserError
from config.settings import PATCH_SIZE
from device.judging.levelling import CONTRAST, GREY, level
from device.judging.model import STANDARDISE_EPSILON
from trainer.lab.learners import OnStep
from trainer.lab.protocol import LabData, make_splits
from trainer.learning import networks
from trainer.learning.networks import GlobalPoolingNet
from trainer.learning.training import Progress, Training, copy_average, keep_large_buffers, optimise

STEP = 96
"""Pixels between patches: 52 % overlap. A multiple of 32, so that all patches share pooled maps."""
FRAMES_TO_LEARN, FRAMES_TO_TEST = 60, 40
LABELS = 216
"""12 % of NEU-CLS, where the appliance reaches 100 %."""
TILES = 5
"""Images along a side of a pasted frame."""
DEFECTS = 6
"""At most in a simulated frame."""
SEEN, UNSEEN = 0.35, 0.02
"""A patch is of a defect's class from this share of the defect on, and clean up to that one."""

F32 = NDArray[np.float32]
Normal = Literal["patch", "frame", "place"]
"""What grey values are standardised by: the patch itself, its frame, or what is around every place
of the frame (`device.judging.levelling`, in use for recipes with `shared_maps`)."""


@dataclass(frozen=True, slots=True)
class Framed:
    """Frames with the classes of their patches."""

    frames: list[NDArray[np.uint8]]
    labels: list[NDArray[np.int64]]
    """int64 [rows, columns] of each frame; −1: not to be told."""
    step: int
    """Pixels between patches."""


def simulated(seed: int, count: int) -> Framed:
    """Frames of the simulated platform at the sensor's full size, up to six defects in each."""
    rng = np.random.default_rng(seed)
    frames, labels = [], []
    for _ in range(count):
        names = rng.choice(CLASSES[1:], int(rng.integers(0, DEFECTS + 1)))
        defects = [random_defect(rng, str(name), SENSOR_SIZE) for name in names]
        plate = render_plate(rng, SENSOR_SIZE, random_milling(rng), random_optics(rng), defects)
        frames.append(plate.image)
        labels.append(_labels(plate))
    return Framed(frames, labels, STEP)


def _labels(plate: Plate) -> NDArray[np.int64]:
    """Of every patch: the one defect that shows well in it, or clean, or −1."""
    height, width = plate.image.shape
    tops, lefts = (range(0, n - PATCH_SIZE + 1, STEP) for n in (height, width))
    found = np.zeros((len(tops), len(lefts)), np.int64)
    for truth in plate.defects:
        x, y, w, h = truth.box
        whole = np.zeros((height, width), np.float32)
        whole[y : y + h, x : x + w] = truth.mask
        for i, top in enumerate(tops):
            for j, left in enumerate(lefts):
                inside = whole[top : top + PATCH_SIZE, left : left + PATCH_SIZE].sum()
                share = inside / truth.mask.sum()
                if share > UNSEEN:
                    tellable = share >= SEEN and found[i, j] == 0
                    found[i, j] = CLASSES.index(truth.name) if tellable else -1
    return found


def pasted(data: LabData, chosen: NDArray[np.int64], seed: int) -> Framed:
    """Images side by side in random order, as frames of 5 x 5 patches that do not overlap."""
    order = np.random.default_rng(seed).permutation(chosen)
    whole = len(order) // TILES**2 * TILES**2
    frames, labels = [], []
    for part in order[:whole].reshape(-1, TILES, TILES):
        frames.append(np.vstack([np.hstack(list(data.patches[row])) for row in part]))
        labels.append(data.labels[part])
    return Framed(frames, labels, PATCH_SIZE)


def normalised(frame: NDArray[np.uint8], by: Normal) -> F32:
    """A frame by its own mean and deviation, or by those around every place: float32 [H, W]."""
    if by == "place":
        return (level(frame).astype(np.float32) - np.float32(GREY)) / np.float32(CONTRAST)
    grey = frame.astype(np.float32)
    return np.asarray((grey - grey.mean()) / np.sqrt(grey.var() + STANDARDISE_EPSILON))


class Spot(NamedTuple):
    """A patch of a frame whose class can be told."""

    frame: int
    row: int
    column: int
    label: int


def spots(framed: Framed) -> list[Spot]:
    """All patches whose class can be told."""
    return [
        Spot(number, place[0], place[1], int(label))
        for number, labels in enumerate(framed.labels)
        for place, label in np.ndenumerate(labels)
        if label >= 0
    ]


def cut(framed: Framed, chosen: list[Spot], by: Normal) -> F32:
    """Patches of frames, float32 [N, 200, 200]: their grey values, or as `by` has the frame."""
    patches = np.empty((len(chosen), PATCH_SIZE, PATCH_SIZE), np.float32)
    image, of = np.empty((0, 0), np.float32), -1
    for patch, spot in zip(patches, chosen, strict=True):
        if spot.frame != of:
            frame, of = framed.frames[spot.frame], spot.frame
            image = frame.astype(np.float32) if by == "patch" else normalised(frame, by)
        top, left = spot.row * framed.step, spot.column * framed.step
        patch[:] = image[top : top + PATCH_SIZE, left : left + PATCH_SIZE]
    return patches


class Normalised(GlobalPoolingNet):
    """GAPC for patches that are normalised already."""

    def forward(self, patches: Tensor) -> networks.Outputs:
        """Judge patches, float [N, 200, 200]."""
        maps = F.max_pool2d(self.base(patches.unsqueeze(1)), 2)
        features = maps.mean((2, 3))
        return networks.Outputs(self.dense(self.dropout(features)), features)


def shared(network: GlobalPoolingNet, image: F32) -> NDArray[np.int64]:
    """The class of every patch of a normalised frame from maps that all share: [rows, columns]."""
    with torch.inference_mode():
        maps = F.max_pool2d(network.base(torch.from_numpy(image)[None, None]), 2)
        features = F.avg_pool2d(maps, 6, STEP // 32)
        logits = F.conv2d(features, network.dense.weight[:, :, None, None], network.dense.bias)
    return logits[0].argmax(0).numpy()


def lesson(framed: Framed, classes: int, seed: int) -> list[Spot]:
    """Patches to learn from, equally many of each class; those of a frame in a row."""
    there = np.random.default_rng(seed).permutation(np.array(spots(framed)))
    parts = [there[there[:, 3] == c][: LABELS // classes] for c in range(classes)]
    return sorted(Spot(*map(int, row)) for row in np.concatenate(parts))


def learn(
    patches: F32, labels: NDArray[np.int64], classes: int, seed: int, by: Normal, on_step: OnStep
) -> Normalised:
    """The appliance's training; `by` is how the patches are normalised.

    The result judges patches that are normalised already.
    """
    torch.manual_seed(seed)
    training, rng = Training(), np.random.default_rng(seed)
    network = (GlobalPoolingNet if by == "patch" else Normalised)("gapc", classes)
    average = [torch.zeros_like(p) for p in network.parameters()]
    steps = 0
    for loss in optimise(network, average, patches, labels, training, rng):
        steps += 1
        on_step(Progress(steps, training.steps(len(labels)), loss))
    copy_average(network, average, 1 - training.averaging**steps)
    result = Normalised("gapc", classes)
    result.load_state_dict(network.state_dict())
    return result.eval()


def alone(network: Normalised, patches: F32, by: Normal) -> NDArray[np.int64]:
    """The class of every patch, each judged alone."""
    found = []
    with torch.inference_mode():
        for start in range(0, len(patches), 64):
            part = torch.from_numpy(patches[start : start + 64])
            images = networks.standardise(part)[:, 0] if by == "patch" else part
            found.append(network(images).logits.argmax(1).numpy())
    return np.concatenate(found)


def accuracies(
    learnt: Framed, tested: Framed, classes: int, seed: int, on_step: OnStep
) -> dict[str, float]:
    """Accuracy by `trained on / judged by`, for all ways that make sense of these frames."""
    ways: tuple[Normal, ...] = ("patch", "frame", "place")
    if tested.step != STEP:
        ways = ways[:2]  # what is around a pasted image is no part of it
    taught, asked = lesson(learnt, classes, seed), spots(tested)
    labels = np.array([spot.label for spot in asked])
    told: dict[str, float] = {}
    for trained in ways:
        classes_taught = np.array([spot.label for spot in taught])
        patches = cut(learnt, taught, trained)
        network = learn(patches, classes_taught, classes, seed, trained, on_step)
        for by in ways:
            if trained not in ("patch", by):
                continue
            by_itself = alone(network, cut(tested, asked, by), by)
            told[f"{trained} / {by}, alone"] = float((by_itself == labels).mean())
            if by != "patch" and tested.step == STEP:
                together = np.concatenate(
                    [
                        shared(network, normalised(frame, by))[classes_ >= 0]
                        for frame, classes_ in zip(tested.frames, tested.labels, strict=True)
                    ]
                )
                told[f"{trained} / {by}, shared maps"] = float((together == labels).mean())
                told[f"{trained} / {by}, alike"] = float((together == by_itself).mean())
    return told


def run(data: LabData, seed: int, on_step: OnStep) -> dict[str, Any]:
    """What sharing costs on simulated frames, and on pasted ones of real images.

    Raises:
        UserError: there are too few images for a pasted frame.
    """
    keep_large_buffers()
    splits = make_splits(data, seed)
    if len(splits.test) < TILES**2:
        raise UserError(
            f"{data.name}: {len(splits.test)} test images, a fifth of all, make no frame: "
            f"{TILES**2} are needed"
        )
    sheets = simulated(1000 + seed, FRAMES_TO_LEARN), simulated(2000 + seed, FRAMES_TO_TEST)
    rest = np.concatenate([splits.train, splits.validation])
    tiles = pasted(data, rest, seed), pasted(data, splits.test, seed)
    return {
        "seed": seed,
        "simulated": accuracies(*sheets, len(CLASSES), seed, on_step),
        "pasted": accuracies(*tiles, len(data.classes), seed, on_step),
        "patches": {"simulated": len(spots(sheets[1])), "pasted": len(spots(tiles[1]))},
    }
