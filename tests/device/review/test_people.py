"""People: PINs, sessions, waits, and the page of their names."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlite_utils import Database

from config.settings import Review
from device.review import people
from device.review.people import Person
from device.review.people_pages import Cell, in_words, paged
from device.review.texts import texts
from device.store.trail import add_action
from device.system import clock
from tests.device.review.staff import ANNA, EVA, LI, PASSWORD, PIN, REVIEW, actions


class Clock:
    """A monotonic clock that stands still until it is moved, and a boot."""

    def __init__(self) -> None:
        self.now_s = 5000.0
        self.boot = "first boot"

    def stamp(self) -> clock.Stamp:
        return clock.Stamp(2 * 10**18, int(self.now_s * 1e9), self.boot, 1)


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Clock:
    moved = Clock()
    monkeypatch.setattr("device.review.people.stamp", moved.stamp)
    monkeypatch.setattr("device.store.trail.stamp", moved.stamp)
    return moved


def present(db: Database, cookie: str | None, review: Review = REVIEW) -> Person | None:
    return people.visitor(db, review, cookie).person


# --- sessions -------------------------------------------------------------------------------


def test_a_session_is_known_by_its_cookie_which_is_not_stored(db: Database) -> None:
    first = people.log_in(db, REVIEW, None, ANNA)
    assert present(db, first) == ANNA
    assert first not in str(db.execute("SELECT * FROM sessions").fetchall())
    assert present(db, "invented") is None
    assert present(db, None) is None
    second = people.log_in(db, REVIEW, first, LI)
    assert second != first
    assert present(db, first) is None  # a cookie that somebody has seen is worth nothing
    assert present(db, second) == LI
    third = people.log_out(db, REVIEW, second)
    assert present(db, second) is present(db, third) is None
    assert actions(db) == [
        ("Anna", "logged in", "Anna"), ("Anna", "logged out", "Anna"),
        ("李伟", "logged in", "李伟"), ("李伟", "logged out", "李伟"),
    ]  # fmt: skip


def test_the_only_operator_is_there_unless_somebody_else_could_be(db: Database) -> None:
    only = Review(operators=["Anna"])
    assert present(db, None, only) == ANNA
    assert present(db, None, Review(operators=["Anna"], supervisors=["Eva"])) is None
    people.set_secret(db, "Anna", PIN, "x")
    assert present(db, None, only) is None
    assert present(db, people.log_in(db, only, None, ANNA), only) == ANNA


@pytest.mark.parametrize(
    ("person", "pin", "idle_s", "stays"),
    [
        (ANNA, False, 10**6, True), (ANNA, True, 999, True), (ANNA, True, 1001, False),
        (EVA, True, 99, True), (EVA, True, 101, False),
    ],
)  # fmt: skip
def test_who_proved_more_than_a_name_is_logged_out_when_idle(
    db: Database, at: Clock, person: Person, pin: bool, idle_s: float, stays: bool
) -> None:
    if pin:
        people.set_secret(db, person.name, PIN, "x")
    cookie = people.log_in(db, REVIEW, None, person)
    at.now_s += idle_s / 2
    assert present(db, cookie) == person  # looking counts for nothing
    at.now_s += idle_s / 2
    assert present(db, cookie) == (person if stays else None)
    assert ((person.name, "timed out", person.name) in actions(db)) is not stays
    at.now_s -= idle_s
    assert present(db, cookie) == (person if stays else None)


def test_whoever_does_something_stays(db: Database, at: Clock) -> None:
    people.set_secret(db, "Eva", PIN, "x")
    cookie = people.log_in(db, REVIEW, None, EVA)
    for _ in range(5):
        at.now_s += 90
        assert people.visitor(db, REVIEW, cookie, active=True).person == EVA
    at.now_s += 101
    assert people.visitor(db, REVIEW, cookie, active=True).person is None
    assert people.visitor(db, REVIEW, cookie, active=True).person is None


def test_another_boot_asks_again_for_pins_and_password(db: Database, at: Clock) -> None:
    people.set_secret(db, "Eva", PIN, "x")
    cookies = {p: people.log_in(db, REVIEW, None, p) for p in (ANNA, EVA)}
    inside = people.admit(db, REVIEW, cookies[ANNA], "192.168.1.7")
    assert people.visitor(db, REVIEW, inside) == (ANNA, True)
    at.boot = "second boot"
    at.now_s = 1
    assert people.visitor(db, REVIEW, inside, active=True) == (ANNA, False)
    assert people.visitor(db, REVIEW, inside) == (ANNA, False)
    assert present(db, cookies[EVA]) is None


def test_the_password_is_asked_again_after_a_while(db: Database, at: Clock) -> None:
    cookie = people.admit(db, REVIEW, None, "192.168.1.7")
    for _ in range(3):
        at.now_s += 900
        assert people.visitor(db, REVIEW, cookie, active=True).network
    at.now_s += 1001
    assert not people.visitor(db, REVIEW, cookie, active=True).network


def test_the_password_outlives_logging_in_and_out(db: Database) -> None:
    inside = people.admit(db, REVIEW, None, "192.168.1.7")
    anna = people.log_in(db, REVIEW, inside, ANNA)
    assert people.visitor(db, REVIEW, anna) == (ANNA, True)
    nobody = people.log_out(db, REVIEW, anna)
    assert people.visitor(db, REVIEW, nobody) == (None, True)
    assert people.visitor(db, REVIEW, inside) == (None, False)


def test_a_new_pin_or_password_puts_out_who_came_in_without(db: Database) -> None:
    anna, bo = (people.log_in(db, REVIEW, None, p) for p in (ANNA, LI))
    people.set_secret(db, "Anna", PIN, "x")
    assert (present(db, anna), present(db, bo)) == (None, LI)
    anna = people.log_in(db, REVIEW, None, ANNA)
    assert people.remove_secret(db, "Anna", "x")
    assert not people.remove_secret(db, "Anna", "x")
    assert present(db, anna) is None
    inside = people.admit(db, REVIEW, bo, "192.168.1.7")
    people.set_secret(db, people.NETWORK, PASSWORD, "x")
    assert people.visitor(db, REVIEW, inside) == (LI, False)
    assert PIN not in str(db.execute("SELECT * FROM pins").fetchall())


def test_a_name_that_left_the_settings_or_changed_sides_is_nobody(db: Database) -> None:
    people.set_secret(db, "Eva", PIN, "x")
    cookie = people.log_in(db, REVIEW, None, EVA)
    assert present(db, cookie, Review(operators=["Anna", "Eva"])) is None
    anna = people.log_in(db, REVIEW, None, ANNA)
    assert present(db, anna, Review(operators=["Bo"], supervisors=["Anna"])) is None


def test_sessions_do_not_grow_for_ever(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(people, "MOST_SESSIONS", 3)
    cookies = [people.log_in(db, REVIEW, None, ANNA) for _ in range(5)]
    assert [present(db, c) is not None for c in cookies] == [False, False, True, True, True]


# --- waits ----------------------------------------------------------------------------------


def test_waits_double_from_15_seconds_to_ten_minutes(db: Database, at: Clock) -> None:
    waits = []
    for _ in range(13):
        people.add_refusal(db, "Anna", "Anna")
        waits.append(people.wait_s(db, "Anna"))
        at.now_s += 1000
        assert people.wait_s(db, "Anna") == 0
    assert waits == [0, 0, 0, 0, 15, 30, 60, 120, 240, 480, 600, 600, 600]
    assert people.wait_s(db, "Bo") == 0
    assert people.wait_s(db, people.NETWORK) == 0


def test_the_right_pin_or_a_new_one_ends_the_count(db: Database, at: Clock) -> None:
    for end in (
        lambda: people.log_in(db, REVIEW, None, ANNA),
        lambda: people.set_secret(db, "Anna", PIN, "x"),
    ):
        for _ in range(5):
            people.add_refusal(db, "Anna", "Anna")
        assert people.wait_s(db, "Anna") == 15
        end()
        assert people.wait_s(db, "Anna") == 0
        for _ in range(4):
            people.add_refusal(db, "Anna", "Anna")
        add_action(db, "Anna", "rolled back", "Anna")  # says nothing about PINs
        assert people.wait_s(db, "Anna") == 0
        people.add_refusal(db, "Anna", "Anna")
        assert people.wait_s(db, "Anna") == 15
        people.log_in(db, REVIEW, None, ANNA)


def test_a_reboot_does_not_end_a_wait(db: Database, at: Clock) -> None:
    for _ in range(9):
        people.add_refusal(db, "Anna", "Anna")
    at.boot, at.now_s = "second boot", 40.0
    assert people.wait_s(db, "Anna") == 200


@given(st.integers(0, 30), st.floats(0, 2000))
def test_a_wait_is_never_longer_than_ten_minutes_nor_negative(wrong: int, later_s: float) -> None:
    db = Database(memory=True)
    db.execute(
        "CREATE TABLE actions (id INTEGER PRIMARY KEY, who, action, subject, wall_ns, "
        "monotonic_ns, boot_id, clock_ok)"
    )
    at = Clock()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("device.review.people.stamp", at.stamp)
        patch.setattr("device.store.trail.stamp", at.stamp)
        for _ in range(wrong):
            people.add_refusal(db, "Anna", "Anna")
        full = people.wait_s(db, "Anna")
        at.now_s += later_s
        assert people.wait_s(db, "Anna") == pytest.approx(max(0, full - later_s), abs=1e-3)
    assert full == (0 if wrong < 5 else min(600, 15 * 2 ** (wrong - 5)))
    db.close()


def test_a_wait_in_words_is_never_too_short() -> None:
    t = texts("en")
    said = {0.1: "1 s", 15: "15 s", 89.5: "90 s", 91: "2 min", 600: "10 min"}
    assert {wait: in_words(wait, t) for wait in said} == said


def test_what_is_no_hash_fits_nothing() -> None:
    assert not people.fits("", "")
    assert not people.fits("nonsense", "nonsense")


# --- the page of names ----------------------------------------------------------------------


@given(st.integers(1, 120), st.integers(0, 4), st.integers(2, 40))
def test_everybody_is_on_a_page(names: int, fixed: int, room: int) -> None:
    cells = [Cell(str(i), "") for i in range(names)]
    others = [Cell(f"fixed {i}", "") for i in range(fixed)]
    pages = paged(cells, others, room)
    assert sorted(c for page in pages for c in page) == sorted([*cells, *others])
    assert [c for page in pages for c in page if c in cells] == cells
    assert all(page and len(page) + (len(pages) > 1) <= room for page in pages)
    if fixed < room:
        assert set(others) <= set(pages[0])
