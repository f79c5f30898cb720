"""`millsight people`: PINs, the password of the network, and the trail."""

import csv
from pathlib import Path

import pytest

from config.document import to_toml
from config.settings import Device, Review, Settings
from device.review import people
from device.store.answers import add_answer
from device.store.database import open_store
from device.store.trail import add_action
from tests.device.review.conftest import (
    fill,
)  # fmt: skip
from tests.device.review.staff import (
    command,
)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "millsight.toml"
    review = Review(operators=["Anna", "李伟"], supervisors=["Eva"])
    settings = Settings(device=Device(data=tmp_path / "data"), review=review)
    path.write_text(to_toml(settings), encoding="utf-8")
    return path


def test_pins_are_set_listed_and_removed(config: Path) -> None:
    assert command(config, "pin", "李伟", given="4711\n").stdout == "PIN of 李伟 set\n"
    assert command(config, "pin", "Eva", given="12345678").returncode == 0
    assert command(config, "password", given="0123456789\n").returncode == 0
    assert command(config, "list").stdout.splitlines() == [
        "Anna: operator, no PIN", "李伟: operator, PIN", "Eva: supervisor, PIN",
        "password of the network: set",
    ]  # fmt: skip
    assert command(config, "unpin", "李伟").stdout == "PIN of 李伟 removed\n"
    assert command(config, "unpin", "李伟").stdout == "李伟 had no PIN\n"
    db = open_store(config.parent / "data")
    assert people.fits(people.secret_hash(db, "Eva") or "", "12345678")
    assert (people.secret_hash(db, "Eva") or "").startswith("$argon2id$")
    assert people.secret_hash(db, "李伟") is None
    db.close()
    lines = command(config, "trail").stdout.splitlines()
    assert [line.split("  ", 1)[1] for line in lines] == [
        "(command line)  set secret  李伟", "(command line)  set secret  Eva",
        "(command line)  set secret  (network)", "(command line)  removed secret  李伟",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "given", "said"),
    [
        (["pin", "Anna"], "123\n", "the PIN must have 4 to 8 digits"),
        (["pin", "Anna"], "123456789\n", "the PIN must have 4 to 8 digits"),
        (["pin", "Anna"], "12a4\n", "the PIN must have 4 to 8 digits"),
        (["pin", "Anna"], "", "the PIN must have 4 to 8 digits"),
        (["pin", "Mallory"], "1234\n", "Mallory: neither in review.operators nor"),
        (["unpin", ""], "", ": neither in review.operators nor"),
        (["password"], "123456789\n", "the password must have 10 characters or more"),
    ],
)
def test_what_is_weak_or_unknown_is_one_clear_line(
    config: Path, words: list[str], given: str, said: str
) -> None:
    result = command(config, *words, given=given)
    assert result.returncode == 1
    assert result.stderr.startswith(f"millsight: {said}")
    assert result.stderr.count("\n") == 1
    assert "no PIN" in command(config, "list").stdout


def test_the_trail_has_answers_too_and_can_be_cut_and_written(config: Path, tmp_path: Path) -> None:
    db = open_store(config.parent / "data")
    (patch,) = fill(db, 1)
    add_action(db, "Anna", "logged in", "Anna")
    add_answer(db, patch, "class", "scratch", "Anna")
    add_action(db, "李伟", "logged in", "李伟")
    db.close()
    lines = command(config, "trail", "--limit", "2").stdout.splitlines()
    assert [line.split("  ")[1:] for line in lines] == [
        ["Anna", "class", f"scratch: {patch}"], ["李伟", "logged in", "李伟"],
    ]  # fmt: skip
    file = tmp_path / "trail.csv"
    assert command(config, "trail", "--csv", str(file)).stdout == f"wrote {file}: 3 rows\n"
    with file.open(encoding="utf-8", newline="") as opened:
        rows = list(csv.reader(opened))
    assert rows[0] == ["time", "who", "action", "subject"]
    assert [row[1:3] for row in rows[1:]] == [
        ["Anna", "logged in"], ["Anna", "class"], ["李伟", "logged in"],
    ]  # fmt: skip
    missing = command(config, "trail", "--csv", str(tmp_path / "no" / "x.csv"))
    assert missing.returncode == 1
    assert missing.stderr.count("\n") == 1
