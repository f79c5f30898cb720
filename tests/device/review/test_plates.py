"""The maps of scanned plates in a real browser."""

from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, expect

from config.settings import Settings
from device.judging.plate import Plate, PlatePatch, Rect
from device.store.database import open_store
from device.store.plate_log import add_plate
from tests.device.review.conftest import copied, serving
from tests.device.review.glass import (
    arrive,
    on_panel,
    on_two_glasses,
    page_of,
    shown_screen,
    tap,
)

PART = "P-7 <b>"


@pytest.fixture
def scanned(asking: Settings, tmp_path: Path) -> Settings:
    """A device with three scanned plates: good, faulty, one that nobody named."""
    settings = copied(asking, tmp_path / "scanned")
    rng = np.random.default_rng(0)
    mosaic = rng.integers(90, 160, (400, 800), dtype=np.uint8)
    heat = np.zeros((100, 200), np.uint8)
    heat[10:30, 20:50] = 255
    good = [PlatePatch(x, y, 10, 10, "pass", "clean") for x in range(0, 80, 10) for y in (0, 10)]
    bad = [
        PlatePatch(20, 10, 10, 10, "fail", "scratch"),
        PlatePatch(30, 10, 10, 10, "unsure", "patch"),
        PlatePatch(40, 10, 10, 10, "fault", "no-light"),
        PlatePatch(50, 10, 10, 10, "fail", "pitted_surface"),
    ]
    db = open_store(settings.device.data)
    area = Rect(0, 0, 80, 40)
    for part, verdict, name, patches in (
        ("P-6", "pass", "clean", good),
        (PART, "fail", "scratch", good + bad),
        ("", "unsure", "", []),
    ):
        add_plate(
            db,
            Plate(
                part, "L-1", "default", "", verdict, name, area, mosaic, heat, patches, 9,
                1_700_000_000_000_000_000, 1,
            ),
        )  # fmt: skip
    db.close()
    return settings


@on_two_glasses
def test_from_todays_page_to_a_plate_and_its_heat(
    browser: Browser, scanned: Settings, panel: tuple[int, int, float], language: str
) -> None:
    with (
        serving(on_panel(scanned, *panel, language=language)) as server,
        page_of(browser, server, None) as page,
    ):
        page.goto(f"{server.url}today/save")
        shown_screen(page, server, "today-save-plates")
        tap(page, "a[href='/plates']")
        arrive(page, "/plates")
        shown_screen(page, server, "plates")
        tap(page, "a[href='/plates/2']")
        arrive(page, "/plates/2")
        shown_screen(page, server, "plate")
        assert PART in page.locator("h1").inner_text()
        assert page.locator("main b").count() == 0
        tap(page, ".at-bar-2")
        arrive(page, "/plates/2?heat=1")
        shown_screen(page, server, "plate-heat")
        tap(page, ".at-bar-0")
        arrive(page, "/plates/1?heat=1")
        expect(page.locator(".at-bar-0")).to_have_attribute("aria-disabled", "true")


def test_what_is_not_good_stands_at_its_place(browser: Browser, scanned: Settings) -> None:
    with serving(scanned) as server, page_of(browser, server, None) as page:
        page.goto(f"{server.url}plates/2")
        words = page.locator(".words").inner_text()
        assert "4 of 20 places are not good" in words
        assert "x 25.0 mm, y 15.0 mm: scratch" in words
        assert words.index("pitted surface") < words.index("x 35.0"), "what fails comes first"
        paths = {
            name: page.locator(f".map .{name}").get_attribute("d")
            for name in ("pass", "unsure", "fault", "fail")
        }
        # from the upper left corner of a plate 40 mm high: y 10 to 20 mm lies 20 mm under it
        assert paths["fail"] == "M20.00 20.00h10.00v10.00h-10.00zM50.00 20.00h10.00v10.00h-10.00z"
        assert (paths["pass"] or "").count("M") == 16
        image = page.locator(".map image").bounding_box()
        outline = page.locator(".map .unsure").bounding_box()
        assert image is not None
        assert outline is not None
        per_mm = image["width"] / 80
        assert image["height"] / 40 == pytest.approx(per_mm, rel=0.02)
        assert (outline["x"] - image["x"]) / per_mm == pytest.approx(
            30, abs=1.5
        )  # of its stroke too
        assert (outline["y"] - image["y"]) / per_mm == pytest.approx(
            20, abs=1.5
        )  # of its stroke too
        pictures = [page.request.get(f"{server.url}plates/2/{n}.jpg") for n in ("mosaic", "heat")]
        assert [p.headers["content-type"] for p in pictures] == ["image/jpeg"] * 2
        assert pictures[0].body() != pictures[1].body()


def test_without_a_plate_and_with_an_unknown_one(browser: Browser, asking: Settings) -> None:
    with serving(asking) as server, page_of(browser, server, None) as page:
        page.goto(f"{server.url}plates")
        assert "No plate has been scanned yet" in page.content()
        shown_screen(page, server, "plates-none")
        page.goto(f"{server.url}today/save")
        assert page.locator("a[href='/plates']").count() == 0
        for path in ("plates/7", "plates/7/mosaic.jpg", "plates/x"):
            reply = page.request.get(f"{server.url}{path}")
            assert reply.status == 404, path
