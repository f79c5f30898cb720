"""How long an operator waits for the next picture while the inspection runs at full speed."""

import subprocess
import sys

import numpy as np
import pytest
from playwright.sync_api import Browser

from camera.milled_steel import CLASSES
from config.settings import Asking, Camera, Recipe, Settings
from tests.device.review.conftest import answers_in, serving
from tests.device.review.glass import answer, eventually, page_of, shown

WATCH = """() => {
    window.times = [];
    document.addEventListener('click', (event) => {
        if (!event.target.closest('[data-tap=answer]')) return;
        const patch = () => document.querySelector('#picture img').src;
        const before = patch();
        const look = () => {
            if (patch() === before || !document.querySelector('#picture').checkVisibility())
                requestAnimationFrame(look);
            else  // the frame that shows it is being painted: count it when that is done
                requestAnimationFrame(() => setTimeout(
                    () => window.times.push(performance.now() - event.timeStamp)));
        };
        look();
    }, true);
}"""


TAPS = 200


@pytest.mark.slow
def test_the_next_picture_is_there_within_100_ms_of_the_tap(
    browser: Browser, asking: Settings
) -> None:
    settings = asking.model_copy(
        update={
            "camera": Camera(),
            "recipe": Recipe(classes=list(CLASSES), pass_classes=["clean"]),
            "asking": Asking(k=150, audit_share=0.001, labels_per_shift=0),
        }
    )
    with serving(settings) as server:
        command = [sys.executable, "-m", "millsight", "device", "run", "-c", str(server.config)]
        loop = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert loop.stdout is not None
        for _ in range(2 * TAPS):  # enough of them are flagged
            loop.stdout.readline()
        # Its lines are read on, or it would stand still behind a full pipe.
        drain = subprocess.Popen(["cat"], stdin=loop.stdout, stdout=subprocess.DEVNULL)
        loop.stdout.close()
        try:
            with page_of(browser, server) as page:
                shown(page)
                page.evaluate(WATCH)
                for number in range(TAPS):
                    answer(page, number % 4)
                eventually(lambda: len(answers_in(settings.device.data)), TAPS)
                times = page.evaluate("window.times")
        finally:
            loop.terminate()
            drain.wait()
            loop.wait()
    assert len(times) == TAPS
    median, high = np.percentile(times, [50, 95])
    print(f"{TAPS} taps: next picture after {median:.0f} ms (median), {high:.0f} ms (95 %)")
    assert high < 100
