"""Whatever the panel, everything is large enough, apart, and on it."""

import re
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.settings import Review
from device.review import layout as layout_module
from device.review.layout import (
    BAR,
    CARD_HEIGHT,
    CARD_WIDTH,
    CONTROL,
    GAP,
    PRIMARY_HEIGHT,
    PRIMARY_WIDTH,
    Layout,
    Rect,
    arrange,
    panel_mm,
    px_per_mm,
    stylesheet,
)

PANELS = st.builds(
    lambda inch, ratio, portrait: panel_mm(
        Review(
            panel_inch=inch,
            panel_width_px=1000 if portrait else int(1000 * ratio),
            panel_height_px=int(1000 * ratio) if portrait else 1000,
        )
    ),
    st.floats(7, 24),
    st.floats(1, 2),
    st.booleans(),
)
SLACK = 1e-6


def apart(a: Rect, b: Rect, gap: float) -> bool:
    return (
        a.x + a.width + gap <= b.x + SLACK
        or b.x + b.width + gap <= a.x + SLACK
        or a.y + a.height + gap <= b.y + SLACK
        or b.y + b.height + gap <= a.y + SLACK
    )


def check(layout: Layout, controls: list[Rect], others: list[Rect]) -> None:
    for rect in (*controls, *others):
        assert rect.x >= 0
        assert rect.y >= 0
        assert rect.x + rect.width <= layout.width + SLACK
        assert rect.y + rect.height <= layout.height + SLACK
    for a, b in combinations(controls, 2):
        assert apart(a, b, GAP)
    for control in controls:
        assert min(control.width, control.height) >= CONTROL - SLACK
        assert all(apart(control, other, 0) for other in others)


@settings(deadline=None)
@given(PANELS, st.integers(2, 40), st.booleans())
def test_every_panel_holds_everything(
    panel: tuple[float, float], answers: int, frame: bool
) -> None:
    layout = arrange(*panel, answers=answers, frame=frame)
    others = [layout.header, *([layout.frame] if layout.frame else [])]
    controls = [layout.picture, *layout.answers, *layout.tools.values()]
    check(layout, controls, others)
    check(layout, [layout.message, *layout.tools.values()], [layout.header])
    check(layout, layout.choices, [layout.header])
    check(layout, [layout.back, layout.save, *layout.keys], [layout.entry])
    check(layout, [*layout.cells, *layout.tabs.values()], [layout.header])
    check(layout, [*layout.cards, *layout.bar, *layout.tabs.values()], [layout.header])
    check(layout, [layout.stage, *layout.bar, *layout.tabs.values()], [layout.header])
    for card in layout.cards:
        assert card.width >= CARD_WIDTH - SLACK
        assert card.height >= CARD_HEIGHT - SLACK
    assert len(layout.bar) == BAR
    check(layout, list(layout.tabs.values()), [layout.header, layout.content])
    tile, facts = layout.live["tile"], layout.live["facts"]
    controls = [layout.live["sound"], layout.live["lot"], *layout.tabs.values()]
    check(layout, controls, [layout.header, tile, facts, *layout.shots])
    assert all(apart(a, b, 0) for a, b in combinations([tile, facts, *layout.shots], 2))
    assert min(tile.width, tile.height) >= 30
    assert facts.height >= 11
    assert len(layout.shots) >= 2
    for rect in (*layout.answers, *layout.choices, *layout.cells, layout.save):
        assert rect.width >= PRIMARY_WIDTH - SLACK
        assert rect.height >= PRIMARY_HEIGHT - SLACK
    assert len(layout.answers) >= min(answers, 2)
    assert ("more" in layout.tools) == (len(layout.answers) < answers)
    assert len(layout.choices) >= 4  # back, more, and two names
    assert len(layout.keys) >= 5
    assert len(layout.cells) >= 3  # back, more, and one
    assert layout.picture.width == layout.picture.height


@pytest.mark.parametrize("answers", [4, 6])
def test_a_common_panel_shows_every_answer_beside_a_large_picture(answers: int) -> None:
    layout = arrange(*panel_mm(Review()), answers=answers, frame=False)
    assert len(layout.answers) == answers
    assert layout.picture.width > 95


def test_nothing_needs_a_mouse_two_fingers_or_a_swipe() -> None:
    static = Path(layout_module.__file__).parent / "static"
    asked = re.compile(
        r":hover|overflow(-[xy])?:\s*(auto|scroll)|dblclick|mouse(over|enter|move)|touchmove|wheel|drag"
    )
    for file in static.iterdir():
        if file.name != "report.css":  # a page for paper
            assert not asked.search(file.read_text(encoding="utf-8")), file


def test_a_millimetre_is_a_millimetre() -> None:
    review = Review(panel_inch=10.1, panel_width_px=1280, panel_height_px=800)
    assert px_per_mm(review) == pytest.approx(5.884, abs=0.001)  # 149.5 dots per inch
    css = stylesheet(review, arrange(*panel_mm(review), answers=4, frame=True))
    assert "--mm: 5.884px" in css
    assert ".at-tool-undo { left: 5.884px" in css
