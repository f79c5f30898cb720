"""Stored patches: what the touch pages read from the store while it grows.

Timed: as the row `queries` of the bench, the queue and the Today page, by processor time. The
stores are made in the folder that `--cache` names and kept there for a week.
"""

from device.bench.growth import Growth, growth_of, repeated
from device.bench.months import filled
from device.bench.queries import open_filled, queue, today
from device.bench.row import Inputs, per_call

SIZES = (1000, 20_000, 100_000, 1_000_000)
QUICK = (1000, 3000, 9000)
LEAST_S = 0.2


def measure(inputs: Inputs) -> list[Growth]:
    """Milliseconds of the queue and of the Today page."""
    sizes, settings = QUICK if inputs.quick else SIZES, inputs.settings
    stores = {size: filled(inputs.cache, settings, inputs.model_file, size) for size in sizes}
    opened = {size: open_filled(store) for size, store in stores.items()}

    def queue_ms(size: int) -> float:
        return 1000 * per_call(lambda: queue(opened[size], settings, stores[size]), LEAST_S)

    def today_ms(size: int) -> float:
        return 1000 * per_call(lambda: today(opened[size], settings, stores[size]), LEAST_S)

    try:
        return [
            growth_of(
                f"stored patches, {page}", "patches", page, "ms",
                repeated(sizes, inputs.runs, cost),
            )
            for page, cost in (("queue", queue_ms), ("Today page", today_ms))
        ]  # fmt: skip
    finally:
        for db in opened.values():
            db.close()
