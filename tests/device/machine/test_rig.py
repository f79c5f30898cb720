"""A real CNC controller has its parts judged."""

import shutil

import pytest

from tests.device.machine.rig import Rig, missing, table


@pytest.mark.slow
def test_linuxcnc_mills_parts_and_each_has_one_verdict() -> None:
    if (why := missing()) is not None:
        pytest.skip(why)
    rig = Rig(parts=12, deadline_s=5)
    rig.start()
    try:
        assert rig.wait(240), f"see {rig.folder}"
    finally:
        rig.stop()
    found = table(rig)
    print(found)
    assert found["parts"] == found["answered"] == 12
    assert found["ok"] + found["ng"] == 12
    assert found["ok"] > 0
    assert found["ng"] > 0
    assert (found["false_ok"], found["twice"], found["nameless"]) == ([], [], 0)
    assert [int(p.part) for p in rig.parts()] == list(range(1, 13))
    assert {p.lot for p in rig.parts()} == {"L-1"}
    shutil.rmtree(rig.folder)
