"""What tests of several rooms share."""

import os
import threading
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
NEU_CLS = Path(os.environ.get("MILLSIGHT_NEU_CLS", ROOT.parent / "shared/data/neu-cls"))
"""The NEU-CLS images, a folder per class; set $MILLSIGHT_NEU_CLS where they lie elsewhere."""


@pytest.fixture(scope="session")
def neu_cls() -> Path:
    """The folder of the real NEU-CLS images (Song & Yan 2013)."""
    if not NEU_CLS.is_dir():
        pytest.skip(f"NEU-CLS images not at {NEU_CLS}; name their folder in $MILLSIGHT_NEU_CLS")
    return NEU_CLS


@pytest.fixture(autouse=True)
def no_thread_is_left_behind() -> Iterator[None]:
    """A thread that outlives its test would keep the whole run from ending."""
    before = set(threading.enumerate())
    yield
    left = [t for t in threading.enumerate() if t not in before and not t.daemon]
    for thread in left:
        thread.join(10)
    names = [thread.name for thread in left if thread.is_alive()]
    assert not names, f"left behind: {', '.join(names)}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where $MILLSIGHT_NO_SKIP is set (CI), a skipped test is a failed one."""
    report = yield
    if os.environ.get("MILLSIGHT_NO_SKIP") and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped where nothing may be: {report.longrepr}"
    return report
