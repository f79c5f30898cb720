"""The Models page in a real browser, and the way back to an earlier model."""

import hashlib
import re
from collections import Counter
from pathlib import Path

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from playwright.sync_api import Browser, Page, expect

from config.settings import Settings
from device.models.activation import activate, model_path
from device.models.models_in_use import in_force, refuse
from device.store.database import open_store
from device.system.clock import stamp
from device.update.memory import note_refusal
from device.update.probation import Judging, begin_probation, note_judged
from tests.device.conftest import model_file
from tests.device.review.conftest import Server, copied, serving
from tests.device.review.glass import (
    PANELS,
    arrive,
    on_panel,
    on_two_glasses,
    page_of,
    shown_screen,
    tap,
)
from tests.device.review.test_today import check_pictures


@pytest.fixture(scope="module")
def trained_once(
    asked: Settings, tmp_path_factory: pytest.TempPathFactory, plates: NDArray[np.uint8]
) -> Settings:
    """A device with two further models, of which the last is in use; not to be changed."""
    folder = tmp_path_factory.mktemp("trained")
    asking = copied(asked, folder)
    db = open_store(asking.device.data)
    parent = in_force(db).model_id
    for number, labels, accuracy in [(1, 54, 0.81), (2, 90, 0.934)]:
        metrics = {"held_out_accuracy": accuracy, "training_accuracy": 0.98, "epochs": 30.0}
        changes = {
            "labels": labels, "metrics": metrics, "parent": parent,
            "thresholds": [0.01 * number, 0.02, None, 0.3],
        }  # fmt: skip
        file = model_file(folder / f"{number}.onnx", plates, number, **changes)
        parent = activate(db, file, asking, f"night {number}").id
    db.close()
    review = asking.review.model_copy(update={"supervisors": ["Zoe"]})
    return asking.model_copy(update={"review": review})


@pytest.fixture
def trained(trained_once: Settings, tmp_path: Path) -> Settings:
    """A copy of that device."""
    return copied(trained_once, tmp_path)


def ids_of(settings: Settings) -> list[str]:
    """The models, the one that came first first."""
    db = open_store(settings.device.data)
    rows = db.execute("SELECT id FROM models ORDER BY rowid").fetchall()
    db.close()
    return [row[0] for row in rows]


def in_use(settings: Settings) -> str | None:
    db = open_store(settings.device.data)
    found = in_force(db).model_id
    db.close()
    return found


def log_in(settings: Settings, cookie: str, *, supervisor: bool = True) -> None:
    """Let a supervisor be logged in on the browser with this cookie."""
    db = open_store(settings.device.data)
    db.execute(
        "INSERT OR REPLACE INTO sessions VALUES (?, 'Zoe', ?, 1, ?, ?)",
        [
            hashlib.sha256(cookie.encode()).hexdigest(), supervisor, stamp().monotonic_ns,
            stamp().boot_id,
        ],
    )  # fmt: skip
    db.close()


def cookie_of(page: Page) -> str:
    return next(c["value"] for c in page.context.cookies() if c["name"] == "millsight")


@on_two_glasses
def test_every_page_on_every_panel_in_every_language(
    browser: Browser, trained: Settings, panel: tuple[int, int, float], language: str
) -> None:
    with (
        serving(on_panel(trained, *panel, language=language)) as server,
        page_of(browser, server, None) as page,
    ):
        page.goto(f"{server.url}models")
        shown_screen(page, server, "models")
        middle = ids_of(trained)[1]
        titles: list[str] = []
        for number in range(5):
            page.goto(f"{server.url}models/{middle}?page={number}")
            shown_screen(page, server, f"model-{number}")
            check_pictures(page)
            titles += page.locator(".card h2").all_inner_texts()
        assert len(set(titles)) == 5
        page.goto(f"{server.url}models/{middle}/rollback")
        shown_screen(page, server, "models-refused")
        log_in(trained, cookie_of(page))
        page.goto(f"{server.url}models/{middle}/rollback")
        shown_screen(page, server, "models-confirm")


def test_what_the_pages_say(browser: Browser, trained: Settings) -> None:
    first, _middle, last = ids_of(trained)
    with serving(trained) as server, page_of(browser, server, None) as page:
        page.goto(f"{server.url}models")
        cells = page.locator("a.choice").all_inner_texts()
        assert len(cells) == 3
        assert "Model in use" in cells[0]
        assert "90 labels" in cells[0]
        assert "On unseen patches: 93 %" in cells[0]
        assert "Model in use" not in cells[1] + cells[2]
        page.goto(f"{server.url}models/{last}")
        card = page.locator(".card").all_inner_texts()
        assert "36 labels more (54, now 90)" in card[2]
        assert "On unseen patches: better by 12.4 percentage points" in card[2]
        assert "On its own labels: the same" in card[2]
        assert "clean: 0.01 → 0.02" in card[3]
        assert "pitted surface: always unsure → always unsure" in card[3]
        assert "night 2" in card[0]
        assert "epochs: 30" in card[1]
        label = page.locator(".card svg").get_attribute("aria-label")
        assert label is not None
        assert "On unseen patches 93 % (81 %); On its own labels 98 % (98 %)" in label
        assert page.get_by_role("link", name="Use this again").count() == 0
        page.goto(f"{server.url}models/{first}")
        assert "It was the first one" in page.content()
        reply = page.goto(f"{server.url}models/{'f' * 64}")
        assert reply is not None
        assert reply.status == 404


@pytest.mark.parametrize("language", ["en", "zh"])
def test_what_an_update_brought(browser: Browser, trained: Settings, language: str) -> None:
    """On the smallest panel: probation, a refusal, and what the last sync said."""
    first, middle, last = ids_of(trained)
    db = open_store(trained.device.data)
    with db.atomic():
        begin_probation(db, middle)
        note_judged(db, Judging("", last, 120, 6, Counter(clean=120), 120, 0.3))
        refuse(db, last, "rolled back by Zoe")
    words = "models/metadata/timestamp.json has expired: nothing new is taken; " * 4
    note_refusal(db, words)
    db.close()
    with (
        serving(on_panel(trained, *PANELS[0], language=language)) as server,
        page_of(browser, server, None) as page,
    ):
        page.goto(f"{server.url}models")
        shown_screen(page, server, "models-probation")
        said = ""
        for number in range(7):
            page.goto(f"{server.url}models/{last}?page={number}")
            shown_screen(page, server, f"model-update-{number}")
            said += page.locator(".card").first.inner_text()
        for part in (middle[:12], "rolled back by Zoe", "timestamp.json has expired"):
            assert part in said
        page.goto(f"{server.url}models/{first}")
        assert "rolled back by Zoe" not in page.content()
    if language == "en":
        assert "120 of 1,000 frames judged" in said
        assert re.search(r"Unsure of 5(\.0)?\s*% of the frames; the model before: –", said)


def test_a_supervisor_goes_back_by_taps(browser: Browser, trained: Settings) -> None:
    _, middle, _ = ids_of(trained)
    with serving(trained) as server, page_of(browser, server, None) as page:
        page.goto(f"{server.url}models")
        log_in(trained, cookie_of(page))
        for selector in (".at-cells-1", "a.at-bar-3", "button.at-bar-3"):
            tap(page, selector)
        arrive(page, "/models")
        expect(page.locator(".at-cells-1")).to_contain_text("Model in use")
    assert in_use(trained) == middle
    db = open_store(trained.device.data)
    row = db.execute("SELECT who, action, subject FROM actions WHERE who = 'Zoe'").fetchall()
    assert [tuple(r) for r in row] == [("Zoe", "rolled back", middle)]
    db.close()


def test_a_damaged_file_is_told_and_nothing_changes(browser: Browser, trained: Settings) -> None:
    first, _middle, last = ids_of(trained)
    model_path(trained.device.data, first).unlink()
    with serving(trained) as server, page_of(browser, server, None) as page:
        page.goto(f"{server.url}models")
        log_in(trained, cookie_of(page))
        page.goto(f"{server.url}models/{first}/rollback")
        tap(page, "button.at-bar-3")
        expect(page.locator(".sign")).to_contain_text("Nothing was changed.")
        expect(page.locator(".sign")).to_contain_text("cannot be read")
        shown_screen(page, server, "models-damaged")
    assert in_use(trained) == last


def post(server: Server, model: str, token: str | None, cookie: str | None, **headers: str) -> int:
    with httpx.Client(base_url=server.url, trust_env=False) as client:
        cookies = {} if cookie is None else {"cookie": f"millsight={cookie}"}
        fields = {"other": "1"} if token is None else {"token": token}
        reply = client.post(f"/models/{model}/rollback", data=fields, headers=cookies | headers)
        return reply.status_code


def test_who_may_not(trained: Settings) -> None:
    first, _, last = ids_of(trained)
    with serving(trained) as server:
        with httpx.Client(base_url=server.url, trust_env=False) as client:
            page = client.get("/people").text
            cookie = client.cookies["millsight"]
        found = re.search(r'name="token" value="([0-9a-f]{64})"', page)
        assert found
        token = found[1]
        assert post(server, first, token, cookie) == 403  # nobody is logged in
        log_in(trained, cookie, supervisor=False)
        assert post(server, first, token, cookie) == 403
        log_in(trained, cookie)
        assert post(server, first, None, cookie) == 403
        assert post(server, first, "0" * 64, cookie) == 403
        assert post(server, first, token, None) == 403
        assert post(server, first, token, cookie, origin="http://elsewhere") == 403
        assert post(server, first, token, cookie, **{"content-type": "application/json"}) == 415
        assert post(server, first, "x" * 20_000, cookie) == 413
        assert post(server, "f" * 64, token, cookie) == 404
        db = open_store(trained.device.data)
        db.execute("UPDATE sessions SET boot_id = 'another'")
        db.close()
        assert post(server, first, token, cookie) == 403
        assert in_use(trained) == last
        log_in(trained, cookie)
        assert post(server, first, token, cookie) == 303
        assert in_use(trained) == first


def test_without_a_model(browser: Browser, asking: Settings) -> None:
    device = asking.device.model_copy(update={"data": asking.device.data.parent / "none"})
    with (
        serving(asking.model_copy(update={"device": device})) as server,
        page_of(browser, server, None) as page,
    ):
        page.goto(f"{server.url}models")
        shown_screen(page, server, "models-none")
        expect(page.locator(".sign-text")).to_have_text("No model yet")
