"""Stand-ins for the paper's milling data set, which is not public (its section 5.1)."""

import numpy as np

from camera.milled_steel import random_patch
from config.errors import UserError
from trainer.lab.protocol import LabData, lab_data

ORIGINALS = {"pitted_surface": 200, "scratch": 200, "patch": 100}
"""Images taken of each defect."""
AMPLIFIED = 300
"""Images of each defect after geometric transformation."""
TURNS = 8


def from_neu(data: LabData, *, leaking: bool = False) -> LabData:
    """NEU's pitted surfaces, scratches and patches, cut to 200/200/100 and amplified to 300 each.

    `leaking` forgets which image an amplified one was made from, so that copies of one image
    fall on both sides of a split, as the paper seems to have done.

    Raises:
        UserError: the data set has no such classes.
    """
    patches, labels = [], []
    for label, (name, count) in enumerate(ORIGINALS.items()):
        number = [i for i, own in enumerate(data.classes) if own.rstrip("es") == name.rstrip("es")]
        if not number:
            raise UserError(
                f"{data.name}: no class {name!r}; this experiment cuts a milling set out of "
                f"{', '.join(ORIGINALS)}"
            )
        members = np.flatnonzero(data.labels == number[0])[:count]
        patches.append(data.patches[members])
        labels += [label] * len(members)
    name = "milling-leaking" if leaking else "milling-neu"
    return amplify(name, np.concatenate(patches), np.array(labels), leaking=leaking)


def simulated(_: LabData) -> LabData:
    """The same numbers of patches from the simulated VMC220 platform."""
    names = [name for name, count in ORIGINALS.items() for _ in range(count)]
    patches = np.stack([random_patch(seed, name).image for seed, name in enumerate(names)])
    labels = np.array([list(ORIGINALS).index(name) for name in names])
    return amplify("milling-simulated", patches, labels, leaking=False)


def amplify(name: str, patches: np.ndarray, labels: np.ndarray, *, leaking: bool) -> LabData:
    """Flips and quarter turns of the images of each class in turn, until there are 300 of it."""
    chosen, turns = [], []
    for label in range(len(ORIGINALS)):
        members = np.flatnonzero(labels == label)
        chosen.append(np.resize(members, AMPLIFIED))
        turns.append(np.arange(AMPLIFIED) // len(members))
    sources, turn = np.concatenate(chosen), np.concatenate(turns)
    views = [_turned(patches[i], int(t)) for i, t in zip(sources, turn, strict=True)]
    return lab_data(
        name,
        np.stack(views),
        labels[sources],
        list(ORIGINALS),
        None if leaking else sources,
    )


def _turned(patch: np.ndarray, number: int) -> np.ndarray:
    turned = np.rot90(patch, number % 4)
    return turned if number % TURNS < TURNS // 2 else turned[:, ::-1]


VARIANTS = {
    "milling-neu": from_neu,
    "milling-leaking": lambda data: from_neu(data, leaking=True),
    "milling-simulated": simulated,
}
"""Data sets made from the one that was named, by the name that their results bear."""
