"""The questions' page in a real browser, by touch, on the panels it is made for."""

import contextlib
import sqlite3

import pytest
from playwright.sync_api import Browser, Route, expect

from config.settings import Device, Recipe, Settings
from device.review.texts import texts
from device.store.cycles import start_cycle
from device.store.database import STORE_FILE, open_store
from tests.device.review.conftest import OTHER, Server, answers_in, serving
from tests.device.review.glass import (
    answer,
    choose,
    eventually,
    in_both_languages,
    on_every_glass,
    on_panel,
    page_of,
    settle,
    shown,
    shown_screen,
    stop,
    tap,
    tap_word,
)


@on_every_glass
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
        shown_screen(page, server, "stopped")
        server.kill()
        expect(page.locator("#message")).to_have_class("place at-message trouble")
        shown_screen(page, server, "gone")
    kinds = [row[1:] for row in answers_in(server.settings.device.data)]
    assert kinds == [("something new", "burr")] * 2


@pytest.mark.parametrize("most", [11, pytest.param(1000, marks=pytest.mark.slow)])
def test_all_questions_are_answered_by_taps_alone(
    browser: Browser, asking: Settings, most: int
) -> None:
    with serving(on_panel(asking, 800, 480, 7.0)) as server, page_of(browser, server) as page:
        shown(page)
        waiting = int(page.locator("#count").inner_text().split()[0])
        total = min(most, waiting)
        seen = [answer(page, number % 4) for number in range(total)]
        if total == waiting:
            expect(page.locator("#message-title")).to_have_text("Inspection is not running")
        eventually(lambda: [patch for patch, _, _ in answers_in(server.settings.device.data)], seen)
        assert len(set(seen)) == total > 10
        assert waiting > 20
        for number in range(1, 12):  # the last ten, and not one more
            undo = page.locator("#tool-undo")
            if number == 11:
                expect(undo).to_have_attribute("aria-disabled", "true")
                break
            tap(page, "#tool-undo")
            expect(page.locator("#picture img")).to_have_attribute(
                "src", f"/patches/{seen[-number]}.png"
            )
            expect(page.locator("#picture")).to_be_visible()
        tap(page, "#tool-cant-tell")
        eventually(
            lambda: [kind for _, kind, _ in answers_in(server.settings.device.data)][total:],
            ["undone"] * 10 + ["can't tell"],
        )


def test_keys_do_the_same(browser: Browser, server: Server) -> None:
    def press(key: str) -> None:
        settle(page)
        page.keyboard.press(key)

    with page_of(browser, server) as page:
        picture = page.locator("#picture img")
        first = shown(page)
        press("h")
        expect(page.locator("#picture")).to_have_attribute("aria-pressed", "true")
        press("h")
        expect(page.locator("#picture")).to_have_attribute("aria-pressed", "false")
        press("4")
        expect(picture).not_to_have_attribute("src", f"/patches/{first}.png")
        second = shown(page)
        press("u")
        expect(picture).not_to_have_attribute("src", f"/patches/{second}.png")
        press("z")
        expect(picture).to_have_attribute("src", f"/patches/{second}.png")
    found = answers_in(server.settings.device.data)
    assert found[0] == (first, "class", "clean")
    # What was taken back before it left the page was never an answer.
    assert found[1:] in (
        [],
        [(second, "can't tell", None), (second, "undone", None)],
    )


def test_a_touch_just_after_the_picture_changed_counts_for_nothing(
    browser: Browser, server: Server
) -> None:
    with page_of(browser, server, clock=True) as page:
        first = shown(page)
        settle(page)
        stop(page)
        page.locator("[data-tap=answer] >> nth=0").tap()
        second = shown(page)
        assert second != first
        for moment in (0, 200, 190):  # 390 ms after the picture changed
            page.clock.run_for(moment)
            page.locator("[data-tap=answer] >> nth=1").tap()
            assert shown(page) == second
        page.clock.run_for(20)
        page.locator("[data-tap=answer] >> nth=1").tap()
        assert shown(page) != second
        page.clock.resume()
        eventually(
            lambda: [patch for patch, _, _ in answers_in(server.settings.device.data)],
            [first, second],
        )


def test_a_finger_that_came_down_on_another_picture_answers_nothing(
    browser: Browser, server: Server
) -> None:
    with page_of(browser, server) as page:
        first = shown(page)
        settle(page)
        box = page.locator("[data-tap=answer] >> nth=0").bounding_box()
        assert box is not None
        page.mouse.move(box["x"] + 9, box["y"] + 9)
        page.mouse.down()
        page.keyboard.press("4")  # the picture changes under the finger
        second = shown(page)
        settle(page)
        page.mouse.up()
        assert shown(page) == second != first
        assert answer(page, 0) == second
        eventually(
            lambda: [patch for patch, _, _ in answers_in(server.settings.device.data)],
            [first, second],
        )


def test_the_touch_that_wakes_the_screen_does_nothing_else(
    browser: Browser, server: Server
) -> None:
    with page_of(browser, server, clock=True) as page:
        patch = shown(page)
        settle(page)
        stop(page)
        page.clock.run_for(int(1000 * server.settings.review.dim_after_s))
        expect(page.locator("#dim")).to_be_visible()
        box = page.locator("[data-tap=answer] >> nth=0").bounding_box()
        assert box is not None
        page.touchscreen.tap(box["x"] + 50, box["y"] + 50)
        expect(page.locator("#dim")).to_be_hidden()
        page.clock.run_for(990)
        page.touchscreen.tap(box["x"] + 50, box["y"] + 50)  # an echo, or an impatient finger
        assert shown(page) == patch
        page.clock.run_for(20)
        page.touchscreen.tap(box["x"] + 50, box["y"] + 50)
        assert shown(page) != patch
        page.clock.resume()
        eventually(lambda: [row[0] for row in answers_in(server.settings.device.data)], [patch])


def test_the_next_picture_shows_before_the_answer_is_delivered(
    browser: Browser, server: Server
) -> None:
    with page_of(browser, server) as page:
        first = shown(page)
        page.wait_for_load_state("networkidle")  # the next question is there too
        held: list[Route] = []

        def hold(route: Route) -> None:
            held.append(route)

        page.route("**/answers", hold)
        assert answer(page, 0) == first
        assert shown(page) != first
        assert answers_in(server.settings.device.data) == []
        for route in held:
            route.continue_()
        page.unroute("**/answers")
        eventually(lambda: [row[0] for row in answers_in(server.settings.device.data)], [first])


@in_both_languages
def test_taps_without_a_server_are_kept_and_stored_once(
    browser: Browser, server: Server, language: str
) -> None:
    t = texts(language)
    with page_of(browser, server, language=language) as page:
        patches = []
        shown(page)
        page.wait_for_load_state("networkidle")  # the next question is there too
        server.kill()
        for kept in (t["news-kept-one"], t["news-kept"].format(count=2)):
            patches.append(shown(page))
            tap(page, "[data-tap=answer] >> nth=0")
            expect(page.locator("#why")).to_contain_text(kept)
        shown_screen(page, server, "kept")  # nothing of the notice is cut off
        expect(page.locator("#message-title")).to_have_text(t["gone-title"])
        server.start_again()
        expect(page.locator("#why")).to_have_text(t["news-delivered"])
        assert [patch for patch, _, _ in answers_in(server.settings.device.data)] == patches
        patches.append(answer(page, 0))
        eventually(lambda: [row[0] for row in answers_in(server.settings.device.data)], patches)


@in_both_languages
def test_a_locked_store_is_told_and_the_tap_is_stored_afterwards(
    browser: Browser, server: Server, language: str
) -> None:
    t = texts(language)
    with page_of(browser, server, language=language) as page:
        patch = shown(page)
        other = sqlite3.connect(server.settings.device.data / STORE_FILE)
        other.execute("BEGIN IMMEDIATE")
        tap(page, "[data-tap=answer] >> nth=0")
        expect(page.locator("#why")).to_contain_text(t["locked-title"])
        shown_screen(page, server, "locked")
        other.close()
        expect(page.locator("#why")).to_have_text(t["news-delivered"])
    assert [row[0] for row in answers_in(server.settings.device.data)] == [patch]


@in_both_languages
def test_a_tap_too_late_is_told(browser: Browser, server: Server, language: str) -> None:
    with page_of(browser, server, language=language) as page:
        patch = shown(page)
        db = open_store(server.settings.device.data)
        db.execute("UPDATE claims SET holder = ?", [OTHER])
        db.close()
        tap(page, "[data-tap=answer] >> nth=0")
        expect(page.locator("#why")).to_have_text(texts(language)["news-late"])
        shown_screen(page, server, "late")
        assert shown(page) != patch
    assert answers_in(server.settings.device.data) == []


@in_both_languages
def test_a_tap_on_a_picture_that_went_holds_up_no_other(
    browser: Browser, server: Server, language: str
) -> None:
    with page_of(browser, server, language=language) as page:
        gone = shown(page)
        page.wait_for_load_state("networkidle")  # the next question is there too
        with contextlib.closing(sqlite3.connect(server.settings.device.data / STORE_FILE)) as db:
            for table in ("claims", "flags"):
                db.execute(f"DELETE FROM {table} WHERE patch_id = ?", [gone])
            db.execute("DELETE FROM patches WHERE id = ?", [gone])
            db.commit()
        tap(page, "[data-tap=answer] >> nth=0")
        expect(page.locator("#why")).to_have_text(texts(language)["news-refused"])
        shown_screen(page, server, "refused")
        patch = answer(page, 0)
        eventually(lambda: [row[0] for row in answers_in(server.settings.device.data)], [patch])


@in_both_languages
def test_before_the_first_model_the_page_says_so(
    browser: Browser, asking: Settings, language: str
) -> None:
    data = asking.device.data.parent / "empty"
    settings = asking.model_copy(update={"device": Device(data=data)})
    with serving(settings) as server, page_of(browser, server, language=language) as page:
        expect(page.locator("#message-title")).to_have_text(texts(language)["cold-title"])
        shown_screen(page, server, "cold")


def test_many_classes_are_paged(browser: Browser, asking: Settings) -> None:
    classes = [f"class {i}" for i in range(11)]
    recipe = Recipe(classes=["clean", *classes], pass_classes=["clean"])
    settings = asking.model_copy(update={"recipe": recipe})
    with serving(on_panel(settings, 800, 480, 7.0)) as server, page_of(browser, server) as page:
        patch = shown(page)
        shown_screen(page, server, "many-classes")
        tap(page, "#tool-more")
        tap_word(page, "class 4")
        eventually(lambda: answers_in(server.settings.device.data), [(patch, "class", "class 4")])


def test_the_language_is_switched_on_the_page(browser: Browser, server: Server) -> None:
    with page_of(browser, server) as page:
        shown(page)
        tap(page, "#tool-menu")
        tap(page, "button[lang=zh]")
        expect(page.locator("html")).to_have_attribute("lang", "zh")
        choose(page, "Anna")
        expect(page.locator("#tool-skip")).to_have_text("跳过")
        page.reload()
        expect(page.locator("#tool-skip")).to_have_text("跳过")


def test_two_pages_share_the_queue(browser: Browser, server: Server) -> None:
    with page_of(browser, server) as one, page_of(browser, server) as two:
        answered = []
        for _ in range(4):
            assert shown(one) != shown(two)
            answered += [answer(one, 0), answer(two, 1)]
        assert len(set(answered)) == 8
        eventually(
            lambda: {row[0] for row in answers_in(server.settings.device.data)}, set(answered)
        )
    assert len(answers_in(server.settings.device.data)) == 8


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
