"""`millsight demo`: a compressed life of the appliance on one machine.

Days and nights follow each other: two devices inspect a day's frames and keep their questions,
operators answer (who opens the touch pages, else the ground truth), the answers go to the exchange,
the trainer's night learns from both and publishes, and the devices take the new model in. Every
step is the command that runs on a shop floor, in a process of its own.
"""

import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import time
import webbrowser
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from cyclopts.validators import Number
from rich.console import Console

from config.cli import Seed
from config.errors import UserError
from config.load import load_settings
from config.recipes import Recipes
from config.settings import Exchange, Settings
from device.judging.model import load_model
from device.judging.verdict import judge
from device.models.activation import model_path
from device.models.models_in_use import in_force
from device.store.answers import add_label, labelled_patches, truth_of, waiting
from device.store.cycles import start_cycle
from device.store.database import get_state, open_store
from trainer.demo.site import DEVICES, TRAINER, Site, build, empty_folder, finish
from trainer.demo.world import World, folder_world, simulated_world
from trainer.night.history import past_nights

OPERATOR = "ground truth"
PATIENCE_S = 6.0
"""Wait for a person's first and next answer before the ground truth gives the rest, in seconds."""
TRAINER_CHANGES: dict[str, Any] = {}
"""Changes to the trainer's settings; tests train for seconds only."""


@dataclass(frozen=True, slots=True)
class Box:
    """What a device did in one day and night."""

    frames: int
    frames_per_second: float
    """Of the inspection loop that day, with the other device's beside it."""
    flags: int
    """Questions answered that day."""
    pushed: str
    """What the push said."""
    taken: str
    """What the sync of the morning said of the model."""
    model: str | None
    """In use in the morning."""


@dataclass(frozen=True, slots=True)
class Night:
    """A line of the result: what one day and the night after it brought."""

    night: int
    """0 is the first night, after the cold start."""
    labels: int
    """Answers so far, of both devices, as the trainer has them."""
    golden: int
    """Labelled patches that every model is judged on."""
    labelled_share: float
    """Labels so far and golden ones, whatever they were used for, over all images."""
    accuracy: float | None
    """Of the model in use in the morning, on the held-out images; None: there is none yet."""
    accuracy_confident: float | None
    """The same where the model is not unsure; None: it is unsure of everything."""
    unsure_share: float | None
    """Share of held-out images of which the model is unsure."""
    published: bool
    reasons: list[str]
    """Why the new model was kept back."""
    flags: int
    """Questions answered that day."""
    frames_per_second: float
    """Of both devices together."""
    model: str | None
    model_bytes: int | None
    train_seconds: float
    """Of the training run and its folds."""
    night_seconds: float
    """Of the trainer's whole night, as a process: merge, checks, training, judging, publishing."""
    sync_seconds: float
    """Until both devices had taken the model in, as processes side by side."""
    devices: dict[str, Box]


def demo(
    *,
    headless: Annotated[bool, Parameter(negative="")] = False,
    nights: Annotated[int, Parameter(validator=Number(gte=0, lte=1000))] = 4,
    frames: Path | None = None,
    seed: Seed = 0,
    data: Path = Path("demo"),
    exchange: str | None = None,
    config: Annotated[Path | None, Parameter(name=["--config", "-c"])] = None,
    json_file: Annotated[Path | None, Parameter("--json")] = None,
) -> None:
    """Live a compressed life on this machine: inspect, ask, answer, retrain, get better.

    Two devices and a trainer, each with a store of its own, share nothing but the exchange. Without
    --frames the simulated VMC220 platform mills 1,000 plates a day. With it, 20 % of the images are
    for testing, 10 of each class are the trainer's golden ones, and the others pass the cameras
    every day. A day asks about 3 % of all images, or 60 plates: drawn evenly on the first
    day, the k highest KLS per predicted class later.

    Parameters
    ----------
    headless
        Plain lines and no touch pages: the ground truth answers at once. Without it every device
        has a page, the first one opens in the desktop's browser, and whoever answers there has 6 s
        for each answer.
    nights
        Nights after the first one.
    frames
        Folder of class folders; any number of classes, images of any size.
    seed
        Seed of the split, the draws and the training; makes the demo repeatable.
    data
        Folder for settings, stores and models. What an earlier demo left there is replaced.
    exchange
        Exchange to use instead of a folder in `data`: s3://bucket/prefix or
        sftp://user@host:port/folder. The demo uses a new folder of its own in it.
    config
        Settings file whose table [exchange] says endpoint, keys and credentials.
    json_file
        File for the figures of every night.
    """
    if json_file is not None and not json_file.resolve().parent.is_dir():
        raise UserError(f"{json_file}: its folder does not exist; make it, or name another file")
    console = Console(highlight=False, no_color=headless, soft_wrap=True)
    folder = data.resolve()
    place = exchange_of(exchange, config, folder)
    if frames is not None and not frames.is_dir():
        raise UserError(f"{frames}: no such folder")
    empty_folder(folder)
    world = (
        simulated_world(nights, DEVICES, folder, seed)
        if frames is None
        else folder_world(frames, DEVICES, folder, seed)
    )
    site = build(world, folder, place, seed, TRAINER_CHANGES)
    per_day = sum(settings.asking.cold_start for settings in site.devices.values())
    console.print(
        f"[bold]millsight demo[/]: 2 devices, 1 trainer, {len(world.classes)} classes, "
        f"{len(world.test_labels)} held-out images, {world.golden} golden ones, {per_day} "
        f"questions a day; exchange {place.url}; everything else is in {data}"
    )
    results = []
    with contextlib.nullcontext() if headless else touch_pages(site, console):
        for number in range(nights + 1):
            results.append(live_one_day(site, world, number, console, headless=headless))
            if json_file is not None:
                text = json.dumps({"nights": [asdict(result) for result in results]}, indent=2)
                json_file.write_text(text + "\n", encoding="utf-8")
    console.print(f"look around with: millsight device status -c {site.config(DEVICES[0])}")


def exchange_of(url: str | None, config: Path | None, folder: Path) -> Exchange:
    """The exchange of a demo: a folder of its own, or a new prefix of the one that is named.

    Raises:
        UserError: the settings file or the address cannot be used.
    """
    settings = Exchange() if config is None else load_settings(config).exchange
    if url is None and config is None:
        return settings.model_copy(update={"url": str(folder / "exchange")})
    wanted = f"{(url or settings.url).rstrip('/')}/demo-{secrets.token_hex(4)}"
    try:
        return Exchange.model_validate(settings.model_dump() | {"url": wanted})
    except ValueError:
        raise UserError(
            "--exchange: no address of an exchange: a folder, s3://bucket/prefix or "
            "sftp://user@host:port/folder, without a password"
        ) from None


@contextlib.contextmanager
def touch_pages(site: Site, console: Console) -> Iterator[None]:
    """Serve the operators' page of every device, as on a shop floor."""
    pages = []

    def end(_signal: int, _frame: object) -> None:
        sys.exit(128 + signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, end)  # or the pages would outlive a demo that is ended
    try:
        for name in site.devices:
            config = str(site.config(name))
            command = [sys.executable, "-m", "millsight", "review", "-c", config, "--port", "0"]
            pages.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        lines = [page.stdout.readline().strip() for page in pages if page.stdout is not None]
        for name, line in zip(site.devices, lines, strict=True):
            console.print(f"{name}: {line} (answer there, or wait)")
        open_on_desktop(lines[0].split()[-1])
        yield
    finally:
        for page in pages:
            page.terminate()
            page.communicate()
        signal.signal(signal.SIGTERM, before)


def open_on_desktop(url: str) -> None:
    """Open a page in the browser of this desktop; where there is none, nothing opens."""
    graphical = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if graphical or not sys.platform.startswith("linux"):
        webbrowser.open(url)


def live_one_day(
    site: Site, world: World, number: int, console: Console, *, headless: bool
) -> Night:
    """One day and its night: inspect, answer, push, retrain, take in, measure."""
    site.begin_day(world, number)
    loops = inspect_day(site, console)
    speed = sum(loop["frames_per_second"] for loop in loops.values())
    seen = sum(loop["frames"] for loop in loops.values())
    console.print(f"day {number}: {seen} frames at {speed:.0f}/s on {len(loops)} devices")
    patience = 0.0 if headless else PATIENCE_S
    flags = {name: answer_questions(own, patience) for name, own in site.devices.items()}
    pushed = side_by_side(site, "push")
    began = time.monotonic()
    with contextlib.nullcontext() if headless else console.status("the night ..."):
        said = finish(site.start(TRAINER, "trainer", "night"))
    night_seconds = time.monotonic() - began
    published, reasons, laps = what_the_night_did(site, said)
    began = time.monotonic()
    taken = side_by_side(site, "sync")
    sync_seconds = time.monotonic() - began
    boxes = {
        name: Box(
            loops[name]["frames"],
            loops[name]["frames_per_second"],
            flags[name],
            pushed[name][0],
            taken[name][-1],
            model_of(site.devices[name]),
        )
        for name in site.devices
    }
    if not published:  # a day is the cycle: the next one may ask again all the same
        for settings in site.devices.values():
            db = open_store(settings.device.data)
            with db.atomic():
                start_cycle(db, f"day {number + 1}")
            db.close()
    night = measure(
        site, world, number, boxes, published, reasons,
        round(sum(s for name, s in laps.items() if name.startswith("train")), 2),
        round(night_seconds, 2), round(sync_seconds, 2),
    )  # fmt: skip
    tell(night, console)
    return night


def tell(night: Night, console: Console) -> None:
    """A night in a line or two."""
    sure = night.accuracy_confident
    console.print(
        f"night {night.night}: {night.flags} answers, {night.labels} labels and {night.golden} "
        f"golden ({100 * night.labelled_share:.1f} % of all images), {night.night_seconds:.0f} s; "
        + (
            "no model yet"
            if night.accuracy is None
            else f"[bold]{100 * night.accuracy:.1f} %[/] right on held-out images"
        )
        + (
            ""
            if sure is None or night.unsure_share is None
            else f" ({100 * sure:.1f} % where sure, unsure of {100 * night.unsure_share:.0f} %)"
        )
    )
    if not night.published:
        console.print(f"  kept back: {'; '.join(night.reasons)}")
    for name, box in night.devices.items():
        if box.model != night.model or not night.published:
            console.print(f"  {name}: {box.taken}")


def inspect_day(site: Site, console: Console) -> dict[str, dict[str, Any]]:
    """Run the loops of all devices side by side; what each says of itself at the end."""
    processes = {name: site.start(name, "device", "run") for name in site.devices}
    found = {}
    for name, process in processes.items():
        for line in finish(process):
            if not line.startswith(("flagged: ", "model: ", "ended: ", "probation-")):
                console.print(f"{name}: {line}")
        db = open_store(site.devices[name].device.data)
        found[name] = get_state(db, "loop")
        db.close()
    return found


def side_by_side(site: Site, command: str) -> dict[str, list[str]]:
    """Run a command of all devices at once; what each said."""
    processes = {name: site.start(name, "device", command) for name in site.devices}
    return {name: finish(process, may_fail=True) for name, process in processes.items()}


def answer_questions(settings: Settings, patience_s: float) -> int:
    """Every question that waits is answered; how many there were.

    By people on the touch page, until none of them has answered for so many seconds; the rest by
    the ground truth.
    """
    db = open_store(settings.device.data)
    quotas = Recipes(settings).quotas
    count = left = len(waiting(db, quotas))
    last = time.monotonic()
    while left and time.monotonic() - last < patience_s:
        time.sleep(0.2)
        before, left = left, len(waiting(db, quotas))
        if left != before:
            last = time.monotonic()
    with db.atomic():
        for question in waiting(db, quotas):
            truth = truth_of(db, question.patch_id)
            assert truth is not None, "demo frames all have a known class"
            add_label(db, question.patch_id, truth, OPERATOR)
    db.close()
    return count


def what_the_night_did(site: Site, said: list[str]) -> tuple[bool, list[str], dict[str, float]]:
    """Whether it published, else why not, and where its time went."""
    last = said[-1]
    db = open_store(site.trainer.trainer.data)
    past = past_nights(db, site.trainer.recipe.name)
    db.close()
    if last.startswith("published "):
        return True, [], past[-1].report["seconds"]
    if last.startswith("kept back ") and past:
        reasons = [line for line in said if line.startswith("NOT MET ")]
        return False, reasons, past[-1].report["seconds"]
    return False, [last], {}


def model_of(settings: Settings) -> str | None:
    """The model in use on a device."""
    db = open_store(settings.device.data)
    model = in_force(db).model_id
    db.close()
    return model


def measure(
    site: Site, world: World, number: int, boxes: dict[str, Box], published: bool,
    reasons: list[str], train_seconds: float, night_seconds: float, sync_seconds: float,
) -> Night:  # fmt: skip
    """Test the model of the first device on the held-out images, as a device would."""
    db = open_store(site.trainer.trainer.data)
    labels = len(labelled_patches(db).ids)
    db.close()
    first = site.devices[DEVICES[0]]
    model_id = boxes[DEVICES[0]].model
    accuracy = confident = unsure = size = None
    if model_id is not None:
        model = load_model(model_path(first.device.data, model_id))
        judged = judge(model, world.test_patches)
        right = judged.predicted == world.test_labels
        sure = ~judged.unsure
        size, accuracy, unsure = model.size, float(right.mean()), float(judged.unsure.mean())
        confident = float(right[sure].mean()) if sure.any() else None
    return Night(
        night=number,
        labels=labels,
        golden=world.golden,
        labelled_share=(labels + world.golden) / world.images,
        accuracy=accuracy,
        accuracy_confident=confident,
        unsure_share=unsure,
        published=published,
        reasons=reasons,
        flags=sum(box.flags for box in boxes.values()),
        frames_per_second=round(sum(box.frames_per_second for box in boxes.values()), 1),
        model=model_id,
        model_bytes=size,
        train_seconds=train_seconds,
        night_seconds=night_seconds,
        sync_seconds=sync_seconds,
        devices=boxes,
    )
