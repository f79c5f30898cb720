"""`millsight demo`: a compressed life of the appliance on one machine.

Days and nights follow each other: the device inspects a day's frames and keeps its questions, the
operator answers (who opens the touch page, else the ground truth), the night retrains, and the new
model is in use in the morning. Every part is the one that runs on a shop floor; only the exchange
between device and trainer is the shared store.
"""

import contextlib
import json
import os
import subprocess
import sys
import time
import webbrowser
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from cyclopts import Parameter
from cyclopts.validators import Number
from numpy.typing import NDArray
from rich.console import Console

from camera.folder import FolderSource
from camera.source import Event, Report, Source
from camera.vmc220 import Vmc220Source, render_frame
from config.document import to_toml
from config.errors import UserError
from config.load import parse_settings
from config.settings import Asking, Camera, Device, Recipe, Settings, Trainer
from config.settings import FolderSource as FolderSettings
from config.settings import Vmc220Source as Vmc220Settings
from device.activation import activate
from device.loop import InspectionLoop, Summary
from device.model import Model
from device.patches import Patches
from device.store import (
    add_label,
    in_force,
    labelled_patches,
    open_store,
    truth_of,
    waiting,
)
from device.verdict import judge
from trainer.dataset import class_folders, split
from trainer.progress import training_bar
from trainer.retrain import Retrained, retrain

MARK = "# Made by `millsight demo`, which replaces this folder when it runs again.\n"
OPERATOR = "ground truth"
PATIENCE_S = 6.0
"""Wait for a person's first and next answer before the ground truth gives the rest, in seconds."""
QUESTION_SHARE = 0.03
"""Questions of a day as a share of all images: the paper's step (k = 9 for six classes of NEU)."""
TEST_SHARE = 0.2
FRAMES_PER_DAY = 1000
TEST_FRAMES = 400


@dataclass(frozen=True, slots=True)
class World:
    """What the device of a demo sees, and what it is tested with."""

    classes: list[str]
    pass_classes: list[str]
    images: int
    """All images of the data set, held-out ones included."""
    day: Callable[[int], Callable[[Report], Source]]
    """The camera of a day, by its number."""
    test_patches: Patches
    test_labels: NDArray[np.int64]
    camera: Camera


@dataclass(frozen=True, slots=True)
class Night:
    """A line of the result: what one day and the night after it brought."""

    night: int
    """0 is the first night, after the cold start."""
    labels: int
    labelled_share: float
    """Labels so far, whatever they were used for, over all images of the data set."""
    accuracy: float
    """Of the new model on the held-out images."""
    accuracy_confident: float | None
    """The same where the new model is not unsure; None: it is unsure of everything."""
    unsure_share: float
    """Share of held-out images of which the new model is unsure."""
    flags: int
    """Questions answered that day."""
    frames_per_second: float
    """Of the inspection loop that day."""
    model: str
    model_bytes: int
    train_seconds: float
    """Of the training run itself."""
    night_seconds: float
    """Of the whole night: training, folds, export, checks."""


def demo(
    *,
    headless: Annotated[bool, Parameter(negative="")] = False,
    nights: Annotated[int, Parameter(validator=Number(gte=0, lte=1000))] = 4,
    frames: Path | None = None,
    seed: Annotated[int, Parameter(validator=Number(gte=0))] = 0,
    data: Path = Path("demo"),
    json_file: Annotated[Path | None, Parameter("--json")] = None,
) -> None:
    """Live a compressed life on this machine: inspect, ask, answer, retrain, get better.

    Without --frames the simulated VMC220 platform mills 1,000 plates a day. With it, the images
    are split into 20 % for testing and 80 % that pass the camera every day. A day asks about 3 %
    of all images: drawn evenly on the first day, the k highest KLS per predicted class later.

    Parameters
    ----------
    headless
        Plain lines instead of progress bars, and no touch page: the ground truth answers at once.
        Without it the page opens in the desktop's browser, and whoever answers there has 6 s for
        each answer.
    nights
        Nights after the first one.
    frames
        Folder of class folders; any number of classes, images of any size.
    seed
        Seed of the split, the draws and the training; makes the demo repeatable.
    data
        Folder for settings, store and models. What an earlier demo left there is replaced.
    json_file
        File for the figures of every night.
    """
    if json_file is not None and not json_file.resolve().parent.is_dir():
        raise UserError(f"{json_file}: its folder does not exist; make it, or name another file")
    console = Console(highlight=False, no_color=headless, soft_wrap=True)
    world = simulated_world(nights, seed) if frames is None else folder_world(frames, seed)
    settings = prepare(world, data, seed)
    per_day = settings.asking.cold_start
    console.print(
        f"[bold]millsight demo[/]: {len(world.classes)} classes, {len(world.test_labels)} held-out "
        f"images, {per_day} questions a day; everything is in {data}"
    )
    results = []
    with contextlib.nullcontext() if headless else touch_page(data, console):
        for number in range(nights + 1):
            results.append(live_one_day(settings, world, number, console, headless=headless))
            if json_file is not None:
                text = json.dumps({"nights": [asdict(result) for result in results]}, indent=2)
                json_file.write_text(text + "\n", encoding="utf-8")
    console.print(f"look around with: millsight device status -c {data / 'millsight.toml'}")


@contextlib.contextmanager
def touch_page(data: Path, console: Console) -> Iterator[None]:
    """Serve the operators' page over the demo's store, as on a shop floor."""
    config = str(data / "millsight.toml")
    command = [sys.executable, "-m", "millsight", "review", "-c", config, "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as page:
        assert page.stdout is not None
        try:
            line = page.stdout.readline().strip()
            console.print(f"{line} (answer there, or wait)")
            open_on_desktop(line.split()[-1])
            yield
        finally:
            page.terminate()


def open_on_desktop(url: str) -> None:
    """Open a page in the browser of this desktop; where there is none, nothing opens."""
    graphical = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if graphical or not sys.platform.startswith("linux"):
        webbrowser.open(url)


def live_one_day(
    settings: Settings, world: World, number: int, console: Console, *, headless: bool
) -> Night:
    """One day and its night: inspect, answer, retrain, activate, measure."""
    summary = inspect_day(settings, world.day(number), console)
    verdicts = ", ".join(f"{count} {verdict}" for verdict, count in summary.verdicts.most_common())
    console.print(
        f"day {number}: {summary.frames} frames at {summary.frames_per_second:.0f}/s: {verdicts}"
    )
    answered = answer_questions(settings, 0 if headless else PATIENCE_S)
    db = open_store(settings.device.data)
    labelled = labelled_patches(db)
    parent = in_force(db).model_id
    candidate = settings.device.data / "candidate.onnx"
    if headless:
        result = retrain(labelled, settings, candidate, parent=parent)
    else:
        with training_bar(console) as on_step:
            result = retrain(labelled, settings, candidate, parent=parent, on_step=on_step)
    model = activate(db, candidate, settings, f"night {number}")
    candidate.unlink()
    db.close()
    night = measure(number, world, summary, answered, result, model, len(labelled.ids))
    sure = night.accuracy_confident
    console.print(
        f"night {number}: {answered} answers, {night.labels} labels "
        f"({100 * night.labelled_share:.1f} % of all images), trained in {night.train_seconds:.0f} "
        f"s; [bold]{100 * night.accuracy:.1f} %[/] right on held-out images"
        + (
            ""
            if sure is None
            else f" ({100 * sure:.1f} % where sure, unsure of {100 * night.unsure_share:.0f} %)"
        )
    )
    return night


def inspect_day(
    settings: Settings, make_source: Callable[[Report], Source], console: Console
) -> Summary:
    """Run the device's own loop over a day's frames."""

    def report(event: Event) -> None:
        if event.kind not in {"flagged", "model"}:
            console.print(f"{event.kind}: {event.text}")

    return InspectionLoop(settings, report, make_source).run()


def answer_questions(settings: Settings, patience_s: float) -> int:
    """Every question that waits is answered; how many there were.

    By people on the touch page, until none of them has answered for so many seconds; the rest by
    the ground truth.
    """
    db = open_store(settings.device.data)
    asking = settings.asking
    count = left = len(waiting(db, asking.k, asking.cold_start))
    last = time.monotonic()
    while left and time.monotonic() - last < patience_s:
        time.sleep(0.2)
        before, left = left, len(waiting(db, asking.k, asking.cold_start))
        if left != before:
            last = time.monotonic()
    for question in waiting(db, asking.k, asking.cold_start):
        truth = truth_of(db, question.patch_id)
        assert truth is not None, "demo frames all have a known class"
        add_label(db, question.patch_id, truth, OPERATOR)
    db.close()
    return count


def measure(
    number: int,
    world: World,
    summary: Summary,
    answered: int,
    result: Retrained,
    model: Model,
    labels: int,
) -> Night:
    """Test the model in use on the held-out images, through ONNX Runtime as on a device."""
    judged = judge(model, world.test_patches)
    right = judged.predicted == world.test_labels
    sure = ~judged.unsure
    return Night(
        night=number,
        labels=labels,
        labelled_share=labels / world.images,
        accuracy=float(right.mean()),
        accuracy_confident=float(right[sure].mean()) if sure.any() else None,
        unsure_share=float(judged.unsure.mean()),
        flags=answered,
        frames_per_second=round(summary.frames_per_second, 1),
        model=model.id,
        model_bytes=model.size,
        train_seconds=round(result.trained.seconds, 2),
        night_seconds=round(result.seconds, 2),
    )


def folder_world(folder: Path, seed: int) -> World:
    """A world of real images: one part tests, the other passes the camera day after day.

    Raises:
        UserError: no class folders, or an image of the test part cannot be read.
    """
    dataset = class_folders(folder)
    pool, test = split(dataset.labels, TEST_SHARE, seed)
    files = dataset.part(pool).files
    held_out = dataset.part(test)

    def day(number: int) -> Callable[[Report], Source]:
        replay = FolderSettings(path=folder, shuffle_seed=seed * 1000 + number)
        return lambda report: FolderSource(replay, dataset.classes, report, files)

    return World(
        classes=dataset.classes,
        pass_classes=[],  # the folders do not say which classes are good
        images=len(dataset.files),
        day=day,
        test_patches=held_out.patches(),
        test_labels=held_out.labels,
        camera=Camera(source="folder", folder=FolderSettings(path=folder.resolve())),
    )


def simulated_world(nights: int, seed: int) -> World:
    """A world of simulated plates: fresh ones every day."""
    platform = Vmc220Settings(seed=seed, frames=FRAMES_PER_DAY)
    classes = Recipe().classes
    tests = Vmc220Settings(seed=seed + 1_000_000, frames=TEST_FRAMES)
    plates = [render_frame(tests, number) for number in range(TEST_FRAMES)]
    truths = [plate.defects[0].name if plate.defects else classes[0] for plate in plates]
    return World(
        classes=classes,
        pass_classes=Recipe().pass_classes,
        images=FRAMES_PER_DAY * (nights + 1) + TEST_FRAMES,
        day=lambda number: lambda _report: Vmc220Source(platform, FRAMES_PER_DAY * number),
        test_patches=np.stack([plate.image for plate in plates]),
        test_labels=np.array([classes.index(name) for name in truths]),
        camera=Camera(source="vmc220", vmc220=platform),
    )


def prepare(world: World, data: Path, seed: int) -> Settings:
    """An empty device whose settings stand in the demo's folder, ready for all commands.

    Raises:
        UserError: the folder holds something that no demo made, or cannot be written.
    """
    file = data / "millsight.toml"
    if data.exists() and any(data.iterdir()):
        if not file.is_file() or not file.read_text(encoding="utf-8").startswith(MARK):
            raise UserError(f"{data}: not empty, and not a demo's; name another folder with --data")
        for old in (*data.glob("millsight.db*"), *data.glob("models/*.onnx")):
            old.unlink()
    classes = len(world.classes)
    a_day = world.images if world.camera.source == "folder" else FRAMES_PER_DAY
    k = max(1, round(QUESTION_SHARE * a_day / classes))
    recipe = {"name": "demo", "classes": world.classes, "pass_classes": world.pass_classes}
    settings = Settings(
        device=Device(name="demo", data=Path()),
        camera=world.camera,
        recipe=parse_settings({"recipe": recipe}, file).recipe,
        # No audits: the demo knows the truth of held-out images, and counts every label.
        asking=Asking(k=k, cold_start=k * classes, audit_share=0, seed=seed, labels_per_shift=0),
        trainer=Trainer(seed=seed),
    )
    try:
        data.mkdir(parents=True, exist_ok=True)
        file.write_text(MARK + to_toml(settings), encoding="utf-8")
    except OSError as error:
        raise UserError(f"{data}: cannot be written: {error.strerror}") from None
    return settings.model_copy(update={"device": settings.device.model_copy(update={"data": data})})
