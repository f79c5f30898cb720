"""What has a speed on a device, each row beside a yardstick measured in the same run.

`millsight bench` (`trainer.bench.cli`) measures these rows and the trainer's.
"""

ROWS = {
    name: f"device.bench.{name}"
    for name in (
        "loop", "frames", "network", "cameras", "kls", "keeping", "queries", "start", "memory",
        "int8",
    )
}  # fmt: skip
"""The module of each row, by the row's name; loaded only when it is asked for.

Each has `measure(inputs: Inputs) -> list[Row]` (`device.bench.row`).
"""
