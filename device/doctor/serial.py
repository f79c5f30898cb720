"""Are the serial ports there that the settings name, and may we use them?"""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from config.settings import Settings
from device.doctor.finding import Box, Finding
from device.store.trail import user_name


def ports(settings: Settings) -> dict[str, str]:
    """Every serial port of the settings by its key."""
    named = {
        "camera.stage.port": settings.camera.stage.port,
        "camera.light.port": settings.camera.light.port,
        "machine.line.port": settings.machine.line.port,
        "machine.modbus.port": settings.machine.modbus.port
        if settings.machine.modbus.transport == "rtu"
        else "",
    }
    return {key: port for key, port in named.items() if port}


def look(box: Box) -> Iterator[Finding]:
    """A line for each port."""
    named = ports(box.settings)
    if not named:
        yield Finding.ok("none are used")
    for key, port in named.items():
        path = Path(port)
        if not path.exists():
            yield Finding.fault(
                f"{port} ({key}): not there", f"plug it in; there are: {there() or 'none'}"
            )
        elif not stat.S_ISCHR(path.stat().st_mode):
            yield Finding.fault(f"{port} ({key}): no serial port", f"mend {key}")
        elif not os.access(path, os.R_OK | os.W_OK):
            yield Finding.fault(
                f"{port} ({key}): user {user_name()} may not use it",
                f"usermod -aG dialout {user_name()}, then restart millsight-device",
            )
        else:
            yield Finding.ok(f"{port} ({key})")


def there() -> str:
    """The ports of this box, by the names that stay the same when they are plugged in again."""
    by_id = Path("/dev/serial/by-id")
    named = by_id.iterdir() if by_id.is_dir() else []
    return ", ".join(str(path) for path in sorted(named))
