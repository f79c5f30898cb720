"""Absurd numbers and names are refused by every command, before anything is done."""

import re
from pathlib import Path

import pytest
from cyclopts.exceptions import CycloptsError

from config.errors import UserError
from millsight import app

REFERENCE = Path(__file__).parent.parent / "docs/cli.md"
ABSURD = ("-1", "99999999999999999999", "nan", "inf", "")


NOBODY = ("", " ", "a/b", "a\nb", "\x1b[31m", 65 * "y")

Option = tuple[str, str, tuple[str, ...]]
"""(command, option, what else the command needs)."""


def options(spec: str) -> list[Option]:
    """The options of all commands whose line in the reference begins like this."""
    found = []
    text = REFERENCE.read_text(encoding="utf-8")
    for part in re.split(r"^##+ millsight ", text, flags=re.M)[1:]:
        command = part.split("\n", 1)[0]
        needed = []
        for said in part.split("\n* `")[1:]:
            if "[required]" in said and (option := re.search(r"--[a-z-]+", said)):
                needed += [option[0], "x"]
        found += [(command, name, tuple(needed)) for name in
                  re.findall(rf"^\* `{spec}", part, re.M)]  # fmt: skip
    return found


NUMBERS = options(r"(--[a-z-]+)(?:, -\w)? (?:INT|FLOAT)`")
PEOPLE = options(r"(--who|--operator)\b")


def refused(option: Option, value: str) -> str:
    """What a command says of a value of one of its options."""
    command, name, needed = option
    others = [one for pair in zip(needed[::2], needed[1::2], strict=True) if pair[0] != name
              for one in pair]  # fmt: skip
    with pytest.raises(CycloptsError) as caught:
        app(
            [*command.split(), *others, f"{name}={value}"],
            exit_on_error=False, print_error=False, result_action="return_value",
        )  # fmt: skip
    return str(caught.value)


@pytest.mark.parametrize("option", NUMBERS, ids=lambda option: " ".join(option[:2]))
@pytest.mark.parametrize("value", ABSURD)
def test_an_absurd_number(
    option: Option, value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said = refused(option, value)
    assert "Must be" in said or "Invalid value" in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("option", PEOPLE, ids=lambda option: " ".join(option[:2]))
@pytest.mark.parametrize("value", NOBODY)
def test_nobody(
    option: Option, value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "Name who does it" in refused(option, value)
    assert list(tmp_path.iterdir()) == []


def test_all_are_tried() -> None:
    assert {option[0] for option in NUMBERS} >= {"trainer publish", "camera test", "demo"}
    assert {option[0] for option in PEOPLE} >= {"device restore", "device lot", "recipe select"}


def test_a_report_without_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    app(["config", "init"], result_action="return_value")
    with pytest.raises(UserError, match="no such report"):
        app(["trainer", "publish", "x.onnx", "--report", ""], result_action="return_value")
