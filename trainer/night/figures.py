"""The figures of a night's report, as SVG inside the page. Lengths are millimetres."""

import math
from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from device.judging.kls import BINS_PER_DECADE, LEAST_BIN
from device.review.charts import Histogram, Size, histograms, line, picture, text

WIDTH = 200.0


def scores(title: str, classes: dict[str, dict[str, Any]]) -> Markup:
    """How the scores of every class are spread, four bins to a decade; over the threshold dark."""
    many = [
        Histogram(name, found["bins"], _place(found["threshold"]), _words(found))
        for name, found in classes.items()
    ]
    rows = -(-len(many) // 4)
    label = f"{title}: KLS by predicted class; " + "; ".join(f"{m.name} {m.words}" for m in many)
    return histograms(Size(WIDTH, 32.0 * rows), label, many)


def _place(threshold: float | None) -> float | None:
    """Where a threshold is, in bins from the first."""
    if threshold is None or threshold <= 0:
        return None if threshold is None else 0.0
    return max(0.0, BINS_PER_DECADE * math.log10(threshold) - LEAST_BIN)


def _words(found: dict[str, Any]) -> str:
    limit = found["threshold"]
    return f"n {sum(found['bins'])}, " + ("no threshold" if limit is None else f"≤ {limit:.2g}")


def curve(nights: Sequence[dict[str, Any]]) -> Markup:
    """Accuracy over the nights: on the judged patches (dots; filled: went out), and on held-out
    labels (dashed)."""
    size = Size(WIDTH, 60.0)
    known = [n[key] for n in nights for key in ("accuracy", "held_out") if n[key] is not None]
    low = min(0.8, *(math.floor(5 * value) / 5 for value in known)) if known else 0.0
    left, right, top, bottom = 12.0, WIDTH - 4.0, 5.0, 48.0
    step = (right - left) / max(1, len(nights) - 1)

    def place(i: int, value: float) -> tuple[float, float]:
        x = left + i * step if len(nights) > 1 else (left + right) / 2
        return x, bottom - (bottom - top) * (value - low) / (1 - low)

    parts = []
    for i in range(5):
        value = low + i * (1 - low) / 4
        y = place(0, value)[1]
        parts += [
            line(left, y, right, y, 0.1),
            text(left - 1, y + 1, f"{100 * value:.0f} %", "end"),
        ]
    for key, dash in (("accuracy", ""), ("held_out", "1.2 1")):
        points = [place(i, n[key]) for i, n in enumerate(nights) if n[key] is not None]
        way = " ".join(f"{x:.2f},{y:.2f}" for x, y in points)
        parts.append(
            Markup(
                '<polyline points="{}" fill="none" stroke="#15181b" stroke-width="0.4" '
                'stroke-dasharray="{}"/>'
            ).format(way, dash)
        )
    for i, night in enumerate(nights):
        if night["accuracy"] is not None:
            x, y = place(i, night["accuracy"])
            fill = "#15181b" if night["publish"] else "#ffffff"
            parts.append(
                Markup('<circle cx="{:.2f}" cy="{:.2f}" r="1.1" fill="{}" stroke="#15181b" '
                       'stroke-width="0.3"/>').format(x, y, fill)
            )  # fmt: skip
    every = max(1, len(nights) // 8)
    for i, night in enumerate(nights):
        if i % every == 0:
            x = place(i, low)[0]
            parts.append(text(x, bottom + 4, f"{night['labels']}", "middle"))
    parts.append(
        text((left + right) / 2, bottom + 9, "labels it learnt from, night by night", "middle")
    )
    words = ", ".join(
        "–" if n["accuracy"] is None else f"{100 * n['accuracy']:.1f} %" for n in nights
    )
    return picture(size, f"Accuracy night by night: {words}", parts)
