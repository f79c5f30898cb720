"""Industrial cameras: where their readers come from, and which cameras there are.

Aravis is a C library with a GObject description. Its Python (`gi`) belongs to the operating
system's interpreter, so that one runs the reader: nothing is compiled, whatever Python we have.
"""

import functools
import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from camera.process import Reader, module_command
from config.errors import UserError
from config.settings import Camera, GenicamFeatures, GenicamSource, GentlSource

SYSTEM_PYTHON = "/usr/bin/python3"
INSTALL_ARAVIS = "install it: apt install gir1.2-aravis-0.8 python3-gi"
INSTALL_GENTL = "install it: pip install 'millsight[gentl]'"
LIST_TIMEOUT_S = 30


@functools.cache
def aravis_python() -> str:
    """The Python interpreter that knows Aravis: ours, or that of the operating system.

    Raises:
        UserError: neither does.
    """
    check = "import gi; gi.require_version('Aravis', '0.8'); from gi.repository import Aravis"
    ours = [sys.executable] if importlib.util.find_spec("gi") else []
    for python in [*ours, SYSTEM_PYTHON]:
        if Path(python).exists():
            run = subprocess.run([python, "-I", "-c", check], capture_output=True, check=False)
            if run.returncode == 0:
                return python
    raise UserError(f"camera.source 'genicam' needs Aravis; {INSTALL_ARAVIS}")


def aravis_reader(settings: GenicamSource) -> Reader:
    """The reader of a GigE Vision or USB3 Vision camera.

    Raises:
        UserError: Aravis is not installed.
    """
    command = module_command(aravis_python(), "camera.aravis_reader")
    return _reader(settings, command, "GenICam camera", lambda camera: camera.genicam)


def gentl_reader(settings: GentlSource) -> Reader:
    """The reader of a camera behind a GenTL producer.

    Raises:
        UserError: the extra is not installed, or no producer is named.
    """
    _check_gentl(settings)
    command = module_command(sys.executable, "camera.gentl_reader")
    return _reader(settings, command, "GenTL camera", lambda camera: camera.gentl)


def list_aravis() -> list[dict[str, str]]:
    """The cameras that Aravis sees: `id`, `address`, `vendor`, `model`, `serial`, `protocol`.

    Raises:
        UserError: Aravis is not installed, or fails.
    """
    return _list(module_command(aravis_python(), "camera.aravis_reader"))


def list_gentl(settings: GentlSource) -> list[dict[str, str]]:
    """The cameras that a GenTL producer sees, as `list_aravis`.

    Raises:
        UserError: the extra is not installed, no producer is named, or it fails.
    """
    _check_gentl(settings)
    return _list([*module_command(sys.executable, "camera.gentl_reader"), str(settings.producer)])


def _reader(
    settings: GenicamFeatures,
    command: list[str],
    name: str,
    features_of: Callable[[Camera], GenicamFeatures],
) -> Reader:
    told = settings.model_dump(mode="json")
    return Reader(
        command,
        told,
        settings.device or name,
        # A reader that waits for a frame speaks every second; opening a camera takes longer.
        own_timeouts_s=10,
        triggered=settings.trigger != "free",
        changes=lambda camera: features_of(camera).model_dump(mode="json"),
    )


def _check_gentl(settings: GentlSource) -> None:
    if importlib.util.find_spec("harvesters") is None:
        raise UserError(f"camera.source 'gentl' needs harvesters; {INSTALL_GENTL}")
    if settings.producer is None:
        raise UserError("camera.gentl.producer: not set; name the maker's .cti file")
    if not settings.producer.is_file():
        raise UserError(f"camera.gentl.producer: {settings.producer}: no such file")


def _list(command: list[str]) -> list[dict[str, str]]:
    try:
        run = subprocess.run(
            command, capture_output=True, text=True, timeout=LIST_TIMEOUT_S, check=False
        )
        found: list[dict[str, Any]] = json.loads(run.stdout)
    except (subprocess.TimeoutExpired, json.JSONDecodeError):
        raise UserError(
            "cameras cannot be listed: the library that looks for them failed"
        ) from None
    return found
