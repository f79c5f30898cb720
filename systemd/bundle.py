"""The bundle: one file with everything a box needs for one version, and its checksums.

A tar file: `SHA256SUMS` first, then `VERSION`, `EXTRAS`, `wheels/`, and this folder as `systemd/`.
Nothing in it is fetched from anywhere when it is installed.
"""

import hashlib
import io
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

SUMS = "SHA256SUMS"
MEMBER = re.compile(r"(SHA256SUMS|VERSION|EXTRAS|(wheels|systemd)/[\w.+@-]+)")
EXTRAS = "exchange,gentl,plant"
"""What a device gets besides the base; a box that also trains adds `trainer`."""


class BundleError(Exception):
    """A bundle cannot be made or used; its text is a line that says why."""


def write_bundle(source: Path, out: Path, extras: str = EXTRAS, wheels: Path | None = None) -> Path:
    """Make the bundle of a source tree in the folder `out`.

    pip builds or fetches the wheels that `requirements.lock` pins, or takes them from the folder
    `wheels` and nowhere else.

    Raises:
        BundleError: a wheel is missing.
    """
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out) as temporary:
        found = Path(temporary)
        command = [
            *(sys.executable, "-m", "pip", "wheel", "--quiet", "--wheel-dir", str(found)),
            *("--constraint", str(source / "requirements.lock"), f"{source}[{extras}]"),
        ]
        if wheels is not None:
            command[4:4] = ["--no-index", "--find-links", str(wheels.absolute())]
        if subprocess.run(command, check=False).returncode:
            raise BundleError("pip could not get every wheel: see above")
        own = next(found.glob("millsight-*.whl"))
        version = own.name.split("-")[1]
        members: dict[str, bytes | Path] = {
            "VERSION": f"{version}\n".encode(),
            "EXTRAS": f"{extras}\n".encode(),
            **{f"wheels/{path.name}": path for path in sorted(found.glob("*.whl"))},
            **{
                f"systemd/{path.name}": path
                for path in sorted((source / "systemd").iterdir())
                if path.is_file()
            },
        }
        bundle = out / f"millsight-{version}.bundle"
        _write_tar(bundle, members)
    return bundle


def _write_tar(bundle: Path, members: dict[str, bytes | Path]) -> None:
    contents = {
        name: what if isinstance(what, bytes) else what.read_bytes()
        for name, what in members.items()
    }
    sums = "".join(f"{hashlib.sha256(c).hexdigest()}  {name}\n" for name, c in contents.items())
    partial = bundle.with_name(bundle.name + ".partial")
    with tarfile.open(partial, "w") as tar:
        for name, content in {SUMS: sums.encode(), **contents}.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o644
            tar.addfile(entry, io.BytesIO(content))
    partial.rename(bundle)


def unpack(bundle: Path, folder: Path) -> str:
    """Unpack a bundle into an empty folder, every byte checked; returns its version.

    Raises:
        BundleError: it is no bundle, or damaged.
    """
    again = "copy it again"
    try:
        with tarfile.open(bundle, "r:") as tar:
            first = tar.next()
            stream = None if first is None or first.name != SUMS else tar.extractfile(first)
            if stream is None:
                raise BundleError(f"{bundle}: no millsight bundle; make one with: make bundle")
            lines = stream.read().decode().splitlines()
            wanted = {name: digest for digest, name in (line.split("  ", 1) for line in lines)}
            for entry in tar:
                if not entry.isfile() or not MEMBER.fullmatch(entry.name):
                    raise BundleError(f"{bundle}: {entry.name!r} has no place in a bundle")
                if entry.name != SUMS:
                    _take(tar, entry, folder, wanted.pop(entry.name, ""), bundle)
    except (tarfile.TarError, OSError, ValueError) as error:
        raise BundleError(f"{bundle}: cannot be read: {error}; {again}") from None
    if wanted:
        raise BundleError(f"{bundle}: {next(iter(wanted))} is missing in it; {again}")
    return (folder / "VERSION").read_text().strip()


def _take(
    tar: tarfile.TarFile, entry: tarfile.TarInfo, folder: Path, digest: str, bundle: Path
) -> None:
    stream = tar.extractfile(entry)
    assert stream is not None
    path = folder / entry.name
    path.parent.mkdir(exist_ok=True)
    with path.open("wb") as file:
        shutil.copyfileobj(stream, file)
    with path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != digest:
            raise BundleError(f"{bundle}: {entry.name} is damaged; copy it again")


def main() -> None:
    """`python systemd/bundle.py OUT EXTRAS [WHEELS]`: what `make bundle` does."""
    out, extras, *wheels = sys.argv[1:]
    try:
        bundle = write_bundle(
            Path(__file__).parent.parent, Path(out), extras, Path(wheels[0]) if wheels else None
        )
    except BundleError as error:
        sys.exit(f"make bundle: {error}")
    print(f"{bundle}: {bundle.stat().st_size / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
