"""So many a minute, and no more."""


class RateLimit:
    """Allows so many a minute, up to ten seconds' worth of them at once."""

    def __init__(self, per_minute: int) -> None:
        self._per_minute = per_minute
        self._room = self._most = max(1.0, per_minute / 6)
        self._last_ns = 0

    def allows(self, monotonic_ns: int) -> bool:
        """Whether one more may be had at this moment."""
        if not self._per_minute:
            return False
        gained = (monotonic_ns - self._last_ns) * self._per_minute / 60e9
        self._room = min(self._most, self._room + gained)
        self._last_ns = monotonic_ns
        if self._room < 1:
            return False
        self._room -= 1
        return True
