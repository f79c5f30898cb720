"""Tests of writing settings: what is written reads back as the same settings."""

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from config.document import tables, to_markdown, to_toml, write_new
from config.load import models_in, parse_settings
from config.meaning import meanings
from config.settings import (
    Asking,
    Camera,
    Device,
    Exchange,
    FolderSource,
    GenicamSource,
    GentlSource,
    Live,
    OpencvSource,
    Quality,
    Recipe,
    Region,
    Settings,
    Trainer,
    Vmc220Source,
)

ROOT = Path("/")
"""Absolute paths stay as they are, wherever the file is."""


def models(model: type[BaseModel] = Settings) -> Iterator[type[BaseModel]]:
    yield model
    for field in model.model_fields.values():
        for inner in models_in(field.annotation):
            yield from models(inner)


def test_what_init_writes_are_exactly_the_defaults() -> None:
    assert Settings.model_validate(tomllib.loads(to_toml(Settings()))) == Settings()


def test_what_init_writes_names_every_key_with_its_meaning() -> None:
    text = to_toml(Settings())
    for name, section in tables(Settings()):
        assert f"\n[{name}]  # " in text
        for key in type(section).model_fields:
            if isinstance(getattr(section, key), BaseModel):
                continue
            assert f"\n{key} = " in text or f"\n# {key} = (not set)" in text
            first_line = meanings(type(section))[key].splitlines()[0]
            assert f"\n# {first_line}\n" in text


@pytest.mark.parametrize("model", list(dict.fromkeys(models())))
def test_every_table_and_key_is_described(model: type[BaseModel]) -> None:
    assert model.__doc__
    for key, field in model.model_fields.items():
        if not isinstance(field.default, BaseModel):
            meaning = meanings(model).get(key, "").strip()
            assert meaning, f"{model.__name__}.{key}"
            assert meaning.endswith((".", ")")), key


def test_show_writes_no_comments() -> None:
    text = to_toml(Settings(), comments=False)
    assert Settings.model_validate(tomllib.loads(text)) == Settings()
    assert not any(line.startswith("# Frames per second") for line in text.splitlines())


def test_the_page_lists_every_table_and_key_with_its_default() -> None:
    page = to_markdown()
    for name, section in tables(Settings()):
        _, _, part = page.partition(f"## `[{name}]`\n")
        part, _, _ = part.partition("\n## ")
        for key in type(section).model_fields:
            if not isinstance(getattr(section, key), BaseModel):
                (row,) = [line for line in part.splitlines() if line.startswith(f"| `{key}` |")]
                assert row.replace("\\|", "").count("|") == 4
                assert len(row.split("|")[3].strip()) > 10
    assert "| `min_contrast` | `2` |" in page
    assert '| `pass_classes` | `["clean"]` |' in page


def test_an_existing_file_is_never_overwritten(tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    write_new(file, "mine = 'ü'\n")
    with pytest.raises(FileExistsError):
        write_new(file, "yours")
    assert file.read_text(encoding="utf-8") == "mine = 'ü'\n"


# Characters TOML can hold: no surrogates; quotes, backslashes, controls and DEL among them.
letters = st.characters(exclude_categories=["Cs"])
texts = st.text(letters, min_size=1, max_size=12)
file_names = texts.filter(lambda text: "\0" not in text)
paths = st.lists(file_names, max_size=3).map(lambda parts: ROOT.joinpath("x", *parts))
word = st.characters(categories=["L", "Nd"])
names = st.builds(str.__add__, word, st.text(word | st.sampled_from("_ .+-"), max_size=10))


def numbers(low: float, high: float, *, open_ends: bool = False) -> st.SearchStrategy[float]:
    return st.floats(low, high, exclude_min=open_ends, exclude_max=open_ends)


@st.composite
def recipes(draw: st.DrawFn) -> Recipe:
    classes = draw(st.lists(names, min_size=2, max_size=6, unique=True))
    region = st.builds(
        Region,
        x=st.integers(0, 2000),
        y=st.integers(0, 2000),
        width=st.integers(16, 2000),
        height=st.integers(16, 2000),
    )
    words: st.SearchStrategy[Literal["whole", "grid"]] = st.sampled_from(("whole", "grid"))
    sizes = st.sampled_from([0, 4000, 16384])
    return Recipe(
        name=draw(names),
        classes=classes,
        pass_classes=draw(st.lists(st.sampled_from(classes), max_size=3)),
        parts=draw(st.lists(names, max_size=3)),
        thresholds=draw(st.dictionaries(st.sampled_from(classes), numbers(0, 9))),
        regions=draw(words | st.lists(region, min_size=1, max_size=3)),
        grid_overlap_px=draw(st.integers(0, 180)),
        frame_width_px=draw(sizes),
        frame_height_px=draw(sizes),
    )


cameras = st.builds(
    Camera,
    source=st.sampled_from(["folder", "opencv", "genicam", "gentl", "vmc220"]),
    folder=st.builds(
        FolderSource,
        path=st.none() | paths,
        rate_fps=numbers(0, 1000),
        repeat=st.booleans(),
        shuffle_seed=st.none() | st.integers(0),
    ),
    opencv=st.builds(
        OpencvSource,
        address=texts.map(lambda text: f"rtsp://{text}"),
        open_timeout_s=numbers(0.1, 120),
    ),
    genicam=st.builds(
        GenicamSource,
        device=texts,
        pixel_format=st.sampled_from(["Mono8", "BayerRG8"]),
        exposure_us=st.none() | numbers(1, 1e6),
        width_px=st.integers(0, 65535),
    ),
    gentl=st.builds(GentlSource, producer=st.none() | paths),
    live=st.builds(Live, retry_first_s=numbers(0.01, 30)),
    vmc220=st.builds(
        Vmc220Source,
        seed=st.integers(0),
        defect_share=numbers(0, 1),
        spindle_rpm=st.lists(st.integers(500, 10000), min_size=1, max_size=4),
        depth_mm=st.lists(numbers(0.02, 1), min_size=1, max_size=4),
    ),
    quality=st.builds(
        Quality,
        min_sharpness=numbers(0, 1),
        min_contrast=numbers(0, 128),
        frozen_after=st.just(0) | st.integers(2, 1000),
    ),
)
any_settings = st.builds(
    Settings,
    device=st.builds(Device, name=names, data=paths, recipes=paths, threads=st.integers(1, 64)),
    camera=cameras,
    recipe=recipes(),
    asking=st.builds(
        Asking, strategy=st.sampled_from(["kls", "kls_floor"]), audit_share=numbers(0, 1)
    ),
    trainer=st.builds(Trainer, data=paths, confident_share=numbers(0, 1, open_ends=True)),
    exchange=st.builds(Exchange, url=paths.map(str)),
)


@settings(deadline=None, max_examples=150)
@given(any_settings, st.booleans())
def test_any_settings_come_back_as_they_were_written(wanted: Settings, comments: bool) -> None:
    text = to_toml(wanted, comments=comments)
    assert parse_settings(tomllib.loads(text), ROOT / "site.toml") == wanted
