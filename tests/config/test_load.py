"""Tests of reading settings: every mistake is one clear line."""

import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from config.errors import UserError
from config.load import find_settings, load_settings, load_what_is_good
from config.settings import Device, Exchange, Settings, Trainer


@pytest.fixture(autouse=True)
def nothing_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No settings but the test's: an empty working folder, no variable, no site file."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.delenv("MILLSIGHT_CONFIG", raising=False)
    monkeypatch.setattr("config.load.SITE_FILE", tmp_path / "no-such-site.toml")


def write(path: Path, text: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def mistake(tmp_path: Path, text: str) -> str:
    """The one line for the one mistake, without the file it must begin with."""
    file = write(tmp_path / "site.toml", text)
    with pytest.raises(UserError) as error:
        load_settings(file)
    message = str(error.value)
    assert "\n" not in message
    assert message.startswith(f"{file}: ")
    return message.removeprefix(f"{file}: ")


MISTAKES = {
    # unknown keys and tables
    "inspector = 1": "inspector: unknown key; "
    "known keys: device, camera, recipe, asking, keeping, backup, drift, machine, plant, review, "
    "trainer, exchange, update",
    "kamera.x = 1": "kamera: unknown key; did you mean 'camera'?",
    "[recipes]\nname = 'x'": "recipes: unknown key; did you mean 'recipe'?",
    "[camera]\nsorce = 'folder'": "camera.sorce: unknown key; did you mean 'source'?",
    "[camera.quality]\nmin_sharpnes = 0": (
        "camera.quality.min_sharpnes: unknown key; did you mean 'min_sharpness'?"
    ),
    "[camera.usb]\nx = 1": (
        "camera.usb: unknown key; known keys: source, folder, opencv, genicam, "
        "gentl, vmc220, live, stage, light, scan, quality"
    ),
    "[recipe]\nregions = [{x = 0, y = 0, width = 20, height = 20, angle = 3}]": (
        "recipe.regions.0.angle: unknown key; known keys: x, y, width, height"
    ),
    # names that look like pydantic's own
    "literal = 1": "literal: unknown key; known keys: device",
    "[camera]\nconstrained = 1": "camera.constrained: unknown key; known keys: source",
    '"two\\nlines" = 1': r'"two\nlines": unknown key; known keys: ',
    '"camera.source" = "x"': '"camera.source": unknown key; did you mean',
    # wrong unit
    "[camera.folder]\nrate_hz = 5": "camera.folder.rate_hz: unknown key; did you mean 'rate_fps'?",
    "[camera.opencv]\nread_timeout_ms = 50": (
        "camera.opencv.read_timeout_ms: unknown key; did you mean 'read_timeout_s'?"
    ),
    # wrong type: as strict as TOML
    "[camera.folder]\nrate_fps = '5'": (
        "camera.folder.rate_fps: found '5'; allowed is a number (Frames per second"
    ),
    "[camera.folder]\nrate_fps = true": "camera.folder.rate_fps: found true; allowed is a number (",
    "[camera.folder]\nrepeat = 1": "camera.folder.repeat: found 1; allowed is true or false (",
    "[camera.folder]\npath = 5": "camera.folder.path: found 5; allowed is a path in quotes (",
    "[asking]\nk = 1.5": "asking.k: found 1.5; allowed is a whole number (",
    "[asking]\nk = 9.0": "asking.k: found 9.0; allowed is a whole number (",
    "[device]\nname = 7": "device.name: found 7; allowed is a text in quotes (",
    "[device]\nthreads = 2001-01-01": "device.threads: found ",
    "camera = 'folder'": "camera: found 'folder'; allowed is a table",
    "[device.threads]\nn = 2": "device.threads: found a table; allowed is a whole number (",
    "[recipe]\nclasses = 'clean'": "recipe.classes: found 'clean'; allowed is a list (",
    # out of bounds
    "[camera.folder]\nrate_fps = -1": (
        "camera.folder.rate_fps: found -1; allowed is greater than or equal to 0 ("
    ),
    "[camera.folder]\nrate_fps = 1001": (
        "camera.folder.rate_fps: found 1001; allowed is less than or equal to 1000 ("
    ),
    "[camera.folder]\nrate_fps = nan": "camera.folder.rate_fps: found nan; allowed is ",
    "[camera.folder]\nrate_fps = inf": "camera.folder.rate_fps: found inf; allowed is ",
    "[camera.vmc220]\ndepth_mm = [0.1, 5]": (
        "camera.vmc220.depth_mm.1: found 5; allowed is less than or equal to 1 ("
    ),
    "[camera.vmc220]\nspindle_rpm = []": (
        "camera.vmc220.spindle_rpm: found []; allowed is a list of at least 1 ("
    ),
    "[camera.opencv]\naddress = ''": (
        "camera.opencv.address: found ''; allowed is a text that is not empty ("
    ),
    "[trainer]\nconfident_share = 1": "trainer.confident_share: found 1; allowed is less than 1 (",
    # choices
    "[camera]\nsource = 'opencvv'": (
        "camera.source: found 'opencvv'; allowed is 'folder', 'opencv', 'genicam', 'gentl'"
    ),
    # regions: a choice or a list
    "[recipe]\nregions = 'grd'": (
        "recipe.regions: found 'grd'; allowed is 'whole' or 'grid' or a list ("
    ),
    "[recipe]\nregions = 7": "recipe.regions: found 7; allowed is 'whole' or 'grid' or a list (",
    "[recipe]\nregions = []": (
        "recipe.regions: found []; allowed is 'whole' or 'grid' or a list of at least 1 ("
    ),
    "[recipe.regions]\nx = 1": (
        "recipe.regions: found a table; allowed is 'whole' or 'grid' or a list ("
    ),
    "[recipe]\nregions = [5]": "recipe.regions.0: found 5; allowed is a table (",
    "[[recipe.regions]]\nx = -1\ny = 0\nwidth = 20\nheight = 20": (
        "recipe.regions.0.x: found -1; allowed is greater than or equal to 0 (Left edge"
    ),
    "[[recipe.regions]]\nx = 0\ny = 0\nwidth = 20": "recipe.regions.0.height: missing",
    # keys that must agree
    "[recipe]\nclasses = []": "recipe.classes: found []; allowed is a list of at least 2 (",
    "[recipe]\nclasses = ['clean', 'scratch', 'clean']": "recipe: classes names 'clean' twice",
    "[recipe]\nclasses = ['clean', '../etc']": (
        "recipe.classes.1: found '../etc'; allowed is 1 to 64 letters, digits, blanks and _ . + -"
    ),
    "[recipe]\npass_classes = ['good']": (
        "recipe: pass_classes names 'good', which is not in recipe.classes"
    ),
    "[recipe]\nframe_width_px = 100\nregions = [{x = 80, y = 0, width = 21, height = 16}]": (
        "recipe: regions.0 ends at 101 px, and frame_width_px is 100"
    ),
    "[recipe]\nframe_height_px = 100\nregions = [{x = 0, y = 90, width = 16, height = 16}]": (
        "recipe: regions.0 ends at 106 px, and frame_height_px is 100"
    ),
    "[recipe]\nregions = 'grid'\nframe_height_px = 199": (
        "recipe: frame_height_px is 199; a patch of the grid is 200"
    ),
    "[camera.quality]\nfrozen_after = 1": "camera.quality: frozen_after is 1, which calls every",
    "[camera.live]\nretry_first_s = 40": (
        "camera.live: retry_longest_s is 30, which is under retry_first_s, 40"
    ),
    # not TOML at all
    "[camera": "not valid TOML: ",
    "[camera]\n[camera]": "not valid TOML: ",
    "path = C:\\x": "not valid TOML: ",
}


@pytest.mark.parametrize("text", MISTAKES)
def test_a_mistake_is_one_line_with_file_key_found_and_allowed(tmp_path: Path, text: str) -> None:
    assert mistake(tmp_path, text).startswith(MISTAKES[text])


def test_each_of_several_mistakes_has_a_line_of_its_own(tmp_path: Path) -> None:
    file = write(
        tmp_path / "site.toml",
        "[recipe]\nclasses = [1, 2]\n[camera]\nsource = 'usb'\nsorce = 1\n[asking]\nk = -1",
    )
    with pytest.raises(UserError) as error:
        load_settings(file)
    lines = str(error.value).splitlines()
    assert [re.sub(r": (found|unknown).*", "", line) for line in lines] == [
        f"{file}: {key}"
        for key in (
            "camera.source",
            "camera.sorce",
            "recipe.classes.0",
            "recipe.classes.1",
            "asking.k",
        )
    ]


def test_a_file_that_is_not_utf_8_is_named(tmp_path: Path) -> None:
    file = tmp_path / "site.toml"
    file.write_bytes("[recipe]\nname = 'Stück'\n".encode("latin-1"))
    with pytest.raises(UserError, match=r"site\.toml: not valid TOML: .*utf-8") as error:
        load_settings(file)
    assert "\n" not in str(error.value)


def test_a_missing_file_is_named_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"gone\.toml: no such settings file; .*config init"):
        load_settings(tmp_path / "gone.toml")


def test_a_missing_file_named_by_the_variable_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MILLSIGHT_CONFIG", str(tmp_path / "gone.toml"))
    write(Path("millsight.toml"))
    with pytest.raises(UserError, match=r"gone\.toml: no such .*\(named by \$MILLSIGHT_CONFIG\)"):
        load_settings()


def test_no_file_anywhere_says_where_it_looked() -> None:
    with pytest.raises(UserError, match=r"\./millsight\.toml and .*no-such-site\.toml; make one"):
        load_settings()


def test_the_file_given_goes_before_the_variable_before_the_folder_before_the_site(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = write(tmp_path / "site.toml")
    monkeypatch.setattr("config.load.SITE_FILE", site)
    assert find_settings() == site
    here = write(Path("millsight.toml"))
    assert find_settings() == here
    monkeypatch.setenv("MILLSIGHT_CONFIG", "")
    assert find_settings() == here, "an empty variable names nothing"
    named = write(tmp_path / "named.toml")
    monkeypatch.setenv("MILLSIGHT_CONFIG", str(named))
    assert find_settings() == named
    given = write(tmp_path / "given.toml")
    assert find_settings(given) == given


def test_an_empty_file_means_all_defaults(tmp_path: Path) -> None:
    settings = load_settings(write(tmp_path / "site.toml"))
    data = tmp_path / "data"
    said = Settings(
        device=Device(data=data, recipes=tmp_path / "recipes"),
        trainer=Trainer(data=data / "trainer"),
        exchange=Exchange(url=str(data / "exchange")),
    )
    assert settings == said


def test_relative_paths_start_at_the_folder_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (
        "[device]\ndata = 'store'\n[camera.folder]\npath = 'pictures/day 1'\n"
        "[camera.opencv]\naddress = 'film.avi'\n"
    )
    write(tmp_path / "line/site.toml", text)
    monkeypatch.chdir(tmp_path)
    for name in (Path("line/site.toml"), tmp_path / "line/site.toml"):
        settings = load_settings(name)
        assert settings.device.data == tmp_path / "line/store"
        assert settings.camera.folder.path == tmp_path / "line/pictures/day 1"
        assert settings.camera.opencv.address == str(tmp_path / "line/film.avi")


def test_absolute_paths_devices_and_urls_stay_as_they_are(tmp_path: Path) -> None:
    for address in ("/dev/video3", "0", "rtsp://camera/1", "http://c/x", "/films/a.avi"):
        text = f"[device]\ndata = '/store'\n[camera.opencv]\naddress = '{address}'\n"
        settings = load_settings(write(tmp_path / "site.toml", text))
        assert settings.device.data == Path("/store")
        assert settings.camera.opencv.address == address


def test_settings_cannot_be_changed_later() -> None:
    settings = Settings()
    with pytest.raises(ValidationError, match="frozen"):
        settings.camera = settings.camera  # type: ignore[misc]
    with pytest.raises(ValidationError, match="frozen"):
        settings.camera.quality.frozen_after = 9  # type: ignore[misc]


def test_of_broken_settings_the_good_tables_can_be_had(tmp_path: Path) -> None:
    file = tmp_path / "millsight.toml"
    file.write_text('[device]\nname = "b"\n[keeping]\nbudget_mb = 99\n[camera]\nsource = 5\n')
    settings, broken = load_what_is_good(file, "device", "keeping")
    assert (settings.device.name, settings.keeping.budget_mb) == ("b", 99)
    assert "camera.source" in broken
    file.write_text('[device]\nname = "b"\n[keeping]\nbudget_mb = "much"\n')
    settings, _ = load_what_is_good(file, "device", "keeping")
    assert settings.keeping.budget_mb == Settings().keeping.budget_mb
    file.write_text("[device]\nname = 3\n")
    with pytest.raises(UserError, match=r"device\.name"):
        load_what_is_good(file, "device", "keeping")
    file.write_text("no TOML")
    with pytest.raises(UserError, match="not valid TOML"):
        load_what_is_good(file, "device", "keeping")
