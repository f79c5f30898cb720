"""Probation: what passes, what goes back by itself, and what chance may do."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from camera.source import Event
from config.document import to_toml
from config.settings import Settings, Update, Vmc220Source
from device.loop.loop import InspectionLoop
from device.models.activation import activate
from device.models.models_in_use import in_force
from device.store.database import open_store
from device.update.probation import (
    Behaviour,
    Judging,
    begin_probation,
    limits_passed,
    mix_change,
    note_judged,
    running_probation,
    watch,
)
from tests.device.conftest import model_file
from tests.device.update.conftest import Site

LIMITS = Update()
BEFORE = Behaviour(5000, 250, {"clean": 4000, "scratch": 1000}, 2.0)


def identity(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("now", "said"),
    [
        (Behaviour(1000, 50, {"clean": 800, "scratch": 200}, 2.0), None),
        (Behaviour(49, 49, {"clean": 49}, 90.0), None),  # nothing can be said yet
        (Behaviour(50, 50, {"clean": 40, "scratch": 10}, 2.0), "100 % of 50 frames are unsure"),
        (Behaviour(1000, 200, {"clean": 800, "scratch": 200}, 2.0), None),  # 15 points more
        (Behaviour(1000, 400, {"clean": 800, "scratch": 200}, 2.0), "40 % of 1000"),
        (Behaviour(50, 18, {"clean": 40, "scratch": 10}, 2.0), None),  # 31 points, by chance?
        (Behaviour(1000, 50, {"clean": 100, "scratch": 900}, 2.0), "70 % of the patches"),
        (Behaviour(1000, 50, {"clean": 550, "scratch": 450}, 2.0), None),
        (Behaviour(1000, 50, {"other": 1000}, 2.0), "other classes than before, most of all"),
        (Behaviour(1000, 50, {"clean": 800, "scratch": 200}, 6.5), "3.2 times as long"),
        (Behaviour(1000, 50, {"clean": 800, "scratch": 200}, 5.5), None),
        (Behaviour(1000, 50, {"clean": 800, "scratch": 200}, None), None),
    ],
)
def test_limits(now: Behaviour, said: str | None) -> None:
    found = limits_passed(BEFORE, now, LIMITS)
    assert (found is None) == (said is None), found
    assert said is None or (found is not None and said in found)


def test_without_figures_of_the_model_before_only_its_speed_counts() -> None:
    bad = Behaviour(1000, 1000, {"scratch": 1000}, 9.0)
    assert limits_passed(Behaviour(49, 0, {"clean": 49}, None), bad, LIMITS) is None
    assert "times as long" in (limits_passed(Behaviour(patch_ms=1.0), bad, LIMITS) or "")


def test_total_variation_distance() -> None:
    assert mix_change({"a": 10}, {"a": 500}) == (0, "a")
    assert mix_change({"a": 10}, {"b": 3})[0] == 1
    moved, name = mix_change({"a": 50, "b": 50}, {"a": 80, "b": 10, "c": 10})
    assert (round(moved, 6), name) == (0.4, "b")


def counted(counts: NDArray[np.int64]) -> dict[str, int]:
    return dict(zip("abcd", counts.tolist(), strict=True))


def test_an_equal_model_is_seldom_sent_back() -> None:
    """Both at one true rate; looked at every ten frames for a whole probation."""
    rng = np.random.default_rng(0)
    sent_back = 0
    for _ in range(300):
        mix = rng.dirichlet([2.0] * 4)
        before_mix, before_unsure = rng.multinomial(500, mix), rng.binomial(500, 0.1)
        before = Behaviour(
            500, int(before_unsure), dict(zip("abcd", map(int, before_mix), strict=True))
        )
        classes = rng.choice(4, 1000, p=mix)
        unsure = rng.random(1000) < 0.1
        for n in range(50, 1001, 10):
            counts = np.bincount(classes[:n], minlength=4)
            now = Behaviour(
                n, int(unsure[:n].sum()), dict(zip("abcd", map(int, counts), strict=True))
            )
            if limits_passed(before, now, LIMITS) is not None:
                sent_back += 1
                break
    assert sent_back == 0


def run_loop(settings: Settings, frames: int, seed: int) -> list[Event]:
    events: list[Event] = []
    source = settings.camera.model_copy(update={"vmc220": Vmc220Source(frames=frames, seed=seed)})
    loop = InspectionLoop(settings.model_copy(update={"camera": source}), events.append)
    assert loop.run().frames == frames
    return events


@pytest.fixture
def watched(site: Site, three_models: list[Path]) -> Site:
    """The first model has judged 60 frames, and the second is on probation."""
    site.publish(three_models[0])
    site.sync()
    run_loop(site.settings, 60, 1)
    site.publish(three_models[1])
    site.sync()
    return site


def test_probation_lasts_over_restarts_and_ends(watched: Site, three_models: list[Path]) -> None:
    limits = watched.settings.update.model_copy(
        update={"probation_frames": 80, "largest_unsure_rise": 1.0, "largest_mix_change": 1.0,
                "largest_live_slowdown": 100.0}
    )  # fmt: skip
    settings = watched.settings.model_copy(update={"update": limits})
    assert run_loop(settings, 40, 2)[-1].kind != "probation-passed"
    db = open_store(settings.device.data)
    found = running_probation(db)
    assert found is not None
    assert found.now.frames == 40
    assert sum(found.now.mix.values()) == 40
    assert found.now.patch_ms is not None
    assert (found.before.frames, sum(found.before.mix.values())) == (60, 60)
    watched.publish(three_models[2])  # a newer one waits until it has ended
    assert "is on probation, 40 frames so far" in watched.sync()[1]
    events = run_loop(settings, 50, 3)
    assert any(e.kind == "probation-passed" for e in events)
    assert running_probation(db) is None
    db.close()
    assert watched.in_use() == identity(three_models[1])
    watched.sync()
    assert watched.in_use() == identity(three_models[2])


def test_a_model_that_is_unsure_of_everything_goes_back_by_itself(
    watched: Site, plates: NDArray[np.uint8], tmp_path: Path, three_models: list[Path]
) -> None:
    bad = model_file(tmp_path / "bad.onnx", plates, 7, thresholds=[None] * 4)
    watched.run("device", "rollback", identity(three_models[0])[:12], "--who", "anna")
    watched.publish(bad)
    watched.sync()
    assert watched.in_use() == identity(bad)
    events = run_loop(watched.settings, 120, 4)
    kinds = [e.kind for e in events]
    assert "rolled-back" in kinds, events
    assert watched.in_use() == identity(three_models[0])
    assert "frames are unsure" in watched.events("rolled-back")[0]
    assert f"{identity(bad)[:12]} is not taken: probation: " in watched.sync()[1]
    assert watched.in_use() == identity(three_models[0])


def test_a_running_loop_goes_back_without_a_restart(
    watched: Site, three_models: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loop itself takes up the model before between two frames."""
    monkeypatch.setattr("device.loop.loop.COUNT_EVERY_S", 0.05)
    monkeypatch.setattr("device.loop.loop.LOOK_EVERY_S", 0.05)
    db = open_store(watched.settings.device.data)
    used: list[str] = []
    loop: InspectionLoop

    def report(event: Event) -> None:
        if event.kind == "model":
            used.append(event.text.split()[0])
            if len(used) == 2:
                loop.stop()

    limits = watched.settings.update.model_copy(update={"largest_live_slowdown": 1.0})
    settings = watched.settings.model_copy(update={"update": limits})
    db.execute("UPDATE probations SET before = json_set(before, '$.patch_ms', 1e-6)")
    source = settings.camera.model_copy(update={"vmc220": Vmc220Source(seed=5)})  # no end
    loop = InspectionLoop(settings.model_copy(update={"camera": source}), report)
    loop.run()
    assert used == [identity(f)[:12] for f in (three_models[1], three_models[0])]
    db.close()


def test_a_model_before_that_no_longer_fits_the_recipe_is_not_gone_back_to(
    watched: Site, plates: NDArray[np.uint8], tmp_path: Path
) -> None:
    """The recipe has changed: with the model before nothing could be judged at all."""
    passes = ["clean", "scratch"]
    recipe = watched.settings.recipe.model_copy(update={"pass_classes": passes})
    changed = watched.settings.model_copy(update={"recipe": recipe})
    watched.config.write_text(to_toml(changed))
    bad = model_file(tmp_path / "bad.onnx", plates, 7, thresholds=[None] * 4, pass_classes=passes)
    db = open_store(changed.device.data)
    before = in_force(db).model_id
    with db.atomic():
        activate(db, bad, changed, "release 3")
        begin_probation(db, str(before))
        note_judged(db, Judging("", identity(bad), 60, 60, patches=60, seconds=600.0))
        db.execute("UPDATE probations SET before = json_set(before, '$.patch_ms', 1.0)")
    (event,) = watch(db, changed)
    assert event.kind == "probation-failed"
    assert "made for classes" in event.text
    assert in_force(db).model_id == identity(bad)
    db.close()
    judged = [e.kind for e in run_loop(changed, 60, 4)]
    assert "model" in judged, judged


def test_a_lost_model_before_keeps_the_new_one(watched: Site, three_models: list[Path]) -> None:
    db = open_store(watched.settings.device.data)
    (watched.settings.device.data / "models" / f"{identity(three_models[0])}.onnx").write_bytes(b"")
    judging = Judging("", identity(three_models[1]), 60, 60, patches=60, seconds=600.0)
    with db.atomic():
        note_judged(db, judging)
        db.execute("UPDATE probations SET before = json_set(before, '$.patch_ms', 1.0)")
    (event,) = watch(db, watched.settings)
    assert event is not None
    assert event.kind == "probation-failed"
    assert in_force(db).model_id == identity(three_models[1])
    assert watch(db, watched.settings) == []
    db.close()
