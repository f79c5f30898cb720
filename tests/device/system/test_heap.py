"""Free memory goes back to the system."""

import re
import sys
from pathlib import Path

import pytest

from device.system.heap import give_back_memory


def resident_mb() -> float:
    found = re.search(r"^VmRSS:\s+(\d+)", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found
    return int(found[1]) * 1024e-6


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only the GNU C library can")
def test_what_lies_free_between_what_is_used_is_given_back() -> None:
    pieces = [bytes(60_000) for _ in range(4000)]  # small enough for the heap itself
    kept = pieces[::40]
    del pieces
    before = resident_mb()
    give_back_memory()
    assert before - resident_mb() > 100
    assert len(kept) == 100
