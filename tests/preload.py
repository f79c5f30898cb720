"""Libraries in C that stand between a program and the kernel, by LD_PRELOAD."""

import subprocess
from pathlib import Path


def build(source: Path, folder: Path) -> Path:
    """Compile one, which includes `preload.h`; the library, in `folder`.

    Raises:
        FileNotFoundError: there is no gcc.
    """
    library = folder / f"{source.stem}.so"
    command = ["gcc", "-shared", "-fPIC", "-O2", "-I", str(Path(__file__).parent)]
    subprocess.run([*command, "-o", str(library), str(source), "-ldl", "-lpthread"], check=True)
    return library
