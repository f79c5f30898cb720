"""A site of one trainer and one device over a folder, with real keys and real models."""

import hashlib
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import millsight
from camera.milled_steel import CLASSES
from config.document import to_toml
from config.load import load_settings
from config.settings import Camera, Device, Recipe, Settings, Trainer, Update, Vmc220Source
from device.judging.model import load_model_bytes
from device.models.models_in_use import in_force
from device.store.database import open_store
from device.update.client import role_of
from device.update.release import (
    Channel,
    Companion,
    Release,
    RollOut,
    channel_path,
    companion_target,
    make_companion,
    model_target,
)
from tests.device.conftest import model_file
from trainer.publishing.keys import make_keys, repository_folder, signers
from trainer.publishing.publish import publish, releases
from trainer.publishing.repository import commit, load_repository, publish_to, set_target


@pytest.fixture(scope="session")
def three_models(tmp_path_factory: pytest.TempPathFactory, plates: NDArray[np.uint8]) -> list[Path]:
    """Three different models for the simulated patches."""
    folder = tmp_path_factory.mktemp("models")
    return [model_file(folder / f"{seed}.onnx", plates, seed) for seed in range(3)]


@dataclass
class Site:
    """A trainer and a device, and what a test does with them."""

    config: Path
    settings: Settings
    offline: Path
    plates: NDArray[np.uint8]
    run: Callable[..., tuple[int, str]]
    """Runs a command of `millsight`: exit status, and what it printed."""

    @property
    def exchange(self) -> Path:
        """The folder of the models on the exchange."""
        return Path(self.settings.exchange.url) / "models"

    def publish(self, file: Path, roll_out: RollOut | None = None) -> Release:
        """Publish a model with golden patches."""
        return publish(self.settings, file, self.plates[:12], roll_out=roll_out)

    def sync(self) -> tuple[int, str]:
        """`millsight device sync`."""
        return self.run("device", "sync")

    def in_use(self) -> str | None:
        """The id of the model in use; its file must be whole."""
        db = open_store(self.settings.device.data)
        model_id = in_force(db).model_id
        db.close()
        if model_id is not None:
            path = self.settings.device.data / "models" / f"{model_id}.onnx"
            assert hashlib.sha256(path.read_bytes()).hexdigest() == model_id
            load_model_bytes(path.read_bytes(), "in use")
        return model_id

    def events(self, kind: str) -> list[str]:
        """The texts of the events of a kind."""
        db = open_store(self.settings.device.data)
        rows = db.execute("SELECT text FROM events WHERE kind = ? ORDER BY id", [kind]).fetchall()
        db.close()
        return [row[0] for row in rows]

    def sign_anything(self, content: bytes, companion: bytes | None = None) -> str:
        """Release bytes that `publish` would refuse, as whoever has the channel's key can."""
        recipe = self.settings.recipe.name
        model_id = hashlib.sha256(content).hexdigest()
        if companion is None:
            companion = Companion(
                model=model_id, recipe=recipe, patches=self.golden()
            ).model_dump_json().encode()  # fmt: skip
        present = releases(self.settings)
        release = Release(
            number=len(present) + 1, model=model_id, published_at="now", roll_out=RollOut()
        )
        channel = Channel(recipe=recipe, releases=[*present, release])
        self.sign(
            {
                channel_path(recipe): channel.model_dump_json().encode(),
                model_target(recipe, model_id): content,
                companion_target(recipe, model_id): companion,
            }
        )
        return model_id

    def golden(self) -> list:  # type: ignore[type-arg]
        """Golden patches of the model in use."""
        path = self.settings.device.data / "models" / f"{self.in_use()}.onnx"
        model = load_model_bytes(path.read_bytes(), "in use")
        return make_companion(model, "x", self.plates[:12], 12).patches

    def sign(self, files: dict[str, bytes], **limits: float) -> None:
        """Sign and publish files of the channel, with other expiries where they are given."""
        recipe = self.settings.recipe.name
        repository = load_repository(repository_folder(self.settings))
        for path, content in files.items():
            name, written = set_target(repository.channels[recipe], path, content)
            repository.new_files[name] = written
        publishing = self.settings.trainer.publish.model_copy(update=limits)
        commit(repository, {role_of(recipe)}, signers(self.settings), publishing)
        from device.exchange.opening import open_place  # noqa: PLC0415

        with open_place(self.settings.exchange) as place:
            publish_to(place, repository)


@pytest.fixture
def site(
    tmp_path: Path,
    plates: NDArray[np.uint8],
    plate_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Site:
    """Keys made, nothing published yet."""
    config = tmp_path / "millsight.toml"
    settings = Settings(
        device=Device(name="box", data=tmp_path / "data"),
        camera=Camera(vmc220=Vmc220Source(frames=100)),
        recipe=Recipe(name="my part", classes=list(CLASSES), pass_classes=["clean"]),
        trainer=Trainer(golden=plate_folder),
        update=Update(largest_slowdown=100),  # what else runs here must not slow a model down
    )
    config.write_text(to_toml(settings))
    settings = load_settings(config)

    def run(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["millsight", *arguments, "-c", str(config)])
        capsys.readouterr()
        status = 0
        try:
            with warnings.catch_warnings():  # cyclopts thinks a test forgot its arguments
                warnings.filterwarnings("ignore", "Cyclopts application invoked")
                millsight.main()
        except SystemExit as end:
            if isinstance(end.code, str):
                return 1, end.code
            status = end.code or 0
        return status, capsys.readouterr().out

    offline = tmp_path / "stick"
    make_keys(settings, offline)
    return Site(config, settings, offline, plates, run)
