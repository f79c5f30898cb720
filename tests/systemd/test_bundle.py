"""The bundle: whole, or refused with a reason."""

import hashlib
import io
import tarfile
from pathlib import Path

import pytest

from systemd.bundle import SUMS, BundleError, unpack


def tar_of(path: Path, members: dict[str, bytes], sums: str | None = None) -> Path:
    if sums is None:
        sums = "".join(f"{hashlib.sha256(c).hexdigest()}  {n}\n" for n, c in members.items())
    with tarfile.open(path, "w") as tar:
        for name, content in {SUMS: sums.encode(), **members}.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return path


GOOD = {"VERSION": b"1.2.3\n", "EXTRAS": b"plant\n", "wheels/a-1-py3-none-any.whl": b"w" * 5000}


def test_a_whole_bundle(tmp_path: Path) -> None:
    bundle = tar_of(tmp_path / "b", GOOD)
    out = tmp_path / "out"
    out.mkdir()
    assert unpack(bundle, out) == "1.2.3"
    found = {str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*") if p.is_file()}
    assert found == GOOD


def refused(bundle: Path, tmp_path: Path) -> str:
    out = tmp_path / "out"
    out.mkdir(exist_ok=True)
    with pytest.raises(BundleError) as caught:
        unpack(bundle, out)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_one_byte_changed(tmp_path: Path) -> None:
    bundle = tar_of(tmp_path / "b", GOOD)
    content = bytearray(bundle.read_bytes())
    content[content.index(b"wwww") + 100] ^= 1
    bundle.write_bytes(content)
    assert "damaged; copy it again" in refused(bundle, tmp_path)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.8])
def test_cut_off(share: float, tmp_path: Path) -> None:
    bundle = tar_of(tmp_path / "b", GOOD)
    bundle.write_bytes(bundle.read_bytes()[: int(share * bundle.stat().st_size)])
    refused(bundle, tmp_path)


@pytest.mark.parametrize("name", ["../evil", "/etc/passwd", "wheels/../../evil", "other/x"])
def test_members_that_would_land_elsewhere(name: str, tmp_path: Path) -> None:
    refused(tar_of(tmp_path / "b", GOOD | {name: b"x"}), tmp_path)
    assert not (tmp_path / "evil").exists()


def test_a_link_has_no_place(tmp_path: Path) -> None:
    bundle = tar_of(tmp_path / "b", GOOD)
    with tarfile.open(bundle, "a") as tar:
        entry = tarfile.TarInfo("wheels/link")
        entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(entry)
    assert "no place" in refused(bundle, tmp_path)


def test_something_else(tmp_path: Path) -> None:
    other = tmp_path / "x.iso"
    other.write_bytes(b"x" * 20000)
    refused(other, tmp_path)
    refused(tmp_path / "missing", tmp_path)
    assert "no millsight bundle" in refused(tar_of_other(tmp_path), tmp_path)


def tar_of_other(tmp_path: Path) -> Path:
    path = tmp_path / "other.tar"
    with tarfile.open(path, "w") as tar:
        tar.addfile(tarfile.TarInfo("hello"))
    return path


def test_a_member_without_a_sum_and_a_sum_without_a_member(tmp_path: Path) -> None:
    sums = "".join(f"{hashlib.sha256(c).hexdigest()}  {n}\n" for n, c in GOOD.items())
    more = tar_of(tmp_path / "more", GOOD | {"wheels/x.whl": b"x"}, sums)
    assert "x.whl is damaged" in refused(more, tmp_path)
    fewer = {name: content for name, content in GOOD.items() if name != "EXTRAS"}
    assert "EXTRAS is missing" in refused(tar_of(tmp_path / "fewer", fewer, sums), tmp_path)
