"""Every language says everything, and nothing that nobody reads."""

import re
from pathlib import Path

import pytest

from camera.quality import FAULTS
from config.errors import UserError
from device.drift.detection import MIX, SCORE, UNUSUAL_SHARE, Moved
from device.reports.estimate import Accuracy, Share
from device.review.cards import class_accuracy_cards
from device.review.changes import moved_words
from device.review.charts import Size
from device.review.texts import languages, texts

REVIEW = Path(__file__).parents[3] / "device" / "review"
BUILT = {  # keys put together in the code, by what they are put together from
    r"trouble-(disk|mended|clock)",  # device.review.live.trouble_of
    r"why-(uncertain|audit|cold-start)",
    r"guess-[123]",
    r"word-(pass|fail|unsure|fault)",
    f"fault-({'|'.join(FAULTS)})",
    r"camera-(opening|ok|lost|ended)",
    r"machine-(ready|judging|answered|editing|blocked|silent)",
    r"tab-(live|questions|today|models|people)",
    r"alert-(camera|disk)",
    r"(empty|budget|camera|loop|elsewhere|cold|loading|gone|login|locked|full|damaged)-(title|text)",
    r"error-(host|supervisor|unknown-name|pin|filter|forged|large|wrong-form|malformed|missing)",
    r"error-(watcher|other)",
    r"today-(pass|unsure|fail|fault)",
    r"lot-why-(audit|uncertain|cold-start)",
    r"class-[\w-]+",
    r"criterion-[a-z-]+",
    r"phrase-[a-z-]+",  # device.review.night.in_language
    r"models-(held-out-accuracy|training-accuracy)",
    r"lot-(class|something-new|cant-tell|undone)",
}


@pytest.mark.parametrize("language", languages())
def test_every_language_has_every_text_with_the_same_blanks(language: str) -> None:
    english, other = texts("en"), texts(language)
    assert other.keys() == english.keys()
    for key, words in other.items():
        assert words.strip() == words != ""
        assert set(re.findall(r"\{\w+\}", words)) == set(re.findall(r"\{\w+\}", english[key])), key
    if language != "en":
        assert not [key for key in english if key != "language" and other[key] == english[key]]


def test_no_text_is_unused_or_unknown() -> None:
    files = [p for p in REVIEW.rglob("*") if p.suffix in {".py", ".js", ".html"}]
    code = "\n".join(path.read_text(encoding="utf-8") for path in files)
    keys = texts("en").keys()
    unused = {
        key
        for key in keys
        if not re.search(rf"""["'`.\[]{re.escape(key)}["'`\b;,)]""", code)
        and not any(re.fullmatch(pattern, key) for pattern in BUILT)
    }
    assert unused <= {"language"}
    asked = set(re.findall(r'(?:text|tell)\("([\w-]+)"', code)) | set(
        re.findall(r"""t\[["']([\w-]+)["']\]""", code)
    )
    assert len(asked) > 15
    assert asked <= keys
    for reason in re.findall(r'HTTPException\(4\d\d, "([\w-]+)"', code):
        assert f"error-{reason}" in keys or reason == "login"  # said to scripts only


def test_classes_are_named_in_the_page_s_language() -> None:
    t = texts("zh")
    for what in (SCORE, MIX):
        assert "麻点" in moved_words(Moved(what, "pitted_surface", 0.1, 0.4, 2.0), t)
    assert "None" not in moved_words(Moved(UNUSUAL_SHARE, None, 0.1, 0.4, 2.0), t)
    share = Share(0.9, 0.8, 1.0, 100, 0)
    each = {"pitted_surface": share}
    found = Accuracy(share, each, each, 100, 0, 0, 1000)
    (card,) = class_accuracy_cards(found, Size(100, 60), t)
    assert all("麻点" in line for line in card.lines)


def test_an_unknown_language_is_one_clear_line() -> None:
    with pytest.raises(UserError, match=r"review\.language: xx: not spoken here; known: en, zh"):
        texts("xx")
