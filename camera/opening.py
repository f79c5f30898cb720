"""From settings to the source they name."""

from typing import TYPE_CHECKING

from camera.source import Report, Source
from config.settings import Camera

if TYPE_CHECKING:
    from camera.process import Reader


def open_source(settings: Camera, classes: list[str], report: Report) -> Source:
    """The source that `camera.source` names, with its light; where there is a stage, it scans.

    `classes` are the recipe's: folders named so are ground truth. Each kind imports only what it
    needs.

    Raises:
        UserError: the settings cannot work.
    """
    source = _open_camera(settings, classes, report)
    if not settings.stage.port and not settings.light.port:
        return source
    if not settings.stage.port:
        from camera.lit import with_light  # noqa: PLC0415

        return with_light(source, settings, report)
    from camera.scanning import ScanningSource  # noqa: PLC0415

    return ScanningSource(source, settings, report)


def _open_camera(settings: Camera, classes: list[str], report: Report) -> Source:
    if settings.source == "folder":
        from camera.folder import FolderSource  # noqa: PLC0415

        return FolderSource(settings.folder, classes, report)
    if settings.source == "opencv" and not settings.opencv.is_live:
        from camera.stream import VideoFile  # noqa: PLC0415

        return VideoFile(settings.opencv, report)
    if settings.source == "vmc220":
        from camera.vmc220 import Vmc220Source  # noqa: PLC0415

        return Vmc220Source(settings.vmc220)
    from camera.process import ProcessSource  # noqa: PLC0415

    return ProcessSource(reader_of(settings), settings.live, report)


def reader_of(settings: Camera) -> "Reader":
    """The process that reads the live camera that `camera.source` names.

    Raises:
        UserError: what it needs is not installed, or not set.
    """
    if settings.source == "genicam":
        from camera.genicam import aravis_reader  # noqa: PLC0415

        return aravis_reader(settings.genicam)
    if settings.source == "gentl":
        from camera.genicam import gentl_reader  # noqa: PLC0415

        return gentl_reader(settings.gentl)
    from camera.process import stream_reader  # noqa: PLC0415

    return stream_reader(settings.opencv)
