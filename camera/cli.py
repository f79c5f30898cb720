"""`millsight camera`: see what the camera sees."""

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from config.cli import Config
from config.errors import UserError
from config.load import load_settings

app = App(name="camera", help="See what the camera sees.")


@app.command
def test(
    config: Config = None, *, frames: Annotated[int, Parameter(name=["--frames", "-n"])] = 20
) -> None:
    """Read frames from the camera of the settings and say whether they could be judged.

    Parameters
    ----------
    config
        The settings file. Default: $MILLSIGHT_CONFIG, ./millsight.toml, /etc/millsight/.
    frames
        How many frames to read.
    """
    import numpy as np  # noqa: PLC0415

    from camera.opening import open_source  # noqa: PLC0415
    from camera.quality import QualityGate, sharpness  # noqa: PLC0415
    from camera.source import Event  # noqa: PLC0415

    if frames < 1:
        raise UserError(f"--frames: found {frames}; allowed is 1 or more")
    settings = load_settings(config)

    def report(event: Event) -> None:
        print(f"{event.kind}: {event.text}", flush=True)

    source = open_source(settings.camera, settings.recipe.classes, report)
    gate = QualityGate(settings.camera.quality)
    faults = 0
    number = 0
    for number, frame in enumerate(source.frames(), 1):
        fault = gate.fault(frame.image)
        faults += fault is not None
        height, width = frame.image.shape
        print(
            f"{frame.sequence:>5} {width}×{height} mean {np.mean(frame.image):5.1f} "
            f"contrast {np.std(frame.image):5.1f} sharpness {sharpness(frame.image):.4f} "
            f"{fault or 'good'} {frame.origin}"
        )
        if number >= frames:
            break
    source.close()
    if not number:
        raise UserError(f"camera.source {settings.camera.source!r}: gave no frame")
    print(f"{number} frames, {faults} with a fault")


@app.command
def contact_sheet(out: Path = Path("contact-sheet.png"), *, seed: int = 0) -> None:
    """Write a picture of what the simulated platform renders, a row for each class.

    Parameters
    ----------
    out
        The PNG file to write.
    seed
        Another seed renders other plates.
    """
    import cv2  # noqa: PLC0415

    from camera.milled_steel import contact_sheet as render  # noqa: PLC0415

    try:
        out.write_bytes(cv2.imencode(".png", render(seed))[1].tobytes())
    except OSError as error:
        raise UserError(f"{out}: cannot be written: {error.strerror}") from None
    print(f"wrote {out}")
