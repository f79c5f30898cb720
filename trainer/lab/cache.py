"""Finished arms as small JSON files, so that a grid goes on where it ended."""

import json
import os
import platform
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from config.errors import UserError
from trainer.lab.arms import SHARES, Arm
from trainer.lab.protocol import LabData
from trainer.learning.training import has_bfloat16


def arm_file(folder: Path, data: LabData, arm: Arm, seed: int) -> Path:
    """Where the result of an arm on a seed lies."""
    return folder / "arms" / data.name / f"{arm.name}-seed{seed}.json"


def load_arm(folder: Path, data: LabData, arm: Arm, seed: int) -> dict[str, Any] | None:
    """A finished result, its own or what a longer or traced arm has of it; None: there is none, or
    it is of other images or settings.

    Raises:
        UserError: the file is not a result.
    """
    path = arm_file(folder, data, arm, seed)
    if not path.is_file():
        return _traced(folder, data, arm, seed) or _beginning(folder, data, arm, seed)
    try:
        result = json.loads(path.read_text())
        fits = result["data"] == data.digest and result["settings"] == arm.settings()
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: not a result of the laboratory; delete it") from error
    return result if fits else None


def _traced(folder: Path, data: LabData, arm: Arm, seed: int) -> dict[str, Any] | None:
    """The same arm with a trace, which changes nothing else."""
    if arm.trace:
        return None
    traced = load_arm(folder, data, replace(arm, trace=True), seed)
    return None if traced is None else traced | {"arm": arm.name, "settings": arm.settings()}


def _beginning(folder: Path, data: LabData, arm: Arm, seed: int) -> dict[str, Any] | None:
    """The first rounds of the same arm on the longer schedule, which are the same."""
    if arm.schedule != "few":
        return None
    longer = load_arm(folder, data, replace(arm, schedule="best"), seed)
    if longer is None:
        return None
    most = max(1, round(SHARES["few"][-1] * len(data.labels)))
    rounds = [here for here in longer["rounds"] if here["labels"] <= most]
    seconds = sum(here["seconds"] for here in rounds)  # of training only
    return (
        longer
        | {"arm": arm.name, "settings": arm.settings(), "rounds": rounds}
        | {"seconds": round(seconds, 1)}
    )


def save_arm(
    folder: Path, data: LabData, arm: Arm, seed: int, figures: dict[str, Any]
) -> dict[str, Any]:
    """Write the figures of a finished arm with where they come from; whole or not at all."""
    path = arm_file(folder, data, arm, seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    result = {
        "arm": arm.name,
        "seed": seed,
        "data": data.digest,
        "settings": arm.settings(),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        **figures,
    }
    draft = path.with_suffix(".part")
    draft.write_text(json.dumps(result, indent=1) + "\n")
    draft.replace(path)
    return result


def machine() -> dict[str, Any]:
    """What the figures were made on."""
    return {
        "cpu": _cpu(),
        "bfloat16": has_bfloat16(),
        "threads": torch.get_num_threads(),
        "load": round(os.getloadavg()[0], 1),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "millsight": version("millsight"),
    }


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{len(names)} × {names[0]}" if names else platform.processor()
