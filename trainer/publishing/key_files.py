"""Private keys as files: one PEM file each, readable by their owner only."""

import getpass
import os
import re
import sys
from pathlib import Path

from cryptography.hazmat.primitives import serialization as pem
from securesystemslib.signer import CryptoSigner

from config.errors import UserError
from device.system.durable import write_durably

OFFLINE_PASSPHRASE = "MILLSIGHT_OFFLINE_PASSPHRASE"  # noqa: S105 - the name of a variable
ONLINE_PASSPHRASE = "MILLSIGHT_ONLINE_PASSPHRASE"  # noqa: S105
"""Environment variables that hold what the keys of the offline folder and of the trainer are
encrypted with; without them new keys are not encrypted."""


def new_key(folder: Path, role: str, variable: str) -> CryptoSigner:
    """Make an Ed25519 key of a role; `variable` names the environment's passphrase.

    Raises:
        UserError: the folder cannot be written.
    """
    signer = CryptoSigner.generate_ed25519()
    passphrase = os.environ.get(variable)
    key = pem.load_pem_private_key(signer.private_bytes, None)
    content = key.private_bytes(
        pem.Encoding.PEM,
        pem.PrivateFormat.PKCS8,
        pem.BestAvailableEncryption(passphrase.encode()) if passphrase else pem.NoEncryption(),
    )
    path = folder / f"{role}-{signer.public_key.keyid[:12]}.pem"
    mask = os.umask(0o077)  # the file is never readable by others, not even for a moment
    try:
        write_durably(path, content)
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror}") from None
    finally:
        os.umask(mask)
    return signer


def load_keys(folder: Path, role: str, variable: str) -> list[CryptoSigner]:
    """Every key of a role in a folder; none where there is none.

    Raises:
        UserError: a key cannot be read or decrypted.
    """
    try:
        names = sorted(path.name for path in folder.iterdir())
    except OSError:
        return []
    pattern = re.compile(re.escape(role) + r"-[0-9a-f]{12}\.pem")
    return [_load(folder / name, variable) for name in names if pattern.fullmatch(name)]


def forget_keys(folder: Path, role: str, kept: set[str]) -> None:
    """Delete the keys of a role but those of these ids."""
    pattern = re.compile(re.escape(role) + r"-([0-9a-f]{12})\.pem")
    short = {keyid[:12] for keyid in kept}
    for path in list(folder.iterdir()):
        if (found := pattern.fullmatch(path.name)) and found[1] not in short:
            path.unlink(missing_ok=True)


def _load(path: Path, variable: str) -> CryptoSigner:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    passphrase = None
    if b"ENCRYPTED" in content.split(b"\n", 1)[0]:
        passphrase = os.environ.get(variable)
        if passphrase is None and sys.stdin.isatty():
            passphrase = getpass.getpass(f"passphrase of {path}: ")
        if not passphrase:
            raise UserError(f"{path}: is encrypted; set ${variable} to its passphrase")
    try:
        key = pem.load_pem_private_key(content, passphrase.encode() if passphrase else None)
        return CryptoSigner(key)
    except (ValueError, TypeError):
        what = "not a key of ours" if passphrase is None else "the passphrase does not fit"
        raise UserError(f"{path}: {what}; restore it from its copy") from None
