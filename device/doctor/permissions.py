"""May we write where we must, and may nobody else read what is secret?"""

import os
import stat
from collections.abc import Iterator

from device.doctor.finding import Box, Finding
from device.store.trail import user_name


def look(box: Box) -> Iterator[Finding]:
    """Data folder, settings folder, secrets."""
    data, user = box.settings.device.data, user_name()
    wrong = []
    if data.is_dir():
        inside = [data, *(p for p in data.iterdir() if p.is_file() or p.name == "models")]
        wrong = [path for path in inside if not os.access(path, os.R_OK | os.W_OK)]
    elif not os.access(next(p for p in data.parents if p.exists()), os.W_OK):
        wrong = [data]
    for path in wrong[:3]:
        yield Finding.fault(f"{path}: user {user} may not write it", f"chown -R {user}: {data}")
    if not os.access(box.file.parent, os.W_OK):
        yield Finding.warning(
            f"{box.file.parent}: user {user} may not write it, so that the touch page cannot put "
            "good settings back",
            f"chown {user}: {box.file.parent}",
        )
    exchange = box.settings.exchange
    for secret in (exchange.s3_credentials, exchange.sftp_key):
        if secret is None:
            continue
        if not os.access(secret, os.R_OK):
            yield Finding.fault(f"{secret}: user {user} cannot read it", f"chown {user}: {secret}")
        elif stat.S_IMODE(secret.stat().st_mode) & 0o077:
            yield Finding.fault(f"{secret}: others may read it", f"chmod 600 {secret}")
            wrong.append(secret)
    if not wrong:
        yield Finding.ok(f"user {user} may write {data}")
