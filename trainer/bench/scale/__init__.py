"""How cost grows on a trainer, in the same form as `device.bench.scale`."""

DIMENSIONS = {
    "labels": "trainer.bench.scale.labels",
    "devices": "trainer.bench.scale.devices",
}
"""The module of each, by its name; they need the `trainer` extra."""
