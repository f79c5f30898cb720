"""The pages of people in a real browser, by touch: PIN pad, waits, kept taps, password."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from config.settings import Settings
from device.review import people
from device.store.database import open_store
from tests.device.review.conftest import Server, serving
from tests.device.review.glass import (
    answer,
    arrive,
    choose,
    eventually,
    on_panel,
    on_two_glasses,
    page_of,
    settle,
    shown,
    shown_screen,
    tap,
)

SMALL = (800, 480, 7.0)
PIN, PASSWORD = "4711", "correct horse"


@pytest.fixture
def staffed(asking: Settings) -> Settings:
    """Questions; Anna and supervisor Eva have a PIN, 李伟 and supervisor Max have none."""
    db = open_store(asking.device.data)
    for name in ("Anna", "Eva"):
        people.set_secret(db, name, PIN, "x")
    people.set_secret(db, people.NETWORK, PASSWORD, "x")
    db.close()
    return with_review(asking, operators=["Anna", "李伟"], supervisors=["Eva", "Max"])


def with_review(settings: Settings, **changes: object) -> Settings:
    review = settings.review.model_copy(update=changes)
    return settings.model_copy(update={"review": review})


def age(server: Server, seconds: float) -> None:
    """Let all sessions and actions be older."""
    db = open_store(server.settings.device.data)
    db.execute("UPDATE sessions SET used_ns = used_ns - ?", [int(seconds * 1e9)])
    db.execute("UPDATE actions SET monotonic_ns = monotonic_ns - ?", [int(seconds * 1e9)])
    db.close()


def type_pin(page: Page, digits: str) -> None:
    """Tap the digits, then OK."""
    expect(page.locator("#dots")).to_be_attached()
    page.wait_for_load_state()
    settle(page)
    for digit in digits:
        page.locator(f'[data-key="{digit}"]').tap()
    expect(page.locator("#dots")).to_have_text("●" * len(digits))
    with page.expect_navigation():
        page.locator("#done").tap()


def labels(server: Server) -> list[tuple[str, str]]:
    """(patch, operator) of every label."""
    db = open_store(server.settings.device.data)
    found = db.execute("SELECT patch_id, operator FROM labels ORDER BY rowid").fetchall()
    db.close()
    return [tuple(row) for row in found]


@on_two_glasses
def test_every_screen_of_people(
    browser: Browser, staffed: Settings, panel: tuple[int, int, float], language: str
) -> None:
    def screen(name: str, controls: int = 3) -> None:
        shown_screen(page, server, name, controls)

    with (
        serving(on_panel(staffed, *panel, language=language)) as server,
        page_of(browser, server, None) as page,
    ):
        screen("staff")
        choose(page, "Max")
        expect(page.locator(".sign")).to_contain_text("millsight people pin Max")
        screen("pin-unset", 1)
        tap(page, ".at-back")
        choose(page, "Anna")
        expect(page.locator("#done")).to_have_attribute("aria-disabled", "true")
        screen("pin")
        for number in range(4):
            type_pin(page, f"000{number}")
            expect(page.locator("#entry .wrong")).to_be_visible()
        screen("pin-wrong")
        type_pin(page, "0004")
        expect(page.locator(".sign")).to_contain_text(re.compile("Wait 1?[0-9] s|1?[0-9] 秒"))
        screen("pin-wait", 1)
        age(server, 20)
        tap(page, ".at-back")
        choose(page, "Anna")
        type_pin(page, PIN)
        shown(page)
        expect(page.locator("#tool-menu .label")).to_have_text("Anna")
        tap(page, "#tool-menu")
        expect(page.locator('button[value="Anna"]')).to_have_attribute("aria-pressed", "true")
        screen("staff-present")
        choose(page, "Anna")  # who is there needs no PIN to go back
        patch = shown(page)
        page.wait_for_load_state("networkidle")
        server.kill()
        tap(page, "[data-tap=answer] >> nth=0")
        expect(page.locator("#header")).to_have_class(re.compile("notice"))
        age(server, 10**6)
        server.start_again()
        arrive(page, "/people")
        expect(page.locator("#who")).to_contain_text(re.compile("Log in again: 1|请重新登录：有 1"))
        screen("staff-kept")
        assert labels(server) == []
        choose(page, "Anna")
        type_pin(page, PIN)
        shown(page)
        expect(page.locator("#tool-undo")).to_have_attribute("aria-disabled", "false")
        assert labels(server) == [(patch, "Anna")]


def test_kept_taps_of_one_do_not_hold_up_another_and_stay_their_own(
    browser: Browser, staffed: Settings
) -> None:
    with serving(staffed) as server, page_of(browser, server, None) as page:
        choose(page, "Anna")
        type_pin(page, PIN)
        kept = []
        shown(page)
        page.wait_for_load_state("networkidle")  # the next picture is loaded too
        server.kill()
        for words in ("1 answer kept", "2 answers kept"):
            kept.append(shown(page))
            tap(page, "[data-tap=answer] >> nth=0")
            expect(page.locator("#why")).to_contain_text(words)
        age(server, 10**6)
        server.start_again()
        arrive(page, "/people")
        expect(page.locator("#who")).to_have_text("Log in again: 2 answers wait")
        expect(page.locator('button[value="Anna"] .small')).to_have_text("2 waiting")
        choose(page, "李伟")
        others = [answer(page, 1) for _ in range(2)]
        eventually(lambda: labels(server), [(patch, "李伟") for patch in others])
        tap(page, "#tool-undo")
        expect(page.locator("#picture img")).to_have_attribute("src", f"/patches/{others[1]}.png")
        tap(page, "#tool-menu")
        expect(page.locator("#who")).to_have_text("Log in again: 2 answers wait")
        choose(page, "Anna")
        type_pin(page, PIN)
        shown(page)
        eventually(lambda: labels(server)[3:], [(patch, "Anna") for patch in kept])
        page.wait_for_load_state("networkidle")
        tap(page, "#tool-menu")
        expect(page.locator("#who")).to_have_text("Who is answering?")


def test_a_supervisor_who_is_idle_is_led_to_the_names(browser: Browser, staffed: Settings) -> None:
    with serving(staffed) as server, page_of(browser, server, None, clock=True) as page:
        choose(page, "Eva")
        type_pin(page, PIN)
        patch = answer(page, 0)
        eventually(lambda: labels(server), [(patch, "Eva")])
        age(server, 181)
        page.clock.fast_forward(15_000)  # the page asks by itself
        arrive(page, "/people")
        expect(page.locator("#who")).to_have_text("Who is answering?")
        expect(page.locator("[aria-pressed=true]")).to_have_count(0)


def test_a_pin_can_be_typed_on_keys_and_erased(browser: Browser, staffed: Settings) -> None:
    with serving(staffed) as server, page_of(browser, server, None) as page:
        choose(page, "Anna")
        expect(page.locator("#dots")).to_be_attached()
        settle(page)
        page.keyboard.type("47112")
        tap(page, '[data-key="erase"]')
        expect(page.locator("#dots")).to_have_text("●●●●")
        page.keyboard.type("99999")
        expect(page.locator("#dots")).to_have_text("●" * 8)
        for _ in range(4):
            page.keyboard.press("Backspace")
        tap(page, "#done")
        shown(page)
        db = open_store(server.settings.device.data)
        assert (
            db.execute("SELECT count(*) FROM actions WHERE action = 'refused'").fetchone()[0] == 0
        )
        db.close()


def test_too_few_digits_and_a_hasty_second_tap_send_nothing(
    browser: Browser, staffed: Settings
) -> None:
    with serving(staffed) as server, page_of(browser, server, None) as page:
        posts: list[str] = []
        page.on("request", lambda r: posts.append(r.url) if r.method == "POST" else None)
        choose(page, "Anna")
        tap(page, '[data-key="1"]')
        page.locator("#done").tap(force=True)
        page.wait_for_load_state("networkidle")
        assert [url.rsplit("/", 1)[1] for url in posts] == ["login"]
        page.evaluate(
            """() => setTimeout(() => { for (const _ of [1, 2, 3]) {
                document.getElementById('pin').requestSubmit(); } })"""
        )
        expect(page.locator(".sign")).to_contain_text("A PIN has 4 to 8 digits")
        assert [url.rsplit("/", 1)[1] for url in posts] == ["login", "pin"]


def test_every_name_is_reached_where_they_do_not_fit(browser: Browser, staffed: Settings) -> None:
    names = [f"Operator {i}" for i in range(9)] + ["A" * 64]
    settings = with_review(on_panel(staffed, *SMALL), operators=names)
    with serving(settings) as server, page_of(browser, server, None) as page:
        for number in range(1, 6):
            shown_screen(page, server, f"staff-paged-{number}")
            if page.locator('button[value="Eva"]').count():
                break
            tap(page, "a.primary")
            arrive(page, f"/people?page={number}")
        choose(page, "Eva")
        type_pin(page, PIN)
        shown(page)


@on_two_glasses
def test_the_password_is_typed_once(
    browser: Browser, staffed: Settings, panel: tuple[int, int, float], language: str
) -> None:
    settings = with_review(on_panel(staffed, *panel, language=language), host="0.0.0.0")
    with serving(settings, network=True) as server, page_of(browser, server, None) as page:
        shown_screen(page, server, "password", controls=1)
        for wrong in range(5):
            page.locator("#entry").fill(f"wrong {wrong}")
            with page.expect_navigation():
                tap(page, ".at-save")
            expect(page.locator(".mark")).to_have_text("!")
        expect(page.locator(".sign")).to_contain_text(re.compile("Wait 1?[0-9] s|1?[0-9] 秒"))
        shown_screen(page, server, "password-wait", controls=1)
        age(server, 20)
        page.locator("#entry").fill(PASSWORD)
        settle(page)
        page.locator("#entry").press("Enter")
        arrive(page, "/people")
        choose(page, "李伟")
        shown(page)


def test_nobody_is_named_in_a_browsers_storage(browser: Browser, staffed: Settings) -> None:
    with serving(staffed) as server, page_of(browser, server, "李伟") as page:
        shown(page)
        assert page.evaluate("Object.keys(localStorage)") == []
        assert "localStorage" not in Path("device/review/static/review.js").read_text()
