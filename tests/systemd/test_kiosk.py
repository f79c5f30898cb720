"""The kiosk: what Debian's Chromium does under the policy that is installed."""

import http.server
import json
import os
import re
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Error, Page, sync_playwright

from tests.device.review.conftest import CHROMIUM, LAUNCH

UNITS = Path(__file__).parents[2] / "systemd"
UNDER_POLICY = """#!/bin/sh
exec unshare --mount /bin/sh -c '
set -e
mount -t tmpfs none /etc/chromium
mkdir -p /etc/chromium/policies/managed
cp "{policy}" /etc/chromium/policies/managed/millsight.json
exec /usr/bin/chromium "$@"
' chromium "$@"
"""

pytestmark = [
    pytest.mark.slow,  # it needs a machine where root may mount
    pytest.mark.skipif(
        os.geteuid() != 0 or not CHROMIUM.exists() or shutil.which("unshare") is None,
        reason="needs root, unshare, and chromium: apt install chromium",
    ),
]


class Hello(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"<p>hello from the server</p>")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@pytest.fixture
def servers() -> Iterator[list[int]]:
    """Ports of two servers: the pages', and another one."""
    running = [http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hello) for _ in range(2)]
    threads = [threading.Thread(target=server.serve_forever) for server in running]
    for thread in threads:
        thread.start()
    yield [server.server_address[1] for server in running]
    for server, thread in zip(running, threads, strict=True):
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def browsing(policy: Path, folder: Path) -> Iterator[Page]:
    """A page of Chromium in a mount namespace of its own that has the policy."""
    wrapper = folder / "chromium"
    wrapper.write_text(UNDER_POLICY.format(policy=policy))
    wrapper.chmod(0o755)
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(**LAUNCH | {"executable_path": wrapper})
        try:
            yield running.new_page()
        finally:
            running.close()


def test_the_browser_opens_the_pages_and_nothing_else(servers: list[int], tmp_path: Path) -> None:
    pages, other = servers
    policy = tmp_path / "policy.json"
    rules = json.loads((UNITS / "kiosk.json").read_text().replace(":8080", f":{pages}"))
    for what_drives_a_test in ("DeveloperToolsAvailability", "IncognitoModeAvailability"):
        del rules[what_drives_a_test]
    policy.write_text(json.dumps(rules))
    with browsing(policy, tmp_path) as page:
        page.goto(f"http://127.0.0.1:{pages}/people")
        assert "hello from the server" in page.content()
        for address in (f"http://127.0.0.1:{other}/", "file:///etc/passwd", "https://127.0.0.1/"):
            with pytest.raises(Error, match="ERR_BLOCKED_BY_ADMINISTRATOR"):
                page.goto(address)
    with browsing(_no_policy(tmp_path), tmp_path) as page:
        page.goto(f"http://127.0.0.1:{other}/")
        assert "hello from the server" in page.content()  # it is the policy that blocks


def _no_policy(folder: Path) -> Path:
    path = folder / "none.json"
    path.write_text("{}")
    return path


def test_unit_and_policy_name_the_same_address() -> None:
    unit = (UNITS / "millsight-kiosk.service").read_text()
    command = re.search(r"^ExecStart=(.*)$", unit, re.MULTILINE)
    assert command
    allowed = json.loads((UNITS / "kiosk.json").read_text())["URLAllowlist"]
    assert [command[1].split()[-1].rstrip("/")] == allowed
    for flag in ("--kiosk", "--disable-pinch", "--overscroll-history-navigation=0"):
        assert flag in command[1].split()
