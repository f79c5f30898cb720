"""`millsight device`: which model judges, whence it comes, and how good it is."""

import json
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from config.cli import Config, RecipeName, Who
from config.errors import UserError
from config.load import load_settings
from config.recipes import Recipes, load_recipes


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

    from device.models.models_in_use import refused_models  # noqa: PLC0415
    from device.store.database import open_store_of  # noqa: PLC0415
    from device.update.history import models as known_models  # noqa: PLC0415
    from device.update.probation import said_of  # noqa: PLC0415

    settings = load_settings(config)
    recipes = load_recipes(settings)
    only = None if recipe is None else recipes.under(recipe).key
    db = open_store_of(settings)
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
    from device.models.activation import activate as bring_into_use  # noqa: PLC0415
    from device.store.database import open_store_of  # noqa: PLC0415

    settings = load_settings(config)
    under = load_recipes(settings).under(recipe)
    db = open_store_of(settings)
    found = bring_into_use(db, model, under.settings, reason, under.key)
    db.close()
    print(f"{found.id[:12]} in use")


def rollback(model: str, config: Config = None, *, who: Who, recipe: RecipeName = None) -> None:
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
    from device.models.activation import go_back  # noqa: PLC0415
    from device.store.database import open_store_of  # noqa: PLC0415
    from device.update.history import find_model  # noqa: PLC0415

    settings = load_settings(config)
    recipes = load_recipes(settings)
    db = open_store_of(settings)
    found = find_model(db, model)
    under = recipes.keyed(found.recipe) if recipe is None else recipes.under(recipe)
    if under is None:
        raise UserError(f"{found.id[:12]}: its recipe {found.recipe!r} is no more; name another")
    print(f"{go_back(db, found.id, under, who).id[:12]} in use again")
    db.close()


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
    from device.exchange.trust import fingerprint, read_root  # noqa: PLC0415
    from device.update.client import pin_root  # noqa: PLC0415

    settings = load_settings(config)
    content = read_root(root)
    print(f"{pin_root(settings, content)}: trusted, fingerprint {fingerprint(content)}")


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
    from device.models.models_in_use import in_force  # noqa: PLC0415
    from device.reports.accuracy import report_lines, report_object  # noqa: PLC0415
    from device.reports.estimate import accuracy as estimate  # noqa: PLC0415
    from device.store.database import open_store_of  # noqa: PLC0415
    from device.update.history import find_model  # noqa: PLC0415

    recipes = load_recipes(load_settings(config))
    under = recipes.under(recipe)
    db = open_store_of(under.settings)
    model_id = in_force(db, under.key).model_id
    if model is not None:
        stored = find_model(db, model)
        model_id = stored.id
        under = recipes.keyed(stored.recipe) or under
    if model_id is None:
        raise UserError(
            f"{under.settings.device.data}: no model in use yet; train and activate one"
        )
    found = estimate(db, model_id, under.settings.asking.k, part=part)
    db.close()
    if as_json:
        print(json.dumps(report_object(model_id, part, found), indent=2, ensure_ascii=False))
    else:
        print("\n".join(report_lines(model_id, part, found)))


def drift(
    config: Config = None,
    *,
    as_json: Annotated[bool, Parameter("--json")] = False,
    recipe: RecipeName = None,
    reset: Annotated[bool, Parameter(negative="")] = False,
    part: str | None = None,
    who: Who | None = None,
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
    from device.drift import log as drift_log  # noqa: PLC0415
    from device.drift.report import report_lines, report_object  # noqa: PLC0415
    from device.models.models_in_use import in_force  # noqa: PLC0415
    from device.store.database import open_store_of  # noqa: PLC0415

    under = load_recipes(load_settings(config)).under(recipe)
    if reset and who is None:
        raise UserError("--who: missing; name who decided that the reference is recorded anew")
    if not reset and (part is not None or who is not None):
        raise UserError("--part, --who: they go with --reset")
    db = open_store_of(under.settings)
    if reset:
        drift_log.reset(db, under.name, part, who or "")
    model_id = in_force(db, under.key).model_id or ""
    found = report_object(db, under.settings, model_id)
    db.close()
    if as_json:
        print(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        print("\n".join(report_lines(found)))
