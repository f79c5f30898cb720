"""Browsers of the network: their password, and the hosts that are answered."""

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from config.settings import Settings
from device.review import people
from device.store.database import open_store
from tests.device.review.conftest import (
    Client,
    Server,
    serving,
)  # fmt: skip
from tests.device.review.staff import PASSWORD, PIN, age, command, trail, with_staff


@pytest.fixture
def staffed(tmp_path: Path) -> Settings:
    return with_staff(tmp_path)


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
    with client.http.stream("GET", "/live/events", timeout=10) as events:
        lines = events.iter_lines()
        assert next(lines) == "event: edition"
        assert command(networked.config, "password", given="another one\n").returncode == 0
        assert 'type="password"' in client.http.get("/people").text
        for _ in lines:  # what is sent already ends, too
            pass
    assert 'type="password"' in client.http.get("/live/events").text
    assert give(client).status_code == 401
    assert give(client, "another one").status_code == 303
