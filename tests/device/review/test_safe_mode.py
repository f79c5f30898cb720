"""Broken settings: the page that shows them, and the last good ones, one tap away."""

import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, expect

from config.document import to_toml
from config.load import load_settings
from config.settings import Camera, Device, OpencvSource, Review, Settings
from device.review.texts import texts
from device.store.database import open_store
from device.watching import last_good
from tests.device.review.conftest import Server
from tests.device.review.glass import (
    arrive,
    check_screen,
    eventually,
    on_panel,
    on_two_glasses,
    page_of,
    shot,
    tap,
)
from tests.servers import free_port

BROKEN = "[review]\nport = 'eighty'\ncolour = 1\n"


@contextmanager
def reviewing(
    settings: Settings, broken: str | None = BROKEN, *, kept: bool = True
) -> Iterator[Server]:
    """`millsight review` over a file that was good once, and is broken now."""
    data = settings.device.data
    data.mkdir(parents=True, exist_ok=True)
    config = data.parent / "millsight.toml"
    config.write_text(to_toml(settings), encoding="utf-8")
    if broken is not None:
        if kept:
            last_good.keep(config, settings)
        config.write_text(broken, encoding="utf-8")
    command = [sys.executable, "-m", "millsight", "review", "-c", str(config), "--port"]
    port = str(free_port())
    process = subprocess.Popen([*command, port], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith("review page" if broken is None else "safe mode: "), line
    server = Server(settings, config, process, line.split()[-1])
    try:
        yield server
    finally:
        server.kill()


@pytest.fixture
def good(tmp_path: Path) -> Settings:
    return Settings(
        device=Device(data=tmp_path / "data"), review=Review(operators=["Anna", "李伟"])
    )


def actions(settings: Settings) -> list[tuple[str, str]]:
    db = open_store(settings.device.data)
    rows = db.execute("SELECT who, action FROM actions ORDER BY id").fetchall()
    db.close()
    return [tuple(row) for row in rows]


@on_two_glasses
def test_one_tap_puts_the_good_settings_back(
    good: Settings, browser: Browser, panel: tuple[int, int, float], language: str
) -> None:
    settings = on_panel(good, *panel, language=language)
    t = texts(language)
    with reviewing(settings) as server, page_of(browser, server, None) as page:
        expect(page.get_by_text("review.colour")).to_be_visible()
        expect(page.get_by_text("review.port")).to_be_visible()
        check_screen(page, server, controls=1)
        shot(page, server, "safe-mode")
        tap(page, "form button")
        expect(page.get_by_text(t["safe-done"])).to_be_visible()
        arrive(page, "/people")  # the pages themselves, by itself: nobody is logged in
        assert load_settings(server.config).review == settings.review
        aside = server.config.with_name("millsight.toml.broken")
        assert aside.read_text() == BROKEN
        assert actions(settings) == [("touch page", "put back settings")]


def test_a_file_that_is_mended_by_hand_ends_it_too(good: Settings, browser: Browser) -> None:
    with reviewing(good) as server, page_of(browser, server, None) as page:
        expect(page.get_by_text("review.colour")).to_be_visible()
        server.config.write_text(to_toml(good), encoding="utf-8")
        arrive(page, "/people")
    assert ("touch page", "put back settings") not in actions(good)


def test_without_good_settings_it_says_so(good: Settings, browser: Browser) -> None:
    with reviewing(good, kept=False) as server, page_of(browser, server, None) as page:
        expect(page.get_by_text(texts("en")["safe-none"])).to_be_visible()
        assert page.locator("button").count() == 0


def token(client: httpx.Client) -> str:
    found = re.search(r'name="token" value="([0-9a-f]{64})"', client.get("/").text)
    assert found
    return found[1]


def test_nobody_else_can_put_them_back(good: Settings) -> None:
    with reviewing(good) as server, httpx.Client(base_url=server.url, trust_env=False) as client:
        right = token(client)
        assert client.post("/restore").status_code == 415
        assert client.post("/restore", data={"token": "0" * 64}).status_code == 403
        evil = {"Origin": "http://evil.example"}
        assert client.post("/restore", data={"token": right}, headers=evil).status_code == 403
        assert client.get("/", headers={"Host": "evil.example"}).status_code == 400
        assert client.get("/models").status_code == 303
        assert client.get("/up").status_code == 200
        assert server.config.read_text() == BROKEN
        assert client.post("/restore", data={"token": right}).status_code == 200
        assert load_settings(server.config).review == good.review


def test_it_ends_when_it_is_told_to(good: Settings) -> None:
    with reviewing(good) as server:
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(30) in {0, -signal.SIGTERM}
        assert server.config.read_text() == BROKEN


def test_a_good_start_keeps_the_settings(good: Settings) -> None:
    with reviewing(good, broken=None) as server:
        kept = good.device.data / last_good.FILE
        eventually(kept.exists, True)
        assert kept.read_text() == server.config.read_text()
        assert kept.stat().st_mode & 0o777 == 0o600


def test_no_password_is_on_the_page(good: Settings) -> None:
    camera = Camera(source="opencv", opencv=OpencvSource(address="rtsp://me:secret@cam/1"))
    with_password = good.model_copy(update={"camera": camera})
    broken = to_toml(with_password).replace("secret", "secret2") + "\n[nonsense]\n"
    with (
        reviewing(with_password, broken) as server,
        httpx.Client(base_url=server.url, trust_env=False) as client,
    ):
        assert "secret" not in client.get("/").text


# --- where the last good ones are found ---


@pytest.mark.parametrize(
    "broken",
    [
        'x = 1\n[device]\ndata = "elsewhere"\n',  # TOML, and wrong in another place
        'x = \n[device]\ndata = "elsewhere"\n',  # not even TOML
    ],
)
def test_the_data_folder_of_a_broken_file(broken: str, tmp_path: Path) -> None:
    file = tmp_path / "millsight.toml"
    file.write_text('[device]\ndata = "elsewhere"\n')
    (tmp_path / "elsewhere").mkdir()
    last_good.keep(file, load_settings(file))
    file.write_text(broken)
    found = last_good.find(file)
    assert found is not None
    assert found.settings.device.data == tmp_path / "elsewhere"
    assert abs(found.when - time.time()) < 60


def test_systemd_names_the_folder_where_the_file_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "millsight.toml"
    state = tmp_path / "state"
    state.mkdir()
    file.write_text(f'[device]\ndata = "{state}"\n')
    last_good.keep(file, load_settings(file))
    file.write_text("")
    file.write_bytes(b"\xff\xfe\x00")
    assert last_good.find(file) is None
    monkeypatch.setenv("STATE_DIRECTORY", str(state))
    assert last_good.find(file) is not None


def test_a_damaged_copy_is_written_anew(tmp_path: Path) -> None:
    file = tmp_path / "millsight.toml"
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / last_good.FILE).write_bytes(b"\xff\xfe\x00")
    file.write_text('[device]\ndata = "data"\n')
    last_good.keep_good(file, load_settings(file))
    assert (tmp_path / "data" / last_good.FILE).read_text() == file.read_text()


@pytest.mark.parametrize("kept", ["x = ", "x = 1", ""])
def test_a_copy_that_is_broken_itself_is_none(kept: str, tmp_path: Path) -> None:
    file = tmp_path / "millsight.toml"
    (tmp_path / "data").mkdir()
    file.write_text("x = 1")
    (tmp_path / "data" / last_good.FILE).write_text(kept)
    found: Any = last_good.find(file)
    assert (found is None) == bool(kept)  # an empty file is all defaults, and good


def test_differences_leave_comments_out(tmp_path: Path) -> None:
    file = tmp_path / "millsight.toml"
    file.write_text("# a\n[review]\nport = 1\n")
    text = "# b\n[review]\nport = 8080\n"
    found = last_good.LastGood(Settings(), text, 0.0)
    assert last_good.differences(file, found, 5) == ["-port = 1", "+port = 8080"]
    assert last_good.differences(file, found, 1) == ["-port = 1", "…"]
