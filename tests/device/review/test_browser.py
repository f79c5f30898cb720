"""The page in a real browser, by touch, on the panels it is made for."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from config.settings import Recipe, Review, Settings
from device.review.layout import px_per_mm
from device.store import open_store, start_cycle
from tests.device.review.conftest import ARTEFACTS, Server, answers_in, serving

PANELS = [(800, 480, 7.0), (1024, 600, 7.0), (1280, 800, 10.1), (768, 1024, 9.7)]
QUIET_S = 0.42


def on_panel(settings: Settings, width: int, height: int, inch: float, **more: Any) -> Settings:
    panel = {"panel_width_px": width, "panel_height_px": height, "panel_inch": inch} | more
    return settings.model_copy(update={"review": settings.review.model_copy(update=panel)})


@contextmanager
def page_of(browser: Browser, server: Server, operator: str | None = "Anna") -> Iterator[Page]:
    """The page on its panel, with fingers; nothing may go wrong in its console."""
    review = server.settings.review
    context = browser.new_context(
        viewport={"width": review.panel_width_px, "height": review.panel_height_px},
        has_touch=True,
    )
    page = context.new_page()
    page.set_default_timeout(10_000)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on(
        "console",
        lambda message: (
            errors.append(message.text)
            if message.type == "error" and "Failed to load resource" not in message.text
            else None
        ),
    )
    page.goto(server.url)
    if operator is not None:
        page.get_by_role("button", name=operator, exact=True).tap()
        expect(page.locator("#picture")).to_be_visible()
        time.sleep(QUIET_S)
    yield page
    context.close()
    assert errors == []


def shown_patch(page: Page) -> str:
    return page.locator("#picture img").get_attribute("src") or ""


def shot(page: Page, name: str) -> None:
    ARTEFACTS.mkdir(exist_ok=True)
    review = page.viewport_size
    assert review is not None
    page.screenshot(path=ARTEFACTS / f"{review['width']}x{review['height']}-{name}.png")
