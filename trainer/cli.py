"""`millsight trainer`: train models from labelled patches."""

from pathlib import Path

from cyclopts import App

from config.cli import Config, RecipeName, Seed
from config.load import load_settings
from config.recipes import load_recipes
from trainer.night_cli import freeze, golden, merge, night

app = App(name="trainer", help="Train models from labelled patches, and publish them.")
app.command("trainer.keys_cli:app", name="keys", help="Keys that sign the models.")
app.command("trainer.publish_cli:publish", name="publish", help="Publish a model by hand.")
app.command("trainer.publish_cli:rollout", name="rollout", help="Change who gets a model.")
app.command("trainer.publish_cli:withdraw", name="withdraw", help="Take a published model back.")
app.command("trainer.publish_cli:refresh", name="refresh", help="Renew what every night renews.")
app.command("trainer.publish_cli:releases", name="releases", help="List what is published.")
app.command("trainer.lab.cli:experiment", name="experiment")


@app.command
def train(
    out: Path,
    config: Config = None,
    *,
    frames: Path | None = None,
    recipe: RecipeName = None,
    seed: Seed | None = None,
) -> None:
    """Train a model from scratch on a recipe's labels in the store, or on class folders.

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
    recipe
        The recipe. Default: that of the settings file.
    seed
        Seed of the training run. Default: trainer.seed.
    """
    from device.models.models_in_use import in_force  # noqa: PLC0415
    from device.store.answers import labelled_patches  # noqa: PLC0415
    from device.store.database import open_store_of  # noqa: PLC0415
    from trainer.learning.progress import training_bar  # noqa: PLC0415
    from trainer.learning.retrain import labelled_folder, retrain  # noqa: PLC0415

    under = load_recipes(load_settings(config)).under(recipe)
    settings = under.settings
    if seed is not None:
        trainer = settings.trainer.model_copy(update={"seed": seed})
        settings = settings.model_copy(update={"trainer": trainer})
    parent = None
    if frames is None:
        db = open_store_of(settings)
        labelled = labelled_patches(db, under.name)
        parent = in_force(db, under.key).model_id
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


app.command(night)
app.command(merge)
app.command(freeze)
app.command(golden)
