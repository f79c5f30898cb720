"""The report of a lot in a real browser."""

import re
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Page

from config.settings import Camera, OpencvSource, Settings
from device.reports.lots import PAGE
from device.review.layout import CONTROL, px_per_mm
from device.store.answers import add_answer
from device.store.database import open_store
from device.store.trail import begin_lot, record_settings
from tests.device.review.conftest import copied, fill, serving
from tests.device.review.glass import (
    arrive,
    check_axe,
    check_screen,
    on_panel,
    on_two_glasses,
    page_of,
    shot,
    shown_screen,
    tap,
)
from tests.device.review.shop import LOT, PART, work_shifts


@pytest.fixture(scope="module")
def lots_once(asked: Settings, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A device with a lot behind it, and settings with a password in them; only looked at."""
    asking = copied(asked, tmp_path_factory.mktemp("lots"))
    db = open_store(asking.device.data)
    secret = Camera(opencv=OpencvSource(address="rtsp://me:s3same@camera/1"))
    record_settings(db, asking.model_copy(update={"camera": secret}))
    work_shifts(db, asking)
    patch = db.execute("SELECT patch_id FROM flags WHERE reason = 'audit'").fetchone()[0]
    add_answer(db, patch, "undone", None, "李伟")
    add_answer(db, patch, "something new", "<script>alert(1)</script>", "李伟")
    for table in ("settings_in_force", "actions", "labels", "lots"):
        db.execute(f"UPDATE {table} SET wall_ns = wall_ns - 3600 * 1000000000")
    db.close()
    return asking


@pytest.fixture
def lots(lots_once: Settings, tmp_path: Path) -> Settings:
    """A copy of that device."""
    return copied(lots_once, tmp_path)


def check_report(page: Page, mm: float) -> None:
    """Axe finds nothing, no picture is missing, and the ways back are large."""
    check_axe(page)
    assert page.evaluate(
        "[...document.images].filter((i) => !(i.complete && i.naturalWidth)).length"
    ) == 0  # fmt: skip
    for way in page.locator(".way").all():
        box = way.bounding_box()
        assert box is not None
        assert min(box["width"], box["height"]) >= CONTROL * mm - 0.1
    assert page.evaluate("document.scrollingElement.scrollWidth <= innerWidth")


@on_two_glasses
def test_from_the_lots_to_the_report_and_back(
    browser: Browser, lots: Settings, panel: tuple[int, int, float], language: str
) -> None:
    with (
        serving(on_panel(lots, *panel, language=language)) as server,
        page_of(browser, server, None) as page,
    ):
        page.goto(f"{server.url}lots")
        shown_screen(page, server, "lots")
        tap(page, ".at-cells-1")
        arrive(page, "/lot/1")
        check_report(page, px_per_mm(server.settings.review))
        shot(page, server, "lot", whole=True)
        page.locator(".way").first.tap()
        arrive(page, "/lots")


def test_the_report_says_what_happened(browser: Browser, lots: Settings) -> None:
    with serving(lots) as server, page_of(browser, server, None) as page:
        page.goto(f"{server.url}lot/1")
        facts = page.locator(".facts").inner_text()
        assert PART in facts  # with its <b> as it was written
        assert LOT in facts
        assert page.locator("main b, main script").count() == 0
        db = open_store(lots.device.data)
        failed = db.execute(
            "SELECT sum(frames) FROM counters WHERE verdict = 'fail' AND lot = ?", [LOT]
        ).fetchone()[0]
        kept = db.execute("SELECT count(*) FROM frames WHERE verdict = 'fail'").fetchone()[0]
        asked = db.execute(
            "SELECT count(DISTINCT patch_id) FROM flags WHERE reason != 'defect' AND alike IS NULL"
        ).fetchone()[0]
        db.close()
        whole = page.locator("main").inner_text()
        assert f"{kept} of {failed:,} failed frames have a picture" in whole
        assert page.locator(".pictures img").count() == kept >= 2
        assert page.locator(".question").count() == asked > 10
        assert "answer taken back" in whole
        assert "something new: <script>alert(1)</script>" in whole
        assert "asked again, blind" in whole
        assert "Nearly the same, not asked about: 2" in whole
        assert "rtsp://***@camera/1" in whole
        assert "s3same" not in page.content()
        assert "began lot" in whole


def test_the_report_names_classes_in_the_page_s_language(lots: Settings) -> None:
    with serving(lots) as server, httpx.Client(base_url=server.url, trust_env=False) as client:
        number = re.findall(r'href="(/lot/\d+)"', client.get("/lots").text)
        client.cookies.set("millsight-language", "zh")
        texts = [client.get(one).text for one in number]
    captions = {word for text in texts for word in re.findall(r"<figcaption>([^<]*)<", text)}
    assert "划痕" in captions
    assert not captions & {"scratch", "pitted_surface"}
    said = {word for text in texts for word in re.findall(r"模型判断: ([^ ]*) ", text)}
    assert said
    assert not said & {"scratch", "pitted_surface", "clean"}


def test_a_large_lot_is_paged(browser: Browser, lots: Settings) -> None:
    db = open_store(lots.device.data)
    begin_lot(db, "P", "large", "Anna")
    fill(db, 2 * PAGE + 1)
    db.execute("UPDATE frames SET part = 'P', lot = 'large' WHERE id = 'frameuncertain'")
    db.close()
    with serving(lots) as server, page_of(browser, server, None) as page:
        counts = []
        for number in range(3):
            page.goto(f"{server.url}lot/2?page={number}")
            assert f"Page {number + 1} of 3" in page.locator("main").inner_text()
            counts.append(page.locator(".question").count())
        assert counts == [PAGE, PAGE, 1]


def test_without_a_lot_and_with_an_unknown_one(browser: Browser, asking: Settings) -> None:
    with serving(asking) as server, page_of(browser, server, None) as page:
        page.goto(f"{server.url}lots")
        assert "No lot has been named yet" in page.content()
        shown_screen(page, server, "lots-none")
        for path, status in [("lot/7", 404), ("lot/x", 404), ("lots?page=-1", 400)]:
            reply = page.goto(f"{server.url}{path}")
            assert reply is not None
            assert reply.status == status
            check_screen(page, server)
