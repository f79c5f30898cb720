"""`millsight people`: PINs, the password of the network, and who did what."""

import csv
import sys
from datetime import datetime
from getpass import getpass
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter
from cyclopts.validators import Number

from config.cli import Config
from config.errors import UserError
from config.load import load_settings
from config.settings import Settings

app = App(name="people", help="PINs, the password of the network, and who did what.")

WHO = "(command line)"
"""Who sets PINs, in the audit trail; no name has brackets."""


@app.command(name="list")
def list_people(config: Config = None) -> None:
    """List the people of the settings, and whether each has a PIN.

    Parameters
    ----------
    config
        The settings file. Default: $MILLSIGHT_CONFIG, ./millsight.toml, /etc/millsight/.
    """
    from device.review import people  # noqa: PLC0415
    from device.store.database import open_store_of  # noqa: PLC0415

    settings = load_settings(config)
    db = open_store_of(settings)
    for role, names in (
        ("operator", settings.review.operators),
        ("supervisor", settings.review.supervisors),
    ):
        for name in names:
            print(f"{name}: {role}, {'PIN' if people.has_secret(db, name) else 'no PIN'}")
    known = people.has_secret(db, people.NETWORK)
    print(f"password of the network: {'set' if known else 'not set'}")
    db.close()


@app.command
def pin(name: str, config: Config = None) -> None:
    """Set somebody's PIN, 4 to 8 digits; whoever is logged in under the name is logged out.

    It is asked twice on a terminal; otherwise it is the first line of the input.

    Parameters
    ----------
    name
        An operator or supervisor of the settings.
    config
        The settings file. Default: $MILLSIGHT_CONFIG, ./millsight.toml, /etc/millsight/.
    """
    from device.review import people  # noqa: PLC0415

    settings = load_settings(config)
    check_name(settings, name)
    secret = ask_secret(f"PIN of {name}")
    if not people.PIN.fullmatch(secret):
        raise UserError("the PIN must have 4 to 8 digits 0-9; nothing was changed")
    keep(settings, name, secret)
    print(f"PIN of {name} set")


@app.command
def unpin(name: str, config: Config = None) -> None:
    """Remove somebody's PIN: an operator then needs only his name, a supervisor cannot log in.

    Parameters
    ----------
    name
        An operator or supervisor of the settings.
    config
        The settings file. Default: $MILLSIGHT_CONFIG, ./millsight.toml, /etc/millsight/.
    """
    from device.review import people  # noqa: PLC0415
    from device.store.database import open_store_of  # noqa: PLC0415

    settings = load_settings(config)
    check_name(settings, name)
    db = open_store_of(settings)
    removed = people.remove_secret(db, name, WHO)
    db.close()
    print(f"PIN of {name} removed" if removed else f"{name} had no PIN")


@app.command
def password(config: Config = None) -> None:
    """Set the password of the network, 10 characters or more; every browser is asked for it again.

    It is asked twice on a terminal; otherwise it is the first line of the input.

    Parameters
    ----------
    config
        The settings file. Default: $MILLSIGHT_CONFIG, ./millsight.toml, /etc/millsight/.
    """
    from device.review import people  # noqa: PLC0415

    settings = load_settings(config)
    secret = ask_secret("password of the network")
    if len(secret) < people.SHORTEST_PASSWORD:
        raise UserError(
            f"the password must have {people.SHORTEST_PASSWORD} characters or more; "
            "nothing was changed"
        )
    keep(settings, people.NETWORK, secret)
    print("password of the network set")


@app.command
def trail(
    config: Config = None,
    *,
    limit: Annotated[int | None, Parameter(validator=Number(gte=1, lte=1_000_000))] = None,
    csv_file: Annotated[Path | None, Parameter("--csv")] = None,
) -> None:
    """Show who did what and when: answers, undos, log-ins, settings, models; the newest last.

    Parameters
    ----------
    config
        The settings file. Default: $MILLSIGHT_CONFIG, ./millsight.toml, /etc/millsight/.
    limit
        Only so many, the newest. Default: all.
    csv_file
        Write them into this file, as comma-separated values.
    """
    from device.store.database import open_store_of  # noqa: PLC0415

    settings = load_settings(config)
    db = open_store_of(settings)
    rows = db.execute(
        "SELECT wall_ns, clock_ok, who, action, subject FROM audit_trail "
        "ORDER BY wall_ns DESC LIMIT ?",
        [-1 if limit is None else limit],
    ).fetchall()
    db.close()
    lines = [[time_of(wall_ns, clock_ok), *said] for wall_ns, clock_ok, *said in reversed(rows)]
    if csv_file is None:
        for line in lines:
            print("  ".join(line))
        return
    with csv_file.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["time", "who", "action", "subject"], *lines])
    print(f"wrote {csv_file}: {len(lines)} rows")


def time_of(wall_ns: int, clock_ok: int) -> str:
    """A moment as local time; a question mark where the clock was wrong."""
    local = datetime.fromtimestamp(wall_ns // 10**9).astimezone()
    return local.isoformat() + ("" if clock_ok else "?")


def check_name(settings: Settings, name: str) -> None:
    """Refuse a name that is not in the settings.

    Raises:
        UserError: it is not.
    """
    names = [*settings.review.operators, *settings.review.supervisors]
    if name not in names:
        raise UserError(
            f"{name}: neither in review.operators nor in review.supervisors; "
            f"known: {', '.join(names)}"
        )


def ask_secret(what: str) -> str:
    """A secret: typed twice without being shown, or the first line of the input.

    Raises:
        UserError: the two differ, or there is none.
    """
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    try:
        secret = getpass(f"{what}: ")
        again = getpass("again: ")
    except EOFError:
        raise UserError("nothing was typed; nothing was changed") from None
    if secret != again:
        raise UserError("the two differ; nothing was changed")
    return secret


def keep(settings: Settings, name: str, secret: str) -> None:
    """Store a secret.

    Raises:
        UserError: the store cannot be opened.
    """
    from device.review import people  # noqa: PLC0415
    from device.store.database import open_store_of  # noqa: PLC0415

    db = open_store_of(settings)
    people.set_secret(db, name, secret, WHO)
    db.close()
