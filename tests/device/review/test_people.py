"""People: PINs, sessions, waits, the password of the network, and what the trail says of them."""

import csv
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlite_utils import Database

from config.document import to_toml
from config.settings import Device, Review, Settings
from device import clock
from device.review import people
from device.review.people import Person
from device.review.people_pages import Cell, in_words, paged
from device.review.texts import texts
from device.store import add_action, add_answer, open_store
from tests.device.review.conftest import (
    OTHER,
    Client,
    Server,
    answers_in,
    fill,
    serving,
)  # fmt: skip

REVIEW = Review(
    operators=["Anna", "李伟", "Bo"], supervisors=["Eva"], supervisor_timeout_s=100,
    session_timeout_s=1000,
)  # fmt: skip
ANNA, LI, EVA = Person("Anna", False), Person("李伟", False), Person("Eva", True)
PIN = "4711"
PASSWORD = "correct horse"


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
    monkeypatch.setattr("device.store.stamp", moved.stamp)
    return moved


def actions(db: Database) -> list[tuple[str, str, str]]:
    return [tuple(r) for r in db.execute("SELECT who, action, subject FROM actions ORDER BY id")]


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
        patch.setattr("device.store.stamp", at.stamp)
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


# --- the server -----------------------------------------------------------------------------


def with_staff(folder: Path) -> Settings:
    """A store with questions; Anna has a PIN, 李伟 and Bo have none, supervisor Eva has one."""
    settings = Settings(
        device=Device(data=folder / "data"),
        review=Review(
            operators=["Anna", "李伟", "Bo"], supervisors=["Eva", "Max"], supervisor_timeout_s=1000
        ),
    )
    db = open_store(settings.device.data)
    fill(db, 20)
    people.set_secret(db, "Anna", PIN, "x")
    people.set_secret(db, "Eva", "00001111", "x")
    db.close()
    return settings


@pytest.fixture
def staffed(tmp_path: Path) -> Settings:
    return with_staff(tmp_path)


@pytest.fixture
def staff(staffed: Settings) -> Iterator[Server]:
    with serving(staffed) as running:
        yield running


@pytest.fixture(scope="module")
def steady_staff(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for the tests in which nothing is stored."""
    with serving(with_staff(tmp_path_factory.mktemp("staff"))) as running:
        yield running
        assert {row[1:] for row in trail(running)} <= {("logged in", "Bo")}


def trail(server: Server) -> list[tuple[str, str, str]]:
    db = open_store(server.settings.device.data)
    found = actions(db)
    db.close()
    return [row for row in found if row[0] != "x"]


def age(server: Server, seconds: float) -> None:
    """Let all sessions and actions be older."""
    db = open_store(server.settings.device.data)
    db.execute("UPDATE sessions SET used_ns = used_ns - ?", [int(seconds * 1e9)])
    db.execute("UPDATE actions SET monotonic_ns = monotonic_ns - ?", [int(seconds * 1e9)])
    db.close()


def wait_from_now(server: Server) -> None:
    """Let a wait begin now, however long the test took to get here."""
    db = open_store(server.settings.device.data)
    db.execute("UPDATE actions SET monotonic_ns = ?", [clock.stamp().monotonic_ns])
    db.close()


def pin(client: Client, name: str, value: str) -> httpx.Response:
    return client.form("/people/pin", name=name, pin=value)


def test_without_an_operator_the_questions_lead_to_the_names(staff: Server) -> None:
    client = staff.client()
    reply = client.http.get("/")
    assert (reply.status_code, reply.headers["location"]) == (303, "/people")
    page = client.http.get("/people").text
    assert all(name in page for name in ("Anna", "李伟", "Bo", "Eva", "Max", "中文"))
    assert 'aria-pressed="true"' not in page
    assert "Log out" not in page


def test_a_name_without_a_pin_is_enough_and_a_pin_is_asked_for(staff: Server) -> None:
    client = staff.client()
    client.open("Bo")
    page = client.http.get("/people").text
    assert 'value="Bo" aria-pressed="true"' in page
    assert "Log out" in page
    assert client.form("/people/login", name="Anna").headers["location"] == "/people/pin?name=Anna"
    assert pin(client, "Anna", "0000").status_code == 401
    assert 'value="Bo" aria-pressed="true"' in client.http.get("/people").text
    assert pin(client, "Anna", PIN).headers["location"] == "/"
    assert '"operator": "Anna"' in client.http.get("/").text.replace("&#34;", '"')
    assert client.form("/people/logout").headers["location"] == "/people"
    assert client.http.get("/").status_code == 303
    assert trail(staff) == [
        ("Bo", "logged in", "Bo"), ("Anna", "refused", "Anna"), ("Bo", "logged out", "Bo"),
        ("Anna", "logged in", "Anna"), ("Anna", "logged out", "Anna"),
    ]  # fmt: skip


def test_ten_wrong_pins_and_the_right_one_during_the_wait(staff: Server) -> None:
    client = staff.client()
    codes = [pin(client, "Anna", f"000{i}").status_code for i in range(10)]
    assert codes == [401] * 4 + [429] * 6
    wait_from_now(staff)
    reply = pin(client, "Anna", PIN)
    assert reply.status_code == 429
    assert re.search(r"Too many wrong PINs for Anna. Wait 1[0-5] s, then try again.", reply.text)
    assert client.http.get("/").status_code == 303
    staff.kill()
    staff.start_again()
    wait_from_now(staff)
    assert pin(client, "Anna", PIN).status_code == 429
    assert client.http.get("/people/pin?name=Anna").status_code == 429
    assert pin(client, "Eva", "00001111").status_code == 303  # others are not held up
    age(staff, 16)
    assert pin(client, "Anna", "0000").status_code == 429
    age(staff, 16)
    assert pin(client, "Anna", PIN).status_code == 429  # the wait has doubled
    age(staff, 16)
    assert pin(client, "Anna", PIN).status_code == 303
    assert [row[1] for row in trail(staff) if row[2] == "Anna"] == ["refused"] * 6 + ["logged in"]


def test_guesses_at_the_same_time_are_counted_one_by_one(staff: Server) -> None:
    client = staff.client()
    token = client.form_token()
    cookies = dict(client.http.cookies)

    def guess(number: int) -> int:
        data = {"token": token, "name": "Anna", "pin": f"{number:04}"}
        return httpx.post(
            f"{staff.url}people/pin", data=data, cookies=cookies, trust_env=False, timeout=60
        ).status_code

    with ThreadPoolExecutor(12) as pool:
        codes = list(pool.map(guess, range(24)))
    assert sorted(codes) == [401] * 4 + [429] * 20
    assert len([row for row in trail(staff) if row[1] == "refused"]) == 5


def test_the_server_answers_while_a_pin_is_compared(staff: Server) -> None:
    client, other = staff.client(), staff.client(OTHER)
    other.open("Bo")
    token = client.form_token()
    cookies = dict(client.http.cookies)
    ended = threading.Event()

    def guesses() -> None:
        for name in ("Anna", "Eva"):
            for _ in range(5):
                data = {"token": token, "name": name, "pin": "0000"}
                httpx.post(
                    f"{staff.url}people/pin",
                    data=data,
                    cookies=cookies,
                    trust_env=False,
                    timeout=60,
                )
        ended.set()

    worker = threading.Thread(target=guesses)
    worker.start()
    replies = 0
    while not ended.is_set():
        other.questions()
        replies += 1
    worker.join()
    # On the event loop or the store's thread, a reply would come after each whole comparison.
    assert replies > 3 * 10


@pytest.mark.parametrize(
    ("path", "fields", "status"),
    [
        ("/people/login", {"name": "Mallory"}, 422), ("/people/login", {}, 422),
        ("/people/login", {"name": "<script>alert(1)</script>"}, 422),
        ("/people/pin", {"name": "<b>x</b>", "pin": PIN}, 422),
        ("/people/pin", {"name": "Anna"}, 422), ("/people/pin", {"name": "Anna", "pin": "47"}, 422),
        ("/people/pin", {"name": "Anna", "pin": "9" * 9000}, 422),
        ("/people/pin", {"name": "Anna", "pin": "9" * 90_000}, 413),
        ("/people/pin", {"name": "Anna", "pin": "４７１１"}, 422),
        ("/people/language", {"language": "../en"}, 422), ("/people/language", {}, 422),
        ("/people/login", {f"f{i}": "x" for i in range(50)}, 422),
    ],
    ids=lambda value: str(value)[:40],
)  # fmt: skip
def test_bad_forms_are_refused_readably(
    steady_staff: Server, path: str, fields: dict[str, str], status: int
) -> None:
    client = steady_staff.client()
    reply = client.form(path, **fields)
    assert reply.status_code == status
    assert reply.headers["content-type"].startswith("text/html")
    assert "<script>alert" not in reply.text
    assert "<b>x" not in reply.text
    assert client.http.get("/").status_code == 303


def test_a_get_with_html_in_the_name_is_refused_readably(steady_staff: Server) -> None:
    reply = steady_staff.client().http.get(
        "/people/pin", params={"name": "<script>alert(1)</script>"}
    )
    assert reply.status_code == 422
    assert "<script>alert" not in reply.text


@pytest.mark.parametrize("path", ["login", "pin", "logout", "language"])
def test_a_form_without_its_token_is_refused(steady_staff: Server, path: str) -> None:
    client, other = steady_staff.client(), steady_staff.client(OTHER)
    client.open("Bo")
    fields = {"name": "Anna", "pin": PIN, "language": "zh"}
    for token in ("", "0" * 64, other.form_token()):
        reply = client.http.post(f"/people/{path}", data=fields | {"token": token})
        assert reply.status_code == 403
        assert reply.headers["content-type"].startswith("text/html")
        assert "set-cookie" not in reply.headers
    fields["token"] = client.form_token()
    for origin in ("http://evil.example", "null"):
        reply = client.http.post(f"/people/{path}", data=fields, headers={"Origin": origin})
        assert reply.status_code == 403
    assert client.http.post(f"/people/{path}", json=fields).status_code == 415
    assert client.http.get("/").status_code == 200  # Bo is there still


def test_the_cookie_changes_with_everything_it_proves(staff: Server) -> None:
    client = staff.client()
    client.http.cookies.set("millsight", "planted")  # by whoever was at the browser before
    seen = ["planted"]
    for path, fields in (
        ("/people/login", {"name": "Bo"}),
        ("/people/pin", {"name": "Anna", "pin": PIN}),
        ("/people/logout", {}),
    ):
        reply = client.form(path, **fields)
        assert reply.status_code == 303
        assert "httponly" in reply.headers["set-cookie"].lower()
        assert "samesite=strict" in reply.headers["set-cookie"].lower()
        fresh = reply.cookies["millsight"]
        client.http.cookies.clear()
        client.http.cookies.set("millsight", fresh)
        seen.append(fresh)
    assert len(set(seen)) == 4
    for old in seen[:-1]:
        cookies = {"millsight": old}
        assert httpx.get(staff.url, cookies=cookies, trust_env=False).status_code == 303


def test_a_supervisor_without_a_pin_is_told_how_to_get_one(staff: Server) -> None:
    client = staff.client()
    assert client.form("/people/login", name="Max").headers["location"] == "/people/pin?name=Max"
    for reply in (client.http.get("/people/pin?name=Max"), pin(client, "Max", "0000")):
        assert reply.status_code == 409
        assert "millsight people pin Max" in reply.text
    assert client.http.get("/").status_code == 303


def test_a_tap_counts_only_for_who_is_logged_in(staff: Server) -> None:
    client = staff.client()
    client.open("Anna", PIN)
    patches = [q["patch"] for q in client.questions()["questions"]]
    for number, name in enumerate(("Eva", "Max")):  # no tap in the name of who has a PIN
        reply = client.tap(f"foreign-{number}", patches[0], operator=name)
        assert (reply.status_code, reply.json()) == (401, {"state": "login"})
    assert client.tap("answer-1", patches[0], operator="Bo").status_code == 200  # proves nothing
    assert client.tap("answer-2", patches[1]).status_code == 200
    client.form("/people/login", name="Bo")
    client.open("Bo")
    patch = client.questions()["questions"][0]["patch"]
    assert client.tap("answer-3", patch).status_code == 401  # Anna has gone
    body = {"holder": client.holder, "have": [], "id": "undo-one", "operator": "Anna"}
    assert client.post("/undo", body).status_code == 401
    db = open_store(staff.settings.device.data)
    assert db.execute("SELECT operator FROM labels ORDER BY rowid").fetchall() == [
        ("Bo",), ("Anna",)
    ]  # fmt: skip
    db.close()


def test_an_expired_session_stores_nothing_and_the_same_tap_counts_afterwards(
    staff: Server,
) -> None:
    client = staff.client()
    client.open("Eva", "00001111")
    patch = client.questions()["questions"][0]["patch"]
    age(staff, 1100)
    body = {"holder": client.holder, "have": [], "id": "undo-one", "operator": "Eva"}
    for reply in (
        client.tap("answer-1", patch, operator="Eva"),
        client.post("/undo", body),
        client.post("/questions", {"holder": client.holder, "have": []}),
    ):
        assert (reply.status_code, reply.json()) == (401, {"state": "login"})
    assert answers_in(staff.settings.device.data) == []
    client.open("Eva", "00001111")
    assert client.tap("answer-1", patch, operator="Eva").status_code == 200
    assert len(answers_in(staff.settings.device.data)) == 1


def test_polling_is_no_activity_and_a_page_is(staff: Server) -> None:
    client = staff.client()
    client.open("Eva", "00001111")
    age(staff, 600)
    patch = client.questions()["questions"][0]["patch"]
    client.http.get(f"/patches/{patch}.png")
    client.http.get("/static/page.js")
    age(staff, 500)
    assert client.post("/questions", {"holder": client.holder, "have": []}).status_code == 401
    client.open("Eva", "00001111")
    for path in ("/people", "/", "/people"):
        age(staff, 600)
        assert client.http.get(path).status_code == 200
    age(staff, 600)
    assert client.tap("answer-1", patch, operator="Eva").status_code == 200
    age(staff, 600)
    assert client.questions()["operator"] == "Eva"


def test_a_restart_of_the_server_logs_nobody_out(staff: Server) -> None:
    one, two = staff.client(), staff.client(OTHER)
    one.open("Anna", PIN)
    two.open("Bo")
    staff.kill()
    staff.start_again()
    assert one.http.get("/").status_code == two.http.get("/").status_code == 200
    patch = one.questions()["questions"][0]["patch"]
    assert one.tap("answer-1", patch).status_code == 200


def test_the_language_is_a_cookie(staff: Server) -> None:
    client = staff.client()
    assert 'lang="en"' in client.http.get("/people").text
    assert client.form("/people/language", language="zh").status_code == 303
    assert "谁在回答" in client.http.get("/people").text
    client.open("Bo")
    page = client.http.get("/").text
    assert 'lang="zh"' in page
    assert "Undo" not in page


def test_only_the_operator_without_a_pin_needs_no_page_of_names(tmp_path: Path) -> None:
    settings = Settings(device=Device(data=tmp_path / "data"), review=Review(operators=["Anna"]))
    with serving(settings) as server:
        client = server.client()
        assert client.http.get("/").status_code == 200
        assert "Log out" not in client.http.get("/people").text


# --- the network ----------------------------------------------------------------------------


def on_network(staffed: Settings) -> Settings:
    """On every address, and reached under a further name."""
    db = open_store(staffed.device.data)
    people.set_secret(db, people.NETWORK, PASSWORD, "x")
    db.close()
    review = staffed.review.model_copy(update={"host": "0.0.0.0", "host_names": ["Mill-7.lan"]})
    return staffed.model_copy(update={"review": review})


@pytest.fixture
def networked(staffed: Settings) -> Iterator[Server]:
    with serving(on_network(staffed), network=True) as running:
        yield running


def give(client: Client, password: str = PASSWORD) -> httpx.Response:
    return client.form("/password", page="/", password=password)


def test_a_network_browser_sees_nothing_before_the_password(networked: Server) -> None:
    client = networked.client()
    for path in ("/", "/people", "/people/pin?name=Anna", "/today", "/nothing"):
        reply = client.http.get(path)
        assert reply.status_code == 200
        assert 'type="password"' in reply.text
        assert "Anna" not in reply.text
    for path in (f"/patches/{'0' * 64}.png", f"/heat/x/{'0' * 64}.png", "/frames/a/b.jpg"):
        assert client.http.get(path).status_code == 401
    for path in ("/panel.css", "/static/review.css", "/static/page.js", "/static/touch.js"):
        assert client.http.get(path).status_code == 200
    token = client.form_token("/")
    for path in ("/people/login", "/people/logout", "/people/pin"):
        reply = client.http.post(path, data={"token": token, "name": "Bo", "pin": PIN})
        assert reply.status_code == 401
        assert 'type="password"' in reply.text
    for path in ("/answers", "/questions", "/undo"):
        client.token = token
        reply = client.post(path, {})
        assert (reply.status_code, reply.json()) == (401, {"state": "login"})
    assert trail(networked) == []
    before = client.http.cookies["millsight"]
    reply = give(client)
    assert (reply.status_code, reply.headers["location"]) == (303, "/")
    assert client.http.cookies["millsight"] != before
    client.open("Anna", PIN)
    client.questions()
    client.form("/people/logout")
    assert "Anna" in client.http.get("/people").text
    assert trail(networked)[0] == ("127.0.0.1", "logged in", "(network)")
    stranger = networked.client()
    stranger.http.cookies.set("millsight", before)
    assert 'type="password"' in stranger.http.get("/").text


def test_wrong_passwords_wait_and_are_recorded(networked: Server) -> None:
    client = networked.client()
    codes = [give(client, f"wrong {i}").status_code for i in range(7)]
    assert codes == [401] * 4 + [429] * 3
    reply = give(client)
    assert reply.status_code == 429
    assert re.search(r"Wait 1?\d s", reply.text)
    age(networked, 16)
    assert give(client, "").status_code == 429
    age(networked, 31)
    assert client.http.post("/password", data={"password": PASSWORD}).status_code == 403
    assert give(client).status_code == 303
    assert [row[:2] for row in trail(networked)] == [("127.0.0.1", "refused")] * 6 + [
        ("127.0.0.1", "logged in")
    ]


@pytest.mark.parametrize(
    ("host", "status"),
    [("mill-7.lan:8080", 200), ("MILL-7.LAN", 200), ("0.0.0.0", 400), ("evil.example", 400)],
)
def test_only_the_named_hosts_are_answered(networked: Server, host: str, status: int) -> None:
    assert networked.client().http.get("/", headers={"Host": host}).status_code == status


def test_a_password_given_once_is_asked_again_when_it_changes(networked: Server) -> None:
    client = networked.client()
    give(client)
    assert "Anna" in client.http.get("/people").text
    assert command(networked.config, "password", given="another one\n").returncode == 0
    assert 'type="password"' in client.http.get("/people").text
    assert give(client).status_code == 401
    assert give(client, "another one").status_code == 303


# --- the command line -----------------------------------------------------------------------


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "millsight.toml"
    review = Review(operators=["Anna", "李伟"], supervisors=["Eva"])
    settings = Settings(device=Device(data=tmp_path / "data"), review=review)
    path.write_text(to_toml(settings), encoding="utf-8")
    return path


def command(config: Path, *words: str, given: str = "") -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "millsight", "people", *words, "-c", str(config)],
        input=given, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


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
