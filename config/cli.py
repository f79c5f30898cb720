"""`millsight config`: write, check and show the settings."""

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter
from cyclopts.validators import Number

from config.document import to_toml, write_new
from config.errors import UserError
from config.load import find_settings, load_settings
from config.settings import LARGEST_SEED, URL_SCHEMES, Settings

app = App(name="config", help="Write, check and show the settings of this site.")

Config = Annotated[Path | None, Parameter(name=["--config", "-c"])]
"""The option every command has: which settings file."""

RecipeName = Annotated[str | None, Parameter(name="--recipe")]
"""The option of commands that are about one recipe."""

LONGEST_WHO = 64


def _is_somebody(_type: object, who: str | None) -> None:
    if who is None:  # where it may be left out
        return
    if not (who.strip() and who.isprintable() and len(who) <= LONGEST_WHO and "/" not in who):
        raise ValueError(f"Name who does it: up to {LONGEST_WHO} letters.")


Who = Annotated[str, Parameter(validator=_is_somebody)]
"""The option of commands that the audit trail tells of."""

Seed = Annotated[int, Parameter(validator=Number(gte=0, lte=LARGEST_SEED))]
"""The option of commands that draw at random."""


@app.command
def init(path: Path = Path("millsight.toml")) -> None:
    """Write a settings file with every key, its default and its meaning.

    Parameters
    ----------
    path
        The file to write. An existing file is never overwritten.
    """
    try:
        write_new(path, to_toml(Settings()))
    except FileExistsError:
        raise UserError(f"{path}: exists already; edit it, or name another file") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror}") from None
    print(f"wrote {path}")


@app.command
def check(config: Config = None) -> None:
    """Check the settings file: keys, types, bounds, and that the paths it names exist.

    Parameters
    ----------
    config
        The settings file. Default: $MILLSIGHT_CONFIG, ./millsight.toml, /etc/millsight/.
    """
    settings = load_settings(config)
    check_paths(settings, find_settings(config))
    print(f"{find_settings(config)}: good")


@app.command
def show(config: Config = None) -> None:
    """Show the settings in force, defaults included, as TOML.

    Parameters
    ----------
    config
        The settings file. Default: $MILLSIGHT_CONFIG, ./millsight.toml, /etc/millsight/.
    """
    print(to_toml(load_settings(config), comments=False), end="")


def check_paths(settings: Settings, file: Path) -> None:
    """Refuse settings whose paths cannot work.

    Raises:
        UserError: the image folder is not set or missing, the video file is missing, or the data
            folder cannot be made.
    """
    if settings.camera.source == "folder":
        path = settings.camera.folder.path
        if path is None:
            raise UserError(
                f"{file}: camera.folder.path: not set; camera.source is 'folder', so name a folder"
            )
        if not path.is_dir():
            raise UserError(f"{file}: camera.folder.path: {path}: no such folder")
    opencv = settings.camera.opencv
    if (
        settings.camera.source == "opencv"
        and not (opencv.is_url or opencv.is_device)
        and not Path(opencv.address).is_file()
    ):
        raise UserError(
            f"{file}: camera.opencv.address: {opencv.address}: no such file; name a device "
            f"(/dev/video0), a video file, or a URL ({', '.join(URL_SCHEMES)})"
        )
    data = settings.device.data
    there = next(path for path in (data, *data.parents) if path.exists())
    if not there.is_dir():
        raise UserError(f"{file}: device.data: {there}: is a file; name a folder")
