#!/usr/bin/python3
"""The operator of the simulated mill: switches it on, homes it, starts the program, waits."""

import sys
import time
from collections.abc import Callable
from pathlib import Path

import linuxcnc

FOLDER = Path(sys.argv[sys.argv.index("-ini") + 1]).parent
command, status = linuxcnc.command(), linuxcnc.stat()


def until(good: Callable[[], bool], seconds: float = 20) -> None:
    """Wait until the mill has done as it was told."""
    end = time.monotonic() + seconds
    while True:
        status.poll()
        if good():
            return
        if time.monotonic() > end:
            sys.exit("the mill does not do as it is told")
        time.sleep(0.05)


command.state(linuxcnc.STATE_ESTOP_RESET)
command.wait_complete()
command.state(linuxcnc.STATE_ON)
until(lambda: status.task_state == linuxcnc.STATE_ON)
command.mode(linuxcnc.MODE_MANUAL)
command.wait_complete()
command.teleop_enable(0)
command.wait_complete()
command.home(-1)
until(lambda: all(status.homed[:3]))
command.mode(linuxcnc.MODE_AUTO)
command.wait_complete()
command.program_open(str(FOLDER / "part.ngc"))
command.wait_complete()
command.auto(linuxcnc.AUTO_RUN, 1)
until(lambda: status.interp_state != linuxcnc.INTERP_IDLE)
errors = linuxcnc.error_channel()
while True:
    status.poll()
    if error := errors.poll():
        print("mill:", *error, flush=True)
    if status.interp_state == linuxcnc.INTERP_IDLE or (FOLDER / "stop").exists():
        break
    time.sleep(0.1)
