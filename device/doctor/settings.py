"""Is the settings file there, whole, and do the paths in it exist?"""

from collections.abc import Iterator

from config.cli import check_paths
from config.errors import UserError
from device.doctor.finding import Box, Finding


def look(box: Box) -> Iterator[Finding]:
    """The file, and the paths in it."""
    if box.error:
        for line in box.error.splitlines():
            yield Finding.fault(
                line, "edit the file, or put the last good one back on the touch page"
            )
        return
    try:
        check_paths(box.settings, box.file)
    except UserError as error:
        yield Finding.fault(str(error), f"edit {box.file}")
        return
    yield Finding.ok(f"{box.file} is good")
