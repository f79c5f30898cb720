"""The pages as fingers and eyes have them: a real browser's page, taps, and what every screen owes.

Nothing here counts on a machine that is quick: what is waited for is waited for by what it shows.
"""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from config.settings import Settings
from device.review.layout import CONTROL, GAP, PRIMARY_HEIGHT, PRIMARY_WIDTH, px_per_mm
from device.review.shell import LANGUAGE_COOKIE
from tests.device.review.conftest import Server

ARTEFACTS = Path(__file__).parents[3] / "artefacts"
PANELS = [(800, 480, 7.0), (1024, 600, 7.0), (1280, 800, 10.1), (768, 1024, 9.7)]
PATIENCE_MS = 30_000
"""Longest wait for anything: a machine that is busy is no fault of a page."""
AXE_RULES = ["wcag2a", "wcag2aa", "wcag2aaa", "wcag21aa", "wcag22aa", "best-practice"]

expect.set_options(timeout=PATIENCE_MS)


def _glasses(every_day: dict[str, set[int]]) -> list[Any]:
    """Every panel in every language; of each language these panels are for every day."""
    return [
        pytest.param(
            panel,
            language,
            id=f"{panel[0]}x{panel[1]}-{language}",
            marks=[] if i in panels else [pytest.mark.slow],
        )
        for language, panels in every_day.items()
        for i, panel in enumerate(PANELS)
    ]


on_every_glass = pytest.mark.parametrize(
    ("panel", "language"), _glasses({"en": {0, 3}, "zh": {1, 2}})
)
"""Runs a test on every panel and in every language: half of the pairs every day, each panel once
and each language twice; the others where it may be slow."""
on_two_glasses = pytest.mark.parametrize(("panel", "language"), _glasses({"en": {0}, "zh": {3}}))
"""The same for screens made of what others are made of: every day the smallest panel in English
and the upright one in Chinese."""


in_both_languages = pytest.mark.parametrize(
    "language", ["en", pytest.param("zh", marks=pytest.mark.slow)]
)
"""Runs a test of a state in every language (in English only every day)."""


def on_panel(settings: Settings, width: int, height: int, inch: float, **more: Any) -> Settings:
    """The same device with another panel, and other settings of the pages."""
    panel = {"panel_width_px": width, "panel_height_px": height, "panel_inch": inch} | more
    return settings.model_copy(update={"review": settings.review.model_copy(update=panel)})


@contextmanager
def page_of(
    browser: Browser,
    server: Server,
    operator: str | None = "Anna",
    *,
    clock: bool = False,
    language: str | None = None,
) -> Iterator[Page]:
    """The page on its panel, with fingers, somebody logged in; its console stays without errors.

    With `clock`, the page's time can be stopped and moved (`page.clock`); `language` is what the
    browser chose, if anything.
    """
    review = server.settings.review
    context = browser.new_context(
        viewport={"width": review.panel_width_px, "height": review.panel_height_px},
        has_touch=True,
    )
    errors: list[str] = []
    try:
        if language is not None:
            context.add_cookies([{"name": LANGUAGE_COOKIE, "value": language, "url": server.url}])
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on(
            "console",
            lambda message: (
                errors.append(message.text)
                if message.type == "error" and "Failed to load resource" not in message.text
                else None
            ),
        )
        if clock:
            page.clock.install()
        page.goto(server.url)
        if operator is not None:
            choose(page, operator)
            arrive(page, server.url)
        yield page
    finally:
        context.close()
    assert errors == []


def stop(page: Page) -> None:
    """Let the page's time stand still, some while from now: it can only be stopped ahead."""
    page.clock.pause_at(page.evaluate("Date.now()") / 1000 + 20)


def settle(page: Page) -> None:
    """Wait until touches count on the page that is here by then."""
    page.wait_for_load_state()
    page.locator("body:not([data-quiet])").wait_for(state="attached")


def arrive(page: Page, end: str) -> None:
    """Wait until the address ends so."""
    expect(page).to_have_url(re.compile(re.escape(end) + "$"))
    page.wait_for_load_state()


def tap(page: Page, selector: str) -> None:
    """Tap what is there, once touches count, as people do."""
    button = page.locator(selector)
    button.wait_for()
    settle(page)
    button.tap()


def choose(page: Page, name: str) -> None:
    """Tap a name on the page of names."""
    tap(page, f'button[value="{name}"]')


def shown(page: Page) -> str:
    """The patch on the screen, once there is one."""
    expect(page.locator("#picture")).to_be_visible()
    source = page.locator("#picture img").get_attribute("src") or ""
    return source.split("/")[-1].removesuffix(".png")


def answer(page: Page, number: int) -> str:
    """Tap an answer; the patch that it was given for, once another screen is there."""
    patch = shown(page)
    tap(page, f"[data-tap=answer] >> nth={number}")
    page.wait_for_function(
        "(patch) => !document.querySelector('#picture').checkVisibility()"
        " || !document.querySelector('#picture img').src.includes(patch)",
        arg=patch,
    )
    return patch


def tap_word(page: Page, word: str) -> None:
    """Tap the button that says it, on whichever page of buttons it is."""
    for _ in range(8):
        settle(page)
        button = page.get_by_role("button", name=word, exact=True)
        if button.count():
            button.tap()
            return
        page.locator("button:visible").last.tap()  # to the next page
    raise AssertionError(word)


def eventually(look: Callable[[], object], wanted: object) -> None:
    """Look again and again until it is so.

    Raises:
        AssertionError: it never was.
    """
    end = time.monotonic() + PATIENCE_MS / 1000
    while (found := look()) != wanted and time.monotonic() < end:
        time.sleep(0.05)
    assert found == wanted


MEASURE = """() => {
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


def check_places(page: Page, server: Server, controls: int = 3) -> None:
    """Nothing overlaps, scrolls, is cut off or is too small."""
    review = server.settings.review
    page.wait_for_load_state()  # styles too
    page.wait_for_function(  # and pictures that a script has asked for since
        "() => [...document.images].every((image) => image.complete || !image.checkVisibility())"
    )
    found = page.evaluate(MEASURE)
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


def check_axe(page: Page) -> None:
    """Axe finds nothing, contrasts of 7:1 among it."""
    result = Axe().run(page, options={"runOnly": {"type": "tag", "values": AXE_RULES}})
    assert result.violations_count == 0, result.generate_report()


def check_screen(page: Page, server: Server, controls: int = 3) -> None:
    """All that every screen owes."""
    check_places(page, server, controls)
    check_axe(page)


_axe_has_seen: set[tuple[str, str | None]] = set()


def shown_screen(page: Page, server: Server, name: str, controls: int = 3) -> None:
    """Check a screen and keep its picture; axe looks at it once in every language."""
    check_places(page, server, controls)
    seen = name, page.locator("html").get_attribute("lang")
    if seen not in _axe_has_seen:
        check_axe(page)
        _axe_has_seen.add(seen)
    shot(page, server, name)


def shot(page: Page, server: Server, name: str, *, whole: bool = False) -> None:
    """Keep a picture of a screen among the artefacts; `whole`: beyond the glass too."""
    ARTEFACTS.mkdir(exist_ok=True)
    review = server.settings.review
    language = page.locator("html").get_attribute("lang")
    file = f"{name}-{review.panel_width_px}x{review.panel_height_px}-{language}.png"
    # Playwright itself would write it on a thread of its own, which outlives the test.
    (ARTEFACTS / file).write_bytes(page.screenshot(full_page=whole))
