"""The live page and the lot's page in a real browser."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from playwright.sync_api import Browser, Page, expect

from camera.source import Event
from config.document import to_toml
from config.settings import Settings
from device.models.models_in_use import in_force
from device.review.layout import arrange, panel_mm
from device.review.texts import texts
from device.store.database import open_store
from device.store.live import LiveWriter, Shown
from tests.device.review.conftest import Server, serving
from tests.device.review.glass import (
    eventually,
    on_every_glass,
    on_panel,
    on_two_glasses,
    page_of,
    settle,
    shot,
    shown_screen,
    stop,
    tap,
    tap_word,
)


@contextmanager
def live_loop(settings: Settings) -> Iterator[LiveWriter]:
    """The part of a running loop that the page sees."""
    writer = LiveWriter(settings)
    writer.start()
    try:
        yield writer
    finally:
        writer.close()


def show(page: Page, loop: LiveWriter, shown: Shown) -> None:
    """Let the loop show a frame, and wait until it is on the page."""
    # The loop writes pictures only once a page that knows of it looks.
    expect(page.locator(".facts li:nth-child(2) b:not(.bad)")).to_be_attached()
    latest = page.locator(".at-shots-0 img")
    before = latest.get_attribute("src") if latest.count() else None
    loop.show(shown)
    if before is not None:
        expect(latest).not_to_have_attribute("src", before)
    expect(page.locator("#tile")).to_have_class(f"place at-live-tile tile {shown.verdict}")
    expect(latest).to_be_attached()


def plate(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(60, 200, (400, 600), np.uint8)


@contextmanager
def live_page(browser: Browser, server: Server) -> Iterator[Page]:
    with page_of(browser, server, None) as page:
        page.goto(server.url + "live")
        yield page


@on_every_glass
def test_every_state_on_every_panel_in_every_language(
    browser: Browser, asking: Settings, panel: tuple[int, int, float], language: str
) -> None:
    settings = on_panel(asking, *panel, language=language)
    room = len(arrange(*panel_mm(settings.review), answers=4, frame=True).shots)
    with serving(settings) as server, live_page(browser, server) as page:
        tile = page.locator("#tile")
        shown_screen(page, server, "live-stopped")
        with live_loop(settings) as loop:
            for verdict, name in (
                ("pass", "clean"), ("fail", "pitted_surface"), ("unsure", ""), ("fault", "dark"),
            ):  # fmt: skip
                for number in range(2):
                    show(page, loop, Shown(verdict, name, plate(number)))
                shown_screen(page, server, f"live-{verdict}")
            expect(page.locator(".shot")).to_have_count(min(room, 8))
            loop.note(Event("lost", "camera 0: no picture"))
            expect(page.locator("#tile .word")).to_have_text("⚠")
            shown_screen(page, server, "live-lost")
        expect(tile).to_have_class("place at-live-tile tile none")
        server.kill()
        expect(page.locator("#live-lost")).to_be_visible()
        shown_screen(page, server, "live-gone")


def test_what_the_machine_does_is_told(browser: Browser, server: Server) -> None:
    t = texts("en")
    with live_page(browser, server) as page, live_loop(server.settings) as loop:
        machine = page.locator(".facts li", has_text=t["fact-machine"]).locator("b")
        expect(machine).to_have_text(t["no-machine"])
        for word, amber in (("ready", 0), ("judging", 0), ("answered", 0), ("editing", 1)):
            loop.tell(machine=word)
            expect(machine).to_have_text(t[f"machine-{word}"])
            assert page.locator(".facts .bad", has_text=t[f"machine-{word}"]).count() == amber
        shown_screen(page, server, "live-machine")
        loop.note(Event("plc-silent", "plc: nothing heard"))
        expect(machine).to_have_text(t["machine-silent"])
        loop.tell(recipe="ring")
        loop.note(Event("plc", "plc: heard again"))
        expect(machine).to_have_text(t["machine-editing"])
        expect(page.locator(".facts li:first-child")).to_contain_text("ring")


def test_words_and_signs_say_what_the_colour_says(browser: Browser, server: Server) -> None:
    with live_page(browser, server) as page, live_loop(server.settings) as loop:
        signs = set()
        for verdict, name, words in (
            ("pass", "clean", "OK\nclean"),
            ("fail", "pitted_surface", "NG\npitted surface"),
            ("unsure", "", "?\nLook at the part"),
            ("fault", "frozen", "No verdict\nPicture is frozen"),
        ):
            show(page, loop, Shown(verdict, name, plate(0)))
            assert [w for w in page.locator("#tile").inner_text().split("\n") if w] == words.split(
                "\n"
            )
            signs.add(page.locator("#tile .sign path").get_attribute("d"))
        assert len(signs) == 4


def test_a_fail_sounds_where_sound_is_on(browser: Browser, server: Server) -> None:
    with live_page(browser, server) as page, live_loop(server.settings) as loop:
        page.evaluate(
            "() => { window.beeps = 0; document.addEventListener('beep', () => window.beeps++) }"
        )
        loop.show(Shown("fail", "scratch", plate(0)))
        expect(page.locator("#tile")).to_have_attribute("data-fails", "1")
        assert page.evaluate("window.beeps") == 0
        tap(page, "#sound")
        expect(page.locator("#sound")).to_have_attribute("aria-pressed", "true")
        assert page.evaluate("window.beeps") == 1  # it is heard at once that it works
        loop.show(Shown("pass", "clean", plate(0)))
        loop.show(Shown("fail", "scratch", plate(0)))
        expect(page.locator("#tile")).to_have_attribute("data-fails", "2")
        assert page.evaluate("window.beeps") == 2
        show(page, loop, Shown("pass", "clean", plate(0)))
        assert page.evaluate("window.beeps") == 2
        page.reload()
        expect(page.locator("#sound")).to_have_attribute("aria-pressed", "true")


def test_the_screen_dims_only_while_nothing_happens(browser: Browser, server: Server) -> None:
    idle_ms = int(600 * server.settings.review.dim_after_s)  # more than half of it
    with page_of(browser, server, None, clock=True) as page:
        page.goto(server.url + "live")
        settle(page)
        stop(page)
        page.clock.run_for(2 * idle_ms)
        expect(page.locator("#dim")).to_be_visible()
        with live_loop(server.settings) as loop:
            loop.show(Shown("fail", "scratch", plate(0)))
            expect(page.locator("#tile")).to_have_class("place at-live-tile tile fail")
            expect(page.locator("#dim")).to_be_hidden()
            page.clock.run_for(idle_ms)
            loop.show(Shown("pass", "clean", plate(0)))
            expect(page.locator("#tile")).to_have_class("place at-live-tile tile pass")
            page.clock.run_for(idle_ms)
            expect(page.locator("#dim")).to_be_hidden()


def test_facts_are_those_of_the_device(browser: Browser, asking: Settings) -> None:
    keeping = asking.keeping.model_copy(update={"low_disk_mb": 10**9})
    settings = asking.model_copy(update={"keeping": keeping})
    db = open_store(settings.device.data)
    model = in_force(db).model_id
    db.close()
    assert model is not None
    with serving(settings) as server, live_page(browser, server) as page:
        facts = page.locator(".facts")
        expect(facts).to_contain_text(model[:8])
        expect(facts).to_contain_text("not running")
        assert "GB free" in " ".join(page.locator(".facts .bad").all_inner_texts())
        with live_loop(settings) as loop:

            def has_speed() -> bool:
                loop.show(Shown("pass", "clean", plate(0)))
                return re.search(r"Speed (0\.[1-9]|[1-9])", facts.text_content() or "") is not None

            eventually(has_speed, True)
            expect(facts).to_contain_text("Inspection running")
        shown_screen(page, server, "live-low-disk")


def test_the_page_comes_back_with_the_server_and_tells_only_what_is_so(
    browser: Browser, server: Server
) -> None:
    with live_page(browser, server) as page, live_loop(server.settings) as loop:
        loop.show(Shown("fail", "scratch", plate(0)))
        expect(page.locator("#tile")).to_have_class("place at-live-tile tile fail")
        server.kill()
        expect(page.locator("#live-lost")).to_be_visible()
        loop.show(Shown("pass", "clean", plate(0)))
        server.start_again()
        expect(page.locator("#tile")).to_have_class("place at-live-tile tile pass")
        expect(page.locator("#live-lost")).to_be_hidden()


def test_the_live_page_is_renewed_when_the_server_has_other_settings(
    browser: Browser, asking: Settings
) -> None:
    with serving(asking) as server, live_page(browser, server) as page:
        server.kill()
        changed = on_panel(asking, 1280, 800, 10.1, language="zh")
        server.config.write_text(to_toml(changed), encoding="utf-8")
        server.start_again()
        expect(page.locator("html")).to_have_attribute("lang", "zh")
        expect(page.locator("#tile")).to_be_visible()


@on_two_glasses
def test_a_lot_begins_by_taps(
    browser: Browser, asking: Settings, panel: tuple[int, int, float], language: str
) -> None:
    words = texts(language)
    with (
        serving(on_panel(asking, *panel, language=language)) as server,
        page_of(browser, server) as page,
    ):
        page.goto(server.url + "live")
        tap(page, ".at-live-lot")
        expect(page.locator("#asked")).to_have_text(words["begin-part"])
        settle(page)
        for letter in "P-7":
            tap_word(page, letter)
        shown_screen(page, server, "lot-part")
        tap(page, "#save")
        expect(page.locator("#asked")).to_have_text(words["begin-lot"])
        for letter in "L1X":
            tap_word(page, letter)
        tap_word(page, words["erase"])
        shown_screen(page, server, "lot-lot")
        tap(page, "#save")
        expect(page.locator(".facts")).to_contain_text("P-7 · L1")
    db = open_store(server.settings.device.data)
    assert db.execute("SELECT part, lot, who FROM lots").fetchall() == [("P-7", "L1", "Anna")]
    db.close()


def test_a_page_opened_while_the_server_is_away_waits_for_it(
    browser: Browser, server: Server
) -> None:
    with live_page(browser, server) as page:
        page.evaluate("navigator.serviceWorker.ready.then(() => true)")
        server.kill()
        page.goto(server.url + "live")
        expect(page.locator("h1").first).to_have_text("No connection")
        expect(page.locator("main")).to_contain_text("连接中断")
        shot(page, server, "offline")
        server.start_again()
        expect(page.locator("#tile")).to_be_visible()


def test_only_so_many_pages_are_fed(server: Server) -> None:
    client = server.client()
    client.open()
    streams = [client.http.stream("GET", "/live/events") for _ in range(18)]
    try:
        codes = [stream.__enter__().status_code for stream in streams]
    finally:
        for stream in streams:
            stream.__exit__(None, None, None)
    assert codes[0] == 200
    assert codes[-1] == 503
