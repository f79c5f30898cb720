"""Training runs that are finished, kept until the night is: what was killed goes on from there."""

import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from device.judging.kls import Ints
from device.system.durable import write_durably
from trainer.learning.networks import make_network
from trainer.learning.training import Trained, Training


def run_key(ids: Sequence[str], labels: Ints, classes: int, training: Training, seed: int) -> str:
    """SHA-256, in hex, over everything that decides what a run gives: patches by their ids, which
    are digests of their pixels, labels, settings, seed, threads and versions."""
    decides = {
        "labels": list(zip(ids, labels.tolist(), strict=True)),
        "classes": classes,
        "training": asdict(training),
        "seed": seed,
        "threads": torch.get_num_threads(),
        "versions": [version("millsight"), torch.__version__],
    }
    return hashlib.sha256(json.dumps(decides).encode()).hexdigest()


class Memory:
    """A folder of finished runs."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keep(self, key: str, trained: Trained) -> None:
        """Remember a run, whole or not at all.

        Raises:
            OSError: the folder cannot be written.
        """
        content = io.BytesIO()
        weights = {n: p.detach().numpy() for n, p in trained.network.state_dict().items()}
        np.savez(content, steps=trained.steps, seconds=trained.seconds, **weights)
        write_durably(self._folder / f"{key}.npz", content.getvalue())

    def recall(self, key: str, training: Training, classes: int) -> Trained | None:
        """A run that is remembered, as it ended; None: it is not, or its file is damaged."""
        path = self._folder / f"{key}.npz"
        if not path.is_file():
            return None
        try:
            with path.open("rb") as file, np.load(file) as arrays:
                found = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
            steps, seconds = int(found.pop("steps")), float(found.pop("seconds", 0))
            network = make_network(
                training.network, classes, training.dropout, levelled=training.levelled
            )
            network.load_state_dict(found)
        except Exception:  # noqa: BLE001 - NumPy has no common error class for damage
            return None
        return Trained(network.eval(), steps, stopped=False, seconds=seconds)
