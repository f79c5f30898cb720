"""`millsight device`: run the inspection loop, see its state, look at single images."""

import gc
import json
import os
import re
import signal
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Annotated

from cyclopts import App, Parameter
from cyclopts.validators import Number

from config.cli import Config, RecipeName
from config.errors import UserError
from config.load import load_settings
from config.recipes import load_recipes
from device.answers_cli import label, lot, push, questions
from device.models_cli import accuracy, activate, drift, models, rollback, sync, trust
from device.upkeep_cli import backup, check, restore, tidy

app = App(name="device", help="Inspect: run the loop, see its state, look at single images.")


LONGEST_LINE = 1000
"""Of an event that somebody notes."""


class Lines:
    """Prints whole lines from several threads; goes on in silence once nobody reads them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def __call__(self, line: str) -> None:
        """Print one line."""
        with self._lock:
            try:
                print(line, flush=True)
            except BrokenPipeError:  # the reader went away, the plates still come
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@app.command
def run(
    config: Config = None,
    *,
    verdicts: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Judge frames until the source ends or Ctrl-C; keep what the model is unsure of.

    Prints a line for whatever happens: `flagged` and the patch once a flag is on the disk, camera
    lost and found, model in use. Without a model it collects patches to label (cold start).

    Parameters
    ----------
    config
        The settings file. Default: $MILLSIGHT_CONFIG, ./millsight.toml, /etc/millsight/.
    verdicts
        Print a line of JSON for every frame too.
    """
    _start_light()
    from camera.source import Event  # noqa: PLC0415
    from device.loop.loop import FrameResult, InspectionLoop  # noqa: PLC0415
    from device.watching.journal import reporter  # noqa: PLC0415
    from device.watching.last_good import keep_good  # noqa: PLC0415

    say = Lines()
    report = reporter(say)

    def print_verdict(result: FrameResult) -> None:
        frame = result.captured.frame
        line = {
            "sequence": frame.sequence,
            "origin": frame.origin,
            "verdict": result.verdict or "fault",
            "class": result.verdict_class,
        }
        say(json.dumps(line, ensure_ascii=False))

    settings = load_settings(config)
    loop = InspectionLoop(settings, report, on_frame=print_verdict if verdicts else None)
    gc.freeze()
    gc.enable()
    keep_good(config, settings)

    def stop(_number: int, _frame: FrameType | None) -> None:
        loop.stop()

    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    summary = loop.run()
    counts = ", ".join(f"{name} {count}" for name, count in sorted(summary.verdicts.items()))
    text = (
        f"{summary.frames} frames ({counts or 'none'}), {summary.kept} flags kept, "
        f"{summary.frames_per_second:.1f} frames/s"
    )
    report(Event("ended", text))


def _start_light() -> None:
    """Before the large libraries are loaded: what makes that quicker, and the process smaller."""
    gc.disable()  # nothing that loading makes is garbage
    # Nothing here multiplies matrices with NumPy: its threads would spin and hold memory.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


@app.command
def status(config: Config = None, *, as_json: Annotated[bool, Parameter("--json")] = False) -> None:
    """Show what the device is doing: model, frames, verdicts, questions, last events.

    Parameters
    ----------
    config
        The settings file. Default: $MILLSIGHT_CONFIG, ./millsight.toml, /etc/millsight/.
    as_json
        Print JSON instead of text.
    """
    from device.watching.status import device_status, status_lines  # noqa: PLC0415

    found = device_status(load_settings(config))
    if as_json:
        print(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        print("\n".join(status_lines(found)))


@app.command
def latency(
    config: Config = None,
    *,
    parts: Annotated[int, Parameter(validator=Number(gte=1, lte=1_000_000))] = 1000,
    as_json: Annotated[bool, Parameter("--json")] = False,
) -> None:
    """Show how long parts took from the trigger to the result, and where the time went.

    Median, 99th percentile and worst of the latest parts, against machine.deadline_s.

    Parameters
    ----------
    config
        The settings file. Default: $MILLSIGHT_CONFIG, ./millsight.toml, /etc/millsight/.
    parts
        So many of the latest parts.
    as_json
        Print JSON instead of text.
    """
    from device.machine import latency as of_parts  # noqa: PLC0415
    from device.store.database import open_store_of  # noqa: PLC0415

    settings = load_settings(config)
    deadline_s = settings.machine.deadline_s
    db = open_store_of(settings)
    found = of_parts.latest(db, parts)
    db.close()
    if as_json:
        print(json.dumps(of_parts.as_json(found, deadline_s), indent=2))
    else:
        print("\n".join(of_parts.lines(found, deadline_s)))


@app.command
def inspect(
    images: Annotated[list[Path], Parameter(negative_iterable="")],
    config: Config = None,
    *,
    model: Path | None = None,
    recipe: RecipeName = None,
    out: Path = Path("inspected"),
    as_json: Annotated[bool, Parameter("--json")] = False,
) -> None:
    """Judge images: verdict, probabilities, KLS, and a class activation map drawn over each.

    Parameters
    ----------
    images
        Image files.
    config
        The settings file. Default: $MILLSIGHT_CONFIG, ./millsight.toml, /etc/millsight/.
    model
        The model file. Default: the recipe's model in use.
    recipe
        The recipe. Default: that of the settings file.
    out
        Folder for the overlays, one PNG per image.
    as_json
        Print a line of JSON per image instead of text.
    """
    from device.inspect_images import inspect_image, inspection_lines, model_for  # noqa: PLC0415

    under = load_recipes(load_settings(config)).under(recipe)
    chosen = model_for(under, model)
    failed = 0
    for path in images:
        try:
            result = inspect_image(path, chosen, under.settings.recipe, out)
        except UserError as error:
            print(f"millsight: {error}", file=sys.stderr)
            failed += 1
            continue
        lines = [json.dumps(result, ensure_ascii=False)] if as_json else inspection_lines(result)
        print("\n".join(lines))
    if failed:
        sys.exit(1)


def _is_line(_type: object, text: str) -> None:
    if not (text.strip() and text.isprintable() and len(text) <= LONGEST_LINE):
        raise ValueError(f"One line of up to {LONGEST_LINE} letters.")


def _is_kind(_type: object, kind: str) -> None:
    if not re.fullmatch("[a-z][a-z-]{0,31}", kind):
        raise ValueError("Up to 32 small letters and -.")


@app.command
def note(
    text: Annotated[str, Parameter(validator=_is_line)],
    config: Config = None,
    *,
    kind: Annotated[str, Parameter(validator=_is_kind)] = "note",
) -> None:
    """Put a line among the events of this device: for services and people beside it.

    Parameters
    ----------
    text
        What happened.
    config
        The settings file. Default: $MILLSIGHT_CONFIG, ./millsight.toml, /etc/millsight/.
    kind
        A word for what kind of event it is.
    """
    from config.load import load_what_is_good  # noqa: PLC0415
    from device.store.database import open_store_of  # noqa: PLC0415
    from device.store.trail import add_event  # noqa: PLC0415

    settings, _broken = load_what_is_good(config, "device")  # it may be what is to be told
    db = open_store_of(settings)
    with db.atomic():
        add_event(db, kind, text)
    db.close()


for command in (
    questions, label, lot, push,
    models, activate, rollback, sync, trust, accuracy, drift,
    tidy, check, backup, restore,
):  # fmt: skip
    app.command(command)
