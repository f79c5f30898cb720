"""How cost grows on a device: one file for each of what is made more."""

DIMENSIONS = {
    "patches": "device.bench.scale.patches",
    "cameras": "device.bench.scale.cameras",
    "stored": "device.bench.scale.stored",
}
"""The module of each, by its name; loaded only when it is asked for.

Each has `measure(inputs: Inputs) -> list[Growth]` (`device.bench.growth`).
"""
