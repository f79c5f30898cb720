"""The simulated VMC220 platform: endless milled plates whose defects are known."""

import dataclasses
import threading
import time
from collections.abc import Iterator

import cv2
import numpy as np

from camera.milled_steel import (
    CLASSES,
    PATCH_SIZE,
    Plate,
    random_defect,
    random_milling,
    random_optics,
    render_plate,
)
from camera.source import Frame, KnownDefect, Pace
from config.settings import Camera
from config.settings import Vmc220Source as Vmc220Settings

CLEAN, *DEFECTS = CLASSES


def render_frame(settings: Vmc220Settings, sequence: int) -> Plate:
    """Plate number `sequence` of the platform: the same settings and number, the same picture.

    Milling parameters are drawn from the settings' lists (Table 6), light and material vary from
    plate to plate. A plate larger than a patch has up to one defect per nine patches of area.
    """
    rng = np.random.default_rng([settings.seed, sequence])
    milling = dataclasses.replace(
        random_milling(rng),
        spindle_rpm=float(rng.choice(settings.spindle_rpm)),
        depth_mm=float(rng.choice(settings.depth_mm)),
        feed_per_tooth_mm=float(rng.choice(settings.feed_per_tooth_mm)),
    )
    elevation = settings.light_elevation_deg + rng.uniform(-10, 10)
    optics = dataclasses.replace(
        random_optics(rng), light_elevation_deg=float(np.clip(elevation, 5, 85))
    )
    size = (settings.height_px, settings.width_px)
    defects = []
    if rng.random() < settings.defect_share:
        most = 1 + size[0] * size[1] // (9 * PATCH_SIZE[0] * PATCH_SIZE[1])
        defects = [
            random_defect(rng, str(rng.choice(DEFECTS)), size)
            for _ in range(int(rng.integers(1, most + 1)))
        ]
    return render_plate(rng, size, milling, optics, defects)


class Vmc220Source:
    """Frames of the simulated platform at a set rate, or as fast as they are taken."""

    live = False

    def __init__(self, settings: Vmc220Settings, first: int = 0) -> None:
        """Start at plate number `first` (a later day of the same platform)."""
        self._settings = settings
        self._first = first
        self._light_percent = settings.light_percent
        self._closed = threading.Event()

    def frames(self) -> Iterator[Frame]:
        """Yield plates until the set number is reached, or for ever."""
        settings = self._settings
        pace = Pace(settings.rate_fps, self._closed)
        sequence = 0
        while pace.wait() and not (settings.frames and sequence >= settings.frames):
            number = self._first + sequence
            plate = render_frame(settings, number)
            percent = self._light_percent
            image = plate.image
            if percent != 100:
                image = np.asarray(cv2.convertScaleAbs(image, alpha=percent / 100), np.uint8)
            yield Frame(
                image,
                sequence,
                time.monotonic_ns(),
                time.time_ns(),
                f"vmc220:{settings.seed}:{number}",
                CLEAN,
                tuple(KnownDefect(truth.name, truth.box) for truth in plate.defects),
            )
            sequence += 1

    def adapt(self, camera: Camera) -> None:
        """Take on the brightness of another recipe."""
        self._light_percent = camera.vmc220.light_percent

    def close(self) -> None:
        """Make `frames` end before its next plate."""
        self._closed.set()
