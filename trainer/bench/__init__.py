"""What has a speed on a trainer, in the same form as `device.bench`; and the command for both."""

ROWS = {name: f"trainer.bench.{name}" for name in ("training_step", "night")}
"""The module of each row, by the row's name; all of them need the `trainer` extra."""
