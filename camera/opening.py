"""From settings to the source they name."""

from camera.source import Report, Source
from config.settings import Camera


def open_source(settings: Camera, classes: list[str], report: Report) -> Source:
    """The source that `camera.source` names.

    `classes` are the recipe's: folders named so are ground truth. Each kind imports only what it
    needs.

    Raises:
        UserError: the settings cannot work.
    """
    if settings.source == "folder":
        from camera.folder import FolderSource  # noqa: PLC0415

        return FolderSource(settings.folder, classes, report)
    if settings.source == "opencv":
        from camera.stream import StreamSource  # noqa: PLC0415

        return StreamSource(settings.opencv, report)
    from camera.vmc220 import Vmc220Source  # noqa: PLC0415

    return Vmc220Source(settings.vmc220)
