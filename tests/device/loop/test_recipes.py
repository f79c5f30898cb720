"""Recipes: files over the settings of the site, the command line, and changing them."""

import stat
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from camera.source import Event
from config.document import to_toml
from config.errors import UserError
from config.recipes import Under, load_recipes, overlay
from config.settings import Settings
from device.judging.model import load_model
from device.loop.loop import FrameResult, InspectionLoop
from device.loop.recipe_book import RecipeBook
from device.models.activation import activate
from device.store.database import exclusive, open_store
from device.store.editing import is_being_edited
from device.store.parts import choose_recipe, record_recipe
from tests.device.conftest import MakeModel

ROOT = Path(__file__).parents[3]
CLASSES = 'classes = ["clean", "patch", "pitted_surface", "scratch"]\n'


def write(settings: Settings, name: str, text: str) -> Path:
    path = settings.device.recipes / f"{name}.toml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


def test_a_recipe_is_laid_over_the_site(settings: Settings) -> None:
    write(
        settings,
        "ring",
        f'[recipe]\nindex = 4\nparts = ["R-1"]\n{CLASSES}pass_classes = ["clean", "patch"]\n'
        "[asking]\nk = 2\n[camera.quality]\nmin_contrast = 7\n",
    )
    recipes = load_recipes(settings)
    assert recipes.errors == ()
    ring = recipes.named("ring")
    assert ring is not None
    assert ring.recipe.name == "ring"
    assert ring.recipe.pass_classes == ["clean", "patch"]
    assert (ring.asking.k, ring.asking.cold_start) == (2, settings.asking.cold_start)
    assert ring.camera.quality.min_contrast == 7
    assert ring.camera.folder == settings.camera.folder
    assert ring.machine == settings.machine
    assert recipes.of_index(4) is ring
    assert recipes.of_index(0) is None
    assert recipes.of_part("R-1") is ring
    assert recipes.of_part("R-2") is None
    assert recipes.named(settings.recipe.name) is settings


MISTAKES = {
    "[recipe\n": "not valid TOML",
    "[device]\nname = 'x'\n": "device: not of a recipe; a recipe has recipe, asking, camera",
    "[recipe]\nindexx = 3\n": "recipe.indexx: unknown key; did you mean 'index'?",
    "[recipe]\nname = 'other'\n": "recipe.name: found 'other', and the file is of 'bad'",
    "[recipe]\nindex = 4\n": "recipe.index 4 is that of 'ring'; give it another",
    "[recipe]\nparts = ['R-1']\n": "recipe.parts: 'R-1' is a part of 'ring' too",
    "[recipe]\nline_pattern = '(PART'\n": "is no regular expression",
    "[recipe]\nthresholds = { rust = 1 }\n": "thresholds names 'rust'",
    "recipe = 5\n": "recipe: found 5; allowed is a table",
    "[camera]\nsource = 'folder'\n": "camera.source: a recipe cannot change it; it can: camera.qu",
    "[camera.genicam]\nwidth_px = 9\n": "camera.genicam.width_px: a recipe cannot change it; it",
    "[camera.light]\nport = '/dev/x'\n": "camera.light.port: a recipe cannot change it; it can: ca",
    "[camera.genicam]\ngain_db = 3.0\n": "camera.genicam.gain_db: the settings of the site leave",
}


@pytest.mark.parametrize("text", MISTAKES)
def test_a_recipe_with_a_mistake_is_left_out_and_says_why(settings: Settings, text: str) -> None:
    write(settings, "ring", "[recipe]\nindex = 4\nparts = ['R-1']\n")
    path = write(settings, "zz" if "'ring'" in MISTAKES[text] else "bad", text)
    if "'bad'" in MISTAKES[text]:
        path = path.rename(path.with_name("bad.toml"))
    recipes = load_recipes(settings)
    assert set(recipes.others) == {"ring"}
    (error,) = recipes.errors
    assert error.startswith(str(path))
    assert MISTAKES[text] in error


def test_with_a_plc_a_class_that_is_neither_ok_nor_ng_is_refused(settings: Settings) -> None:
    machine = {"trigger": "modbus", "modbus": {"role": "server"}}
    fails = ["patch", "pitted_surface", "scratch"]
    site = settings.model_dump() | {"machine": machine}
    site["recipe"]["fail_classes"] = fails
    good = Settings.model_validate(site)
    text = f'[recipe]\n{CLASSES}pass_classes = ["clean"]\nfail_classes = ["patch", "scratch"]\n'
    with pytest.raises(UserError, match="'pitted_surface' is neither in pass_classes nor in"):
        overlay(good, text, Path("x.toml"))


def test_the_loop_s_book_takes_up_files_models_and_choices(
    settings: Settings, make_model: MakeModel
) -> None:
    db = open_store(settings.device.data)
    said: list[str] = []
    book = RecipeBook(settings, lambda event: said.append(f"{event.kind}: {event.text}"))
    assert book.follow(db)
    assert book.now.name == settings.recipe.name
    assert not book.follow(db)
    text = (
        f'[recipe]\nindex = 2\n{CLASSES}pass_classes = ["clean"]\nthresholds = {{ scratch = 9 }}\n'
    )
    write(settings, "ring", text)
    assert book.follow(db)
    ring = book.named("ring")
    assert ring is not None
    assert ring.model is None
    other = open_store(settings.device.data)
    under = load_recipes(settings).named("ring")
    assert under is not None
    file = make_model()
    activate(other, file, under, "test", "ring")
    end = time.monotonic() + 30
    while ring.model is None:  # it is loaded on another thread
        book.follow(db)
        assert time.monotonic() < end
        time.sleep(0.01)
    assert ring.model.id == load_model(file).id
    assert ring.model.thresholds.tolist() == [0.05, 0.05, 0.05, 9.0]
    assert book.now.model is None, "a model of one recipe is none of another"
    choose_recipe(other, "ring", "anna")
    assert book.follow(db)
    assert book.now is ring
    choose_recipe(other, "gone", "anna")
    book.follow(db)
    assert book.missing == "gone"
    assert any("'gone' was selected and is not there" in line for line in said)
    write(settings, "ring", "[recipe]\nindex = x\n")
    book.follow(db)
    assert any(line.startswith("recipe-refused: ") and "ring.toml" in line for line in said)
    trail = [tuple(r) for r in db.execute("SELECT action, subject FROM audit_trail")]
    assert ("selected recipe", "ring") in trail
    assert any(action == "changed recipe" and "index = 2" in what for action, what in trail)
    book.close()
    other.close()
    db.close()


def test_no_part_is_judged_by_another_recipe_while_the_chosen_one_has_a_mistake(
    settings: Settings,
) -> None:
    good = f'[recipe]\n{CLASSES}pass_classes = ["clean"]\n'
    write(settings, "ring", good)
    db, other = open_store(settings.device.data), open_store(settings.device.data)
    said: list[str] = []
    book = RecipeBook(settings, lambda event: said.append(event.text))
    book.follow(db)
    choose_recipe(other, "ring", "anna")
    book.follow(db)
    for broken in ("[recipe\n", "[recipe]\nindexx = 3\n"):
        write(settings, "ring", broken)
        book.follow(db)
        assert book.missing == "ring"
        assert book.wanted(0, "") is None
    assert [text for text in said if "in force and is not there" in text] == [
        "recipe 'ring' was in force and is not there; mend its file, or select another"
    ]
    write(settings, "ring", good)
    book.follow(db)
    assert book.missing is None
    assert book.wanted(0, "") is book.named("ring") is not None
    book.close()
    other.close()
    db.close()


def test_a_recipe_that_changes_keeps_its_model_until_it_is_loaded_anew(
    settings: Settings, make_model: MakeModel
) -> None:
    """Else each part until then is NG, for there is no model."""
    text = f'[recipe]\n{CLASSES}pass_classes = ["clean"]\n'
    write(settings, "ring", text)
    db = open_store(settings.device.data)
    under = load_recipes(settings).named("ring")
    assert under is not None
    id_ = activate(db, make_model(), under, "test", "ring").id
    book = RecipeBook(settings, lambda _: None)
    book.follow(db)
    write(settings, "ring", f"{text}thresholds = {{ scratch = 9 }}\n")
    book.follow(db)
    ring = book.named("ring")
    assert ring is not None
    assert ring.model is not None
    assert ring.model.id == id_
    end = time.monotonic() + 30
    while ring.model.thresholds.tolist() != [0.05, 0.05, 0.05, 9.0]:
        book.follow(db)
        assert time.monotonic() < end
        time.sleep(0.01)
    write(settings, "ring", '[recipe]\nclasses = ["clean", "rust"]\npass_classes = ["clean"]\n')
    book.follow(db)
    other = book.named("ring")
    assert other is not None
    assert other.model is None, "it is for other classes"
    book.close()
    db.close()


def test_changed_thresholds_are_in_force_although_the_model_s_file_is_damaged(
    settings: Settings, make_model: MakeModel
) -> None:
    write(settings, "ring", f'[recipe]\n{CLASSES}pass_classes = ["clean"]\n')
    db = open_store(settings.device.data)
    under = load_recipes(settings).named("ring")
    assert under is not None
    model = activate(db, make_model(), under, "test", "ring")
    book = RecipeBook(settings, lambda _: None)
    book.follow(db)
    path = settings.device.data / "models" / f"{model.id}.onnx"
    path.write_bytes(path.read_bytes()[:999])
    thresholds = "thresholds = { scratch = 9 }\n"
    write(settings, "ring", f'[recipe]\n{CLASSES}pass_classes = ["clean"]\n{thresholds}')
    book.follow(db)
    ring = book.named("ring")
    assert ring is not None
    assert ring.model is not None
    assert ring.model.thresholds[3] == 9
    book.close()
    db.close()


def test_a_changed_recipe_is_taken_up_although_the_store_cannot_be_written(
    settings: Settings,
) -> None:
    """As on a full disk, at a start too."""
    write(settings, "ring", "[recipe]\nindex = 2\n")
    db, other = open_store(settings.device.data), open_store(settings.device.data)
    first = RecipeBook(settings, lambda _: None)
    first.follow(db)
    write(settings, "ring", "[recipe]\nindex = 33\n")
    db.execute("PRAGMA busy_timeout = 10")
    said: list[str] = []
    again = RecipeBook(settings, lambda event: said.append(event.text))
    with exclusive(other):
        for book in (first, again):
            assert book.follow(db)
            assert book.wanted(33, "") is not None
    assert "another program holds it" in said[0]
    first.close()
    again.close()
    other.close()
    db.close()


def test_what_is_wrong_with_recipes_is_said_once_although_the_store_cannot_be_written(
    settings: Settings,
) -> None:
    db, other = open_store(settings.device.data), open_store(settings.device.data)
    db.execute("PRAGMA busy_timeout = 10")
    said: list[Event] = []
    book = RecipeBook(settings, said.append)
    book.follow(db)
    write(settings, "broken", "[recipe\n")
    write(settings, "new", "[recipe]\nindex = 3\n")
    with exclusive(other):
        for _ in range(5):
            with pytest.raises(UserError, match="another program holds it"):
                book.follow(db)
    assert [event.kind for event in said] == ["recipe-refused", "store"]
    write(settings, "broken", "[recipe\n\n")
    assert book.follow(db)
    assert [event.kind for event in said] == ["recipe-refused", "store", "recipe-refused"]
    assert book.wanted(3, "") is not None
    book.close()
    other.close()
    db.close()


@pytest.mark.parametrize("people", [True, False])
def test_what_the_machine_chose_counts_after_a_restart_only(
    settings: Settings, people: bool
) -> None:
    write(settings, "ring", "[recipe]\nindex = 2\n")
    db, other = open_store(settings.device.data), open_store(settings.device.data)
    book = RecipeBook(settings, lambda _: None)
    book.follow(db)
    if people:
        choose_recipe(other, settings.recipe.name, "anna")
    book.follow(db)
    choose_recipe(other, "ring", "machine/plc")
    book.follow(db)
    assert book.now.name == settings.recipe.name
    again = RecipeBook(settings, lambda _: None)
    again.follow(db)
    assert again.now.name == "ring"
    book.close()
    again.close()
    other.close()
    db.close()


def test_a_recipe_has_its_own_golden_folder_and_nothing_else_of_the_trainer(
    settings: Settings, tmp_path: Path
) -> None:
    site = settings.model_copy(
        update={"trainer": settings.trainer.model_copy(update={"golden": tmp_path / "plates"})}
    )
    path = write(site, "ring", f'[recipe]\n{CLASSES}[trainer]\ngolden = "golden/ring"\n')
    write(site, "disc", f"[recipe]\n{CLASSES}")
    golden = {one.name: one.settings.trainer.golden for one in load_recipes(site).each()}
    assert golden == {
        site.recipe.name: tmp_path / "plates",
        "disc": None,  # the site's shows another part
        "ring": site.device.recipes / "golden" / "ring",
    }
    for wrong, said in (
        (
            "[trainer]\nseed = 3\n",
            "trainer.seed: not of a recipe; of [trainer] a",
        ),
        ("[trainer]\ngolden = 3\n", "trainer.golden: found 3; allowed is"),
        ("trainer = 1\n", "trainer: found 1; allowed is a table"),
    ):
        path.write_text(wrong if wrong.startswith("trainer") else f"[recipe]\n{CLASSES}{wrong}")
        (error,) = load_recipes(site).errors
        assert said in error


def test_recipes_are_found_by_name_and_by_the_key_of_the_store(settings: Settings) -> None:
    alone = load_recipes(settings)
    assert not alone.several
    assert alone.told("") == ""
    write(settings, "ring", f"[recipe]\n{CLASSES}[asking]\nk = 2\n")
    write(settings, "odd", "[recipe]\nclasses = 3\n")
    recipes = load_recipes(settings)
    assert recipes.several
    assert recipes.under(None) == recipes.under(settings.recipe.name) == Under(settings)
    assert recipes.under("ring").key == "ring"
    assert recipes.keyed("") == recipes.under(None)
    assert recipes.keyed("ring") == recipes.under("ring")
    assert recipes.keyed("gone") is None
    assert (recipes.told(""), recipes.told("ring")) == (settings.recipe.name, "ring")
    asking = settings.asking
    assert recipes.quotas == {
        "": (asking.k, asking.cold_start),
        "ring": (2, asking.cold_start),
    }
    with pytest.raises(UserError, match=r"odd\.toml: recipe\.classes: found 3"):
        recipes.under("odd")
    with pytest.raises(UserError, match="gone: no recipe; known: default, ring"):
        recipes.under("gone")


@pytest.mark.parametrize("changed", ["", "ring"])
def test_a_model_of_any_recipe_is_swapped_without_a_dropped_frame(
    settings: Settings, make_model: MakeModel, changed: str
) -> None:
    write(settings, "ring", f'[recipe]\nindex = 1\n{CLASSES}pass_classes = ["clean"]\n')
    recipes = load_recipes(settings)
    first, second = make_model(0, "first.onnx"), make_model(1, "second.onnx")
    new = load_model(second).id
    db = open_store(settings.device.data)
    for one in recipes.each():
        activate(db, first, one.settings, "test", one.key)
    seen = 0
    came = threading.Event()

    def on_frame(_result: FrameResult) -> None:
        nonlocal seen
        seen += 1
        if seen == 10:
            one = recipes.keyed(changed)
            assert one is not None
            activate(db, second, one.settings, "test", changed)
        if 10 < seen < 100 and not came.is_set():
            time.sleep(0.3)  # plates come slowly until it is taken up
        if seen == 100:
            choose_recipe(db, "ring", "anna")
        if seen > 100:
            time.sleep(0.02)

    def report(event: Event) -> None:
        if event.kind == "model" and new[:12] in event.text:
            came.set()

    summary = InspectionLoop(settings, report, on_frame=on_frame).run()
    assert (summary.frames, summary.dropped, summary.verdicts["fault"]) == (120, 0, 0)
    used = db.execute(
        "SELECT recipe, model_id, sum(frames) FROM counters GROUP BY recipe, model_id"
    ).fetchall()
    old = load_model(first).id
    models = {name: {m for n, m, _ in used if n == name} for name, _, _ in used}
    assert models == {
        "default": {old, new} if changed == "" else {old},
        "ring": {old} if changed == "" else {new},
    }
    assert sum(count for _, _, count in used) == 120
    db.close()


def test_no_frame_is_judged_by_another_recipe_while_the_chosen_one_has_a_mistake(
    settings: Settings, make_model: MakeModel
) -> None:
    good = f'[recipe]\n{CLASSES}pass_classes = ["clean"]\n'
    write(settings, "ring", good)
    recipes = load_recipes(settings)
    db = open_store(settings.device.data)
    for one in recipes.each():
        activate(db, make_model(), one.settings, "test", one.key)
    choose_recipe(db, "ring", "anna")
    seen: list[FrameResult] = []
    said: list[Event] = []

    def on_frame(result: FrameResult) -> None:
        seen.append(result)
        if len(seen) == 10:
            write(settings, "ring", "[recipe\n")
        if len(seen) == 80:
            write(settings, "ring", good)
        if (10 < len(seen) < 80) == (result.verdict is not None) and len(seen) > 10:
            time.sleep(0.1)  # plates come slowly until it is taken up

    InspectionLoop(settings, said.append, on_frame=on_frame).run()
    assert all(one.verdict is not None for one in seen[:10])
    assert (seen[79].verdict, seen[79].verdict_class) == (None, "no-recipe")
    assert seen[-1].verdict is not None, "mended, it judges again"
    assert [e.text for e in said if e.kind == "recipe"] == ["ring in force"]
    counted = db.execute("SELECT DISTINCT recipe FROM counters WHERE verdict != 'fault'").fetchall()
    assert counted == [("ring",)]
    db.close()


def test_changing_the_recipe_takes_under_200_ms_whatever_their_number(
    settings: Settings, make_model: MakeModel
) -> None:
    for i in range(20):
        write(settings, f"r{i}", f'[recipe]\nindex = {i + 1}\n{CLASSES}pass_classes = ["clean"]\n')
    db = open_store(settings.device.data)
    file = make_model()
    for name, under in load_recipes(settings).others.items():
        activate(db, file, under, "test", name)
    book = RecipeBook(settings, lambda _: None)
    book.follow(db)
    took = []
    for i in range(200):
        began = time.perf_counter()
        one = book.wanted(i % 20 + 1, "")
        assert one is not None
        book.switch(one.name)
        took.append(time.perf_counter() - began)
        assert book.now.model is not None
    print(f"median {1e6 * np.median(took):.0f} µs, worst {1e3 * max(took):.2f} ms")
    assert np.median(took) < 0.2
    book.close()
    db.close()


def test_a_text_is_recorded_once(settings: Settings) -> None:
    db = open_store(settings.device.data)
    assert record_recipe(db, "a", "x = 1\n", "anna")
    assert not record_recipe(db, "a", "x = 1\n", "anna")
    assert record_recipe(db, "a", "", "anna")
    db.close()


@pytest.fixture
def file(settings: Settings, tmp_path: Path) -> Path:
    path = tmp_path / "millsight.toml"
    path.write_text(to_toml(settings))
    return path


def run(file: Path, *words: str, **environment: str) -> tuple[int, str, str]:
    import os  # noqa: PLC0415

    result = subprocess.run(
        [sys.executable, "-m", "millsight", "recipe", *words, "--config", str(file)],
        cwd=ROOT, capture_output=True, text=True, check=False, env=os.environ | environment,
    )  # fmt: skip
    return result.returncode, result.stdout, result.stderr


def editor(tmp_path: Path, script: str) -> str:
    path = tmp_path / "editor"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def test_the_command_line_adds_copies_edits_selects(
    settings: Settings, file: Path, tmp_path: Path
) -> None:
    anna = ("--operator", "anna")
    assert run(file, "add", "ring", *anna)[0] == 0
    assert run(file, "add", "ring", *anna)[2] == (
        "millsight: ring: there is such a recipe already; choose another name\n"
    )
    assert run(file, "copy", "ring", "ring 2", *anna)[0] == 0
    change = editor(tmp_path, """sed -i 's/^parts = .*/parts = ["R-1"]/' "$1" """)
    code, said, _ = run(file, "edit", "ring 2", *anna, EDITOR=change, VISUAL="")
    assert (code, said) == (0, '- parts = []\n+ parts = ["R-1"]\n')
    broken = editor(tmp_path, """echo 'nonsense = 1' >> "$1" """)
    code, _, error = run(file, "edit", "ring 2", *anna, EDITOR=broken, VISUAL="")
    assert code == 1
    assert "recipe.nonsense: unknown key" in error
    draft = file.parent / "recipes/ring 2.toml.draft"
    assert error.endswith(f"what you wrote is kept: {draft}\n")
    assert draft.read_text().endswith("nonsense = 1\n")
    assert "ring 2, " in run(file, "list")[1]  # which no draft disturbs
    path = draft.with_suffix("")
    other = editor(tmp_path, f"""echo '# mine' >> "$1"; echo '# of another' >> '{path}' """)
    code, _, error = run(file, "edit", "ring 2", *anna, EDITOR=other, VISUAL="")
    assert (code, "was changed by somebody else meanwhile" in error) == (1, True)
    assert path.read_text().endswith("# of another\n")
    assert draft.read_text().endswith("# mine\n")
    assert run(file, "select", "ring 2", *anna)[1] == "ring 2 in force\n"
    assert "no recipe; known: default, ring, ring 2" in run(file, "select", "rung", *anna)[2]
    code, said, _ = run(file, "list")
    assert [line[:14] for line in said.splitlines()] == [
        "      - default"[:14], "      1 ring, ", "*     2 ring 2",
    ]  # fmt: skip
    assert said.splitlines()[2].endswith("parts: R-1")
    db = open_store(settings.device.data)
    trail: list[Any] = [
        tuple(r) for r in db.execute("SELECT who, action, subject FROM audit_trail")
    ]
    db.close()
    assert ("anna", "changed recipe", 'ring 2: parts = ["R-1"]') in trail
    assert ("anna", "selected recipe", "ring 2") in trail


def test_the_interlock_is_held_while_the_editor_is_open(
    settings: Settings, file: Path, tmp_path: Path
) -> None:
    assert run(file, "add", "ring", "--operator", "anna")[0] == 0
    go = tmp_path / "go"
    waits = editor(tmp_path, f"while [ ! -e {go} ]; do sleep 0.05; done")
    results: list[tuple[int, str, str]] = []
    thread = threading.Thread(
        target=lambda: results.append(
            run(file, "edit", "ring", "--operator", "anna", EDITOR=waits, VISUAL="")
        )
    )
    assert not is_being_edited(settings.device.data)
    thread.start()
    end = time.monotonic() + 30
    while not is_being_edited(settings.device.data):
        assert time.monotonic() < end
        time.sleep(0.05)
    code, _, error = run(file, "edit", "ring", "--operator", "ben", EDITOR=waits, VISUAL="")
    assert code == 1
    assert "somebody else is editing" in error
    go.touch()
    thread.join(30)
    assert results == [(0, "nothing was changed\n", "")]
    assert not is_being_edited(settings.device.data)
