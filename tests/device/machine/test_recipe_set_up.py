"""A recipe that a person chooses or edits: no picture from before its set-up is judged by it."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from config.machine import Machine
from config.recipes import load_recipes
from config.settings import Camera, Light, Quality, Settings, Vmc220Source
from device.store.database import open_store
from device.store.parts import choose_recipe
from tests.camera.test_platform import Simulated
from tests.device.conftest import MakeModel
from tests.device.machine.conftest import Master, free_port, modbus, running, until
from tests.device.machine.test_handshake_wire import stored, use_model

DULL, BRIGHT = 10, 100
WARM_UP_S = 1.0
"""So long the ring light takes to come to its brightness."""


@pytest.fixture
def ring(tmp_path: Path) -> Iterator[Simulated]:
    device = Simulated("gardasoft", tmp_path)
    yield device
    device.end()


def write_dull(settings: Settings, percent: float) -> None:
    settings.device.recipes.mkdir(parents=True, exist_ok=True)
    (settings.device.recipes / "dull.toml").write_text(
        '[recipe]\nindex = 2\nclasses = ["clean", "patch", "pitted_surface", "scratch"]\n'
        'pass_classes = ["clean"]\nfail_classes = ["patch", "pitted_surface", "scratch"]\n'
        f"[camera.vmc220]\nlight_percent = {percent}\n"
    )


def choose(settings: Settings, recipe: str) -> None:
    db = open_store(settings.device.data)
    choose_recipe(db, recipe, "anna")
    db.close()


def with_camera(site: Settings, **values: object) -> Settings:
    camera = Camera(
        source="vmc220",
        vmc220=Vmc220Source(light_percent=BRIGHT, defect_share=0, rate_fps=50),
        quality=Quality(min_contrast=0, min_sharpness=0, max_dark_share=1, max_bright_share=1),
        **values,  # type: ignore[arg-type]
    )
    return site.model_copy(update={"camera": camera})


def test_a_part_right_after_the_index_is_read_back_has_the_new_picture(
    site: Settings, make_model: MakeModel, ring: Simulated
) -> None:
    light = Light(port=ring.port, reply_timeout_s=5, warm_up_s=WARM_UP_S)
    address = f"127.0.0.1:{free_port()}"
    machine = Machine(trigger="modbus", deadline_s=20, modbus=modbus("server", address))
    settings = with_camera(site, light=light).model_copy(update={"machine": machine})
    write_dull(settings, DULL)
    dull = load_recipes(settings).named("dull")
    assert dull is not None
    file = make_model(thresholds=[1e9] * 4)
    use_model(settings, file)
    use_model(dull, file, "dull")
    with running(settings) as loop:
        master = Master(settings.machine.modbus.tcp_port)
        until(lambda: master.coils()[0])
        master.part()
        choose(settings, "dull")
        until(
            lambda: master.client.read_holding_registers(66, count=1, device_id=1).registers[0] == 2
        )
        until(lambda: master.coils()[0])
        assert master.part()[2] == 0
        master.client.close()
    bright, after = (result.captured.frame.image.mean() for result in loop.frames)
    assert after / bright < 0.3, "taken before the camera was set up for the recipe"


def test_a_part_is_recorded_under_the_recipe_that_judged_it(
    site: Settings, make_model: MakeModel
) -> None:
    silent = modbus("client", f"127.0.0.1:{free_port()}")  # so that the record waits for a while
    machine = Machine(trigger="interval", interval_s=0.5, deadline_s=20, modbus=silent)
    settings = with_camera(site).model_copy(update={"machine": machine})
    write_dull(settings, DULL)
    file = make_model(thresholds=[1e9] * 4)
    use_model(settings, file)
    with running(settings) as loop:
        until(lambda: loop.frames)
        choose(settings, "dull")
        until(lambda: "recipe" in loop.kinds())
        until(lambda: stored(settings))
    first = stored(settings)[0]
    assert (first.recipe, bool(first.model_id)) == (site.recipe.name, True)


def test_an_edited_recipe_in_force_sets_the_camera_up(site: Settings) -> None:
    settings = with_camera(site)
    write_dull(settings, BRIGHT)
    choose(settings, "dull")

    def mean() -> float:
        return float(loop.frames[-1].captured.frame.image.mean())

    with running(settings) as loop:
        until(lambda: len(loop.frames) > 5)
        before = mean()
        time.sleep(0.05)  # files are told apart by their times
        write_dull(settings, DULL)
        until(lambda: mean() / before < 0.3)
