"""`millsight trainer keys`: who may sign models."""

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from config.cli import Config
from config.load import load_settings

app = App(name="keys", help="Keys that sign the models.")


@app.command
def init(config: Config = None, *, offline: Path, spare: Path | None = None) -> None:
    """Make all keys, and an empty signed repository on the exchange with a channel per recipe.

    The folder of the offline keys is best a USB stick that lies in a drawer afterwards: it is
    needed to replace or renew keys and to add a recipe, never by a night. Beside the keys stands
    `root.json`, which every device must be given by hand (`millsight device trust`); a device on
    this machine has it already. New offline keys are encrypted where $MILLSIGHT_OFFLINE_PASSPHRASE
    is set, the trainer's own where $MILLSIGHT_ONLINE_PASSPHRASE is.

    Parameters
    ----------
    config
        The settings file. Default: $MILLSIGHT_CONFIG, ./millsight.toml, /etc/millsight/.
    offline
        Folder for the keys of root and targets.
    spare
        Folder for a second pair of them, on another stick: either pair is enough.
    """
    from trainer.publishing.keys import key_folder, make_keys  # noqa: PLC0415

    settings = load_settings(config)
    pinned = make_keys(settings, offline, spare)
    print(f"offline keys and root.json in {offline}" + (f" and {spare}" if spare else ""))
    print(f"keys of the nights in {key_folder(settings)}; back up {settings.trainer.data}")
    print(f"trusted by this machine: {pinned}")


@app.command
def rotate(
    *roles: str,
    offline: Path,
    new_offline: Path | None = None,
    spare: Path | None = None,
    config: Config = None,
) -> None:
    """Replace keys: of `root`, `targets`, `snapshot`, `timestamp`, or `models` (every channel's).

    Devices follow by themselves. Without roles, those of the trainer's own keys are replaced:
    snapshot, timestamp and models.

    Parameters
    ----------
    roles
        Whose keys to replace.
    offline
        Folder of the present offline keys.
    new_offline
        Folder for new keys of root and targets. Default: the same.
    spare
        Folder for a second pair of new offline keys.
    config
        The settings file. Default: $MILLSIGHT_CONFIG, ./millsight.toml, /etc/millsight/.
    """
    from trainer.publishing.keys import replace_keys  # noqa: PLC0415

    chosen = list(roles) or ["snapshot", "timestamp", "models"]
    done = replace_keys(
        load_settings(config), chosen, offline, new_offline=new_offline, spare=spare
    )
    print(f"new keys: {', '.join(done)}")


@app.command
def renew(config: Config = None, *, offline: Path) -> None:
    """Renew what the offline keys sign before it expires, and add channels of new recipes.

    Parameters
    ----------
    config
        The settings file. Default: $MILLSIGHT_CONFIG, ./millsight.toml, /etc/millsight/.
    offline
        Folder of the offline keys.
    """
    from trainer.publishing.keys import replace_keys  # noqa: PLC0415

    replace_keys(load_settings(config), [], offline)
    show(config)


@app.command
def restore(config: Config = None, *, offline: Path) -> None:
    """Begin again on a new trainer: take over what is published, with new keys of the nights.

    For a trainer whose disk is lost. What is on the exchange is verified from `root.json` beside
    the offline keys; devices follow by themselves.

    Parameters
    ----------
    config
        The settings file. Default: $MILLSIGHT_CONFIG, ./millsight.toml, /etc/millsight/.
    offline
        Folder of the offline keys.
    """
    from trainer.publishing.restore import restore_repository  # noqa: PLC0415

    count = restore_repository(load_settings(config), offline)
    print(f"{count} releases taken over; new keys: snapshot, timestamp, models")


@app.command
def show(config: Annotated[Path | None, Parameter(name=["--config", "-c"])] = None) -> None:
    """List the roles, when what they signed expires, and which keys may sign.

    Parameters
    ----------
    config
        The settings file. Default: $MILLSIGHT_CONFIG, ./millsight.toml, /etc/millsight/.
    """
    from trainer.publishing.keys import role_states  # noqa: PLC0415

    for state in role_states(load_settings(config)):
        keys, until = ", ".join(state.keys), f"{state.expires:%Y-%m-%d %H:%M}"
        print(f"{state.role}: version {state.version}, until {until} ({keys})")
