"""A real CNC controller has its parts judged, by pictures that come over GigE Vision."""

import shutil

import pytest

from tests.device.machine.rig import Rig, missing, table
from tests.device.machine.rig_faults import FAULTS, run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(autouse=True)
def installed() -> None:
    if (why := missing()) is not None:
        pytest.skip(why)


def test_linuxcnc_mills_parts_and_each_has_one_verdict() -> None:
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
    assert (found["false_ok"], found["false_ng"], found["twice"]) == ([], [], [])
    assert found["nameless"] == 0
    assert found["of_one_picture"] == 12
    assert [int(p.part) for p in rig.parts()] == list(range(1, 13))
    assert {p.lot for p in rig.parts()} == {"L-1"}
    shutil.rmtree(rig.folder)


def test_whatever_breaks_no_part_is_good_that_is_not() -> None:
    rig = Rig(parts=10**6)
    rig.start()
    try:
        found = run(rig, rounds=1)
    finally:
        rig.stop()
    assert list(found) == [fault.__name__ for fault in FAULTS]
    of_all = table(rig)
    print(found, of_all)
    assert (of_all["false_ok"], of_all["twice"]) == ([], [])
    assert of_all["ok"] > 0
    shutil.rmtree(rig.folder)
