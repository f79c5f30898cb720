"""A store with questions, the real server over it, and a real browser."""

import contextlib
import hashlib
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from html import unescape
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from playwright.sync_api import Browser, sync_playwright
from sqlite_utils import Database

from camera.milled_steel import CLASSES
from config.document import to_toml
from config.settings import Asking, Camera, Device, Recipe, Review, Settings, Vmc220Source
from device.loop.loop import InspectionLoop
from device.models.activation import activate
from device.store.database import open_store
from device.system.clock import stamp
from tests.device.conftest import model_file

CHROMIUM = Path("/usr/bin/chromium")
LAUNCH: dict[str, Any] = {
    "executable_path": CHROMIUM,
    "args": [
        "--no-sandbox", "--disable-gpu", "--disable-background-networking",
        "--disable-component-update", "--disable-sync", "--no-first-run",
    ],
}  # fmt: skip
HOLDER, OTHER = "holder-1", "holder-2"


def fill(
    db: Database, count: int, reason: str = "uncertain", start: int = 0, png: bytes = b""
) -> list[str]:
    """Store questions with this picture, the most unsure first; their patch ids."""
    frame = "frame" + reason
    db.execute(
        "INSERT OR IGNORE INTO frames VALUES (?, 'box', 0, ?, ?, ?, ?, '', 200, 200, 'r', NULL, "
        "'unsure', NULL, NULL, '', '')",
        [frame, *stamp()],
    )
    ids = [hashlib.sha256(f"{reason}{start + i}".encode()).hexdigest() for i in range(count)]
    with db.atomic():
        for i, patch in enumerate(ids):
            db.execute(
                "INSERT INTO patches VALUES (?, 'box', 0, 0, 200, 200, ?, NULL, NULL)", [patch, png]
            )
            db.execute(
                "INSERT INTO flags (patch_id, frame_id, cycle, reason, predicted, score) "
                "VALUES (?, ?, (SELECT max(id) FROM cycles), ?, 'scratch', ?)",
                [patch, frame, reason, 1 - i / (count + 1)],
            )
    return ids


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    """An empty store."""
    store = open_store(tmp_path / "data")
    yield store
    store.close()


def answers_in(folder: Path) -> list[tuple[str, str, str | None]]:
    """(patch id, answer, class) of every label, oldest first."""
    db = open_store(folder)
    rows = db.execute("SELECT patch_id, answer, class FROM labels ORDER BY rowid").fetchall()
    db.close()
    return [tuple(row) for row in rows]


@pytest.fixture(scope="session")
def asked(tmp_path_factory: pytest.TempPathFactory, plates: NDArray[np.uint8]) -> Settings:
    """A device with a model in use, whose loop has flagged some 30 patches; not to be changed."""
    folder = tmp_path_factory.mktemp("asked")
    settings = Settings(
        device=Device(name="box", data=folder / "data"),
        camera=Camera(vmc220=Vmc220Source(frames=6, width_px=600, height_px=400)),
        recipe=Recipe(classes=list(CLASSES), pass_classes=["clean"], regions="grid"),
        asking=Asking(k=6, audit_share=0.4, labels_per_shift=0),
        review=Review(operators=["Anna", "李伟"]),
    )
    db = open_store(settings.device.data)
    activate(db, model_file(folder / "model.onnx", plates), settings, "test")
    db.close()
    InspectionLoop(settings, lambda _event: None).run()
    return settings


@pytest.fixture
def asking(asked: Settings, tmp_path: Path) -> Settings:
    """A copy of that device."""
    return copied(asked, tmp_path)


def copied(settings: Settings, folder: Path) -> Settings:
    """A copy of a device, in another folder."""
    data = folder / "data"
    shutil.copytree(settings.device.data, data)
    return settings.model_copy(update={"device": Device(name="box", data=data)})


@dataclass
class Server:
    """`millsight review`, running."""

    settings: Settings
    config: Path
    process: "subprocess.Popen[str]"
    url: str
    clients: list["Client"] = field(default_factory=list)

    def kill(self) -> None:
        """Kill -9."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def start_again(self) -> None:
        """Start it again at the same address."""
        port = self.url.rstrip("/").rsplit(":", 1)[1]
        self.process, self.url = start(self.config, port)

    def client(self, holder: str = HOLDER) -> "Client":
        """A page that is not a browser."""
        self.clients.append(Client(self.url, holder))
        return self.clients[-1]


class Client:
    """Speaks to the server as the page does."""

    def __init__(self, url: str, holder: str) -> None:
        self.http = httpx.Client(base_url=url, trust_env=False, timeout=60)
        self.holder = holder
        self.token = ""

    def open(self, name: str = "Anna", pin: str = "") -> None:
        """Log in and open the page, which brings cookie and token."""
        if self.form("/people/login", name=name).headers["location"] != "/":
            assert self.form("/people/pin", name=name, pin=pin).status_code == 303
        page = self.http.get("/").text
        found = re.search(r'"token": "([0-9a-f]{64})"', unescape(page))
        assert found
        self.token = found[1]

    def form(self, path: str, page: str = "/people", **fields: str) -> httpx.Response:
        """Send a form of a page, with the token that the page has."""
        return self.http.post(path, data={"token": self.form_token(page)} | fields)

    def form_token(self, page: str = "/people") -> str:
        """The token in the forms of a page."""
        found = re.search(r'name="token" value="([0-9a-f]{64})"', self.http.get(page).text)
        assert found
        return found[1]

    def post(self, path: str, body: dict[str, Any], **headers: str) -> httpx.Response:
        """Send what a page would send."""
        return self.http.post(path, json=body, headers={"X-CSRF-Token": self.token} | headers)

    def questions(self, *have: str) -> dict[str, Any]:
        """Ask for questions."""
        reply = self.post("/questions", {"holder": self.holder, "have": have})
        assert reply.status_code == 200, reply.text
        return dict(reply.json())

    def tap(self, identity: str, patch: str, **changes: Any) -> httpx.Response:
        """Answer a question, as a scratch."""
        body = {
            "holder": self.holder, "have": [], "id": identity, "patch": patch,
            "answer": "class", "name": "scratch", "operator": "Anna",
        }  # fmt: skip
        return self.post("/answers", body | changes)


def start(config: Path, port: str = "0") -> tuple["subprocess.Popen[str]", str]:
    """Start the server; it and its address."""
    return started(["millsight", "review", "-c", str(config), "--port", port])


def started(module: list[str]) -> tuple["subprocess.Popen[str]", str]:
    """Start a module that serves the pages; its process and its address."""
    command = [sys.executable, "-m", *module]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith("review page: "), line
    return process, line.split()[-1]


@contextlib.contextmanager
def serving(settings: Settings, *, network: bool = False) -> Iterator[Server]:
    """`millsight review` over these settings; `network`: as it is for other machines."""
    config = settings.device.data.parent / "millsight.toml"
    config.write_text(to_toml(settings), encoding="utf-8")
    module = ["tests.device.review.network_server", str(config)]
    server = Server(settings, config, *(started(module) if network else start(config)))
    try:
        yield server
    finally:
        for client in server.clients:
            client.http.close()
        server.kill()


@pytest.fixture
def server(asking: Settings) -> Iterator[Server]:
    """The server over a store with questions."""
    with serving(asking) as running:
        yield running


@pytest.fixture(scope="module")
def steady_server(asked: Settings) -> Iterator[Server]:
    """One server for the tests in which nothing is stored."""
    with serving(asked) as running:
        yield running
        assert answers_in(asked.device.data) == []


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's Chromium."""
    if not CHROMIUM.exists():
        pytest.skip(f"no browser at {CHROMIUM}: apt install chromium fonts-noto-cjk")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(**LAUNCH)
        yield running
        running.close()
