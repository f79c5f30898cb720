"""What `millsight device accuracy` prints of an estimate, for people and for programs."""

from typing import Any

from device.reports.estimate import LEAST, Accuracy, Share


def report_object(model_id: str, part: str | None, found: Accuracy) -> dict[str, Any]:
    """The estimate, ready for JSON; shares from 0 to 1, `value` null under ten spot checks."""
    return {
        "model": model_id,
        "part": part,
        "accuracy": found.overall._asdict(),
        "precision": {name: share._asdict() for name, share in found.precision.items()},
        "recall": {name: share._asdict() for name, share in found.recall.items()},
        "spot_checks": {
            "drawn": found.drawn,
            "cant_tell": found.cant_tell,
            "waiting": found.waiting,
        },
        "patches_judged": found.judged,
        "confidence": 0.95,
    }


def report_lines(model_id: str, part: str | None, found: Accuracy) -> list[str]:
    """The same for people."""
    of_part = "" if part is None else f", part {part or '-'}"
    lines = [
        f"model {model_id[:12]}{of_part}: {found.judged} patches judged, {found.drawn} spot checks "
        f"drawn, {found.waiting} without an answer, {found.cant_tell} nobody could tell",
        f"right                    {_words(found.overall)}",
    ]
    lines += [f"called {name:<17} {_words(share)}" for name, share in found.precision.items()]
    lines += [f"truly {name:<18} {_words(share)}" for name, share in found.recall.items()]
    return lines


def _words(share: Share) -> str:
    bounds = f"{share.low:.1%} to {share.high:.1%} (95 %)"
    basis = f"{share.checks} spot checks" + (f", {share.asked} questions" if share.asked else "")
    if share.value is None:
        return f"too few: {basis}; {LEAST} spot checks are needed; {bounds}"
    return f"{share.value:.1%}, {bounds}, from {basis}"
