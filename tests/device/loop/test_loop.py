"""The inspection loop, from frames to rows in the store."""

import dataclasses
import json
import os
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from camera.source import Event, Frame, KnownDefect
from config.errors import UserError
from config.recipes import Recipes
from config.settings import PATCH_SIZE, FolderSource, Quality, Region, Settings
from device.judging.kls import score_bins
from device.judging.model import load_model
from device.judging.patches import patch_id
from device.judging.selection import pool_top_k
from device.judging.verdict import judge
from device.loop.keeper import Item, Keeper, KeptFrame
from device.loop.loop import FrameResult, InspectionLoop
from device.models.activation import activate, model_path
from device.models.models_in_use import in_force
from device.store.answers import add_label, flags_of_cycle, labelled_patches, waiting
from device.store.cycles import start_cycle
from device.store.database import explain_errors, open_store
from device.store.pictures import decode_png
from device.store.trail import begin_lot
from tests.device.conftest import MakeModel


def change(settings: Settings, section: str, **values: object) -> Settings:
    """Settings with other values in one section."""
    changed = getattr(settings, section).model_copy(update=values)
    return settings.model_copy(update={section: changed})


@dataclasses.dataclass
class Listed:
    """A source of given frames."""

    images: list[np.ndarray]
    defects: tuple[KnownDefect, ...] = ()
    live: bool = False

    def frames(self) -> Iterator[Frame]:
        for number, image in enumerate(self.images):
            yield Frame(image, number, number, 10**18 + number, "", "clean", self.defects)

    def close(self) -> None:
        pass


def run(settings: Settings, images: list[np.ndarray] | None = None) -> list[str]:
    """Run to the end; what was reported, as `kind: text`."""
    events: list[str] = []

    def report(event: Event) -> None:
        events.append(f"{event.kind}: {event.text}")

    make = None if images is None else lambda _report: Listed(images)
    InspectionLoop(settings, report, make).run()
    return events


def use_model(settings: Settings, file: Path) -> str:
    db = open_store(settings.device.data)
    model = activate(db, file, settings, "test")
    db.close()
    return model.id


def questions(settings: Settings) -> list[tuple[str, str]]:
    db = open_store(settings.device.data)
    found = waiting(db, Recipes(settings).quotas)
    db.close()
    return [(q.patch_id, q.reason) for q in found]


def test_a_picture_that_comes_again_adds_nothing_to_its_evidence(
    settings: Settings, make_model: MakeModel, plates: np.ndarray
) -> None:
    settings = change(settings, "keeping", defects_per_minute=100_000)
    use_model(settings, make_model(thresholds=[1e9] * 4))
    counts = []
    first = 0

    class Again(Listed):
        def frames(self) -> Iterator[Frame]:
            for frame in super().frames():
                later = first + frame.sequence
                yield dataclasses.replace(frame, sequence=later, monotonic_ns=later)

    source = Again([*plates[:40], *plates[:40]])
    for lot in ("L-1", "L-1", "L-2"):
        db = open_store(settings.device.data)
        begin_lot(db, "P", lot, "anna")
        start_cycle(db, "test")
        db.close()
        InspectionLoop(settings, lambda _: None, lambda _report: source).run()
        first += 80
        db = open_store(settings.device.data)
        row = "SELECT count(*), count(DISTINCT patch_id) FROM flags WHERE reason = 'defect'"
        counts.append(db.execute(row).fetchone())
        without = "SELECT count(*) FROM frames WHERE id NOT IN (SELECT frame_id FROM flags)"
        assert db.execute(without).fetchone() == (0,)
        db.close()
    once = counts[0][1]
    assert once > 10
    assert counts == [(once, once), (once, once), (2 * once, once)], "another lot has its own"


def test_cold_start_draws_an_even_sample(settings: Settings) -> None:
    events = run(settings)
    found = questions(settings)
    assert len(found) == settings.asking.cold_start
    assert {reason for _, reason in found} == {"cold-start"}
    flagged = [e.split()[1] for e in events if e.startswith("flagged: ")]
    assert {patch for patch, _ in found} <= set(flagged)
    db = open_store(settings.device.data)
    truths = [row[0] for row in db.execute("SELECT truth FROM patches")]
    assert set(truths) == set(settings.recipe.classes)
    assert db.execute("SELECT verdict, sum(frames) FROM counters").fetchone() == ("unsure", 120)
    db.close()


def test_asks_exactly_what_the_pool_rule_selects(
    settings: Settings, make_model: MakeModel, plates: np.ndarray
) -> None:
    file = make_model()
    use_model(settings, file)
    order = np.random.default_rng(0).permutation(120)
    run(settings, [plates[i] for i in order])
    judged = judge(load_model(file), plates[order])
    chosen = pool_top_k(judged.scores, judged.predicted, settings.asking.k)
    whole = Region(x=0, y=0, width=PATCH_SIZE, height=PATCH_SIZE)
    expected = {patch_id(plates[order[i]], "box", whole) for i in chosen}
    assert {patch for patch, _ in questions(settings)} == expected


def test_a_restart_goes_on_where_it_was(
    settings: Settings, make_model: MakeModel, plates: np.ndarray
) -> None:
    use_model(settings, make_model())
    run(settings, list(plates))
    whole = questions(settings)
    other = change(settings, "device", data=settings.device.data / "other")
    use_model(other, make_model())
    for part in (plates[:50], plates[50:90], plates[30:]):  # restarts, and frames seen again
        run(other, list(part))
    assert set(questions(other)) == set(whole)


def test_an_answered_patch_is_not_asked_again(
    settings: Settings, make_model: MakeModel, plates: np.ndarray
) -> None:
    run(settings, list(plates))
    db = open_store(settings.device.data)
    answered = [q.patch_id for q in waiting(db, {"": (5, 20)})]
    for patch in answered:
        add_label(db, patch, "scratch", "anna")
    assert waiting(db, {"": (5, 20)}) == []
    db.close()
    use_model(settings, make_model())
    run(settings, list(plates))
    again = {patch for patch, _ in questions(settings)}
    assert again
    assert not again & set(answered)
    db = open_store(settings.device.data)  # nor does it take up the quota of the others
    kept = {patch for patch, *_ in flags_of_cycle(db, in_force(db).cycle)}
    db.close()
    assert not kept & set(answered)


def still(plate: np.ndarray, count: int) -> list[np.ndarray]:
    """A halted machine: the same plate in frame after frame, but for the sensor's noise."""
    rng = np.random.default_rng(0)
    return [
        np.clip(plate + rng.normal(0, 3, plate.shape), 0, 255).astype(np.uint8)
        for _ in range(count)
    ]


@pytest.mark.parametrize("cold", [True, False])
def test_near_identical_patches_are_one_question(
    settings: Settings, make_model: MakeModel, plates: np.ndarray, *, cold: bool
) -> None:
    settings = change(change(settings, "keeping", alike=5), "asking", k=50, cold_start=50)
    if not cold:
        use_model(settings, make_model())
    frames = still(plates[0], 30)
    run(settings, frames[:15])
    run(settings, frames[15:])  # a restart takes the group up
    run(settings, list(plates[1:30]))
    db = open_store(settings.device.data)
    asked = questions(settings)
    assert len({patch for patch, _ in asked}) == len(asked)
    groups = db.execute(
        "SELECT alike, count(*) FROM flags WHERE reason != 'defect' GROUP BY alike"
    ).fetchall()
    copies = {alike: count for alike, count in groups if alike is not None}
    assert list(copies.values()) == [4]  # and the one that stands for them
    assert next(iter(copies)) in {patch for patch, _ in asked}
    for patch, _ in asked:
        add_label(db, patch, "clean", "anna")
    assert len(labelled_patches(db).ids) == len(asked)
    assert questions(settings) == []
    db.close()


def test_a_failed_frame_keeps_its_picture_within_a_rate(
    settings: Settings, make_model: MakeModel, plates: np.ndarray
) -> None:
    settings = change(settings, "keeping", defects_per_minute=60)
    use_model(settings, make_model(thresholds=[1e9] * 4))  # sure of everything
    run(settings, list(plates))
    db = open_store(settings.device.data)
    kept = db.execute(
        "SELECT f.predicted, r.verdict, r.verdict_class FROM flags f "
        "JOIN frames r ON r.id = f.frame_id WHERE reason = 'defect'"
    ).fetchall()
    failed = db.execute("SELECT sum(frames) FROM counters WHERE verdict = 'fail'").fetchone()[0]
    assert failed > 50
    assert 10 <= len(kept) <= 12  # ten seconds' worth at once, and what those seconds add
    assert all(verdict == "fail" and shown == made != "clean" for shown, verdict, made in kept)
    assert not {reason for _, reason in questions(settings)} & {"defect"}
    db.close()


def test_every_judged_patch_is_counted_by_its_score(
    settings: Settings, make_model: MakeModel, plates: np.ndarray
) -> None:
    file = make_model()
    model_id = use_model(settings, file)
    run(settings, list(plates))
    judged = judge(load_model(file), plates)
    expected = Counter(
        (settings.recipe.classes[c], number)
        for c, number in zip(judged.predicted, score_bins(judged.scores), strict=True)
    )
    db = open_store(settings.device.data)
    rows = db.execute("SELECT model_id, class, bin, sum(patches) FROM scores GROUP BY 1, 2, 3")
    found = {(name, number): patches for model, name, number, patches in rows if model == model_id}
    assert found == expected
    db.close()


def test_frames_carry_the_lot_that_was_begun(
    settings: Settings, make_model: MakeModel, plates: np.ndarray
) -> None:
    settings = change(settings, "asking", k=60)
    use_model(settings, make_model())
    for lot in ("L-1", "L-2"):
        db = open_store(settings.device.data)
        begin_lot(db, "P-7", lot, "anna")
        db.close()
        run(settings, list(plates[:40] if lot == "L-1" else plates[40:110]))
    db = open_store(settings.device.data)
    counted = db.execute("SELECT part, lot, sum(frames) FROM counters GROUP BY 1, 2").fetchall()
    assert counted == [("P-7", "L-1", 40), ("P-7", "L-2", 70)]
    assert {row[0] for row in db.execute("SELECT lot FROM frames")} == {"L-1", "L-2"}
    trail = db.execute("SELECT who, action, subject FROM audit_trail").fetchall()
    assert ("anna", "began lot", "P-7 / L-2") in trail
    db.close()


def test_a_kept_frame_holds_everything_about_it(
    settings: Settings, make_model: MakeModel, plates: np.ndarray
) -> None:
    settings = change(settings, "recipe", regions="grid")
    model_id = use_model(settings, make_model())
    frame = np.block([[plates[0], plates[1], plates[2]], [plates[3], plates[4], plates[5]]])
    defects = (KnownDefect("scratch", (430, 220, 100, 100)),)
    InspectionLoop(settings, lambda _: None, lambda _: Listed([frame], defects)).run()
    db = open_store(settings.device.data)
    stored = next(db["frames"].rows)
    assert stored["model_id"] == model_id
    assert (stored["width"], stored["height"]) == (600, 400)
    shown = cv2.imdecode(np.frombuffer(stored["jpeg"], np.uint8), cv2.IMREAD_GRAYSCALE)
    assert shown is not None
    assert np.abs(shown.astype(int) - frame).mean() < 8
    rows = db.execute(
        "SELECT p.x, p.y, p.png, p.truth, f.predicted, f.score, f.log_probabilities "
        "FROM flags f JOIN patches p ON p.id = f.patch_id WHERE f.reason = 'uncertain'"
    ).fetchall()
    assert len(rows) == 6
    judged = judge(load_model(model_path(settings.device.data, model_id)), plates[:6])
    for x, y, png, truth, predicted, score, log_p in rows:
        index = 3 * (y // 200) + x // 200
        np.testing.assert_array_equal(decode_png(png, ""), plates[index])
        assert truth == ("scratch" if (x, y) == (400, 200) else "clean")
        assert predicted == settings.recipe.classes[judged.predicted[index]]
        assert score == pytest.approx(judged.scores[index], rel=1e-3)
        assert np.exp(json.loads(log_p)).sum() == pytest.approx(1, abs=1e-4)
    db.close()


def test_audits_are_drawn_with_their_probability(
    settings: Settings, make_model: MakeModel, plates: np.ndarray
) -> None:
    settings = change(settings, "asking", k=0, audit_share=0.25)
    use_model(settings, make_model())
    run(settings, list(plates))
    db = open_store(settings.device.data)
    rows = db.execute(
        "SELECT reason, draw_probability FROM flags WHERE reason != 'defect'"
    ).fetchall()
    assert 15 <= len(rows) <= 45  # 120 draws of 0.25: mean 30, three deviations
    assert set(rows) == {("audit", 0.25)}
    db.close()


def test_unusable_frames_get_no_verdict_and_are_counted(
    settings: Settings, make_model: MakeModel, plates: np.ndarray
) -> None:
    settings = change(settings, "recipe", frame_width_px=200)
    use_model(settings, make_model())
    black = np.zeros((200, 200), np.uint8)
    wide = np.full((200, 300), 128, np.uint8) + (np.arange(300) % 50).astype(np.uint8)
    results: list[FrameResult] = []
    images = [plates[0], black, wide, plates[1], plates[1].copy(), plates[1].copy()]
    events: list[Event] = []
    loop = InspectionLoop(settings, events.append, lambda _: Listed(images), results.append)
    summary = loop.run()
    got = [(r.verdict is None, r.verdict_class if r.verdict is None else "") for r in results]
    assert got == [
        (False, ""), (True, "dark"), (True, "size"), (False, ""), (False, ""), (True, "frozen"),
    ]  # fmt: skip
    assert summary.verdicts["fault"] == 3
    db = open_store(settings.device.data)
    faults = db.execute("SELECT class, frames FROM counters WHERE verdict = 'fault'").fetchall()
    assert sorted(faults) == [("dark", 1), ("frozen", 1), ("size", 1)]
    db.close()
    assert next(e.text for e in events if e.kind == "size").startswith("frames of 300 × 200 pixels")


def test_a_new_model_is_taken_up_while_running(
    settings: Settings, make_model: MakeModel, plates: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("device.loop.loop.LOOK_EVERY_S", 0.0)
    first, second = make_model(0), make_model(1, "second.onnx")
    ids = [use_model(settings, first)]
    enough, begun, swapped = threading.Event(), threading.Event(), threading.Event()

    class Endless:
        live = False

        def frames(self) -> Iterator[Frame]:
            number = 0
            while not enough.is_set():
                image = plates[number % 120]
                yield Frame(image, number, number, 10**18 + number)
                number += 1

        def close(self) -> None:
            enough.set()

    seen: list[str] = []

    def report(event: Event) -> None:
        if event.kind == "model":
            seen.append(event.text)
            (swapped if len(seen) == 2 else begun).set()

    loop = InspectionLoop(settings, report, lambda _: Endless())
    thread = threading.Thread(target=loop.run)
    thread.start()
    try:
        assert begun.wait(60)  # else it would begin with the second, and see no swap
        ids.append(use_model(settings, second))
        assert swapped.wait(60)
    finally:
        loop.stop()
        thread.join(60)
    assert [text.split()[0] for text in seen] == [i[:12] for i in ids]
    db = open_store(settings.device.data)
    total = db.execute("SELECT sum(frames) FROM counters").fetchone()[0]
    assert total == loop.summary.frames
    assert in_force(db).model_id == ids[1]
    db.close()


def test_a_model_file_that_broke_is_refused_and_inspection_goes_on(
    settings: Settings, make_model: MakeModel
) -> None:
    model_id = use_model(settings, make_model())
    path = model_path(settings.device.data, model_id)
    path.write_bytes(path.read_bytes()[:1000])
    events = run(settings)
    assert any(e.startswith("model-refused: ") and str(path) in e for e in events)
    assert len(questions(settings)) == settings.asking.cold_start


def test_a_new_cycle_frees_the_quota(
    settings: Settings, make_model: MakeModel, plates: np.ndarray
) -> None:
    use_model(settings, make_model())
    run(settings, list(plates))
    first = questions(settings)
    db = open_store(settings.device.data)
    start_cycle(db, "test")
    db.close()
    assert questions(settings) == []
    run(settings, list(plates))
    assert set(questions(settings)) == set(first)


def test_a_new_day_frees_the_quota_too(
    settings: Settings, make_model: MakeModel, plates: np.ndarray
) -> None:
    use_model(settings, make_model())
    run(settings, list(plates))
    first = questions(settings)
    db = open_store(settings.device.data)
    db.execute("UPDATE cycles SET wall_ns = wall_ns - ?", [2 * 24 * 3600 * 10**9])
    db.close()
    run(settings, [])
    assert questions(settings) == []
    run(settings, list(plates))
    assert set(questions(settings)) == set(first)


def test_a_camera_that_cannot_work_ends_with_what_is_wrong(settings: Settings) -> None:
    empty = settings.device.data.parent / "empty"
    empty.mkdir()
    folder = settings.camera.folder.model_copy(update={"path": empty})
    settings = change(settings, "camera", folder=folder)
    with pytest.raises(UserError, match="no image in it"):
        run(settings)


def test_an_unreadable_image_is_an_event_in_the_store(
    settings: Settings, plate_folder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "some" / "clean"
    folder.mkdir(parents=True)
    (folder / "a.png").write_bytes((plate_folder / "clean" / "000.png").read_bytes())
    (folder / "b.png").write_bytes(b"no picture")
    settings = change(
        settings, "camera", folder=settings.camera.folder.model_copy(update={"path": tmp_path})
    )
    run(settings)
    db = open_store(settings.device.data)
    texts = [row[0] for row in db.execute("SELECT text FROM events WHERE kind = 'unreadable'")]
    assert len(texts) == 1
    assert "b.png: not an image" in texts[0]
    db.close()


def test_a_full_disk_pauses_keeping_but_not_judging(
    settings: Settings, small_disk: Path, plates: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("device.loop.keeper.RETRY_S", 0.05)
    settings = change(settings, "device", data=small_disk / "data")
    settings = change(settings, "keeping", floor_mb=0)  # to the very end of the disk
    settings = change(settings, "asking", cold_start=1000)
    settings = change(settings, "camera", quality=Quality(frozen_after=0))
    many = [np.roll(plate, shift, axis=1) for shift in range(4) for plate in plates]
    events = run(settings, many)
    kinds = [e.split(":")[0] for e in events]
    assert "not-keeping" in kinds
    assert "the disk is full; free some space" in next(e for e in events if "not-keeping" in e)
    flagged = [e.split()[1] for e in events if e.startswith("flagged: ")]
    assert flagged
    (small_disk / "ballast").unlink()
    db = open_store(settings.device.data)
    with explain_errors(settings.device.data):
        assert db.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        stored = {row[0] for row in db.execute("SELECT patch_id FROM flags")}
    assert set(flagged) == stored
    db.close()


def test_keeping_goes_on_when_the_disk_has_room_again(
    settings: Settings, small_disk: Path, plates: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("device.loop.keeper.RETRY_S", 0.05)
    settings = change(settings, "device", data=small_disk / "data")
    settings = change(settings, "keeping", floor_mb=0)  # to the very end of the disk
    settings = change(settings, "asking", cold_start=1000)
    resumed = threading.Event()
    kinds: list[str] = []

    class Patient(Listed):
        def frames(self) -> Iterator[Frame]:
            for number, image in enumerate(self.images):
                yield Frame(image, number, number, 10**18 + number)
                if "not-keeping" in kinds and not resumed.is_set():
                    (small_disk / "ballast").unlink(missing_ok=True)
                    assert resumed.wait(30)

    def report(event: Event) -> None:
        kinds.append(event.kind)
        if event.kind == "keeping":
            resumed.set()

    many = [np.roll(plate, shift, axis=1) for shift in range(2) for plate in plates]
    summary = InspectionLoop(settings, report, lambda _: Patient(many)).run()
    assert resumed.is_set()
    assert "not-kept" not in kinds
    assert kinds.count("flagged") == summary.kept
    assert summary.frames == 240
    assert summary.not_kept <= 40  # what had been read ahead; all the rest is kept again


def test_what_could_not_be_kept_is_asked_about_when_it_is_seen_again(
    settings: Settings, plates: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = Keeper.put
    refused: set[str] = set()

    def without_room(self: Keeper, item: Item) -> bool:
        if isinstance(item, KeptFrame) and len(refused) < 3:
            refused.add(item.patches[0].id)
            return False
        return put(self, item)

    monkeypatch.setattr(Keeper, "put", without_room)
    settings = change(settings, "asking", cold_start=3)
    events = run(settings, [*plates[:3], *plates[:3]])
    assert {e.split()[1] for e in events if e.startswith("flagged: ")} == refused
    assert {patch for patch, _ in questions(settings)} == refused
    assert len(refused) == 3


def test_names_of_files_may_be_no_utf_8(
    settings: Settings, plates: np.ndarray, tmp_path: Path
) -> None:
    folder = tmp_path / "from another system"
    folder.mkdir()
    for i in range(3):
        name = os.fsdecode(b"\xfct\xe9s%d.png" % i)
        (folder / name).write_bytes(cv2.imencode(".png", plates[i])[1].tobytes())
    (folder / os.fsdecode(b"\xfc.png")).write_bytes(b"no picture")
    events = run(change(settings, "camera", folder=FolderSource(path=folder)))
    assert len(questions(settings)) == 3
    assert not [event for event in events if "not-k" in event]
    assert len([event for event in events if "?.png: not an image" in event]) == 1
