"""`millsight device`: run the inspection loop, see its state, look at single images."""

import gc
import json
import os
import signal
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Annotated

from cyclopts import App, Parameter

from config.basics import is_name
from config.cli import Config, RecipeName
from config.errors import UserError
from config.load import load_settings
from config.recipes import Recipes, load_recipes
from device.upkeep_cli import backup, check, restore, tidy

app = App(name="device", help="Inspect: run the loop, see its state, look at single images.")
for command in (tidy, check, backup, restore):
    app.command(command)


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
    from device.journal import reporter  # noqa: PLC0415
    from device.last_good import keep_good  # noqa: PLC0415
    from device.loop import FrameResult, InspectionLoop  # noqa: PLC0415

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
    from device.status import device_status, status_lines  # noqa: PLC0415

    found = device_status(load_settings(config))
    if as_json:
        print(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        print("\n".join(status_lines(found)))


@app.command
def latency(
    config: Config = None,
    *,
    parts: int = 1000,
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
    from device import latency as of_parts  # noqa: PLC0415
    from device.store import open_store  # noqa: PLC0415

    settings = load_settings(config)
    deadline_s = settings.machine.deadline_s
    db = open_store(settings.device.data)
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


@app.command
def activate(
    model: Path, config: Config = None, *, reason: str = "by hand", recipe: RecipeName = None
) -> None:
    """Check a model file and make it the model in use; a running loop takes it up at once.

    Parameters
    ----------
    model
        The model file.
    config
        The settings file. Default: $MILLSIGHT_CONFIG, ./millsight.toml, /etc/millsight/.
    reason
        Why, for the record.
    recipe
        The recipe it is for. Default: that of the settings file.
    """
    from device.activation import activate as bring_into_use  # noqa: PLC0415
    from device.store import open_store  # noqa: PLC0415

    settings = load_settings(config)
    under = load_recipes(settings).under(recipe)
    db = open_store(settings.device.data)
    found = bring_into_use(db, model, under.settings, reason, under.key)
    db.close()
    print(f"{found.id[:12]} in use")


@app.command
def models(config: Config = None, *, recipe: RecipeName = None) -> None:
    """List the models of this device, the newest first, and those that it refused.

    * is the model in use. Under each stands which of its two forms, float32 or int8, judges here,
    and why. A model on probation says how far it is, one that is not taken from the
    exchange again says why. Where there are several recipes, each model names its own.

    Parameters
    ----------
    config
        The settings file. Default: $MILLSIGHT_CONFIG, ./millsight.toml, /etc/millsight/.
    recipe
        Only the models of this recipe. Default: all.
    """
    from datetime import datetime  # noqa: PLC0415

    from device.history import models as known_models  # noqa: PLC0415
    from device.models_in_use import refused_models  # noqa: PLC0415
    from device.store import open_store  # noqa: PLC0415
    from device.update.probation import said_of  # noqa: PLC0415

    settings = load_settings(config)
    recipes = load_recipes(settings)
    only = None if recipe is None else recipes.under(recipe).key
    db = open_store(settings.device.data)
    refused = {(one.model_id, one.recipe): one.reason for one in refused_models(db)}
    for model in known_models(db):
        if only not in {None, model.recipe}:
            continue
        said = model.metadata
        metrics = ", ".join(f"{name} {value:.3f}" for name, value in said.metrics.items())
        came = datetime.fromtimestamp(model.wall_ns / 1e9)
        print(
            f"{'*' if model.in_use else ' '} {model.id[:12]} {came:%Y-%m-%d %H:%M} "
            f"{_of(recipes, model.recipe)}{said.labels} labels, "
            f"{metrics or 'nothing measured'}; {model.uses[-1].reason}"
        )
        if model.race is not None:
            print(f"    judges in {model.race[0]}: {model.race[1]}")
        if model.probation is not None:
            print(f"    on probation: {said_of(model.probation, settings.update)}")
        if (reason := refused.pop((model.id, model.recipe), None)) is not None:
            print(f"    not taken again: {reason}")
    for (model_id, key), reason in refused.items():
        if only in {None, key}:
            print(f"! {model_id[:12]} {_of(recipes, key)}refused: {reason}")
    db.close()


def _of(recipes: Recipes, key: str) -> str:
    return f"recipe {name}: " if (name := recipes.told(key)) else ""


@app.command
def accuracy(
    config: Config = None,
    *,
    model: str | None = None,
    recipe: RecipeName = None,
    part: str | None = None,
    as_json: Annotated[bool, Parameter("--json")] = False,
) -> None:
    """Estimate how often a model is right, from spot checks and answered questions.

    Parameters
    ----------
    config
        The settings file. Default: $MILLSIGHT_CONFIG, ./millsight.toml, /etc/millsight/.
    model
        Its id as `models` lists it, or the beginning of it. Default: the recipe's model in use.
    recipe
        The recipe. Default: that of the settings file.
    part
        Number of a part. Default: all.
    as_json
        Print JSON instead of text.
    """
    from device.accuracy_report import report_lines, report_object  # noqa: PLC0415
    from device.estimate import accuracy as estimate  # noqa: PLC0415
    from device.history import find_model  # noqa: PLC0415
    from device.models_in_use import in_force  # noqa: PLC0415
    from device.store import open_store  # noqa: PLC0415

    recipes = load_recipes(load_settings(config))
    under = recipes.under(recipe)
    data = under.settings.device.data
    db = open_store(data)
    model_id = in_force(db, under.key).model_id
    if model is not None:
        stored = find_model(db, model)
        model_id = stored.id
        under = recipes.keyed(stored.recipe) or under
    if model_id is None:
        raise UserError(f"{data}: no model in use yet; train and activate one")
    found = estimate(db, model_id, under.settings.asking.k, part=part)
    db.close()
    if as_json:
        print(json.dumps(report_object(model_id, part, found), indent=2, ensure_ascii=False))
    else:
        print("\n".join(report_lines(model_id, part, found)))


@app.command
def drift(
    config: Config = None,
    *,
    as_json: Annotated[bool, Parameter("--json")] = False,
    recipe: RecipeName = None,
    reset: Annotated[bool, Parameter(negative="")] = False,
    part: str | None = None,
    who: str | None = None,
) -> None:
    """Show whether pictures or scores are no longer what they were, or take them as they are now.

    Parameters
    ----------
    config
        The settings file. Default: $MILLSIGHT_CONFIG, ./millsight.toml, /etc/millsight/.
    as_json
        Print JSON instead of text.
    recipe
        The recipe. Default: that of the settings file.
    reset
        What comes from now on is how it should be: the reference is recorded anew.
    part
        Number of the part whose reference is reset, "" for frames without one. Default: all.
    who
        Who decided the reset, for the audit trail.
    """
    from device import drift_log  # noqa: PLC0415
    from device.drift_report import report_lines, report_object  # noqa: PLC0415
    from device.models_in_use import in_force  # noqa: PLC0415
    from device.store import open_store  # noqa: PLC0415

    under = load_recipes(load_settings(config)).under(recipe)
    if reset and not (who or "").strip():
        raise UserError("--who: missing; name who decided that the reference is recorded anew")
    if not reset and (part is not None or who is not None):
        raise UserError("--part, --who: they go with --reset")
    db = open_store(under.settings.device.data)
    if reset:
        drift_log.reset(db, under.name, part, who or "")
    model_id = in_force(db, under.key).model_id or ""
    found = report_object(db, under.settings, model_id)
    db.close()
    if as_json:
        print(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        print("\n".join(report_lines(found)))


@app.command
def rollback(model: str, config: Config = None, *, who: str, recipe: RecipeName = None) -> None:
    """Go back to an earlier model of this device; a running loop takes it up at once.

    Parameters
    ----------
    model
        Its id as `models` lists it, or the beginning of it.
    config
        The settings file. Default: $MILLSIGHT_CONFIG, ./millsight.toml, /etc/millsight/.
    who
        Who decided it, for the audit trail.
    recipe
        The recipe to use it for. Default: the one it was used for last.
    """
    from device.activation import go_back  # noqa: PLC0415
    from device.history import find_model  # noqa: PLC0415
    from device.store import open_store  # noqa: PLC0415

    settings = load_settings(config)
    if not who.strip():
        raise UserError("--who: empty; name who decided it")
    recipes = load_recipes(settings)
    db = open_store(settings.device.data)
    found = find_model(db, model)
    under = recipes.keyed(found.recipe) if recipe is None else recipes.under(recipe)
    if under is None:
        raise UserError(f"{found.id[:12]}: its recipe {found.recipe!r} is no more; name another")
    print(f"{go_back(db, found.id, under, who).id[:12]} in use again")
    db.close()


@app.command
def sync(config: Config = None) -> None:
    """Push what operators answered, then take in the newest models that are published for us.

    Every recipe has its own channel; what is refused for one keeps back no other's. A model is
    verified from the pinned root of trust down, tried on golden patches, switched to between two
    frames, and on probation from then on. Whatever is refused leaves the running model as it is;
    the reason is printed, an event, and the exit status is 1.

    Parameters
    ----------
    config
        The settings file. Default: $MILLSIGHT_CONFIG, ./millsight.toml, /etc/millsight/.
    """
    from device.update.sync import sync as push_and_take  # noqa: PLC0415

    for line in push_and_take(load_settings(config)):
        print(line, flush=True)


@app.command
def trust(root: Path, config: Config = None) -> None:
    """Pin the root of trust: models signed under it are taken, and no others.

    Bring the file here by hand; never take it from the exchange. Pinning another root forgets what
    was known of the repository before.

    Parameters
    ----------
    root
        `root.json`, which `millsight trainer keys init` writes beside the offline keys.
    config
        The settings file. Default: $MILLSIGHT_CONFIG, ./millsight.toml, /etc/millsight/.
    """
    from device.update.client import fingerprint, pin_root, read_root  # noqa: PLC0415

    settings = load_settings(config)
    content = read_root(root)
    print(f"{pin_root(settings, content)}: trusted, fingerprint {fingerprint(content)}")


@app.command
def questions(config: Config = None) -> None:
    """List the flagged patches that wait for an answer, most unsure first.

    Where there are several recipes, each line ends with the name of its own.

    Parameters
    ----------
    config
        The settings file. Default: $MILLSIGHT_CONFIG, ./millsight.toml, /etc/millsight/.
    """
    from device.answers import waiting  # noqa: PLC0415
    from device.store import open_store  # noqa: PLC0415

    settings = load_settings(config)
    db = open_store(settings.device.data)
    recipes = load_recipes(settings)
    for question in waiting(db, recipes.quotas):
        guess = question.predicted or "-"
        line = f"{question.patch_id} {question.reason} {guess} {question.score:.4f}"
        print(f"{line} {recipes.told(question.recipe)}".rstrip())
    db.close()


@app.command
def label(patch: str, class_name: str, config: Config = None, *, operator: str) -> None:
    """Answer a question: which class a patch shows. On the disk when this returns.

    Parameters
    ----------
    patch
        Id of the patch, as `questions` lists it.
    class_name
        One of the classes of the recipe that it was asked under, or of those that its model in use
        has besides.
    config
        The settings file. Default: $MILLSIGHT_CONFIG, ./millsight.toml, /etc/millsight/.
    operator
        Who answers.
    """
    from device.answers import add_label, last_question  # noqa: PLC0415
    from device.models_in_use import classes_in_use  # noqa: PLC0415
    from device.store import open_store, staying_the_store  # noqa: PLC0415

    settings = load_settings(config)
    recipes = load_recipes(settings)
    db = open_store(settings.device.data)
    question = last_question(db, patch)
    under = recipes.keyed("" if question is None else question.recipe) or recipes.under(None)
    if class_name not in (classes := classes_in_use(db, under)):
        raise UserError(
            f"{class_name}: no class of recipe {under.name!r}; its classes: {', '.join(classes)}"
        )
    with staying_the_store(settings.device.data):
        add_label(db, patch, class_name, operator)
    db.close()
    print(f"{patch[:12]}: {class_name}")


@app.command
def lot(part: str, lot: str, config: Config = None, *, operator: str) -> None:
    """Begin a lot: every frame from now on is of this part and lot.

    Parameters
    ----------
    part
        Number of the part; "" for none.
    lot
        Number of the lot; "" for none.
    config
        The settings file. Default: $MILLSIGHT_CONFIG, ./millsight.toml, /etc/millsight/.
    operator
        Who begins it.
    """
    from device.store import open_store  # noqa: PLC0415
    from device.trail import begin_lot  # noqa: PLC0415

    for words in (part, lot):
        if words and not is_name(words):
            raise UserError(
                f"{words}: no number of a part or lot; letters, digits and _ . + - and blanks, "
                "64 at most"
            )
    db = open_store(load_settings(config).device.data)
    begin_lot(db, part, lot, operator)
    db.close()
    print(f"part {part or '-'}, lot {lot or '-'}")


@app.command
def push(config: Config = None, *, as_json: Annotated[bool, Parameter("--json")] = False) -> None:
    """Send what is new to the exchange: answers with their patches, random draws, counts, events.

    Takes in first what the trainer has acknowledged. Killed at any moment, the next push goes on
    where this one ended.

    Parameters
    ----------
    config
        The settings file. Default: $MILLSIGHT_CONFIG, ./millsight.toml, /etc/millsight/.
    as_json
        Print JSON instead of text.
    """
    from device.exchange.push import push as send  # noqa: PLC0415

    pushed = send(load_settings(config))
    if as_json:
        print(json.dumps(pushed._asdict(), indent=2, ensure_ascii=False))
        return
    print("\n".join(pushed.lines()))


@app.command
def note(text: str, config: Config = None, *, kind: str = "note") -> None:
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
    from device.store import open_store  # noqa: PLC0415
    from device.trail import add_event  # noqa: PLC0415

    settings, _broken = load_what_is_good(config, "device")  # it may be what is to be told
    db = open_store(settings.device.data)
    with db.atomic():
        add_event(db, kind, text)
    db.close()
