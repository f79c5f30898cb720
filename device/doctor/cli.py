"""`millsight doctor`: check the whole box."""

import json
import sys
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from config.cli import Config
from config.errors import UserError


def doctor(
    *checks: str,
    config: Config = None,
    wait: Annotated[float, Parameter(validator=Number(gte=0, lte=3600))] = 0,
    as_json: Annotated[bool, Parameter("--json", negative="")] = False,
) -> None:
    """Check the whole box: what is wrong, and how to mend it, a line each.

    Settings, permissions, disk, clock, database, model, camera, serial ports, exchange, services,
    verdicts, touch pages. It changes nothing. The exit status is 1 where something is BAD; a
    warning leaves it 0. Root sees the box with the eyes of the user whose data it is.

    Parameters
    ----------
    checks
        Names of the checks to make. Default: all.
    config
        The settings file. Default: $MILLSIGHT_CONFIG, ./millsight.toml, /etc/millsight/.
    wait
        Look again for so many seconds while something is BAD: services take a while to start.
    as_json
        Print JSON instead of text.
    """
    from device.doctor.examine import (  # noqa: PLC0415
        CHECKS,
        become_owner_of,
        examine_until_well,
        is_bad,
        read_box,
        report_lines,
        report_object,
    )

    if unknown := [name for name in checks if name not in CHECKS]:
        raise UserError(f"{unknown[0]}: no check; known: {', '.join(CHECKS)}")
    become_owner_of(read_box(config).settings.device.data)
    found = examine_until_well(config, checks or CHECKS, wait)
    if as_json:
        print(json.dumps(report_object(found), indent=2, ensure_ascii=False))
    else:
        print("\n".join(report_lines(found)))
    if any(is_bad(findings) for findings in found.values()):
        sys.exit(1)
