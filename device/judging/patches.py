"""Patches: the 200 × 200 grey regions of a frame that the network sees."""

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from config.settings import MAP_STEP, PATCH_SIZE, SMALLEST_REGION, Recipe, Region
from device.judging.levelling import level

Patches = NDArray[np.uint8]
Some: TypeAlias = Patches | Sequence[NDArray[np.uint8]]
"""N patches: uint8 [N, 200, 200], or N arrays of uint8 [200, 200] that nobody has to copy."""


def regions_of(recipe: Recipe, width: int, height: int) -> list[Region]:
    """The regions of a frame of this size, in pixels; empty if the frame has the wrong size.

    A frame has the wrong size if it is not what the recipe demands, or too small for a region.
    """
    if recipe.frame_width_px not in (0, width) or recipe.frame_height_px not in (0, height):
        return []
    if recipe.regions == "whole":
        if min(width, height) < SMALLEST_REGION:
            return []
        return [Region(x=0, y=0, width=width, height=height)]
    if recipe.regions == "grid":
        step = PATCH_SIZE - recipe.grid_overlap_px
        return [
            Region(x=x, y=y, width=PATCH_SIZE, height=PATCH_SIZE)
            for y in range(0, height - PATCH_SIZE + 1, step)
            for x in range(0, width - PATCH_SIZE + 1, step)
        ]
    fits = all(r.x + r.width <= width and r.y + r.height <= height for r in recipe.regions)
    return list(recipe.regions) if fits else []


class Shared(NamedTuple):
    """A levelled frame whose patches are judged on feature maps that they share."""

    frame: NDArray[np.uint8]
    """uint8 [H, W], levelled."""
    step: int
    """Distance of neighbouring patches, in cells of the feature maps (`MAP_STEP` pixels)."""


class Cut(NamedTuple):
    """The patches of a frame and where they are; none: the frame has the wrong size."""

    patches: list[NDArray[np.uint8]]
    """N patches, uint8 [200, 200] each, views of the frame where nothing had to be scaled."""
    regions: list[Region]
    shared: Shared | None = None
    """None: each patch is judged alone."""


class Cutter:
    """Cuts frames into patches by a recipe; remembers the regions of each frame size."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.regions = lru_cache(maxsize=64)(lambda w, h: regions_of(recipe, w, h))

    def cut(self, image: NDArray[np.uint8]) -> Cut:
        """The patches of a frame, uint8 [H, W], and their regions."""
        height, width = image.shape
        regions = self.regions(width, height)
        shared = None
        if regions and self.recipe.shared_maps:
            image = level(image)
            shared = Shared(image, (PATCH_SIZE - self.recipe.grid_overlap_px) // MAP_STEP)
        patches = [to_patch(image[r.y : r.y + r.height, r.x : r.x + r.width]) for r in regions]
        return Cut(patches, regions, shared)


def to_patch(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Scale a grey picture of any size to 200 × 200: by area when it shrinks, else linearly."""
    if image.shape == (PATCH_SIZE, PATCH_SIZE):
        return image
    shrinks = image.shape[0] >= PATCH_SIZE and image.shape[1] >= PATCH_SIZE
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    scaled = cv2.resize(image, (PATCH_SIZE, PATCH_SIZE), interpolation=interpolation)
    return np.asarray(scaled, np.uint8)


def patch_id(patch: NDArray[np.uint8], device: str, region: Region) -> str:
    """Content-derived identity: SHA-256, in hex, of the pixels and the place they were seen at.

    The same picture at the same place is the same patch, whenever it is seen: it is stored once
    and asked about once.
    """
    place = f"{device}\0{region.x},{region.y},{region.width},{region.height}\0"
    return hashlib.sha256(place.encode() + np.ascontiguousarray(patch).tobytes()).hexdigest()
