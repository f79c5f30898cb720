"""Tests of the folder source: real image files, good and bad."""

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from camera.folder import IMAGE_SUFFIXES, FolderSource, find_images, read_grey
from camera.source import Event, Frame, GreyImage, Pace
from config.errors import UserError
from config.settings import FolderSource as FolderSettings

CLASSES = ["clean", "scratch"]


def noise(seed: int = 0, size: tuple[int, int] = (60, 80)) -> GreyImage:
    return np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8)


def write(path: Path, image: GreyImage | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = cv2.imencode(path.suffix, noise() if image is None else image)[1]
    path.write_bytes(data.tobytes())
    return path


def play(
    folder: Path, events: list[Event] | None = None, classes: Sequence[str] = CLASSES
) -> list[Frame]:
    report: Callable[[Event], None] = (events if events is not None else []).append
    return list(FolderSource(FolderSettings(path=folder), classes, report).frames())


def names(frames: list[Frame]) -> list[str]:
    return [Path(frame.origin).name for frame in frames]


def test_pixels_arrive_as_they_are_in_the_file(tmp_path: Path) -> None:
    write(tmp_path / "a.png", noise(5))
    (frame,) = play(tmp_path)
    assert frame.image.dtype == np.uint8
    assert np.array_equal(frame.image, noise(5))


def test_colour_and_16_bits_become_grey(tmp_path: Path) -> None:
    grey = noise(6)
    colour = cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR)
    (tmp_path / "a.png").write_bytes(cv2.imencode(".png", colour)[1].tobytes())
    deep = grey.astype(np.uint16) * 257
    (tmp_path / "b.png").write_bytes(cv2.imencode(".png", deep)[1].tobytes())
    one, two = play(tmp_path)
    assert np.abs(one.image.astype(int) - grey).max() <= 1
    assert np.abs(two.image.astype(int) - grey).max() <= 1


def test_class_folders_are_truth_and_others_are_not(tmp_path: Path) -> None:
    for name in ("scratch/1.png", "clean/2.png", "unsorted/3.png", "deep/down/clean/4.png"):
        write(tmp_path / name)
    truths = {Path(f.origin).name: f.truth for f in play(tmp_path)}
    assert truths == {"1.png": "scratch", "2.png": "clean", "3.png": None, "4.png": "clean"}


def test_plays_by_name_with_numbers_and_rising_times(tmp_path: Path) -> None:
    for name in ("c.png", "a.png", "b.png"):
        write(tmp_path / name)
    before = time.monotonic_ns(), time.time_ns()
    frames = play(tmp_path)
    assert names(frames) == ["a.png", "b.png", "c.png"]
    assert [f.sequence for f in frames] == [0, 1, 2]
    moments = [before[0], *(f.monotonic_ns for f in frames), time.monotonic_ns()]
    assert moments == sorted(moments)
    assert all(abs(f.wall_ns - before[1]) < 60e9 for f in frames)


@pytest.mark.parametrize("suffix", sorted(IMAGE_SUFFIXES))
def test_every_known_kind_of_image_is_found_and_read(tmp_path: Path, suffix: str) -> None:
    write(tmp_path / f"lower{suffix}", noise(1))
    (tmp_path / f"UPPER{suffix.upper()}").write_bytes((tmp_path / f"lower{suffix}").read_bytes())
    (tmp_path / "notes.txt").write_text("no image")
    frames = play(tmp_path)
    assert len(frames) == 2
    assert all(f.image.shape == (60, 80) for f in frames)


def test_a_shuffle_seed_plays_every_image_in_an_order_of_its_own(tmp_path: Path) -> None:
    for i in range(12):
        write(tmp_path / f"{i:02}.png")

    def order(seed: int | None) -> list[str]:
        settings = FolderSettings(path=tmp_path, shuffle_seed=seed)
        return names(list(FolderSource(settings, CLASSES, print).frames()))

    assert order(1) == order(1)
    assert order(1) != order(2)
    assert sorted(order(1)) == order(None)
    assert order(0) != order(None), "seed 0 is a seed, too"


def test_repeat_starts_again_and_goes_on_counting(tmp_path: Path) -> None:
    write(tmp_path / "a.png")
    write(tmp_path / "b.png")
    source = FolderSource(FolderSettings(path=tmp_path, repeat=True), CLASSES, print)
    frames = []
    for frame in source.frames():
        frames.append(frame)
        if len(frames) == 5:
            source.close()
    assert names(frames) == ["a.png", "b.png", "a.png", "b.png", "a.png"]
    assert [f.sequence for f in frames] == [0, 1, 2, 3, 4]


def test_rate_holds_frames_back(tmp_path: Path) -> None:
    for i in range(6):
        write(tmp_path / f"{i}.png")
    source = FolderSource(FolderSettings(path=tmp_path, rate_fps=50), CLASSES, print)
    start = time.monotonic_ns()
    at = []
    for frame in source.frames():
        at.append((frame.monotonic_ns - start) / 1e9)
        time.sleep(0.01)
    # A busy machine makes frames late, never early: frame n is due at (n + 1) / 50 s.
    assert all(moment >= (n + 1) / 50 - 0.002 for n, moment in enumerate(at))
    assert len(at) == 6


def test_time_spent_judging_does_not_slow_the_rate() -> None:
    """A busy machine may spoil a try or two, a pace that waits too long spoils all of them."""

    def seconds() -> float:
        pace = Pace(50, threading.Event())
        start = time.monotonic()
        for _ in range(10):
            pace.wait()
            time.sleep(0.015)
        return time.monotonic() - start

    assert any(seconds() < 0.3 for _ in range(10)), "10 / 50 s + 0.015 s; drifting: 0.35 s"


def test_after_a_long_stall_frames_do_not_race_to_catch_up() -> None:
    pace = Pace(50, threading.Event())
    time.sleep(1.1)
    pace.wait()
    start = time.monotonic()
    assert all(pace.wait() for _ in range(5))
    assert time.monotonic() - start > 0.09


def test_files_given_are_played_instead_of_the_folder(tmp_path: Path) -> None:
    chosen = write(tmp_path / "clean/b.png")
    write(tmp_path / "clean/a.png")
    source = FolderSource(FolderSettings(), CLASSES, print, [chosen])
    assert [(f.origin, f.truth) for f in source.frames()] == [(str(chosen), "clean")]


def bad_files(folder: Path) -> dict[str, bytes]:
    """Files that are named like images and are none, by name."""
    whole = {s: cv2.imencode(s, noise())[1].tobytes() for s in (".jpg", ".png", ".bmp", ".tif")}
    progressive = cv2.imencode(".jpg", noise(), [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()
    return {
        "empty.png": b"",
        "text.jpg": b"this is no picture\n",
        "half.jpg": whole[".jpg"][: len(whole[".jpg"]) // 2],
        "nearly.jpg": whole[".jpg"][:-100],
        "progressive.jpg": progressive[: len(progressive) // 2],
        "half.png": whole[".png"][: len(whole[".png"]) // 2],
        "half.bmp": whole[".bmp"][: len(whole[".bmp"]) // 2],
        "half.tif": whole[".tif"][: len(whole[".tif"]) // 2],
        "huge.pgm": b"P5\n60000 60000\n255\n",
    }


BAD = sorted(bad_files(Path()))


@pytest.mark.parametrize("bad", BAD)
def test_an_unreadable_image_leaves_a_gap_and_an_event_naming_it(tmp_path: Path, bad: str) -> None:
    write(tmp_path / "0.png")
    (tmp_path / f"1-{bad}").write_bytes(bad_files(tmp_path)[bad])
    write(tmp_path / "2.png")
    events: list[Event] = []
    frames = play(tmp_path, events)
    assert [(f.sequence, Path(f.origin).name) for f in frames] == [(0, "0.png"), (2, "2.png")]
    (event,) = events
    assert event.kind == "unreadable"
    assert str(tmp_path / f"1-{bad}") in event.text
    assert "\n" not in event.text


def test_a_folder_named_like_an_image_is_not_one(tmp_path: Path) -> None:
    (tmp_path / "x.png").mkdir()
    write(tmp_path / "x.png/a.png")
    events: list[Event] = []
    assert names(play(tmp_path, events)) == ["a.png"]
    assert events == []


def test_a_file_that_vanished_is_reported_by_name(tmp_path: Path) -> None:
    write(tmp_path / "a.png")
    gone = write(tmp_path / "b.png")
    events: list[Event] = []
    source = FolderSource(FolderSettings(path=tmp_path), CLASSES, events.append)
    gone.unlink()
    assert names(list(source.frames())) == ["a.png"]
    assert [e.kind for e in events] == ["unreadable"]
    assert f"{gone}: cannot be read: No such file" in events[0].text


def test_reading_what_is_no_file_says_why(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read: Is a directory"):
        read_grey(tmp_path)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere: no such folder"):
        FolderSource(FolderSettings(path=tmp_path / "nowhere"), CLASSES, print)


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a\.png: no such folder"):
        find_images(write(tmp_path / "a.png"))


def test_an_empty_folder_is_named_with_what_would_be_taken(tmp_path: Path) -> None:
    (tmp_path / "x.png").mkdir()
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(UserError, match=r"no image in it; known kinds: .*\.png") as error:
        find_images(tmp_path)
    assert str(tmp_path) in str(error.value)


def test_no_folder_set_names_the_key() -> None:
    with pytest.raises(UserError, match=r"camera\.folder\.path"):
        FolderSource(FolderSettings(), CLASSES, print)


@pytest.mark.timeout(30)
def test_repeating_a_folder_of_which_nothing_can_be_read_ends(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    source = FolderSource(FolderSettings(path=tmp_path, repeat=True), CLASSES, lambda e: None)
    with pytest.raises(UserError, match="none of its images can be read"):
        list(source.frames())


@pytest.mark.timeout(30)
@pytest.mark.parametrize("rate", [0.0, 0.01, 1e-300])
def test_close_from_another_thread_ends_it(tmp_path: Path, rate: float) -> None:
    """Also while it waits for the moment of the next frame, 100 seconds away and more."""
    write(tmp_path / "a.png")
    source = FolderSource(FolderSettings(path=tmp_path, repeat=True, rate_fps=rate), CLASSES, print)
    reader = threading.Thread(target=lambda: list(source.frames()), daemon=True)
    reader.start()
    reader.join(0.1)
    assert reader.is_alive()
    source.close()
    source.close()
    reader.join(10)
    assert not reader.is_alive()
