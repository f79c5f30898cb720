"""`millsight device tidy | check | backup | restore`: the upkeep of the store."""

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from config.cli import Config, Who
from config.errors import UserError
from config.load import load_settings, load_what_is_good


def tidy(
    config: Config = None, *, clock_is_right: Annotated[bool, Parameter(negative="")] = False
) -> None:
    """Keep the store within its bounds; check it and copy it where that is due.

    A running inspection does the same by itself. A damaged store is mended. Broken settings do not
    keep it from its work, as long as their table `device` is good.

    Parameters
    ----------
    config
        The settings file. Default: $MILLSIGHT_CONFIG, ./millsight.toml, /etc/millsight/.
    clock_is_right
        The clock jumped and is right as it is now: what is too old may go again.
    """
    from device.upkeep.tidy import tidy as tidy_store  # noqa: PLC0415
    from device.watching.journal import reporter  # noqa: PLC0415

    # Broken settings stop the inspection, and must not let the disk fill up.
    settings, broken = load_what_is_good(config, "device", "keeping", "backup")
    if broken:
        print(f"millsight: {broken}; tidied all the same", file=sys.stderr)
    print(tidy_store(settings, reporter(), clock_is_right=clock_is_right).line())


def check(
    config: Config = None,
    *,
    quick: Annotated[bool, Parameter(negative="")] = False,
    mend: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Check the whole store and the model in use; exit status 1 where something is wrong.

    Parameters
    ----------
    config
        The settings file. Default: $MILLSIGHT_CONFIG, ./millsight.toml, /etc/millsight/.
    quick
        Do not compare indexes with their rows, which takes most of the time.
    mend
        Set a damaged store aside and go on with what can be salvaged of it.
    """
    from device.models.activation import is_whole, model_path  # noqa: PLC0415
    from device.models.models_in_use import models_in_force  # noqa: PLC0415
    from device.store.database import STORE_FILE, explain_errors, open_store_of  # noqa: PLC0415
    from device.upkeep.mend import is_damage, mend_and_report  # noqa: PLC0415
    from device.upkeep.tidy import check as check_store  # noqa: PLC0415
    from device.watching.journal import reporter  # noqa: PLC0415

    settings = load_settings(config)
    path = settings.device.data / STORE_FILE

    def look() -> None:
        db = open_store_of(settings)
        try:
            with explain_errors(path):
                if (wrong := check_store(db, full=not quick)) is not None:
                    raise UserError(f"{path}: malformed: {wrong}")
                for model_id in models_in_force(db).values():
                    if not is_whole(model_path(settings.device.data, model_id), model_id):
                        raise UserError(
                            f"the file of model {model_id[:12]} is damaged; the inspection brings "
                            "it back from a copy, or goes back to the model before it"
                        )
        finally:
            db.close()

    try:
        look()
    except UserError as error:
        if not (mend and is_damage(error)):
            raise
        print(error, file=sys.stderr)
        mend_and_report(settings, reporter())
        look()
    print(f"{path}: whole")


def backup(config: Config = None, *, list_: Annotated[bool, Parameter("--list")] = False) -> None:
    """Copy the store and the model in use to `backup.folder`, while everything runs.

    Parameters
    ----------
    config
        The settings file. Default: $MILLSIGHT_CONFIG, ./millsight.toml, /etc/millsight/.
    list_
        Only list the copies, the latest first.
    """
    from device.store.database import STORE_FILE, explain_errors, open_store_of  # noqa: PLC0415
    from device.upkeep.backup import back_up, copies, event_of  # noqa: PLC0415

    settings = load_settings(config)
    if list_:
        for copy in copies(settings):
            print(event_of(copy).text)
        return
    db = open_store_of(settings)
    try:
        with explain_errors(settings.device.data / STORE_FILE):
            print(event_of(back_up(settings, db)).text)
    finally:
        db.close()


def restore(copy: Path | None = None, config: Config = None, *, who: Who) -> None:
    """Put a copy in the place of the store, which is set aside; the inspection must stand.

    Answers that the present store has and the copy has not are carried over.

    Parameters
    ----------
    copy
        Folder of the copy, as `backup --list` tells. Default: the latest in `backup.folder`.
    config
        The settings file. Default: $MILLSIGHT_CONFIG, ./millsight.toml, /etc/millsight/.
    who
        Who decided it, for the audit trail.
    """
    from device.upkeep.backup import restore as put_back  # noqa: PLC0415

    print(put_back(load_settings(config), copy, who))
