"""Which cameras there are, and what to write into the settings for each."""

from pathlib import Path

from camera.genicam import list_aravis, list_gentl
from config.errors import UserError
from config.settings import Camera

NAMES = Path("/dev/v4l/by-id")
"""Names of USB cameras that stay when they are plugged in elsewhere."""


def list_cameras(settings: Camera) -> list[str]:
    """Lines for people: every camera that can be found, and what could not be looked for."""
    return [*_genicam(), *_gentl(settings), *_v4l2()]


def _genicam() -> list[str]:
    try:
        found = list_aravis()
    except UserError as error:
        return [f"genicam: {error}"]
    lines = [
        f"genicam: {c['vendor']} {c['model']} {c['serial']} at {c['address']} ({c['protocol']}); "
        f'camera.genicam.device = "{c["id"]}"'
        for c in found
    ]
    return lines or ["genicam: no GigE Vision or USB3 Vision camera answers"]


def _gentl(settings: Camera) -> list[str]:
    if settings.gentl.producer is None:
        return []
    try:
        found = list_gentl(settings.gentl)
    except UserError as error:
        return [f"gentl: {error}"]
    return [
        f'gentl: {c["vendor"]} {c["model"]} {c["serial"]}; camera.gentl.device = "{c["id"]}"'
        for c in found
    ] or [f"gentl: no camera answers to {settings.gentl.producer}"]


def _v4l2(names: Path = NAMES, devices: Path = Path("/dev")) -> list[str]:
    """USB cameras; each has several devices, of which the first gives pictures."""
    named = sorted(names.glob("*-index0")) if names.is_dir() else []
    real = {path.resolve() for path in named}
    others = [path for path in sorted(devices.glob("video*")) if path.resolve() not in real]
    lines = [f'opencv: camera.opencv.address = "{path}"' for path in [*named, *others]]
    return lines or ["opencv: no camera is plugged in (/dev/video*)"]
