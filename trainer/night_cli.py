"""`millsight trainer night` and what belongs to it."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from config.cli import Config, RecipeName
from config.errors import UserError
from config.load import load_settings
from config.recipes import load_recipes, recipe_path

if TYPE_CHECKING:
    from trainer.night.night import Idle, Night


def night(config: Config = None, *, recipe: RecipeName = None) -> None:
    """Learn from what all devices have answered, judge, and publish what is not worse.

    Merges what the devices have pushed to the exchange; then, for one recipe after the other,
    checks the labels, retrains from scratch, judges the new model against the one in use on patches
    that neither has learnt from, signs and publishes it or keeps it back, and writes a report.
    Devices take it in with `millsight device sync`.

    Published, kept back and nothing to do all end with 0 and say so in the last line of a recipe;
    only where the night of a recipe could not be finished the command ends with 1, after those of
    the others. It can be run again at any time: what was finished is used again. A timer needs no
    terminal: every stage is a line.

    Parameters
    ----------
    config
        The settings file. Default: $MILLSIGHT_CONFIG, ./millsight.toml, /etc/millsight/.
    recipe
        Only the night of this recipe. Default: of all recipes.
    """
    from trainer.learning.progress import training_bar  # noqa: PLC0415
    from trainer.night.night import run_nights  # noqa: PLC0415

    recipes = load_recipes(load_settings(config))
    chosen = recipes.each() if recipe is None else [recipes.under(recipe)]
    wrong = list(recipes.errors) if recipe is None else []
    with training_bar() as on_step:
        for ended in run_nights(
            [under.settings for under in chosen],
            on_step=on_step,
            on_stage=lambda name: print(f"{name} ...", flush=True),
            on_note=lambda note: print(f"note: {note}"),
        ):
            of = f"{ended.recipe}: " if len(chosen) > 1 else ""
            if isinstance(ended.result, UserError):
                wrong.append(f"{of}{ended.result}")
            else:
                print("\n".join(f"{of}{line}" for line in _told(ended.result)), flush=True)
    if wrong:
        raise UserError("\n".join(wrong))


def _told(done: "Night | Idle") -> list[str]:
    """What came of the night of a recipe, for people."""
    from trainer.labels.checks import count_kinds  # noqa: PLC0415
    from trainer.night.night import Idle  # noqa: PLC0415

    if isinstance(done, Idle):
        return [f"nothing to do: {done.reason}"]
    lines = []
    for criterion in done.judgement.criteria:
        mark = "met    " if criterion.passed else "NOT MET"
        lines.append(f"{mark} {criterion.name}: {criterion.found} (must be {criterion.limit})")
    for kind, count in count_kinds(done.findings).items():
        lines.append(f"{count} labels are {kind}")
    if done.asked_again:
        lines.append(f"{done.asked_again} labels are asked again")
    lines += [f"new class: {name}" for name in done.classes.grown]
    lines += [f"class that is no more: {name}" for name in done.classes.gone]
    lines += [f"note: {note}" for note in done.notes]
    lines.append(f"report: {done.report}")
    if done.published:
        lines.append(f"published {done.model_id[:12]}, from {done.labels} labels")
    else:
        lines.append(f"kept back {done.model_id[:12]}: the model in use stays")
    return lines


def merge(config: Config = None, *, as_json: Annotated[bool, Parameter("--json")] = False) -> None:
    """Merge what devices have pushed into the trainer's store, each batch once; acknowledge it.

    A night does this by itself. A batch that is damaged or not of its device is refused and told;
    the others are merged.

    Parameters
    ----------
    config
        The settings file. Default: $MILLSIGHT_CONFIG, ./millsight.toml, /etc/millsight/.
    as_json
        Print JSON instead of text.
    """
    from trainer.labels.merge import merge as merge_all  # noqa: PLC0415

    done = merge_all(load_settings(config))
    print(
        json.dumps(done.as_json(), indent=2, ensure_ascii=False)
        if as_json
        else "\n".join(done.lines())
    )


def freeze(config: Config = None, *, recipe: RecipeName = None) -> None:
    """Take a recipe's golden folder as it is now as the next version of its golden set.

    Earlier versions stay as they were. From then on nights are judged on the new one alone.

    Parameters
    ----------
    config
        The settings file. Default: $MILLSIGHT_CONFIG, ./millsight.toml, /etc/millsight/.
    recipe
        The recipe. Default: that of the settings file.
    """
    from device.store.database import open_store  # noqa: PLC0415
    from trainer.labels.classes import classes_of_tonight  # noqa: PLC0415
    from trainer.labels.golden import freeze as take  # noqa: PLC0415
    from trainer.night.history import champion_of  # noqa: PLC0415

    settings = load_recipes(load_settings(config)).under(recipe).settings
    db = open_store(settings.trainer.data)
    champion = champion_of(db, settings)
    in_use = None if champion is None else champion.metadata.classes
    classes = classes_of_tonight(db, settings.recipe, in_use, settings.trainer.least_new_class)
    done = take(db, settings, [*classes.names, *classes.named])
    db.close()
    print(
        f"version {done.version}: {done.patches} patches of {settings.trainer.golden}, "
        f"{done.added} of them new; {done.ended} of the last version are no more in it"
    )


def golden(
    out: Path,
    config: Config = None,
    *,
    per_class: Annotated[int, Parameter(validator=Number(gte=1, lte=100_000))] = 10,
    recipe: RecipeName = None,
) -> None:
    """Write a recipe's labelled patches into a golden folder: what judges the first models.

    Taken are patches that were drawn by chance, out of what `trainer merge` has brought. Look
    through the folder, put right what is wrong, then name it as trainer.golden: no model learns
    from what is in it.

    Parameters
    ----------
    out
        The folder to make, with a folder for every class.
    config
        The settings file. Default: $MILLSIGHT_CONFIG, ./millsight.toml, /etc/millsight/.
    per_class
        Most patches of a class.
    recipe
        The recipe. Default: that of the settings file.
    """
    from device.store.database import open_store  # noqa: PLC0415
    from trainer.labels.golden import write_golden  # noqa: PLC0415

    under = load_recipes(load_settings(config)).under(recipe)
    settings = under.settings
    db = open_store(settings.trainer.data)
    taken = write_golden(db, settings, out, per_class)
    db.close()
    print(f"{out}: " + ", ".join(f"{count} {name}" for name, count in sorted(taken.items())))
    where = f", in {recipe_path(settings, under.name)}" if under.key else ""
    print(f"look through it, then set trainer.golden = {str(out.absolute())!r}{where}")
