"""`python -m tests.soak --hours 2 --json FILE`, or `--days 30`: hours at full speed, or a month.

The exit status is 0 where every criterion is met, 1 where one is not; one that cannot be told
after so short a time is neither. The file is written as it goes, so that an end in between loses
nothing.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from tests.soak.full_speed import ANSWER_S, Soak
from tests.soak.month import Month


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--hours", type=float, default=2.0, help="at full speed")
    length.add_argument("--days", type=int, default=None, help="simulated, with their nights")
    parser.add_argument(
        "--answers-every", type=float, default=ANSWER_S, metavar="SECONDS",
        help="40 answers, carried up and back, and a new cycle of questions; at full speed",
    )  # fmt: skip
    parser.add_argument("--json", type=Path, default=None)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if args.days is not None:
            return Month(args.days, Path(folder), args.json).to_the_end()
        soak = Soak(args.hours, Path(folder), args.json, args.answers_every)
        return soak.to_the_end()


if __name__ == "__main__":
    sys.exit(main())
