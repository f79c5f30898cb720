"""Exposure and light of a recipe: every part is photographed with those of its own recipe.

Over GigE Vision against Aravis' fake camera, with a ring light's controller behind a pty.
"""

import statistics
from itertools import groupby
from pathlib import Path

import cv2
import numpy as np
import pytest

from config.machine import Machine
from config.recipes import load_recipes
from config.settings import Camera, GenicamSource, Light, Live, Quality, Settings
from tests.camera.gige_camera import gige_camera, missing
from tests.camera.test_platform import Simulated
from tests.device.conftest import MakeModel
from tests.device.machine.conftest import Master, free_port, modbus, running, until
from tests.device.machine.test_handshake_wire import stored, use_model

PARTS = [6, pytest.param(200, marks=[pytest.mark.slow, pytest.mark.timeout(600)])]
SHORT, LONG = 4000.0, 8000.0


class Choosing(Master):
    """A PLC that writes the recipe's index with each part."""

    index = 0

    def trigger(self, value: bool) -> None:
        if value:
            self.number += 1
            self.client.write_registers(0, [self.index, self.number], device_id=1)
        self.client.write_coil(0, value, device_id=1)


@pytest.mark.parametrize("parts", PARTS)
def test_each_part_has_exposure_and_light_of_its_recipe(
    site: Settings, make_model: MakeModel, tmp_path: Path, parts: int
) -> None:
    if (why := missing()) is not None:
        pytest.skip(why)
    (tmp_path / "pictures").mkdir()
    picture = np.random.default_rng(0).integers(60, 120, (512, 512), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "pictures" / "flat.png"), picture)
    ring = Simulated("gardasoft", tmp_path)
    camera = Camera(
        source="genicam",
        genicam=GenicamSource(
            device="127.0.0.1", trigger="software", exposure_us=SHORT, frame_timeout_s=20
        ),
        light=Light(port=ring.port, intensity_percent=30, reply_timeout_s=5, warm_up_s=0),
        live=Live(retry_first_s=0.1, retry_longest_s=0.5),
        quality=Quality(min_contrast=0, min_sharpness=0, frozen_after=0),
    )
    address = f"127.0.0.1:{free_port()}"
    machine = Machine(trigger="modbus", deadline_s=20, modbus=modbus("server", address))
    settings = site.model_copy(update={"camera": camera, "machine": machine})
    folder = settings.device.recipes
    folder.mkdir(parents=True)
    (folder / "dull.toml").write_text(
        '[recipe]\nindex = 2\nclasses = ["clean", "patch", "pitted_surface", "scratch"]\n'
        'pass_classes = ["clean"]\nfail_classes = ["patch", "pitted_surface", "scratch"]\n'
        f"[camera.genicam]\nexposure_us = {LONG}\n[camera.light]\nintensity_percent = 60\n"
    )
    dull = load_recipes(settings).named("dull")
    assert dull is not None
    file = make_model(thresholds=[1e9] * 4)
    use_model(settings, file)
    use_model(dull, file, "dull")
    with gige_camera("--folder", str(tmp_path / "pictures")), running(settings) as loop:
        master = Choosing(settings.machine.modbus.tcp_port)
        until(lambda: "opened" in loop.kinds(), 40)
        indices = [(1, 2, 2)[i % 3] for i in range(parts)]
        for index in indices:
            until(lambda: master.coils()[0])
            master.index = index
            master.trigger(True)
            assert master.results()[2] == 0
        master.client.close()
    ring_did = [line for line in ring.tell("journal") if line in {"light 1 30", "light 1 60"}]
    ring.end()
    means = [result.captured.frame.image.mean() for result in loop.frames]
    assert len(means) == parts
    dark, bright = means[0], means[1]
    assert bright / dark == pytest.approx(2, abs=0.05)
    expected = [bright if index == 2 else dark for index in indices]
    assert means == pytest.approx(expected, rel=0.03)
    expected_light = [f"light 1 {60 if index == 2 else 30}" for index in indices]
    # A light that is on is told so again now and then, to see that it is there.
    assert [k for k, _ in groupby(ring_did)] == [k for k, _ in groupby(expected_light)]
    rows = stored(settings)
    assert [row.recipe for row in rows] == [
        "dull" if index == 2 else site.recipe.name for index in indices
    ]
    changed = [r.split.grab for r, a, b in zip(rows[1:], indices, indices[1:], strict=False)
               if a != b]  # fmt: skip
    same = [r.split.grab for r, a, b in zip(rows[1:], indices, indices[1:], strict=False)
            if a == b]  # fmt: skip
    print(
        f"\ntrigger to picture, {parts} parts: with another recipe "
        f"{statistics.median(changed):.0f} ms (median), {max(changed):.0f} ms (worst); with the "
        f"same {statistics.median(same):.0f} ms, {max(same):.0f} ms"
    )
