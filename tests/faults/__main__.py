"""`python -m tests.faults --times 20 --json FILE`: every fault, again and again, and a table."""

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

from tests.faults.faults import FAULTS
from tests.faults.run import as_markdown, run_fault


def main() -> int:
    """The command line; the exit status tells whether all went as it must."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--only", nargs="*", choices=sorted(FAULTS), default=None)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, default=None)
    args = parser.parse_args()
    results = {}
    for name in args.only or FAULTS:
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            results[name] = run_fault(name, args.times, args.seed, Path(folder))
        print(f"{name}: {results[name]} ({time.monotonic() - began:.0f} s)", flush=True)
        if args.json:
            found = {"cpus": os.cpu_count(), "load": os.getloadavg()[0], "faults": results}
            args.json.write_text(json.dumps(found, indent=1) + "\n")
    print(as_markdown(results))
    return int(any(not result["passed"] for result in results.values()))


if __name__ == "__main__":
    sys.exit(main())
