"""`millsight trainer publish` and what belongs to it: releases by hand."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from config.cli import Config, RecipeName
from config.errors import UserError
from config.load import load_settings
from config.recipes import load_recipes
from config.settings import Settings

if TYPE_CHECKING:
    from device.update.release import RollOut


def publish(
    model: Path,
    config: Config = None,
    *,
    recipe: RecipeName = None,
    percent: Annotated[float | None, Parameter(validator=Number(gte=0, lte=100))] = None,
    device: list[str] | None = None,
    report: Path | None = None,
) -> None:
    """Publish a model for the devices of a recipe; a night does this by itself.

    Golden patches for the devices' self-test are taken from the recipe's golden set, or else from
    its labelled patches in the trainer's store.

    Parameters
    ----------
    model
        The model file.
    config
        The settings file. Default: $MILLSIGHT_CONFIG, ./millsight.toml, /etc/millsight/.
    recipe
        The recipe. Default: that of the settings file.
    percent
        Share of the devices that get it at once. Default: trainer.publish.first_percent.
    device
        A device that gets it at once, whatever the share; give it again for another. Default:
        trainer.publish.first_devices.
    report
        The night's report as JSON, to go along; a page of the same name with .html goes too.
    """
    from device.store.answers import labelled_patches  # noqa: PLC0415
    from device.store.database import open_store  # noqa: PLC0415
    from trainer.labels.golden import golden_set  # noqa: PLC0415
    from trainer.publishing.publish import publish as release_model  # noqa: PLC0415
    from trainer.publishing.publish import record_champion  # noqa: PLC0415

    settings = _under(config, recipe)
    limits = settings.trainer.publish
    reports = {}
    if report is not None:
        for suffix in ("json", "html"):
            path = report.parent / f"{report.stem}.{suffix}"
            if path.is_file():
                reports[suffix] = path.read_bytes()
        if not reports:
            raise UserError(f"{report}: no such report")
    db = open_store(settings.trainer.data)
    try:
        golden = golden_set(db, settings).patches
        patches = golden if len(golden) else labelled_patches(db, settings.recipe.name).patches
        done = release_model(
            settings,
            model,
            patches,
            reports=reports,
            roll_out=_roll_out(
                limits.first_percent if percent is None else percent,
                limits.first_devices if device is None else device,
            ),
        )
        if done.withdrawn is not None:
            raise UserError(
                f"{model}: was withdrawn: {done.withdrawn}; no device takes it again, train another"
            )
        record_champion(db, model, settings, f"published as release {done.number}")
    finally:
        db.close()
    print(f"release {done.number}: {done.model[:12]} {_who(done.roll_out)}")


def rollout(
    model: str,
    config: Config = None,
    *,
    recipe: RecipeName = None,
    percent: Annotated[float | None, Parameter(validator=Number(gte=0, lte=100))] = None,
    device: list[str] | None = None,
) -> None:
    """Change which devices get a release: widen its share, or name devices.

    Parameters
    ----------
    model
        Beginning of its id, as `releases` lists it.
    config
        The settings file. Default: $MILLSIGHT_CONFIG, ./millsight.toml, /etc/millsight/.
    recipe
        The recipe. Default: that of the settings file.
    percent
        Share of all devices, in percent. Default: as it is.
    device
        A device that gets it whatever the share; give it again for another. Default: as it is.
    """
    from trainer.publishing.publish import releases as published  # noqa: PLC0415
    from trainer.publishing.publish import set_roll_out  # noqa: PLC0415

    settings = _under(config, recipe)
    found = [r for r in published(settings) if r.model.startswith(model)]
    if percent is None and device is None:
        raise UserError("nothing to change; give --percent or --device")
    present = found[0].roll_out if found else None
    wanted = _roll_out(
        percent if percent is not None else present.percent if present else 0,
        device if device is not None else present.devices if present else [],
    )
    done = set_roll_out(settings, model, wanted)
    print(f"release {done.number}: {done.model[:12]} {_who(done.roll_out)}")


def withdraw(model: str, config: Config = None, *, reason: str, recipe: RecipeName = None) -> None:
    """Take a release back: devices that run it go to the newest one that is left for them.

    Parameters
    ----------
    model
        Beginning of its id, as `releases` lists it.
    config
        The settings file. Default: $MILLSIGHT_CONFIG, ./millsight.toml, /etc/millsight/.
    reason
        Why; every device that runs it shows it.
    recipe
        The recipe. Default: that of the settings file.
    """
    from trainer.publishing.publish import withdraw as take_back  # noqa: PLC0415

    if not reason.strip():
        raise UserError("--reason: empty; say why")
    done = take_back(_under(config, recipe), model, reason)
    print(f"release {done.number}: {done.model[:12]} withdrawn")


def refresh(config: Config = None, *, again: bool = False) -> None:
    """Renew the signatures that expire soonest, and bring the exchange up to date.

    Every night does it by itself. After an exchange was damaged, `--again` uploads everything.

    Parameters
    ----------
    config
        The settings file. Default: $MILLSIGHT_CONFIG, ./millsight.toml, /etc/millsight/.
    again
        Upload also what seems to be there.
    """
    from trainer.publishing.publish import refresh as renew  # noqa: PLC0415

    for warning in renew(load_settings(config), again=again):
        print(f"warning: {warning}")
    print("renewed")


def releases(config: Config = None, *, recipe: RecipeName = None) -> None:
    """List what is published for a recipe, the oldest first, and for whom.

    Parameters
    ----------
    config
        The settings file. Default: $MILLSIGHT_CONFIG, ./millsight.toml, /etc/millsight/.
    recipe
        The recipe. Default: that of the settings file.
    """
    from trainer.publishing.publish import releases as published  # noqa: PLC0415

    for release in published(_under(config, recipe)):
        state = "" if release.withdrawn is None else f"; withdrawn: {release.withdrawn}"
        print(
            f"{release.number} {release.model[:12]} {release.published_at} "
            f"{_who(release.roll_out)}{state}"
        )


def _under(config: Path | None, recipe: str | None) -> Settings:
    return load_recipes(load_settings(config)).under(recipe).settings


def _roll_out(percent: float, devices: list[str]) -> "RollOut":
    from pydantic import ValidationError  # noqa: PLC0415

    from device.update.release import RollOut  # noqa: PLC0415

    try:
        return RollOut(percent=percent, devices=devices)
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(f"--{first['loc'][0]}: {first['msg']}") from None


def _who(roll_out: "RollOut") -> str:
    if roll_out.percent == 100:
        return "for all devices"
    named = f" and {', '.join(roll_out.devices)}" if roll_out.devices else ""
    return f"for {roll_out.percent:g} % of the devices{named}"
