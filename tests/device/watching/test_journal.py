"""What the journal gets: a priority, fields on one line, no password."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from device.watching.journal import LEVELS, JournalFormatter, logfmt


def test_fields_are_one_line_and_hold_no_password() -> None:
    line = logfmt(event="lost", message='rtsp://anna:secret@cam/1: "no"\npicture', n=3)
    assert line == 'event=lost message="rtsp://***@cam/1: \\"no\\"\\npicture" n=3'


def test_a_record_begins_with_its_priority() -> None:
    record = logging.LogRecord("millsight.store", logging.ERROR, "", 0, "it is %s", ("full",), None)
    assert JournalFormatter().format(record) == '<3>event=store message="it is full"'


def test_no_kind_of_event_has_two_levels() -> None:
    kinds = [kind for kinds in LEVELS.values() for kind in kinds]
    assert len(kinds) == len(set(kinds))


@pytest.mark.parametrize("under_systemd", [True, False])
def test_a_program_under_systemd_logs_and_one_on_a_terminal_talks(
    tmp_path: Path, *, under_systemd: bool
) -> None:
    config = tmp_path / "millsight.toml"
    config.write_text("[camera.vmc220]\nframes = 3\n")
    output = tmp_path / "output"
    with output.open("w") as stream:
        found = os.fstat(stream.fileno())
        environment = dict(os.environ)
        if under_systemd:
            environment["JOURNAL_STREAM"] = f"{found.st_dev}:{found.st_ino}"
        command = [sys.executable, "-m", "millsight", "device", "run", "-c", str(config)]
        subprocess.run(command, stdout=stream, check=True, env=environment)
    lines = output.read_text().splitlines()
    if under_systemd:
        assert lines[-1].startswith('<5>event=ended message="3 frames')
        assert any(line.startswith("<7>event=flagged message=") for line in lines)
    else:
        assert lines[-1].startswith("ended: 3 frames")
