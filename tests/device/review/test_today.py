"""The Today page in a real browser: its numbers, its filters, and what it hands out."""

import time
from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Browser, Page

from config.settings import Settings
from device.store import open_store
from tests.device.review.conftest import serving
from tests.device.review.shop import work_shifts
from tests.device.review.test_browser import (
    PANELS,
    QUIET_S,
    check_screen,
    on_panel,
    page_of,
    shown_screen,
)


@pytest.fixture
def worked(asking: Settings) -> Settings:
    """A device with shifts of work behind it."""
    db = open_store(asking.device.data)
    work_shifts(db, asking)
    db.close()
    return asking


@pytest.fixture
def client(worked: Settings) -> Iterator[httpx.Client]:
    """Speaks to a server over that device."""
    with serving(worked) as server, httpx.Client(base_url=server.url, trust_env=False) as http:
        yield http


def go(page: Page, name: str) -> None:
    """Tap what says so, after a moment, as people do."""
    time.sleep(QUIET_S)
    page.get_by_role("link", name=name).first.tap()
    page.wait_for_load_state()


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("panel", PANELS, ids=lambda p: f"{p[0]}x{p[1]}")
def test_every_page_on_every_panel_in_every_language(
    browser: Browser, worked: Settings, panel: tuple[int, int, float], language: str
) -> None:
    with (
        serving(on_panel(worked, *panel, language=language)) as server,
        page_of(browser, server, None) as page,
    ):
        page.goto(f"{server.url}today")
        titles = []
        for number in range(12):
            shown_screen(page, server, f"today-{number}")
            check_pictures(page)
            titles += page.locator(".card h2").all_inner_texts()
            following = page.locator(".at-bar-1")
            if following.get_attribute("aria-disabled"):
                break
            time.sleep(QUIET_S)
            following.tap()
            page.wait_for_url(f"**page={number + 1}")
        assert len(set(titles)) == 7
        for path in ("filter", "shifts", "parts", "classes", "save"):
            page.goto(f"{server.url}today/{path}")
            shown_screen(page, server, f"today-{path}")
        page.goto(f"{server.url}today?shift=1")
        shown_screen(page, server, "today-error")


def check_pictures(page: Page) -> None:
    """No text of a picture leaves it or meets another, and every one can be read."""
    texts = page.evaluate(
        """() => [...document.querySelectorAll('.figure svg')].map((svg) => {
            const outer = svg.getBoundingClientRect();
            return [...svg.querySelectorAll('text')].map((e) => {
                const b = e.getBoundingClientRect();
                return [b.left - outer.left, b.top - outer.top, outer.right - b.right,
                        outer.bottom - b.bottom, b.left, b.top, b.right, b.bottom, e.textContent];
            });
        })"""
    )
    for picture in texts:
        for one in picture:
            assert min(one[:4]) > -3, one
        for i, a in enumerate(picture):
            for b in picture[i + 1 :]:
                over = min(a[6], b[6]) - max(a[4], b[4]), min(a[7], b[7]) - max(a[5], b[5])
                assert over[0] < 2 or over[1] < 6, (a, b)
    assert "NaN" not in page.content()


def test_an_empty_device_says_that_there_is_nothing_yet(browser: Browser, asking: Settings) -> None:
    device = asking.device.model_copy(update={"data": asking.device.data.parent / "none"})
    with (
        serving(asking.model_copy(update={"device": device})) as server,
        page_of(browser, server, None) as page,
    ):
        page.goto(f"{server.url}today")
        check_screen(page, server)
        cards = page.locator(".card").all_inner_texts()
        assert sum("Nothing yet" in card for card in cards) >= 3
        assert "NaN" not in page.content()
