"""The page in a real browser, by touch, on the panels it is made for."""

import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import combinations
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from config.settings import Device, Recipe, Settings
from device.review.layout import CONTROL, GAP, PRIMARY_HEIGHT, PRIMARY_WIDTH, px_per_mm
from device.store import STORE_FILE, open_store, start_cycle
from tests.device.review.conftest import ARTEFACTS, OTHER, Server, answers_in, serving

PANELS = [(800, 480, 7.0), (1024, 600, 7.0), (1280, 800, 10.1), (768, 1024, 9.7)]
QUIET_S = 0.45


def on_panel(settings: Settings, width: int, height: int, inch: float, **more: Any) -> Settings:
    panel = {"panel_width_px": width, "panel_height_px": height, "panel_inch": inch} | more
    return settings.model_copy(update={"review": settings.review.model_copy(update=panel)})


@contextmanager
def page_of(browser: Browser, server: Server, operator: str | None = "Anna") -> Iterator[Page]:
    """The page on its panel, with fingers, somebody logged in; its console stays without errors."""
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
        choose(page, operator)
        arrive(page, server.url)
    yield page
    context.close()
    assert errors == []


def settle(page: Page) -> None:
    """Wait as people do, and until touches count on the page that is here by then."""
    time.sleep(QUIET_S)
    page.wait_for_load_state()
    page.locator("body[data-ready], body[data-shared]").wait_for(state="attached")


def arrive(page: Page, end: str) -> None:
    """Wait until the address ends so."""
    expect(page).to_have_url(re.compile(re.escape(end) + "$"), timeout=20_000)
    page.wait_for_load_state()


def choose(page: Page, name: str) -> None:
    """Tap a name on the page of names, once that is there and has stood for a moment."""
    button = page.locator(f'button[value="{name}"]')
    expect(button).to_be_visible()
    page.wait_for_load_state()
    settle(page)
    button.tap()


def shown(page: Page) -> str:
    """The patch on the screen, once there is one."""
    expect(page.locator("#picture")).to_be_visible()
    source = page.locator("#picture img").get_attribute("src") or ""
    return source.split("/")[-1].removesuffix(".png")


def tap(page: Page, selector: str) -> None:
    """Tap after the picture has stood for a moment, as people do."""
    settle(page)
    page.locator(selector).tap()


def check_screen(page: Page, server: Server, controls: int = 3) -> None:
    """Nothing overlaps, scrolls, is cut off or is too small; axe finds nothing."""
    review = server.settings.review
    page.wait_for_load_state()  # styles too
    found = page.evaluate(
        """() => {
            const seen = (e) => e.checkVisibility();
            const box = (e) => { const b = e.getBoundingClientRect();
                return [b.x, b.y, b.width, b.height, e.matches('.primary'), e.innerText] };
            const root = document.scrollingElement;
            return {
                controls: [...document.querySelectorAll('button, a.button')].filter(seen).map(box),
                texts: [...document.querySelectorAll(
                    '.at-header, #why, button, a.button, #message, .sign, #entry, .tile,'
                    + '.facts, .facts li, .card')]
                    .filter((e) => seen(e) && e.id !== 'picture'
                        && (e.scrollWidth > e.clientWidth + 1
                            || e.scrollHeight > e.clientHeight + 1)).map((e) => e.outerHTML),
                scrolls: [root.scrollWidth > innerWidth, root.scrollHeight > innerHeight],
            }
        }"""
    )
    assert found["scrolls"] == [False, False]
    assert found["texts"] == []
    mm = px_per_mm(review)
    assert len(found["controls"]) >= controls
    for x, y, width, height, primary, words in found["controls"]:
        least = (PRIMARY_WIDTH, PRIMARY_HEIGHT) if primary else (CONTROL, CONTROL)
        assert width / mm >= least[0] - 0.01, words
        assert height / mm >= least[1] - 0.01, words
        assert x >= 0
        assert y >= 0
        assert x + width <= review.panel_width_px + 0.01, words
        assert y + height <= review.panel_height_px + 0.01, words
    for a, b in combinations(found["controls"], 2):
        apart = max(b[0] - a[0] - a[2], a[0] - b[0] - b[2], b[1] - a[1] - a[3], a[1] - b[1] - b[3])
        assert apart / mm >= GAP - 0.01, (a, b)
    rules = ["wcag2a", "wcag2aa", "wcag2aaa", "wcag21aa", "wcag22aa", "best-practice"]
    result = Axe().run(page, options={"runOnly": {"type": "tag", "values": rules}})
    assert result.violations_count == 0, result.generate_report()


def shot(page: Page, server: Server, name: str) -> None:
    ARTEFACTS.mkdir(exist_ok=True)
    review = server.settings.review
    language = page.locator("html").get_attribute("lang")
    file = f"{name}-{review.panel_width_px}x{review.panel_height_px}-{language}.png"
    page.screenshot(path=ARTEFACTS / file)


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("panel", PANELS, ids=lambda p: f"{p[0]}x{p[1]}")
def test_every_screen_on_every_panel_in_every_language(
    browser: Browser, asking: Settings, panel: tuple[int, int, float], language: str
) -> None:
    with (
        serving(on_panel(asking, *panel, language=language)) as server,
        page_of(browser, server, None) as page,
    ):
        shown_screen(page, server, "people")
        choose(page, "李伟")
        expect(page.locator("#picture")).to_be_visible()
        shown_screen(page, server, "question")
        tap(page, "#picture")
        expect(page.locator("#picture")).to_have_attribute("aria-pressed", "true")
        shown_screen(page, server, "heat")
        tap(page, "#picture")
        tap(page, "#tool-something-new")
        for letter in "burr":
            tap_word(page, letter)
        shown_screen(page, server, "write")
        tap(page, "#save")
        tap(page, "#tool-something-new")
        shown_screen(page, server, "names")
        tap_word(page, "burr")
        expect(page.locator("#tool-undo")).to_have_attribute("aria-disabled", "false")
        db = open_store(server.settings.device.data)
        start_cycle(db, "test")
        db.close()
        page.reload()
        expect(page.locator("#message")).to_be_visible()
        shown_screen(page, server, "empty")
        server.kill()
        expect(page.locator("#message")).to_have_class("place at-message trouble")
        shown_screen(page, server, "gone")
    kinds = [row[1:] for row in answers_in(server.settings.device.data)]
    assert kinds == [("something new", "burr")] * 2


def shown_screen(page: Page, server: Server, name: str) -> None:
    check_screen(page, server)
    shot(page, server, name)


def tap_word(page: Page, word: str) -> None:
    """Tap the button that says it, on whichever page of buttons it is."""
    settle(page)
    for _ in range(8):
        button = page.get_by_role("button", name=word, exact=True)
        if button.count():
            button.tap()
            return
        page.locator("button:visible").last.tap()  # to the next page
    raise AssertionError(word)


def test_all_questions_are_answered_by_taps_alone(browser: Browser, asking: Settings) -> None:
    with serving(on_panel(asking, 800, 480, 7.0)) as server, page_of(browser, server) as page:
        shown(page)
        total = int(page.locator("#count").inner_text().split()[0])
        seen = []
        for number in range(total):
            seen.append(shown(page))
            tap(page, f"[data-tap=answer] >> nth={number % 4}")
        expect(page.locator("#message-title")).to_have_text("Inspection is not running")
        answers = answers_in(server.settings.device.data)
        assert [patch for patch, _, _ in answers] == seen
        assert len(set(seen)) == total > 20
        for expected in (seen[-1], seen[-2]):
            tap(page, "#tool-undo")
            expect(page.locator("#picture")).to_be_visible()
            expect(page.locator("#picture img")).to_have_attribute(
                "src", f"/patches/{expected}.png"
            )
        tap(page, "#tool-cant-tell")
    assert [answer for _, answer, _ in answers_in(server.settings.device.data)][-3:] == [
        "undone", "undone", "can't tell",
    ]  # fmt: skip


def test_keys_do_the_same(browser: Browser, server: Server) -> None:
    with page_of(browser, server) as page:
        first = shown(page)
        time.sleep(QUIET_S)
        page.keyboard.press("h")
        expect(page.locator("#picture")).to_have_attribute("aria-pressed", "true")
        page.keyboard.press("4")
        time.sleep(QUIET_S)
        second = shown(page)
        assert second != first
        page.keyboard.press("u")
        time.sleep(QUIET_S)
        page.keyboard.press("z")
        expect(page.locator("#picture img")).to_have_attribute("src", f"/patches/{second}.png")
    assert answers_in(server.settings.device.data) == [
        (first, "class", "clean"), (second, "can't tell", None), (second, "undone", None),
    ]  # fmt: skip


def test_a_touch_just_after_the_picture_changed_counts_for_nothing(
    browser: Browser, server: Server
) -> None:
    with page_of(browser, server) as page:
        first = shown(page)
        tap(page, "[data-tap=answer] >> nth=0")
        for _ in range(3):
            page.locator("[data-tap=answer] >> nth=1").tap()
        time.sleep(1)
    assert [patch for patch, _, _ in answers_in(server.settings.device.data)] == [first]


def test_a_finger_that_came_down_on_another_picture_answers_nothing(
    browser: Browser, server: Server
) -> None:
    with page_of(browser, server) as page:
        first = shown(page)
        time.sleep(QUIET_S)
        box = page.locator("[data-tap=answer] >> nth=0").bounding_box()
        assert box is not None
        page.mouse.move(box["x"] + 9, box["y"] + 9)
        page.mouse.down()
        page.keyboard.press("4")  # the picture changes under the finger
        time.sleep(QUIET_S)
        page.mouse.up()
        time.sleep(0.5)
    answers = answers_in(server.settings.device.data)
    assert answers == [(first, "class", "clean")]


def test_the_touch_that_wakes_the_screen_does_nothing_else(
    browser: Browser, asking: Settings
) -> None:
    settings = on_panel(asking, 1280, 800, 10.1, dim_after_s=10)
    with serving(settings) as server, page_of(browser, server) as page:
        shown(page)
        expect(page.locator("#dim")).to_be_visible(timeout=15_000)
        box = page.locator("[data-tap=answer] >> nth=0").bounding_box()
        assert box is not None
        page.touchscreen.tap(box["x"] + 50, box["y"] + 50)
        expect(page.locator("#dim")).to_be_hidden()
        page.touchscreen.tap(box["x"] + 50, box["y"] + 50)  # an echo, or an impatient finger
        time.sleep(1.2)
        assert answers_in(server.settings.device.data) == []
        page.touchscreen.tap(box["x"] + 50, box["y"] + 50)
        expect(page.locator("#tool-undo")).to_have_attribute("aria-disabled", "false")
        time.sleep(0.5)
    assert len(answers_in(server.settings.device.data)) == 1


def test_taps_without_a_server_are_kept_and_stored_once(browser: Browser, server: Server) -> None:
    with page_of(browser, server) as page:
        patches = []
        shown(page)
        page.wait_for_load_state("networkidle")  # the next question is there too
        server.kill()
        for kept in ("1 answer kept", "2 answers kept"):
            patches.append(shown(page))
            tap(page, "[data-tap=answer] >> nth=0")
            expect(page.locator("#why")).to_contain_text(kept)
        check_screen(page, server)  # nothing of the notice is cut off
        shot(page, server, "kept")
        expect(page.locator("#message-title")).to_have_text("No connection")
        server.start_again()
        expect(page.locator("#why")).to_have_text("Connected again: answers stored")
        assert [patch for patch, _, _ in answers_in(server.settings.device.data)] == patches
        tap(page, "[data-tap=answer] >> nth=0")
        time.sleep(0.5)
    assert len(answers_in(server.settings.device.data)) == 3


def test_a_locked_store_is_told_and_the_tap_is_stored_afterwards(
    browser: Browser, server: Server
) -> None:
    with page_of(browser, server) as page:
        patch = shown(page)
        other = sqlite3.connect(server.settings.device.data / STORE_FILE)
        other.execute("BEGIN IMMEDIATE")
        tap(page, "[data-tap=answer] >> nth=0")
        expect(page.locator("#why")).to_contain_text("Store busy")
        check_screen(page, server)
        shot(page, server, "locked")
        other.close()
        expect(page.locator("#why")).to_have_text("Connected again: answers stored")
    assert [row[0] for row in answers_in(server.settings.device.data)] == [patch]


def test_a_tap_too_late_is_told(browser: Browser, server: Server) -> None:
    with page_of(browser, server) as page:
        patch = shown(page)
        db = open_store(server.settings.device.data)
        db.execute("UPDATE claims SET holder = ?", [OTHER])
        db.close()
        tap(page, "[data-tap=answer] >> nth=0")
        expect(page.locator("#why")).to_contain_text("your tap was not used")
        check_screen(page, server)
        assert shown(page) != patch
    assert answers_in(server.settings.device.data) == []


def test_before_the_first_model_the_page_says_so(browser: Browser, asking: Settings) -> None:
    data = asking.device.data.parent / "empty"
    settings = asking.model_copy(update={"device": Device(data=data)})
    with serving(settings) as server, page_of(browser, server) as page:
        expect(page.locator("#message-title")).to_have_text("No model yet")
        shot(page, server, "cold")


def test_many_classes_are_paged(browser: Browser, asking: Settings) -> None:
    classes = [f"class {i}" for i in range(11)]
    recipe = Recipe(classes=["clean", *classes], pass_classes=["clean"])
    settings = asking.model_copy(update={"recipe": recipe})
    with serving(on_panel(settings, 800, 480, 7.0)) as server, page_of(browser, server) as page:
        patch = shown(page)
        check_screen(page, server)
        tap(page, "#tool-more")
        tap_word(page, "class 4")
        time.sleep(0.5)
    assert answers_in(server.settings.device.data) == [(patch, "class", "class 4")]


def test_the_language_is_switched_on_the_page(browser: Browser, server: Server) -> None:
    with page_of(browser, server) as page:
        shown(page)
        tap(page, "#tool-menu")
        time.sleep(QUIET_S)
        page.get_by_role("button", name="中文").tap()
        expect(page.locator("html")).to_have_attribute("lang", "zh")
        choose(page, "Anna")
        expect(page.locator("#tool-skip")).to_have_text("跳过")
        page.reload()
        expect(page.locator("#tool-skip")).to_have_text("跳过")


def test_two_pages_share_the_queue(browser: Browser, server: Server) -> None:
    with page_of(browser, server) as one, page_of(browser, server) as two:
        for _ in range(4):
            assert shown(one) != shown(two)
            tap(one, "[data-tap=answer] >> nth=0")
            tap(two, "[data-tap=answer] >> nth=1")
        time.sleep(0.5)
    patches = [patch for patch, _, _ in answers_in(server.settings.device.data)]
    assert len(patches) == len(set(patches)) == 8


PALETTE = {
    "ground": "#d3d6d9", "button": "#f5f6f7", "ink": "#15181b", "quiet": "#33383d",
    "edge": "#4a5057", "notice": "#ffcf5c",
}  # fmt: skip


def contrast(a: str, b: str) -> float:
    """Contrast ratio of two colours (WCAG 2)."""

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(PALETTE[a]), luminance(PALETTE[b])))
    return (high + 0.05) / (low + 0.05)


def test_contrasts(browser: Browser, steady_server: Server) -> None:
    with page_of(browser, steady_server, None) as page:
        for name, colour in PALETTE.items():
            script = f"getComputedStyle(document.documentElement).getPropertyValue('--{name}')"
            assert page.evaluate(script).strip() == colour
    for ground in ("ground", "button", "notice"):
        assert contrast("ink", ground) >= 7
    for ground in ("ground", "button"):
        assert contrast("quiet", ground) >= 7
        assert contrast("edge", ground) >= 3
