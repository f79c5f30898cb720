"""`python -m tests.soak --hours 2 --json FILE`: full speed for hours.

The exit status is 0 where every criterion is met, 1 where one is not; one that cannot be told
after so short a time is neither. The file is written every minute, so that an end in between loses
nothing.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from tests.soak.full_speed import soak


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=float, default=2.0)
    parser.add_argument("--json", type=Path, default=None)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        return soak(args.hours, Path(folder), args.json)


if __name__ == "__main__":
    sys.exit(main())
