"""Whole queues answered by taps alone, as a shift does."""

import threading
import time
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from camera.source import Event
from config.settings import Asking, Camera, Device, FolderSource, Recipe, Review, Settings
from device.loop.loop import InspectionLoop
from device.models.activation import activate
from device.store.answers import add_label, labelled_patches, truth_of, waiting
from device.store.database import open_store
from device.store.pictures import encode_png
from tests.device.review.conftest import LAUNCH, Server, answers_in, fill, serving
from tests.device.review.glass import (
    PANELS,
    answer,
    eventually,
    on_panel,
    page_of,
    settle,
    shown,
    tap,
)
from trainer.learning.retrain import retrain


@pytest.fixture(scope="module")
def neu_device(tmp_path_factory: pytest.TempPathFactory, neu_cls: Path) -> Settings:
    """A device that learnt from 54 real patches and has some hundred questions about others."""
    folder = tmp_path_factory.mktemp("neu")
    classes = sorted(path.name for path in neu_cls.iterdir() if path.is_dir())
    settings = Settings(
        device=Device(name="box", data=folder / "data"),
        camera=Camera(source="folder", folder=FolderSource(path=neu_cls, shuffle_seed=0)),
        recipe=Recipe(classes=classes, pass_classes=[]),
        asking=Asking(k=17, cold_start=54, audit_share=0.01, labels_per_shift=0),
        review=Review(operators=["Anna", "Ben"]),
    )

    def ignore(_event: Event) -> None:
        pass

    InspectionLoop(settings, ignore).run()
    db = open_store(settings.device.data)
    for question in waiting(db, {"": (17, 54)}):
        add_label(db, question.patch_id, str(truth_of(db, question.patch_id)), "Anna")
    file = folder / "model.onnx"
    retrain(labelled_patches(db), settings, file)
    activate(db, file, settings, "first night")
    InspectionLoop(settings, ignore).run()
    db.close()
    return settings


def answer_truly(page: Page, truths: dict[str, str]) -> str:
    """Tap what the patch really shows, on whichever page of answers it is."""
    patch = shown(page)
    settle(page)
    words = truths[patch].replace("_", " ")
    for _ in range(4):
        button = page.locator("[data-tap=answer]:visible").filter(
            has=page.get_by_text(words, exact=True)
        )
        if button.count():
            button.tap()
            return patch
        tap(page, "#tool-more")
    raise AssertionError(words)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("panel", PANELS, ids=lambda p: f"{p[0]}x{p[1]}")
def test_a_hundred_real_patches_are_reviewed_by_taps_alone(
    browser: Browser, neu_device: Settings, tmp_path: Path, panel: tuple[int, int, float]
) -> None:
    source = open_store(neu_device.device.data)
    source.execute(f"VACUUM INTO '{tmp_path / 'millsight.db'}'")
    source.close()
    settings = on_panel(neu_device, *panel).model_copy(
        update={"device": neu_device.device.model_copy(update={"data": tmp_path})}
    )
    db = open_store(tmp_path)
    truths = {q.patch_id: str(truth_of(db, q.patch_id)) for q in waiting(db, {"": (17, 54)})}
    db.close()
    assert len(truths) >= 100
    began = len(answers_in(tmp_path))
    with serving(settings) as server, page_of(browser, server) as page:
        start = time.monotonic()
        reviewed = [answer_truly(page, truths) for _ in range(100)]
        taken = time.monotonic() - start
        eventually(
            lambda: [(patch, name) for patch, _, name in answers_in(tmp_path)[began:]],
            [(patch, truths[patch]) for patch in reviewed],
        )
    assert len(set(reviewed)) == 100
    print(f"100 patches on {panel}: {taken:.0f} s")


ANSWERABLE = """() => document.querySelector('#picture').checkVisibility()
    || document.querySelector('#message-mark').innerText === '!'
    || document.querySelector('#message-mark').innerText === '→'"""


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_two_browsers_answer_five_hundred_patches_none_twice(tmp_path: Path) -> None:
    settings = Settings(
        device=Device(data=tmp_path / "data"),
        recipe=Recipe(classes=["clean", "scratch"], pass_classes=["clean"]),
        asking=Asking(k=1000, labels_per_shift=0),
        review=Review(operators=["Anna", "Ben"]),
    )
    db = open_store(settings.device.data)
    png = encode_png(np.random.default_rng(0).integers(0, 255, (200, 200), np.uint8))
    asked = fill(db, 500, png=png)
    db.close()
    seen: dict[str, list[str]] = {}
    failures: list[BaseException] = []

    def review(server: Server, name: str) -> None:
        try:
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(**LAUNCH)
                with page_of(browser, server, name) as page:
                    mine = seen.setdefault(name, [])
                    message = page.locator("#message")
                    while True:
                        page.wait_for_function(ANSWERABLE)
                        if message.is_visible():
                            break
                        mine.append(answer(page, len(mine) % 2))
                browser.close()
        except BaseException as error:  # noqa: BLE001 - told by the test's own thread
            failures.append(error)

    with serving(settings) as server:
        people = [threading.Thread(target=review, args=(server, name)) for name in ("Anna", "Ben")]
        for person in people:
            person.start()
        for person in people:
            person.join()
    assert failures == []
    firsts = [patch for patch, _, _ in answers_in(settings.device.data)]
    db = open_store(settings.device.data)
    rows = db.execute(
        "SELECT patch_id, operator FROM labels WHERE NOT repeat ORDER BY rowid"
    ).fetchall()
    repeats = db.execute("SELECT count(*) FROM labels WHERE repeat").fetchone()[0]
    db.close()
    assert sorted(patch for patch, _ in rows) == sorted(asked)
    assert {name for _, name in rows} == {"Anna", "Ben"}
    assert len(firsts) == 500 + repeats
    print(f"Anna {len(seen['Anna'])}, Ben {len(seen['Ben'])} answers; {repeats} of them repeats")
