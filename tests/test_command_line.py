"""Whatever number somebody gives a command, it is told what is allowed: by every command."""

import re
from pathlib import Path

import pytest
from cyclopts.exceptions import CycloptsError

from millsight import app

REFERENCE = Path(__file__).parent.parent / "docs/cli.md"
ABSURD = ("-1", "99999999999999999999", "nan", "inf", "")


def numbers() -> list[tuple[str, str, tuple[str, ...]]]:
    """(command, option, what else the command needs) of every option that is a number."""
    found = []
    text = REFERENCE.read_text(encoding="utf-8")
    for part in re.split(r"^##+ millsight ", text, flags=re.M)[1:]:
        command = part.split("\n", 1)[0]
        needed = []
        for said in part.split("\n* `")[1:]:
            if "[required]" in said and (option := re.search(r"--[a-z-]+", said)):
                needed += [option[0], "x"]
        found += [
            (command, name, tuple(needed))
            for name in re.findall(r"^\* `(--[a-z-]+)(?:, -\w)? (?:INT|FLOAT)`", part, re.M)
        ]
    return found


@pytest.mark.parametrize(("command", "option", "needed"), numbers())
@pytest.mark.parametrize("value", ABSURD)
def test_an_absurd_number_is_refused_before_anything_is_done(
    command: str, option: str, needed: tuple[str, ...], value: str,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CycloptsError, match=r"Must be|Invalid value"):
        app(
            [*command.split(), *needed, f"{option}={value}"],
            exit_on_error=False, print_error=False, result_action="return_value",
        )  # fmt: skip
    assert list(tmp_path.iterdir()) == []


def test_there_are_numbers_to_try() -> None:
    assert {command for command, _, _ in numbers()} >= {"trainer publish", "camera test", "demo"}
