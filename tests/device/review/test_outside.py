"""`/health` and `/metrics` of a running pair of programs, and the dashboard that reads them."""

import asyncio
import json
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from starlette.types import ASGIApp, Message

from config.document import to_toml
from config.errors import UserError
from config.load import parse_settings
from config.settings import Settings
from device.review.app import make_app
from device.store.database import STORE_FILE, open_store
from device.watching.metrics import metrics_of, names_of
from tests.device.review.conftest import Server

DASHBOARD = Path(__file__).parents[3] / "docs" / "grafana.json"


class Asking:
    """Asks an application, without a network, as from an address."""

    def __init__(self, app: ASGIApp, address: str = "127.0.0.1", host: str = "127.0.0.1") -> None:
        self._app, self._address, self._host = app, address, host

        self._alone = ThreadPoolExecutor(1)  # a loop in a thread of its own: browsers keep theirs

    def __enter__(self) -> "Asking":
        return self

    def __exit__(self, *_: object) -> None:
        self._alone.submit(lambda: asyncio.run(self._shut_down())).result()
        self._alone.shutdown()

    def get(self, path: str) -> httpx.Response:
        async def ask() -> httpx.Response:
            transport = httpx.ASGITransport(app=self._app, client=(self._address, 5))
            async with httpx.AsyncClient(transport=transport) as client:
                return await client.get(f"http://{self._host}{path}")

        return self._alone.submit(lambda: asyncio.run(ask())).result()

    async def _shut_down(self) -> None:
        said: list[Message] = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]

        async def receive() -> Message:
            return said.pop(0)

        async def send(_message: Message) -> None:
            pass

        await self._app({"type": "lifespan"}, receive, send)


def test_health_tells_a_running_inspection_from_one_that_stands(
    asking: Settings, tmp_path: Path
) -> None:
    config = tmp_path / "millsight.toml"
    camera = asking.camera.model_copy(
        update={"vmc220": asking.camera.vmc220.model_copy(update={"frames": 0, "rate_fps": 20})}
    )
    settings = asking.model_copy(update={"camera": camera})
    config.write_text(to_toml(settings))
    app = make_app(settings)
    with Asking(app) as client:
        reply = client.get("/health")
        assert reply.status_code == 503
        assert (reply.json()["loop"], reply.json()["judging"]) == ("stopped", False)
        command = [sys.executable, "-m", "millsight", "device", "run", "-c", str(config)]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + 60
            while client.get("/health").status_code != 200:
                assert time.monotonic() < deadline, client.get("/health").json()
                time.sleep(0.1)
            found = client.get("/health").json()
            assert found["judging"] is True
            assert found["last_verdict_age_s"] < 10
            assert (found["camera"], found["store"], found["keeping"]) == ("ok", "ok", True)
            text = client.get("/metrics").text
            assert re.search(r"^millsight_up 1\.0$", text, re.MULTILINE)
            assert re.search(
                r'^millsight_frames_total\{recipe="default",verdict="\w+"\} ', text, re.M
            )
            process.kill()
            process.wait()
            deadline = time.monotonic() + 60
            while client.get("/health").status_code == 200:  # nobody said that it ended
                assert time.monotonic() < deadline
                time.sleep(0.2)
        finally:
            process.kill()
            process.wait()


def test_only_this_machine_and_named_watchers_may_read_them(asking: Settings) -> None:
    review = asking.review.model_copy(
        update={"watchers": ["10.1.0.0/16"], "host_names": ["box.example"]}
    )
    settings = asking.model_copy(update={"review": review})
    for address, status in (("10.1.2.3", 200), ("10.2.2.3", 403), ("127.0.0.1", 200)):
        app = make_app(settings, "0.0.0.0")
        with Asking(app, address, "box.example") as client:
            assert client.get("/metrics").status_code == status
            assert client.get("/health").status_code in {status, 503}
    with pytest.raises(UserError, match="no address or network"):
        parse_settings({"review": {"watchers": ["everybody"]}}, Path("/x/millsight.toml"))


def test_a_damaged_store_is_unwell_and_the_other_metrics_stay(asking: Settings) -> None:
    app = make_app(asking)
    with Asking(app) as client:
        assert client.get("/health").json()["store"] == "ok"
        path = asking.device.data / STORE_FILE
        path.write_bytes(bytes(range(256)) * (path.stat().st_size // 256))
        reply = client.get("/health")
        assert reply.status_code == 503
        text = client.get("/metrics").text
        assert "millsight_disk_free_bytes" in text


def test_every_metric_of_the_dashboard_exists_and_is_named_by_the_conventions(
    asking: Settings,
) -> None:
    db = open_store(asking.device.data)
    text = metrics_of(asking, db)
    db.close()
    names = names_of(text)
    board = json.loads(DASHBOARD.read_text())
    expressions = [t["expr"] for panel in board["panels"] for t in panel["targets"]]
    wanted = {name for e in expressions for name in re.findall(r"millsight_\w+", e)}
    # Without a running loop there is no verdict to be old.
    known = names | {"millsight_last_verdict_age_seconds", "millsight_frame_faults_total"}
    assert wanted <= known, wanted - known
    assert len(wanted) > 20
    kinds = dict(re.findall(r"^# TYPE (\w+) (\w+)$", text.decode(), re.MULTILINE))
    for name, kind in kinds.items():
        assert name.startswith("millsight_")
        assert name.endswith("_total") == (kind == "counter"), name
        assert not re.search(r"_(ms|mb|kb|minutes|hours)$", name), name  # base units only
    helps = dict(re.findall(r"^# HELP (\w+) (.+)$", text.decode(), re.MULTILINE))
    assert set(helps) >= set(kinds)


def test_the_served_page_answers_without_a_cookie(server: Server) -> None:
    reply = httpx.get(server.url.rstrip("/") + "/metrics")
    assert reply.status_code == 200
    assert "set-cookie" not in reply.headers
    assert reply.headers["content-type"].startswith("text/plain; version=0.0.4")
