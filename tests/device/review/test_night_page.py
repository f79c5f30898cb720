"""The last night on the Models page: that a model went out or was kept back, and why."""

import json

import httpx
import pytest
from playwright.sync_api import Browser, expect

from config.settings import Settings
from device.review.charts import Size
from device.review.night import criterion_name, filled, in_language
from device.review.nights import last_night
from device.review.texts import texts
from device.store.database import open_store
from device.system.clock import stamp
from tests.device.review.conftest import serving
from tests.device.review.glass import on_panel, on_two_glasses, page_of, shown_screen, tap

CRITERIA = [
    ("golden patches", True, "120", "at least 30, or nothing can be said"),
    ("accuracy", True, "97.5 % of 120", "at least 70 %"),
    ("not significantly worse", False, "9 patches lost and 2 won against the champion, p = 0.0327",
     "p of at least 0.05 (exact one-sided McNemar test)"),
    ("not significantly worse on audits", True,
     "0 patches lost and 1 won against the champion, p = 1",
     "p of at least 0.05 (exact one-sided McNemar test)"),
    ("no large drop", True, "+1.9 points of accuracy lost", "at most 2 points, or one patch"),
    ("recall of pitted_surface", True, "58 of 60, champion 60", "at least 52.2, or all but one"),
    ("unsure share", False, "90.0 %, champion 0.3 %", "at most 20 points more"),
    ("file equals network", True, "largest difference 1.1e-06, the same classes",
     "at most 0.0001 and the same classes"),
    ("size", True, "271934 bytes", "at most 578700"),
    ("thresholds", True, "4 of 4 classes have one", "at least one, or every part is unsure"),
    ("latency", True, "1.00 × champion", "at most 1.1 ×"),
]  # fmt: skip


def add_night(settings: Settings, *, published: bool, report: str | None = None) -> None:
    """A finished night in the trainer's store, as a trainer records it."""
    db = open_store(settings.trainer.data)
    criteria = [
        {"name": name, "passed": published or passed, "found": found, "limit": limit}
        for name, passed, found, limit in CRITERIA
    ]
    db.execute(
        "INSERT INTO nights (recipe, model_id, published, classes, labels, last_label, inputs, "
        "report, wall_ns, monotonic_ns, boot_id, clock_ok) "
        "VALUES (?, ?, ?, '[]', 216, 216, '', ?, ?, ?, ?, ?)",
        [settings.recipe.name, "c" * 64, published, report or json.dumps({"criteria": criteria}),
         *stamp()],
    )  # fmt: skip
    db.close()


@pytest.fixture
def learning(asking: Settings) -> Settings:
    """A device with its trainer on the same machine."""
    trainer = asking.trainer.model_copy(update={"data": asking.device.data / "trainer"})
    return asking.model_copy(update={"trainer": trainer})


def test_no_trainer_here_and_no_night_yet(learning: Settings) -> None:
    assert last_night(learning) is None
    open_store(learning.trainer.data).close()
    assert last_night(learning) is None
    add_night(learning, published=True)
    other = learning.recipe.model_copy(update={"name": "other"})
    assert last_night(learning.model_copy(update={"recipe": other})) is None


def test_the_last_night_counts(learning: Settings) -> None:
    add_night(learning, published=False)
    add_night(learning, published=True)
    night = last_night(learning)
    assert night is not None
    assert night.published
    assert night.reasons == []
    assert night.labels == 216
    add_night(learning, published=False)
    night = last_night(learning)
    assert night is not None
    assert not night.published
    assert [c.name for c in night.reasons] == ["not significantly worse", "unsure share"]


@on_two_glasses
def test_why_a_model_was_kept_back(
    browser: Browser, learning: Settings, panel: tuple[int, int, float], language: str
) -> None:
    t = texts(language)
    add_night(learning, published=False)
    with (
        serving(on_panel(learning, *panel, language=language)) as server,
        page_of(browser, server, None) as page,
    ):
        page.goto(f"{server.url}models")
        shown_screen(page, server, "models-night")
        expect(page.locator(".at-cells-0")).to_contain_text(t["night-kept"])
        tap(page, ".at-cells-0")
        expect(page.locator(".at-cards-0")).to_contain_text(t["night-kept-lead"])
        expect(page.locator(".at-cards-0")).to_contain_text("p = 0.0327")
        seen: list[str] = []
        before: list[str] = []
        for number in range(20):
            page.goto(f"{server.url}models/night?page={number}")
            lines = page.locator(".card .line").all_inner_texts()
            if lines == before:  # beyond the last page it stays
                break
            shown_screen(page, server, f"night-{number}")
            seen += lines
            before = lines
        for name, _, found, limit in CRITERIA:
            said = in_language(found, t), in_language(limit, t)
            assert any(said[0] in line and said[1] in line for line in seen), name


def test_a_night_without_a_report_that_can_be_read_is_no_end_of_the_page(
    learning: Settings,
) -> None:
    with serving(learning) as server, httpx.Client(base_url=server.url, trust_env=False) as client:
        assert client.get("/models/night").status_code == 404
        add_night(learning, published=True, report="{}")
        assert client.get("/models/night").status_code == 200
        add_night(learning, published=True, report="damaged")
        assert client.get("/models").status_code == 200
        assert client.get("/models/night").status_code == 404


def test_long_lines_take_as_many_cards_as_they_need() -> None:
    size = Size(60, 20)  # four lines and a bit
    assert filled([], size) == []
    assert filled(["short"] * 5, size) == [("short",) * 4, ("short",)]
    long = "word " * 20  # over three lines
    assert filled(["short", long, "short"], size) == [("short",), (long,), ("short",)]


@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_criterion_has_a_name(language: str, learning: Settings) -> None:
    add_night(learning, published=False)
    night = last_night(learning)
    assert night is not None
    t = texts(language)
    names = [criterion_name(criterion, t) for criterion in night.criteria]
    assert len(set(names)) == len(CRITERIA)
    assert not {name for name, *_ in CRITERIA} & set(names)
