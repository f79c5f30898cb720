"""Every state of the questions' page has a screen of its own, and says what to do."""

import contextlib
import sqlite3
from pathlib import Path

from playwright.sync_api import Browser, expect

from camera.source import Event
from config.document import to_toml
from config.settings import Device, Settings
from device.review.queue import claim_next
from device.review.texts import texts
from device.store.answers import waiting
from device.store.cycles import start_cycle
from device.store.database import STORE_FILE, open_store
from tests.device.review.conftest import OTHER, answers_in, serving
from tests.device.review.glass import (
    answer,
    eventually,
    in_both_languages,
    on_panel,
    on_two_glasses,
    page_of,
    shown,
    shown_screen,
    tap,
    tap_word,
)
from tests.device.review.test_live_page import live_loop


def emptied(settings: Settings) -> None:
    """Let nothing wait."""
    db = open_store(settings.device.data)
    start_cycle(db, "test")
    db.close()


@on_two_glasses
def test_when_the_budget_is_used_up_the_page_says_so_and_stops_asking(
    browser: Browser, asking: Settings, panel: tuple[int, int, float], language: str
) -> None:
    budget = asking.asking.model_copy(update={"labels_per_shift": 3})
    settings = on_panel(asking.model_copy(update={"asking": budget}), *panel, language=language)
    with serving(settings) as server, page_of(browser, server) as page:
        for number in range(3):
            answer(page, number % 2)
        expect(page.locator("#message-mark")).to_have_text("✓")
        shown_screen(page, server, "budget")
        if language == "en":
            expect(page.locator("#message-title")).to_have_text("Enough for this shift")
        page.reload()
        expect(page.locator("#message")).to_be_visible()
        expect(page.locator("#picture")).to_be_hidden()
        assert len(answers_in(settings.device.data)) == 3
        tap(page, "#tool-undo")  # takes one answer back: one more may be given
        shown(page)
        with page.expect_response("**/answers"):
            tap(page, "[data-tap=answer] >> nth=0")
        expect(page.locator("#message")).to_be_visible()
    assert [kind for _, kind, _ in answers_in(settings.device.data)] == [
        "class", "class", "class", "undone", "class",
    ]  # fmt: skip


@on_two_glasses
def test_camera_inspection_and_disk_are_told(
    browser: Browser, asking: Settings, panel: tuple[int, int, float], language: str
) -> None:
    keeping = asking.keeping.model_copy(update={"low_disk_mb": 10**9})
    settings = on_panel(asking, *panel, language=language)
    low = settings.model_copy(update={"keeping": keeping})
    with serving(low) as server, page_of(browser, server) as page:
        shown(page)
        words = {"en": "⚠ Disk nearly full", "zh": "⚠ 磁盘将满"}
        expect(page.locator("#count")).to_have_text(words[language])
        shown_screen(page, server, "low-disk")
    emptied(settings)
    with serving(settings) as server, page_of(browser, server) as page:
        title = page.locator("#message-title")
        expect(title).to_have_text(
            {"en": "Inspection is not running", "zh": "检测未运行"}[language]
        )
        shown_screen(page, server, "not-running")
        with live_loop(settings) as loop:
            expect(title).to_have_text({"en": "Nothing to ask", "zh": "没有待答问题"}[language])
            shown_screen(page, server, "empty")
            loop.note(Event("lost", "camera 0: no picture"))
            expect(title).to_have_text({"en": "No camera", "zh": "没有相机"}[language])
            shown_screen(page, server, "no-camera")


@in_both_languages
def test_near_identical_patches_are_shown_as_one_group(
    browser: Browser, asking: Settings, language: str
) -> None:
    db = open_store(asking.device.data)
    # Chosen before the first is: taking a patch out can bring another of its class to the front.
    others = db.execute(
        "SELECT patch_id FROM flags WHERE reason = 'uncertain' ORDER BY score LIMIT 3"
    ).fetchall()
    with db.atomic():
        for (patch,) in others:
            db.execute("UPDATE flags SET alike = patch_id WHERE patch_id = ?", [patch])
    # Not what is free to be claimed: pages of tests before may hold some of the device copied.
    first = waiting(db, {"": (1000, 1000)})[0]
    with db.atomic():
        db.execute("DELETE FROM claims")
        for (patch,) in others:
            db.execute("UPDATE flags SET alike = ? WHERE patch_id = ?", [first.patch_id, patch])
    db.close()
    with serving(asking) as server, page_of(browser, server, language=language) as page:
        assert shown(page) == first.patch_id
        expect(page.locator("#alike")).to_have_text(texts(language)["alike"].format(count=3))
        shown_screen(page, server, "alike")
        answer(page, 0)
        expect(page.locator("#alike")).to_have_text("")  # at once: the answer is on its way
        eventually(lambda: [row[0] for row in answers_in(asking.device.data)], [first.patch_id])
    db = open_store(asking.device.data)
    assert claim_next(db, OTHER, {"": (1000, 1000)}, [first.patch_id]) is not None
    asked = {row[0] for row in db.execute("SELECT patch_id FROM flags WHERE alike IS NOT NULL")}
    assert len(asked) == 3
    db.close()


@in_both_languages
def test_a_full_disk_is_told_and_the_tap_stored_when_there_is_room(
    browser: Browser, asking: Settings, small_disk: Path, language: str
) -> None:
    t = texts(language)
    data = small_disk / "data"
    data.mkdir()
    (small_disk / "ballast").unlink()
    source = open_store(asking.device.data)
    source.execute(f"VACUUM INTO '{data / STORE_FILE}'")
    source.close()
    settings = asking.model_copy(update={"device": Device(name="box", data=data)})
    with serving(settings) as server, page_of(browser, server, language=language) as page:
        patch = shown(page)
        ballast = small_disk / "ballast"
        with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        tap(page, "[data-tap=answer] >> nth=0")
        expect(page.locator("#why")).to_contain_text(t["full-title"])
        shown_screen(page, server, "disk-full")
        assert answers_in(data) == []
        ballast.unlink()
        expect(page.locator("#why")).to_have_text(t["news-delivered"])
        assert [row[0] for row in answers_in(data)] == [patch]


@in_both_languages
def test_a_damaged_store_is_told(browser: Browser, asking: Settings, language: str) -> None:
    with serving(asking) as server, page_of(browser, server, language=language) as page:
        shown(page)
        path = asking.device.data / STORE_FILE
        other = sqlite3.connect(path)  # a write of somebody else, and the server reads afresh
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        other.execute("INSERT INTO state VALUES ('test', '1')")
        other.commit()
        with path.open("r+b") as file:
            for place in range(4096, path.stat().st_size, 4096):
                file.seek(place)
                file.write(b"\xff" * 512)
        tap(page, "[data-tap=answer] >> nth=0")
        expect(page.locator("#why")).to_contain_text(texts(language)["damaged-title"])
        shown_screen(page, server, "damaged")
        other.close()


@in_both_languages
def test_a_restart_with_other_settings_renews_the_page_and_loses_no_tap(
    browser: Browser, asking: Settings, language: str
) -> None:
    t = texts(language)
    with serving(asking) as server, page_of(browser, server, language=language) as page:
        patch = shown(page)
        page.wait_for_load_state("networkidle")
        server.kill()
        tap(page, "[data-tap=answer] >> nth=0")
        expect(page.locator("#why")).to_contain_text(t["news-kept-one"])
        recipe = asking.recipe.model_copy(update={"classes": [*asking.recipe.classes, "burr"]})
        changed = asking.model_copy(update={"recipe": recipe})
        server.config.write_text(to_toml(changed), encoding="utf-8")
        server.start_again()
        expect(page.locator("#why")).to_have_text(t["news-renewed"])
        shown_screen(page, server, "renewed")
        other = shown(page)
        tap(page, "#tool-more")
        tap_word(page, "burr")
        eventually(
            lambda: [(row[0], row[2]) for row in answers_in(asking.device.data)][1:],
            [(other, "burr")],
        )
    assert answers_in(asking.device.data)[0][0] == patch


def test_a_restart_without_changes_is_told_and_the_page_goes_on(
    browser: Browser, asking: Settings
) -> None:
    with serving(asking) as server, page_of(browser, server, clock=True) as page:
        patch = shown(page)
        page.wait_for_load_state("networkidle")
        page.evaluate("window.still = true")
        server.kill()
        page.clock.fast_forward(15_000)  # the page asks by itself
        expect(page.locator("#why")).to_have_text("No connection")
        server.start_again()
        expect(page.locator("#why")).to_have_text("Connected again")
        assert page.evaluate("window.still")  # not fetched anew
        assert answer(page, 0) == patch
