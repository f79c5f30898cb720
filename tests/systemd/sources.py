"""The project's sources as another version, to be made into a bundle."""

import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]


def source_tree(folder: Path, version: str) -> Path:
    """A copy of the project as it is, as another version."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    for name in listed:
        if not name.startswith(("tests/", "docs/images/", ".")) and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    if version != "0.1.0":
        change(folder / "pyproject.toml", 'version = "0.1.0"', f'version = "{version}"')
    return folder


def change(file: Path, old: str, new: str) -> None:
    """Replace what must be there once."""
    text = file.read_text()
    assert text.count(old) == 1, f"{file}: {old}"
    file.write_text(text.replace(old, new))
