"""Honest accuracy: known answers by hand, and simulated shifts whose truth is known."""

import json
import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlite_utils import Database

from config.document import to_toml
from config.settings import Device, Recipe, Settings
from device.models.models_in_use import record_activation
from device.reports.estimate import (
    Accuracy,
    Answered,
    Share,
    accuracy,
    response_weights,
    share_right,
    weighted_share,
)
from device.reports.statistics import clopper_pearson
from device.store.answers import CANT_TELL, CLASS, SOMETHING_NEW
from device.store.database import open_store
from tests.device.reports.shifts_simulated import Conditions, Outcome, many_shifts

MODEL, OTHER = "m" * 64, "o" * 64
CLASSES = ["clean", "pit", "scratch"]
NOTHING = Share(None, 0.0, 1.0, 0, 0)


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    """A store with a model in use, and another."""
    store = open_store(tmp_path)
    for model in (MODEL, OTHER):
        store.execute("INSERT INTO models VALUES (?, 1, '{}', 0, 0, '', 1, NULL)", [model])
        for i, name in enumerate(CLASSES):
            store.execute("INSERT INTO baselines VALUES (?, ?, ?, 1, NULL, 0.1)", [model, i, name])
    record_activation(store, MODEL, "test")
    yield store
    store.close()


def flag(
    db: Database,
    name: str,
    predicted: str = "pit",
    *,
    uncertain: float | None = None,
    audit: float | None = 0.1,
    model: str = MODEL,
    part: str = "",
    alike: str | None = None,
    device: str = "box",
) -> str:
    """Keep a patch as a spot check, as uncertain with a score, or as both."""
    db.execute(
        "INSERT INTO frames VALUES (?, ?, 0, 0, 0, '', 1, '', 200, 200, 'r', ?, 'unsure', NULL, "
        "NULL, ?, 'L')",
        ["f" + name, device, model, part],
    )
    db.execute("INSERT INTO patches VALUES (?, 'box', 0, 0, 9, 9, x'', NULL, NULL)", [name])
    reasons: list[tuple[str, float, float | None]] = []
    if uncertain is not None:
        reasons.append(("uncertain", uncertain, None))
    if audit is not None:
        reasons.append(("audit", 0.5, audit))
    for reason, score, probability in reasons:
        db.execute(
            "INSERT INTO flags (patch_id, frame_id, cycle, reason, predicted, score, "
            "draw_probability, alike) "
            "VALUES (?, ?, coalesce((SELECT max(id) FROM cycles), 1), ?, ?, ?, ?, ?)",
            [name, "f" + name, reason, predicted, score, probability, alike],
        )
    return name


def say(
    db: Database, patch: str, answer: str, name: str | None = None, *, repeat: bool = False
) -> None:
    number = db.execute("SELECT count(*) FROM labels").fetchone()[0]
    db.execute(
        "INSERT INTO labels VALUES (?, ?, ?, ?, 'Anna', 0, 0, '', 1, ?)",
        [str(number), patch, answer, name, repeat],
    )


def judged(db: Database, name: str, patches: int) -> None:
    hour = db.execute("SELECT max(wall_ns) FROM cycles").fetchone()[0] // (3600 * 10**9)
    db.execute("INSERT INTO scores VALUES (?, ?, ?, '', 0, ?)", [hour, MODEL, name, patches])


def check(
    number: int, *, right: bool = True, cycle: int = 1, p: float = 0.1, kind: str | None = CLASS
) -> Answered:
    return Answered(cycle, str(number), "pit", p, kind, "pit" if right else "scratch")


# --- the estimators ---------------------------------------------------------------------------


def test_spot_checks_alone_give_the_exact_interval() -> None:
    drawn = [check(i, right=i >= 3) for i in range(40)]
    share, size = share_right(drawn, [], 400)
    assert share == Share(37 / 40, *clopper_pearson(37, 40), 40, 0)
    assert size == 400


def test_the_asked_count_for_themselves_only() -> None:
    # 20 asked, half of them wrong, among 1,000; the other 980 are all right as far as 49 checks say
    certain = [check(1000 + i, right=i % 2 == 0, p=1) for i in range(20)]
    drawn = [check(i) for i in range(49)]
    share, _ = share_right(drawn, certain, 1000)
    assert share.value == pytest.approx(0.02 * 0.5 + 0.98)
    assert share.high == pytest.approx(0.02 * 0.5 + 0.98)
    assert share.low == pytest.approx(0.01 + 0.98 * clopper_pearson(49, 49).low)
    assert (share.checks, share.asked) == (49, 20)


def test_a_spot_check_among_the_asked_is_not_counted_twice() -> None:
    certain = [check(i, right=False, p=1) for i in range(5)]
    drawn = [*certain, *(check(10 + i) for i in range(20))]
    assert share_right(drawn, certain, 500)[0].checks == 20


def test_the_size_is_estimated_from_the_draws_where_nothing_counted() -> None:
    drawn = [check(i, p=0.01) for i in range(30)]
    certain = [check(100 + i, p=1) for i in range(9)]
    assert share_right(drawn, certain, 0)[1] == 3009


def test_nothing_is_said_of_few_checks_but_the_interval() -> None:
    share, _ = share_right([check(i) for i in range(9)], [], 90)
    assert share.value is None
    assert 0.6 < share.low < 0.7
    assert share_right([], [], 90)[0] == NOTHING
    asked_only, _ = share_right([], [check(i, p=1) for i in range(30)], 90)
    assert asked_only.value is None
    assert asked_only.low == pytest.approx(1 / 3)
    assert asked_only.high == 1


def test_all_right_does_not_mean_surely_all_right() -> None:
    share, _ = share_right([check(i) for i in range(10)], [], 100)
    assert share.value == 1
    assert share.low == pytest.approx(0.025 ** (1 / 10))
    assert share.high == 1


def test_what_nobody_can_tell_and_new_things() -> None:
    drawn = [check(i) for i in range(10)]
    drawn += [check(20 + i, kind=CANT_TELL) for i in range(10)]
    drawn += [check(40, kind=SOMETHING_NEW)]
    share, _ = share_right(drawn, [], 200)
    assert share.value == pytest.approx(10 / 11)
    # half of the rest can be told, so the asked weigh twice as much
    certain = [check(100 + i, right=False, p=1) for i in range(10)]
    half, _ = share_right(drawn[:20], certain, 110)
    assert half.value == pytest.approx(50 / 60)


def test_rarer_draws_weigh_more() -> None:
    drawn = [check(i, p=0.5) for i in range(50)]
    drawn += [check(100 + i, right=False, p=0.05) for i in range(5)]
    share, _ = share_right(drawn, [], 200)
    assert share.value == pytest.approx(0.5)  # 100 right, 100 wrong
    effective = 200**2 / (50 * 4 + 5 * 400)
    assert share[1:3] == clopper_pearson(effective / 2, effective)


def test_unanswered_checks_are_made_up_for_by_those_of_their_cell() -> None:
    drawn = [check(i, cycle=1) for i in range(40)]
    drawn += [check(100 + i, right=False, cycle=2) for i in range(20)]
    drawn += [check(200 + i, cycle=2, kind=None) for i in range(20)]
    share, _ = share_right(drawn, [], 800)
    assert share.value == pytest.approx(0.5)  # and not 40 of 60
    few = [check(300 + i, cycle=3, kind=None if i else CLASS) for i in range(40)]
    weights = [w for w, _ in response_weights(drawn + few)]
    assert sum(weights) == pytest.approx(1200)  # a cell of one answer stands for its cycle's 40
    assert [w for w, _ in response_weights([*drawn[:40], check(900, cycle=9, kind=None)])] == [
        10
    ] * 40


def test_a_class_of_which_fewer_checks_are_answered_weighs_as_much() -> None:
    rare = [Answered(1, f"r{i}", "rare", 0.1, CLASS, "pit") for i in range(10)]
    usual = [check(i, kind=CLASS if i < 10 else None) for i in range(90)]
    share, _ = share_right([*rare, *usual], [], 1000)
    assert share.value == pytest.approx(0.9)  # and not half


def test_recall_is_of_what_is_truly_of_a_class() -> None:
    drawn = [check(i) for i in range(12)] + [check(50, right=False)]
    drawn += [Answered(1, str(100 + i), "clean", 0.1, CLASS, "pit") for i in range(4)]
    share = weighted_share(drawn, "pit")
    assert share == Share(0.75, *clopper_pearson(12, 16), 16, 0)
    assert weighted_share(drawn, "clean") == NOTHING


# --- from the store ---------------------------------------------------------------------------


def test_accuracy_from_the_store(db: Database) -> None:
    judged(db, "pit", 300)
    judged(db, "clean", 700)
    for i in range(12):
        say(db, flag(db, f"right{i}"), CLASS, "pit")
    say(db, flag(db, "wrong"), CLASS, "scratch")
    say(db, flag(db, "new", "clean"), SOMETHING_NEW, "clean")  # called like the class, still new
    say(db, flag(db, "can't"), CANT_TELL)
    undone = flag(db, "undone")
    say(db, undone, CLASS, "pit")
    say(db, undone, "undone")
    changed = flag(db, "changed")
    say(db, changed, CLASS, "clean")
    say(db, changed, "undone")
    say(db, changed, CLASS, "pit")
    say(db, changed, CLASS, "clean", repeat=True)  # does not change what it is
    flag(db, "waits")
    say(db, flag(db, "of another", model=OTHER), CLASS, "pit")
    for i in range(4):  # of which two were among the k highest
        say(db, flag(db, f"asked{i}", uncertain=1.0 + i, audit=None), CLASS, "clean")
    say(db, flag(db, "copy", uncertain=9.0, audit=None, alike="wrong"), CLASS, "clean")
    flag(db, "unanswered", uncertain=0.5, audit=None)
    found = accuracy(db, MODEL, k=2)
    assert (found.drawn, found.cant_tell, found.waiting, found.judged) == (17 + 1, 1, 2, 1000)
    assert (found.overall.checks, found.overall.asked) == (15, 2)
    assert found.precision["pit"].checks == 14
    rest = 298 * 14 / 15  # that people can tell
    assert found.precision["pit"].value == pytest.approx(rest * 13 / 14 / (2 + rest))
    assert found.precision["clean"].value is None
    assert found.recall["pit"] == Share(1.0, *clopper_pearson(13, 13), 13, 0)
    assert accuracy(db, MODEL, k=2, class_name="clean").overall.checks == 1
    assert accuracy(db, OTHER, k=2).overall.checks == 1
    assert accuracy(db, "unknown", k=2) == Accuracy(NOTHING, {}, {}, 0, 0, 0, 0)


def test_what_was_pushed_out_of_the_k_counts_only_if_drawn(db: Database) -> None:
    judged(db, "pit", 100)
    for i in range(5):
        say(db, flag(db, f"u{i}", uncertain=float(i), audit=0.1 if i < 4 else None), CLASS, "clean")
    found = accuracy(db, MODEL, k=2)
    assert found.overall.asked == 2  # u3 and u4
    assert found.overall.checks == 3  # u0, u1, u2: drawn, and no longer among the two highest


def test_a_trainer_trusts_spot_checks_alone(db: Database) -> None:
    db.execute("DELETE FROM cycles")  # its own have nothing to do with those of the devices
    for device, answered in (("a", 40), ("b", 20)):
        for i in range(40):
            patch = flag(db, f"{device}{i}", uncertain=float(i), device=device)
            if i < answered:
                say(db, patch, CLASS, "pit" if device == "a" else "clean")
    found = accuracy(db, MODEL, k=2, many_devices=True)
    assert (found.overall.checks, found.overall.asked, found.judged) == (60, 0, 800)
    assert found.overall.value == pytest.approx(0.5)  # each device weighs as much as it judged


def test_accuracy_of_a_part_and_a_lot(db: Database) -> None:
    for i in range(20):
        say(db, flag(db, f"p{i}", part="P" if i % 2 else ""), CLASS, "pit" if i % 2 else "clean")
    assert accuracy(db, MODEL, k=9, part="P").overall.value == 1
    assert accuracy(db, MODEL, k=9, part="").overall.value == 0
    of_lot = accuracy(db, MODEL, k=9, part="P", lot="L")
    assert (of_lot.overall.value, of_lot.judged) == (1, 100)
    assert accuracy(db, MODEL, k=9, lot="M").overall.checks == 0


def test_a_model_that_came_back_has_all_its_spot_checks(db: Database) -> None:
    say(db, flag(db, "early"), CLASS, "pit")
    record_activation(db, OTHER, "test")
    record_activation(db, MODEL, "rolled back")
    say(db, flag(db, "late"), CLASS, "clean")
    assert accuracy(db, MODEL, k=9).overall.checks == 2


def test_a_check_without_a_known_probability_is_not_used(db: Database) -> None:
    say(db, flag(db, "a"), CLASS, "pit")
    db.execute("UPDATE flags SET draw_probability = NULL")
    assert accuracy(db, MODEL, k=9).drawn == 0


def test_the_command_says_it_for_people_and_programs(db: Database, tmp_path: Path) -> None:
    judged(db, "pit", 1000)
    for i in range(20):
        say(db, flag(db, f"p{i}"), CLASS, "pit" if i else "clean")
    config = tmp_path / "millsight.toml"
    settings = Settings(
        device=Device(data=tmp_path), recipe=Recipe(classes=CLASSES, pass_classes=["clean"])
    )
    config.write_text(to_toml(settings), encoding="utf-8")
    command = [sys.executable, "-m", "millsight", "device", "accuracy", "-c", str(config)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "1000 patches judged, 20 spot checks drawn" in said
    assert "right                    95.0%, 75.1% to 99.9% (95 %), from 20 spot checks\n" in said
    found = json.loads(subprocess.run([*command, "--json"], capture_output=True, check=True).stdout)
    assert found["accuracy"]["value"] == pytest.approx(0.95)
    assert found["recall"]["clean"]["value"] is None
    unknown = subprocess.run(
        [*command, "--model", "zz"], capture_output=True, text=True, check=False
    )
    assert (unknown.returncode, unknown.stdout) == (1, "")
    assert unknown.stderr.count("\n") == 1


# --- simulated shifts -------------------------------------------------------------------------


def held(outcomes: list[Outcome]) -> float:
    """In which share of the shifts the interval holds the truth."""
    inside = [o.found.overall.low <= o.truth <= o.found.overall.high for o in outcomes]
    return sum(inside) / len(inside)


def width_ratio(outcomes: list[Outcome]) -> float:
    """The mean width of the intervals over that from spot checks alone."""
    ours = sum(o.found.overall.high - o.found.overall.low for o in outcomes)
    return ours / sum(o.audits_only.high - o.audits_only.low for o in outcomes)


def test_a_few_simulated_shifts_hold_the_truth(tmp_path: Path) -> None:
    outcomes = list(many_shifts(tmp_path, 8, Conditions(patches=800, audit_share=0.08), 1))
    assert held(outcomes) >= 7 / 8
    assert width_ratio(outcomes) < 1
    for outcome in outcomes:
        assert outcome.naive < outcome.truth - 0.02  # what is asked about is hard
        assert 10 < outcome.found.overall.asked <= 36


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    "now",
    [
        Conditions(),
        Conditions(budget=90),
        Conditions(error=0.005),
        Conditions(error=0.1, audit_share=0.01),
        Conditions(hard_to_tell=0.1, budget=80),
    ],
    ids=["usual", "budget", "rare errors", "many errors, few checks", "hard to tell"],
)
def test_two_hundred_simulated_shifts_hold_the_truth(tmp_path: Path, now: Conditions) -> None:
    outcomes = list(many_shifts(tmp_path, 200, now, 7))
    ratio = width_ratio(outcomes)
    biases = [
        o.found.overall.value - o.truth for o in outcomes if o.found.overall.value is not None
    ]
    per_class = [
        share.low <= truths[name] <= share.high
        for o in outcomes
        for truths, shares in ((o.precisions, o.found.precision), (o.recalls, o.found.recall))
        for name, share in shares.items()
        if name in truths
    ]
    print(
        f"\n{now}: held in {held(outcomes):.1%},"
        f" per class in {sum(per_class) / len(per_class):.1%};"
        f" width {ratio:.2f} of that of spot checks alone;"
        f" bias {sum(biases) / max(1, len(biases)):+.4f};"
        f" truth {sum(o.truth for o in outcomes) / 200:.4f},"
        f" naive {sum(o.naive for o in outcomes) / 200:.4f},"
        f" {sum(o.found.overall.checks for o in outcomes) / 200:.0f} checks"
    )
    assert held(outcomes) >= 0.93
    assert sum(per_class) / len(per_class) >= 0.93
    assert ratio <= 1.005
    assert math.isfinite(ratio)
