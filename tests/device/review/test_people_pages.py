"""People at the touch pages: names, PINs, sessions and supervisors."""

import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from config.settings import Device, Review, Settings
from device.store.database import open_store
from tests.device.review.conftest import (
    OTHER,
    Server,
    answers_in,
    serving,
)  # fmt: skip
from tests.device.review.staff import PIN, age, pin, trail, wait_from_now, with_staff


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
