"""The server over HTTP: what it refuses, what it acknowledges, and what kill -9 leaves."""

import asyncio
import contextlib
import random
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from html import unescape
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from sqlite_utils import Database
from starlette.exceptions import HTTPException

from camera.milled_steel import CLASSES
from config.document import to_toml
from config.errors import UserError
from config.settings import Asking, Device, Recipe, Review, Settings
from device.models.activation import activate
from device.review.desk import Desk
from device.review.messages import Message, TakeBack, Tap
from device.store.answers import add_label, waiting
from device.store.database import STORE_FILE, exclusive, open_store
from device.store.second_look import Doubt, add_doubts
from device.upkeep.retention import remove
from tests.device.conftest import wider_model
from tests.device.review.conftest import (
    HOLDER,
    OTHER,
    Client,
    Server,
    answers_in,
    copied,
    fill,
    serving,
)


@pytest.fixture
def page(server: Server) -> Client:
    client = server.client()
    client.open()
    return client


@pytest.fixture(scope="module")
def steady_page(steady_server: Server) -> Client:
    client = steady_server.client()
    client.open()
    return client


def stored(server: Server) -> int:
    return len(answers_in(server.settings.device.data))


def assert_readable(reply: httpx.Response, status: int) -> None:
    """Refused with a page that a person can read, and with every header."""
    assert reply.status_code == status
    assert reply.headers["content-type"].startswith("text/html")
    assert "Questions" in reply.text
    assert len(reply.text) < 2000
    assert reply.headers["content-security-policy"].startswith("default-src 'self';")
    assert reply.headers["x-content-type-options"] == "nosniff"


def test_a_question_brings_its_pictures_and_the_models_ranked_guesses(steady_page: Client) -> None:
    reply = steady_page.questions()
    first, second = reply["questions"]
    assert reply["waiting"] > 10
    assert first["patch"] != second["patch"]
    assert first["reason"] == "uncertain"
    assert len(first["guesses"]) == 3
    assert first["predicted"] == first["guesses"][0]
    for kind, media in (("picture", "png"), ("heat", "png"), ("frame", "jpeg")):
        picture = steady_page.http.get(first[kind])
        assert picture.status_code == 200
        assert picture.headers["content-type"] == f"image/{media}"
        assert len(picture.content) > 3000
    assert (
        steady_page.http.get(first["heat"]).content
        != steady_page.http.get(first["picture"]).content
    )


def test_a_tap_is_stored_and_brings_the_next_question(page: Client, server: Server) -> None:
    first, second = (q["patch"] for q in page.questions()["questions"])
    reply = page.tap("answer-1", first, have=[second])
    assert reply.status_code == 200
    (third,) = reply.json()["questions"]
    assert third["patch"] not in {first, second}
    assert answers_in(server.settings.device.data) == [(first, "class", "scratch")]


def test_a_late_tap_is_refused_and_the_page_goes_on(
    steady_page: Client, steady_server: Server
) -> None:
    first, second = (q["patch"] for q in steady_page.questions()["questions"])
    other = steady_server.client(OTHER)
    other.open()
    late = other.tap("answer-1", first)
    assert late.status_code == 409
    assert late.json()["outcome"] == "late"
    assert not {first, second} & {q["patch"] for q in late.json()["questions"]}
    assert stored(steady_server) == 0


def test_undo_brings_the_question_back(page: Client, server: Server) -> None:
    first = page.questions()["questions"][0]["patch"]
    assert page.tap("answer-1", first).json()["undoable"] == 1
    body = {"holder": page.holder, "have": [], "id": "undo-one", "operator": "Anna"}
    reply = page.post("/undo", body).json()
    assert reply["question"]["patch"] == first
    assert reply["undoable"] == 0
    assert [answer for _, answer, _ in answers_in(server.settings.device.data)] == [
        "class", "undone",
    ]  # fmt: skip


def test_a_missing_or_forged_token_or_origin_is_refused(
    steady_page: Client, steady_server: Server
) -> None:
    patch = steady_page.questions()["questions"][0]["patch"]
    good = steady_page.token
    for token in ("", "x", "0" * 64, good[:-1]):
        steady_page.token = token
        assert_readable(steady_page.tap("answer-1", patch), 403)
    steady_page.token = good
    body = {"holder": steady_page.holder, "have": []}
    assert_readable(steady_page.post("/questions", body, Origin="http://evil.example"), 403)
    assert (
        steady_page.post("/questions", body, Origin=steady_server.url.rstrip("/")).status_code
        == 200
    )
    stranger = steady_server.client()
    stranger.token = good  # somebody else's token, without the cookie
    assert_readable(stranger.tap("answer-1", patch), 403)
    assert stored(steady_server) == 0


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", ""]
)
def test_a_foreign_host_name_is_refused(steady_page: Client, host: str) -> None:
    assert_readable(steady_page.http.get("/", headers={"Host": host}), 400)


@pytest.mark.parametrize("host", ["localhost", "localhost:8080", "127.0.0.1:1", "[::1]:8080"])
def test_the_names_of_this_machine_are_answered(steady_page: Client, host: str) -> None:
    assert steady_page.http.get("/", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/patches/../../etc/passwd", "/patches/..%2f..%2fetc%2fpasswd.png", "/static/../app.py",
        "/static/..%2fapp.py", "/static/%2e%2e/app.py", "/patches/%00.png", "/patches/.png",
        "/heat/../../millsight.db/x.png", "/heat/x/" + "0" * 64 + ".png", "/frames/a/b.jpg",
        "/patches/' OR 1=1 --.png", "/static/", "/nothing", "//etc/passwd",
        "/lot/" + "9" * 25, "/lot/" + "9" * 5000, "/plates/" + "9" * 19,
        "/live/frames/" + "9" * 25 + ".jpg", "/drift/" + "9" * 25 + "/before.jpg",
    ],
)  # fmt: skip
def test_tricks_in_paths_find_nothing(
    steady_page: Client, steady_server: Server, path: str
) -> None:
    host, port = steady_server.url.removeprefix("http://").rstrip("/").split(":")
    with socket.create_connection((host, int(port))) as raw:  # no client that tidies the path
        line = path.replace(" ", "%20")
        raw.sendall(f"GET {line} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        reply = b"".join(iter(lambda: raw.recv(65536), b""))
    assert reply.startswith(b"HTTP/1.1 404"), reply[:100]
    assert b"There is nothing at this address." in reply


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"", 422), (b"{", 422), (b"[]", 422), (b"\xff\xfe", 422), (b"null", 422),
        (b'{"holder": "holder-1", "have": [], "more": 1}', 422),
        (b'{"holder": 7, "have": []}', 422),
        (b'{"holder": "holder-1", "have": ["../x"]}', 422),
        (b'{"holder": "<b>holder</b>", "have": []}', 422),
        (b"[" * 10_000, 422), (b" " * 20_000, 413), (b"x" * 5_000_000, 413),
    ],
)  # fmt: skip
def test_malformed_and_huge_bodies_are_refused(
    steady_page: Client, content: bytes, status: int
) -> None:
    headers = {"X-CSRF-Token": steady_page.token, "Content-Type": "application/json"}
    try:
        reply = steady_page.http.post("/questions", content=content, headers=headers)
    except httpx.WriteError:  # the steady_server hung up in the middle of megabytes: refused too
        assert len(content) > 100_000
        return
    assert_readable(reply, status)


@pytest.mark.parametrize(
    "changes",
    [
        {"operator": "<script>alert(1)</script>"}, {"operator": "Mallory"}, {"operator": ""},
        {"name": "rust"}, {"name": None}, {"answer": "undone"}, {"answer": "can't tell"},
        {"answer": "something new", "name": "<b>burr</b>"},
        {"answer": "something new", "name": "x" * 65}, {"answer": "something new"},
        {"id": "short"}, {"id": "' OR 1=1 --"}, {"have": ["0" * 63]}, {"have": ["0" * 64] * 33},
    ],
    ids=str,
)  # fmt: skip
def test_an_answer_that_cannot_be_given_is_refused(
    steady_page: Client, steady_server: Server, changes: dict[str, object]
) -> None:
    patch = steady_page.questions()["questions"][0]["patch"]
    reply = steady_page.tap("answer-1", patch, **changes)
    assert_readable(reply, 422)
    assert "<script>" not in reply.text
    assert stored(steady_server) == 0


def test_other_methods_forms_and_patches_are_refused(
    steady_page: Client, steady_server: Server
) -> None:
    assert_readable(steady_page.http.get("/answers"), 405)
    form = steady_page.http.post(
        "/answers", data={"a": "b"}, headers={"X-CSRF-Token": steady_page.token}
    )
    assert_readable(form, 415)
    assert_readable(steady_page.tap("answer-1", "0" * 64), 404)
    assert stored(steady_server) == 0


def test_a_locked_store_is_told_and_a_tap_is_stored_afterwards(
    page: Client, server: Server
) -> None:
    patch = page.questions()["questions"][0]["patch"]
    other = sqlite3.connect(server.settings.device.data / STORE_FILE)
    other.execute("BEGIN IMMEDIATE")
    reply = page.tap("answer-1", patch)
    assert (reply.status_code, reply.json()) == (503, {"state": "locked"})
    other.close()
    assert page.tap("answer-1", patch).status_code == 200
    assert stored(server) == 1


def test_an_open_page_outlives_a_restart_of_the_server(page: Client, server: Server) -> None:
    patch = page.questions()["questions"][0]["patch"]
    server.kill()
    server.start_again()
    assert page.tap("answer-1", patch).status_code == 200
    assert stored(server) == 1


@pytest.mark.parametrize("kills", [4, pytest.param(25, marks=pytest.mark.slow)])
def test_every_acknowledged_tap_survives_kill_9_once(kills: int, tmp_path: Path) -> None:
    """Taps go on while the server dies at random moments; a tap without a reply is repeated."""
    settings = Settings(
        device=Device(data=tmp_path / "data"),
        recipe=Recipe(classes=["clean", "scratch"], pass_classes=["clean"]),
        asking=Asking(k=1000, labels_per_shift=0),
        review=Review(operators=["Anna"]),
    )
    db = open_store(settings.device.data)
    fill(db, 200)
    db.close()
    with serving(settings) as server:
        client = server.client()
        client.open()
        acknowledged: list[str] = []
        ended = threading.Event()

        def reach(number: int, patch: str) -> None:
            status = 0
            while not status:
                try:
                    status = client.tap(f"answer-{number}", patch).status_code
                except httpx.TransportError:
                    time.sleep(0.02)
            assert status == 200

        def taps() -> None:
            while len(acknowledged) < 200:
                try:
                    question = client.questions()["questions"][0]
                except httpx.TransportError:
                    time.sleep(0.02)
                    continue
                reach(len(acknowledged), question["patch"])
                acknowledged.append(question["patch"])
                time.sleep(0.01)
            ended.set()

        operator = threading.Thread(target=taps)
        operator.start()
        rng = random.Random(0)
        done = 0
        while done < kills and not ended.wait(rng.uniform(0.05, 0.4)):
            server.kill()
            done += 1
            server.start_again()
        operator.join(120)
        assert done > 2
    labels = [patch for patch, _, _ in answers_in(settings.device.data)]
    assert sorted(labels) == sorted(acknowledged)
    assert len(set(labels)) == 200


def run(tmp_path: Path, *options: str) -> subprocess.CompletedProcess[str]:
    config = tmp_path / "millsight.toml"
    config.write_text(to_toml(Settings(device=Device(data=tmp_path / "data"))))
    command = [sys.executable, "-m", "millsight", "review", "-c", str(config), *options]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "millsight.local"])
def test_another_address_without_a_password_is_refused(tmp_path: Path, host: str) -> None:
    result = run(tmp_path, "--host", host)
    assert result.returncode == 1
    assert result.stderr.startswith(f"millsight: --host {host}: ")
    assert result.stderr.count("\n") == 1
    assert "127.0.0.1" in result.stderr or "`millsight people password`" in result.stderr


def test_a_taken_port_is_one_clear_line(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        result = run(tmp_path, "--port", str(taken.getsockname()[1]))
    assert result.returncode == 1
    assert "Address already in use; name another with --port" in result.stderr
    assert result.stderr.count("\n") == 1


def at_desk(desk: Desk, task: Callable[[Database], Any]) -> Any:
    """What `Desk.work` does, without an event loop: a browser's may run already."""
    return desk._thread.submit(desk._do, task).result()


def test_a_question_that_went_to_make_room_is_not_a_damaged_store(
    asking: Settings, tmp_path: Path
) -> None:
    settings = copied(asking, tmp_path / "copy")
    desk, other = Desk(settings), open_store(settings.device.data)
    first = Message(holder=HOLDER, have=[])

    def ask(db: Database, holder: str) -> list[str]:
        with exclusive(db):
            state = desk.state(db, first.model_copy(update={"holder": holder}), [], "Anna")
        return [question["patch"] for question in state["questions"]]

    had = at_desk(desk, lambda db: ask(db, HOLDER))
    next_ones = [q.patch_id for q in desk._waits if q.patch_id not in had]
    went = [q for q in next_ones[::2] if remove(other, [q]).unlabelled]
    assert went
    given = at_desk(desk, lambda db: ask(db, OTHER))
    assert len(given) == 2
    assert not set(given) & set(went)
    desk.close()
    other.close()


def test_free_memory_is_given_back_now_and_then(
    asking: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    gave: list[float] = []
    monkeypatch.setattr(
        "device.review.desk.give_back_memory", lambda: gave.append(time.monotonic())
    )
    desk = Desk(asking)
    for every_s, times in ((600.0, 0), (0.0, 2), (600.0, 2)):
        monkeypatch.setattr("device.review.desk.GIVE_BACK_S", every_s)
        for _ in range(2):
            at_desk(desk, lambda db: db.table_names())
        assert len(gave) == times
    desk.close()


def test_what_waits_is_remembered_and_never_wrong(asking: Settings) -> None:
    """Whatever happens, also elsewhere, what a desk remembers is what the store says."""
    desk = Desk(asking)
    other = open_store(asking.device.data)
    rng = random.Random(3)
    limits = asking.asking.k, asking.asking.cold_start
    seen = set()

    def step(db: Database) -> None:
        waits = desk.waits(db)
        patch = rng.choice(waits).patch_id if waits else "0" * 64
        name = str(rng.getrandbits(64))
        message: dict[str, Any] = {"holder": HOLDER, "have": [], "id": f"id-{name}"}
        match rng.randrange(5):
            case 0 | 1:
                tap = Tap(**message, patch=patch, answer="class", name="scratch", operator="Anna")
                desk.answer(db, None, tap)
                if rng.random() < 0.5:
                    desk.undo(
                        db, None, TakeBack(**message | {"id": f"undo-{name}"}, operator="Anna")
                    )
                desk.answer(db, None, tap)  # delivered twice
            case 2:
                desk.undo(db, None, TakeBack(**message, operator="Anna"))
            case 3:
                add_label(other, patch, "clean", "elsewhere")
            case 4:
                with pytest.raises(ZeroDivisionError), exclusive(db):
                    desk.answer(db, None, Tap(
                        **message, patch=patch, answer="can't tell", name=None, operator="Anna"
                    ))  # fmt: skip
                    raise ZeroDivisionError
                add_label(other, waits[-1].patch_id, "clean", "elsewhere")  # in that row's place
                raise HTTPException(400)

    desk.admit_as = lambda *_: None  # type: ignore[method-assign]

    async def many_steps() -> None:
        for _ in range(60):
            with contextlib.suppress(HTTPException, UserError):
                await desk.work(step)
            found = await desk.work(desk.waits)
            assert found == waiting(other, {"": limits})
            seen.add(len(found))

    # A thread of its own: the browser's driver keeps an event loop in this one.
    with ThreadPoolExecutor(1) as alone:
        alone.submit(asyncio.run, many_steps()).result()
    assert len(seen) > 5
    other.close()
    desk.close()


def test_a_class_that_operators_named_is_an_answer_once_the_model_has_it(
    server: Server, page: Client, plates: NDArray[np.uint8]
) -> None:
    assert page.questions()["recipes"]["default"]["classes"] == list(CLASSES)
    patch = page.questions()["questions"][0]["patch"]
    assert page.tap("tap-00001", patch, answer="something new", name="Burn").status_code == 200
    assert page.tap("tap-00002", patch, name="Burn").status_code == 422
    data = server.settings.device.data
    db = open_store(data)
    activate(db, wider_model(data / "m.onnx", plates, [*CLASSES, "Burn"]), server.settings, "test")
    label = db.execute("SELECT id FROM labels").fetchone()[0]
    add_doubts(db, [Doubt(patch, label, "suspicious")])
    db.close()
    reply = page.questions()
    assert (reply["recipes"]["default"]["classes"], reply["names"]["default"]) == (
        [*CLASSES, "Burn"],
        [],
    )
    assert [question["patch"] for question in reply["questions"]] == [patch]
    shown = unescape(page.http.get("/").text)
    assert '"Burn"' in shown
    assert page.tap("tap-00003", patch, name="Burn").json()["outcome"] == "stored"
    assert answers_in(data)[-1] == (patch, "class", "Burn")
    assert page.questions()["waiting"] == 0
