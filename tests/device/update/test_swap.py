"""Hot swaps under load: every frame judged once, by one model, and how long a swap holds up."""

import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from camera.source import Event
from config.settings import Asking, FolderSource, Settings
from device.loop.loop import FrameResult, InspectionLoop
from device.models.activation import activate
from device.models.models_in_use import record_activation
from device.store.database import open_store
from tests.device.conftest import model_file


@pytest.mark.parametrize("swaps", [5, pytest.param(100, marks=pytest.mark.slow)])
def test_models_swap_between_two_frames(
    swaps: int,
    settings: Settings,
    plates: NDArray[np.uint8],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One model is unsure of everything and the other of nothing: a mix-up would show."""
    monkeypatch.setattr("device.loop.loop.LOOK_EVERY_S", 0.02)
    folder = FolderSource(path=settings.camera.folder.path, repeat=True)
    settings = settings.model_copy(
        update={
            "camera": settings.camera.model_copy(update={"folder": folder}),
            "asking": Asking(k=5, audit_share=0.05),
        }
    )
    db = open_store(settings.device.data)
    ids = []
    for seed, threshold in ((1, None), (2, 1e9)):
        file = model_file(tmp_path / f"{seed}.onnx", plates, seed, thresholds=[threshold] * 4)
        ids.append(activate(db, file, settings, "test").id)
    sequences: list[int] = []
    moments: list[float] = []
    used: list[str] = []
    swapped_at: list[int] = []
    loop: InspectionLoop

    def on_frame(result: FrameResult) -> None:
        sequences.append(result.captured.frame.sequence)
        moments.append(time.monotonic())
        assert result.verdict is not None

    def report(event: Event) -> None:
        assert event.kind != "model-refused", event
        if event.kind != "model":
            return
        used.append(event.text.split()[0])
        swapped_at.append(len(moments))
        if len(used) > swaps:
            loop.stop()
        else:
            record_activation(other, ids[len(used) % 2 - 1], "swap")

    other = open_store(settings.device.data)
    loop = InspectionLoop(settings, report, on_frame=on_frame)
    summary = loop.run()
    other.close()

    assert len(used) == swaps + 1
    assert all(a != b for a, b in pairwise(used))
    assert sequences == list(range(sequences[0], sequences[0] + len(sequences)))
    assert (len(sequences), summary.dropped) == (summary.frames, 0)
    counted = db.execute(
        "SELECT model_id, verdict, sum(frames) FROM counters GROUP BY model_id, verdict"
    ).fetchall()
    assert sum(row[2] for row in counted) == len(sequences)
    assert {row[0] for row in counted} == set(ids)
    for model_id, verdict, _ in counted:
        assert (verdict == "unsure") == (model_id == ids[0])
    kept = db.execute("SELECT model_id, verdict, count(*) FROM frames GROUP BY 1, 2").fetchall()
    for model_id, verdict, _ in kept:
        assert (verdict == "unsure") == (model_id == ids[0])
    # A cycle of questions begins with its activation: flags and models change together.
    mixed = db.execute(
        "SELECT count(*) FROM flags f JOIN frames r ON r.id = f.frame_id "
        "JOIN cycles c ON c.id = f.cycle WHERE c.reason NOT LIKE '%' || substr(r.model_id, 1, 12) "
        "|| '%'"
    ).fetchone()[0]
    assert mixed == 0
    db.close()
    gaps = np.diff(moments)
    near = np.zeros(len(gaps), bool)
    for at in swapped_at:
        near[max(0, at - 8) : at + 1] = True
    print(
        f"{swaps} swaps in {len(sequences)} frames, {summary.frames_per_second:.0f} frames/s; "
        f"longest wait between verdicts {1000 * gaps[~near].max():.0f} ms away from swaps, "
        f"{1000 * gaps[near].max():.0f} ms around them"
    )
