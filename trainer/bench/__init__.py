"""What has a speed on a trainer, in the same form as `device.bench`; and the command for both."""

import os

# As a device runs. The threads of NumPy's BLAS would spin on a core that a row is not to have.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

ROWS = {name: f"trainer.bench.{name}" for name in ("training_step", "night", "overlap")}
"""The module of each row, by the row's name; all of them need the `trainer` extra."""
