"""Questions of two recipes: each is asked with the classes, guesses and names of its own."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from numpy.typing import NDArray
from playwright.sync_api import Browser, expect

from camera.milled_steel import CLASSES
from config.recipes import load_recipes
from config.settings import Asking, Camera, Device, Recipe, Review, Settings, Vmc220Source
from device.loop.loop import InspectionLoop
from device.models.activation import activate
from device.review import queue
from device.store.answers import Quotas, add_answer, waiting
from device.store.database import open_store
from device.store.parts import choose_recipe
from tests.device.conftest import model_file, wider_model
from tests.device.review.conftest import OTHER, Server, copied, serving
from tests.device.review.glass import in_both_languages, on_panel, page_of, shown, tap

RING = """[recipe]
index = 1
classes = ["fine", "burr", "chatter", "dent", "rust"]
pass_classes = ["fine"]
regions = [{ x = 0, y = 0, width = 300, height = 300 }]
[asking]
k = 2
cold_start = 2
"""
RING_CLASSES = ["fine", "burr", "chatter", "dent", "rust"]


@pytest.fixture(scope="module")
def two_asked(tmp_path_factory: pytest.TempPathFactory, plates: NDArray[Any]) -> Settings:
    """A device that has asked about plates of two recipes; not to be changed."""
    folder = tmp_path_factory.mktemp("two")
    settings = Settings(
        device=Device(name="box", data=folder / "data", recipes=folder / "recipes"),
        camera=Camera(vmc220=Vmc220Source(frames=6, width_px=600, height_px=400)),
        recipe=Recipe(classes=list(CLASSES), pass_classes=["clean"], regions="grid"),
        asking=Asking(k=3, audit_share=0.0, labels_per_shift=0),
        review=Review(operators=["Anna", "李伟"]),
    )
    settings.device.recipes.mkdir()
    (settings.device.recipes / "ring.toml").write_text(RING)
    under = load_recipes(settings).under("ring").settings
    db = open_store(settings.device.data)
    activate(db, model_file(folder / "model.onnx", plates), settings, "test")
    ring = wider_model(folder / "ring.onnx", plates, RING_CLASSES, pass_classes=["fine"])
    activate(db, ring, under, "test", "ring")
    for name in ("default", "ring"):
        choose_recipe(db, name, "anna")
        InspectionLoop(settings, lambda _event: None).run()
    db.close()
    return settings


@pytest.fixture
def two(two_asked: Settings, tmp_path: Path) -> Settings:
    """A copy of that device."""
    copy = copied(two_asked, tmp_path)
    recipes = shutil.copytree(two_asked.device.recipes, tmp_path / "recipes")
    device = copy.device.model_copy(update={"recipes": recipes})
    return copy.model_copy(update={"device": device})


@pytest.fixture
def two_served(two: Settings) -> Iterator[Server]:
    with serving(two) as server:
        yield server


def test_each_recipe_has_its_quota_and_one_that_is_no_more_is_not_asked_about(
    two: Settings,
) -> None:
    db = open_store(two.device.data)
    quotas = load_recipes(two).quotas
    assert quotas == {"": (3, 54), "ring": (2, 2)}

    def per_class(quotas: Quotas) -> dict[str, int]:
        most: dict[tuple[str, str | None], int] = {}
        for question in waiting(db, quotas):
            key = question.recipe, question.predicted
            most[key] = most.get(key, 0) + 1
        return {recipe: max(n for (r, _), n in most.items() if r == recipe) for recipe, _ in most}

    assert per_class(quotas) == {"": 3, "ring": 2}
    assert per_class({"": (1, 9), "ring": (1, 9)}) == {"": 1, "ring": 1}
    assert per_class({"": (2, 9)}) == {"": 2}
    # Neither is it asked again, to see whether people agree.
    (one,) = [q for q in waiting(db, {"ring": (1, 2)}) if q.recipe == "ring"][:1]
    add_answer(db, one.patch_id, "class", "fine", "ben")
    assert queue.claim_repeat(db, OTHER, "anna", 1.0, [""]) is None
    again = queue.claim_repeat(db, OTHER, "anna", 1.0, ["", "ring"])
    assert again is not None
    assert (again.patch_id, again.recipe) == (one.patch_id, "ring")
    db.close()


def test_the_server_asks_and_takes_answers_by_the_recipe_of_the_frame(two_served: Server) -> None:
    page = two_served.client()
    page.open()
    reply = page.questions()
    assert reply["recipes"] == {
        "default": {"classes": list(CLASSES), "passing": ["clean"]},
        "ring": {"classes": RING_CLASSES, "passing": ["fine"]},
    }
    seen: dict[str, int] = {}
    number = 0
    while reply["questions"]:
        for question in reply["questions"]:
            number += 1
            recipe = question["recipe"]
            seen[recipe] = seen.get(recipe, 0) + 1
            classes = reply["recipes"][recipe]["classes"]
            assert question["guesses"]
            assert set(question["guesses"]) <= set(classes)
            assert page.http.get(question["heat"]).status_code == 200
            other = "burr" if recipe == "default" else "scratch"
            patch = question["patch"]
            assert page.tap(f"wrong-{number:04}", patch, name=other).status_code == 422
            if seen[recipe] == 1:  # and what is a class of one is something new of the other
                answered = page.tap(f"right-{number:04}", patch, answer="something new", name=other)
                assert answered.status_code == 200
                names = answered.json()["names"]
                assert names[recipe] == [other]
                assert names == {"default": [], "ring": []} | {
                    name: ["burr" if name == "default" else "scratch"] for name in seen
                }
            else:
                assert page.tap(f"right-{number:04}", patch, name=classes[1]).status_code == 200
        reply = page.questions()
    assert seen.keys() == {"default", "ring"}
    assert reply["waiting"] == 0
    db = open_store(two_served.settings.device.data)
    rows = db.execute(
        "SELECT DISTINCT r.recipe, l.class FROM labels l JOIN flags f ON f.patch_id = l.patch_id "
        "JOIN frames r ON r.id = f.frame_id ORDER BY 1, 2"
    ).fetchall()
    db.close()
    expected = [("default", "burr"), ("default", "patch"), ("ring", "burr"), ("ring", "scratch")]
    assert rows == expected


def test_the_pages_show_all_recipes_and_name_them(two_served: Server) -> None:
    page = two_served.client()
    page.open()
    live = page.http.get("/live").text
    assert "ring" in live  # in force
    models = page.http.get("/models").text
    assert "default · " in models
    assert "ring · " in models
    today = "".join(page.http.get(f"/today?page={number}").text for number in range(12))
    assert "Accuracy of the model in use · default" in today
    assert "Accuracy of the model in use · ring" in today
    classes = page.http.get("/today/classes").text
    assert "chatter" in classes
    assert page.http.get("/today?class=chatter").status_code == 200
    assert page.http.get("/today?class=unheard").status_code == 400
    # A recipe that comes while the pages are served is there at once.
    (two_served.settings.device.recipes / "odd.toml").write_text(
        '[recipe]\nclasses = ["a", "b"]\npass_classes = ["a"]\n'
    )
    assert page.questions()["recipes"]["odd"] == {"classes": ["a", "b"], "passing": ["a"]}
    (two_served.settings.device.recipes / "odd.toml").unlink()
    assert "odd" not in page.questions()["recipes"]


@in_both_languages
def test_two_questions_of_different_recipes_show_different_buttons(
    browser: Browser, two: Settings, language: str
) -> None:
    no_defect = {"en": "No defect", "zh": "无缺陷"}[language]
    with (
        serving(on_panel(two, 1280, 800, 10.1, language=language)) as server,
        page_of(browser, server) as page,
    ):
        words: dict[str, set[str]] = {}
        good: set[tuple[float, float]] = set()
        for _ in range(40):
            shown(page)
            recipe = page.locator("#why").inner_text().split(" · ")[0]
            buttons = page.locator("[data-tap=answer]:visible")
            labels = buttons.locator(".label").all_inner_texts()
            words.setdefault(recipe, set()).update(labels)
            place = buttons.filter(has_text=no_defect).bounding_box()
            assert place is not None
            good.add((place["x"], place["y"]))
            # There is room for four: only the recipe with five has more of them.
            more = page.locator("#tool-more")
            idle = "true" if recipe == "default" else "false"
            expect(more).to_have_attribute("aria-disabled", idle)
            if recipe == "ring":
                tap(page, "#tool-more")
                words["ring"].update(buttons.locator(".label").all_inner_texts())
            if len(words) == 2:
                break
            tap(page, "#tool-skip")
        assert words.keys() == {"default", "ring"}
        assert no_defect in words["default"] & words["ring"]
        assert len(words["default"]) == len(CLASSES)
        assert len(words["ring"]) == len(RING_CLASSES)
        assert words["default"] & words["ring"] == {no_defect}
        assert len(good) == 1  # the same place, whatever the recipe
