"""`millsight trainer`: train models from labelled patches."""

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from config.cli import Config
from config.errors import UserError
from config.load import load_settings

app = App(name="trainer", help="Train models from labelled patches.")
app.command("trainer.lab.cli:experiment", name="experiment")


@app.command
def train(
    out: Path,
    config: Config = None,
    *,
    frames: Path | None = None,
    seed: int | None = None,
) -> None:
    """Train a model from scratch on all labels of the store, or on a folder of class folders.

    Ctrl-C ends the training early; the model then holds the weights averaged so far, without
    thresholds, so that every verdict is unsure. Bring a model into use with
    `millsight device activate`.

    Parameters
    ----------
    out
        The model file to write.
    config
        The settings file. Default: $MILLSIGHT_CONFIG, ./millsight.toml, /etc/millsight/.
    frames
        Folder of class folders to learn from instead of the store. The classes must be the
        recipe's.
    seed
        Seed of the training run. Default: trainer.seed.
    """
    from device.store import in_force, labelled_patches, open_store  # noqa: PLC0415
    from trainer.progress import training_bar  # noqa: PLC0415
    from trainer.retrain import labelled_folder, retrain  # noqa: PLC0415

    settings = load_settings(config)
    if seed is not None:
        trainer = settings.trainer.model_copy(update={"seed": seed})
        settings = settings.model_copy(update={"trainer": trainer})
    parent = None
    if frames is None:
        db = open_store(settings.device.data)
        labelled = labelled_patches(db)
        parent = in_force(db).model_id
        db.close()
    else:
        labelled = labelled_folder(frames)
    with training_bar() as on_step:
        result = retrain(labelled, settings, out, parent=parent, on_step=on_step)
    if result.trained.stopped:
        print(
            f"stopped after {result.trained.steps} steps: {out} holds the weights so far and "
            "calls every patch unsure"
        )
    metrics = result.model.metadata.metrics
    held_out = metrics.get("held_out_accuracy")
    print(
        f"wrote {out}: {result.model.size} bytes, {len(labelled.ids)} labels, "
        f"{result.seconds:.1f} s"
        + ("" if held_out is None else f", {100 * held_out:.1f} % right on held-out folds")
    )


@app.command
def night(
    config: Config = None,
    *,
    out: Path | None = None,
    use: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Retrain on all labels, judge against the model in use, and publish what is not worse.

    Both models are judged on patches that neither has learnt from: the folder of trainer.golden,
    and the audits that were answered since the model in use was trained. What fails a criterion is
    not published, and the report says which. The report lies in `nights` of the data folder.

    Parameters
    ----------
    config
        The settings file. Default: $MILLSIGHT_CONFIG, ./millsight.toml, /etc/millsight/.
    out
        Folder for published models, one folder per recipe. Default: `published` in the data folder.
    use
        Bring a published model into use on this device at once.
    """
    from trainer.checks import count_kinds  # noqa: PLC0415
    from trainer.night import run_night  # noqa: PLC0415
    from trainer.progress import training_bar  # noqa: PLC0415

    settings = load_settings(config)
    folder = settings.device.data / "published" if out is None else out
    with training_bar() as on_step:
        done = run_night(settings, folder, in_use_at_once=use, on_step=on_step)
    for criterion in done.judgement.criteria:
        mark = "met    " if criterion.passed else "NOT MET"
        print(f"{mark} {criterion.name}: {criterion.found} (must be {criterion.limit})")
    for kind, count in count_kinds(done.findings).items():
        print(f"{count} labels are {kind}")
    print(f"report: {done.report}")
    if done.published is None:
        raise UserError(f"{done.model_id[:12]}: not published; the model in use stays")
    print(f"published {done.published}" + (", in use" if use else ""))


@app.command
def freeze(config: Config = None) -> None:
    """Take the golden folder as it is now; later nights are compared on it alone.

    Parameters
    ----------
    config
        The settings file. Default: $MILLSIGHT_CONFIG, ./millsight.toml, /etc/millsight/.
    """
    from device.store import open_store  # noqa: PLC0415
    from trainer.golden import freeze as take  # noqa: PLC0415

    settings = load_settings(config)
    db = open_store(settings.device.data)
    print(f"frozen: {take(db, settings)} patches of {settings.trainer.golden}")
    db.close()
