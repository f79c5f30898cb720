"""`millsight camera`: find cameras, see what they see, focus, record."""

import contextlib
import itertools
import sys
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter
from cyclopts.validators import Number

from config.cli import Config, Seed
from config.errors import UserError
from config.load import find_settings, load_settings
from config.settings import Settings

if TYPE_CHECKING:
    from camera.source import Frame, Source
    from camera.watching import Figures

app = App(name="camera", help="Find cameras, see what they see, focus, record.")

Wait = Annotated[float, Parameter(validator=Number(gt=0, lte=3600))]
Frames = Annotated[int, Parameter(name=["--frames", "-n"], validator=Number(gte=1, lte=10_000_000))]
WAIT_S = 20.0


@app.command(name="list")
def list_(config: Config = None) -> None:
    """Say which cameras answer, and what to write into the settings for each.

    Parameters
    ----------
    config
        The settings file, which may name a GenTL producer. Without any, cameras are looked for
        all the same.
    """
    from camera.listing import list_cameras  # noqa: PLC0415

    try:
        find_settings(config)
    except UserError:
        if config is not None:
            raise
        settings = Settings()
    else:
        settings = load_settings(config)
    for line in list_cameras(settings.camera):
        print(line)


@app.command
def test(config: Config = None, *, frames: Frames = 20, wait: Wait = WAIT_S) -> None:
    """Read frames from the camera of the settings and say whether they could be judged.

    Parameters
    ----------
    config
        The settings file. Default: $MILLSIGHT_CONFIG, ./millsight.toml, /etc/millsight/.
    frames
        How many frames to read.
    wait
        Longest time without a frame, in seconds; then the test has failed.
    """
    settings = load_settings(config)
    faults = number = 0
    began = time.monotonic()
    with _looking(settings, wait) as looked:
        for _frame, figures in itertools.islice(looked, frames):
            number += 1
            faults += figures.fault != "good"
            print(figures.line(), flush=True)
    if not number:
        raise UserError(f"camera.source {settings.camera.source!r}: gave no frame")
    rate = f", {number / (time.monotonic() - began):.1f} per second" if number > 1 else ""
    print(f"{number} frames, {faults} with a fault{rate}")


@app.command
def focus(
    config: Config = None,
    *,
    frames: Frames | None = None,
    wait: Wait = WAIT_S,
) -> None:
    """Show how sharp the picture is while you turn the lens; stop with Ctrl-C.

    Parameters
    ----------
    config
        The settings file. Default: $MILLSIGHT_CONFIG, ./millsight.toml, /etc/millsight/.
    frames
        Stop after so many frames. Default: go on.
    wait
        Longest time without a frame, in seconds.
    """
    best = 0.0
    terminal = sys.stdout.isatty()
    with _looking(load_settings(config), wait) as looked, contextlib.suppress(KeyboardInterrupt):
        for _frame, figures in itertools.islice(looked, frames):
            best = max(best, figures.sharpness)
            bar = "█" * round(40 * figures.sharpness / best) if best else ""
            fault = "" if figures.fault in {"good", "frozen"} else figures.fault
            text = f"sharpness {figures.sharpness:.4f}  best {best:.4f}  {bar:<40} {fault}"
            print(f"\r{text:<90}" if terminal else text, end="" if terminal else "\n", flush=True)
    print(("\n" if terminal else "") + f"sharpest: {best:.4f}")
    print(f"camera.quality.min_sharpness = {best / 2:.2g}  # calls less than half of it blurred")


@app.command
def record(
    folder: Path, config: Config = None, *, frames: Frames = 100, wait: Wait = WAIT_S
) -> None:
    """Write frames of the camera to a folder, to be played again by `camera.source = "folder"`.

    Beside the pictures (PNG) stands `recording.jsonl`: when each was taken, its fault, and its
    true class and defects where the camera knows them. Stop early with Ctrl-C.

    Parameters
    ----------
    folder
        A new or empty folder.
    config
        The settings file. Default: $MILLSIGHT_CONFIG, ./millsight.toml, /etc/millsight/.
    frames
        How many frames to write.
    wait
        Longest time without a frame, in seconds.
    """
    from camera.recording import record as write  # noqa: PLC0415

    settings = load_settings(config)
    source = settings.camera.source
    told = {"source": source, source: getattr(settings.camera, source).model_dump(mode="json")}
    with _looking(settings, wait) as looked:

        def wanted() -> "Iterator[Frame]":
            with contextlib.suppress(KeyboardInterrupt):
                for frame, _figures in itertools.islice(looked, frames):
                    yield frame

        count = write(wanted(), folder, told)
    if not count:
        raise UserError(f"camera.source {source!r}: gave no frame")
    print(f"wrote {count} frames to {folder}")


@app.command
def preview(
    config: Config = None,
    *,
    save: Path | None = None,
    port: Annotated[int, Parameter(validator=Number(gte=0, lte=65535))] = 8081,
    wait: Wait = WAIT_S,
) -> None:
    """Show what the camera sees in a browser on this machine; stop with Ctrl-C.

    Parameters
    ----------
    config
        The settings file. Default: $MILLSIGHT_CONFIG, ./millsight.toml, /etc/millsight/.
    save
        Instead, write the first good picture to this file (.png or .jpg) and say its figures.
    port
        TCP port of the page, which only this machine can reach; 0 is any free one.
    wait
        Longest time without a frame, in seconds.
    """
    settings = load_settings(config)
    if save is not None:
        _save(settings, save, wait)
        return
    import socket  # noqa: PLC0415

    import uvicorn  # noqa: PLC0415

    from camera.preview import Preview, make_app  # noqa: PLC0415

    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
    except OSError as error:
        raise UserError(f"--port {port}: cannot listen there: {error.strerror}") from None
    source = _open(settings)
    seen = Preview(_figures(settings, source, wait))
    seen.start()
    print(f"camera preview: http://127.0.0.1:{listener.getsockname()[1]}/", flush=True)
    server = uvicorn.Server(
        uvicorn.Config(
            make_app(seen), log_level="warning", access_log=False, timeout_graceful_shutdown=1
        )
    )
    try:
        server.run(sockets=[listener])
    finally:
        source.close()
        seen.join()


def _save(settings: Settings, path: Path, wait_s: float) -> None:
    import cv2  # noqa: PLC0415

    if path.suffix.lower() not in {".png", ".jpg", ".jpeg"}:
        raise UserError(f"--save {path}: the name of a picture ends in .png or .jpg")
    with _looking(settings, wait_s) as looked:
        seen = list(_until_good(itertools.islice(looked, 20)))
    if not seen:
        raise UserError(f"camera.source {settings.camera.source!r}: gave no frame")
    frame, figures = seen[-1]
    path.write_bytes(cv2.imencode(path.suffix, frame.image)[1].tobytes())
    print(figures.line())
    print(f"wrote {path}")


def _until_good(
    looked: "Iterator[tuple[Frame, Figures]]",
) -> "Iterator[tuple[Frame, Figures]]":
    for frame, figures in looked:
        yield frame, figures
        if figures.fault == "good":
            return


def _open(settings: Settings) -> "Source":
    from camera.opening import open_source  # noqa: PLC0415
    from camera.source import Event  # noqa: PLC0415

    def report(event: Event) -> None:
        print(f"{event.kind}: {event.text}", flush=True)

    return open_source(settings.camera, settings.recipe.classes, report)


def _figures(
    settings: Settings, source: "Source", wait_s: float
) -> "Generator[tuple[Frame, Figures], None, None]":
    from camera.quality import QualityGate  # noqa: PLC0415
    from camera.watching import with_figures  # noqa: PLC0415

    return with_figures(source, QualityGate(settings.camera.quality), wait_s)


def _looking(
    settings: Settings, wait_s: float
) -> "contextlib.closing[Generator[tuple[Frame, Figures], None, None]]":
    """The camera's frames with their figures; the camera is closed at the end."""
    return contextlib.closing(_figures(settings, _open(settings), wait_s))


@app.command
def contact_sheet(out: Path = Path("contact-sheet.png"), *, seed: Seed = 0) -> None:
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
