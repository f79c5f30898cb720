"""Near-identical patches: the same piece of steel seen again, not just the same kind of steel.

A halted machine shows the camera one plate twenty times. Nobody should be asked twenty times, and
no model should learn it twenty times. Two patches are near-identical where they correlate and what
differs between them is spread evenly, as noise is; a difference in one spot may be a new defect.
"""

import math

import cv2
import numpy as np
from numpy.typing import NDArray

SIDE = 50
"""A fingerprint is the patch at 50 × 50: four by four pixels averaged tame the noise."""
LEAST_CORRELATION = 0.97
MOST_CONCENTRATED = 20.0
"""Largest squared difference of a spot of 12 × 12 pixels over the average squared difference. A
camera's noise gave 2.6 to 8 (99 % of 1,600 simulated repeats), a scratch of 20 × 2 pixels that
stands out by 60 grey values 131 and more, one by 30 grey values 56 and more."""
SPOT = (3, 3)
COARSE = 10
"""At 10 × 10 nearly all that differs is told apart, for a thirtieth of the time."""
ROUNDING = 1e-4

Prints = NDArray[np.float32]


def fingerprint(patch: NDArray[np.uint8]) -> bytes:
    """What near-identical patches share: uint8 [200, 200] to 2,500 bytes."""
    return cv2.resize(patch, (SIDE, SIDE), interpolation=cv2.INTER_AREA).tobytes()


def standardised(print_: bytes) -> Prints:
    """A fingerprint without brightness and contrast: float32 [2500], mean 0, mean square 1."""
    grey = np.frombuffer(print_, np.uint8).astype(np.float32)
    grey -= grey.mean()
    spread = float(np.sqrt(np.square(grey).mean()))
    return np.asarray(grey / max(spread, 1e-6), np.float32)


def coarse(print_: Prints) -> Prints:
    """A standardised fingerprint at 10 × 10, and what that leaves out: float32 [101].

    Two of them multiplied are at least the correlation of the fingerprints (Cauchy and Schwarz, for
    what is left out).
    """
    image = print_.reshape(SIDE, SIDE)
    blocks = cv2.resize(image, (COARSE, COARSE), interpolation=cv2.INTER_AREA).ravel() / COARSE
    rest = math.sqrt(max(0.0, 1.0 - float(blocks @ blocks)))
    return np.append(blocks, np.float32(rest))


class Seen:
    """The patches of a cycle that stand for their near-identical ones."""

    def __init__(self) -> None:
        self._prints = np.empty((64, SIDE * SIDE), np.float32)
        self._coarse = np.empty((64, COARSE * COARSE + 1), np.float32)
        self._ids: list[str] = []

    def add(self, patch_id: str, print_: bytes) -> None:
        """Remember a patch that stands for itself."""
        count = len(self._ids)
        if count == len(self._prints):
            self._prints = np.concatenate([self._prints, np.empty_like(self._prints)])
            self._coarse = np.concatenate([self._coarse, np.empty_like(self._coarse)])
        self._prints[count] = standardised(print_)
        self._coarse[count] = coarse(self._prints[count])
        self._ids.append(patch_id)

    def forget(self, patch_id: str) -> None:
        """A patch stands for nothing any more; nothing happens where it never did."""
        if patch_id not in self._ids:
            return
        i = self._ids.index(patch_id)
        del self._ids[i]
        for prints in (self._prints, self._coarse):
            prints[i:-1] = prints[i + 1 :]

    def find(self, print_: bytes) -> str | None:
        """The patch that a fingerprint is near-identical to, the most alike one; else None."""
        one = standardised(print_)
        bounds = self._coarse[: len(self._ids)] @ coarse(one)
        near = np.flatnonzero(bounds >= LEAST_CORRELATION - ROUNDING)
        correlations = self._prints[near] @ one / one.size
        for i in np.argsort(-correlations, kind="stable"):
            if correlations[i] < LEAST_CORRELATION:
                return None
            squares = np.square(self._prints[near[i]] - one)
            spots = cv2.blur(squares.reshape(SIDE, SIDE), SPOT)
            if spots.max() <= MOST_CONCENTRATED * squares.mean():
                return self._ids[int(near[i])]
        return None
