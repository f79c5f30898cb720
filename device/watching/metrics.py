"""What Prometheus reads at `/metrics`: counts from the store, states from the live file.

The inspection writes what it counts into its store every few seconds anyway, so the page server
reads it there when it is asked, and nothing in the inspection waits for a scrape. Counters are
those of the store: they go on after a restart, and fall only where `[keeping]` removes old rows.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlite_utils import Database

from config.recipes import load_recipes
from config.settings import Settings
from device.models.models_in_use import in_force
from device.store.answers import waiting
from device.store.clock_watch import clock_is_doubtful, count_jumps
from device.store.database import STORE_FILE, get_state
from device.store.live import live_path, read_live
from device.system.disk import free_bytes, missing_disk
from device.upkeep.backup import STATE as BACKUP_STATE
from device.upkeep.tidy import CHECK_STATE
from device.upkeep.tidy import STATE as TIDY_STATE
from device.watching.health import health_of

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def metrics_of(settings: Settings, db: Database | None) -> bytes:
    """Everything, in Prometheus' text format."""
    registry = CollectorRegistry()
    registry.register(_Device(settings, db))
    return generate_latest(registry)


def names_of(text: bytes) -> set[str]:
    """Names of the samples in a text of `metrics_of`."""
    return {
        line.split("{")[0].split(" ")[0]
        for line in text.decode().splitlines()
        if line and not line.startswith("#")
    }


class _Device(Collector):
    """The metrics of one device, read when they are asked for."""

    def __init__(self, settings: Settings, db: Database | None) -> None:
        self._settings = settings
        self._db = db

    def describe(self) -> Iterable[Metric]:
        """Nothing beforehand: else registering would read the store."""
        return []

    def collect(self) -> Iterator[Metric]:
        """All of them."""
        yield from self._states()
        yield from self._disk()
        if self._db is not None:
            yield from self._counts(self._db)
            yield from self._upkeep(self._db)

    def _states(self) -> Iterator[Metric]:
        health = health_of(self._settings, self._db)
        live: dict[str, Any] = read_live(live_path(self._settings), watching=False).loop or {}
        yield _gauge("up", "Whether the device judges, or is ready to.", health.ok)
        yield _gauge("judging", "Whether a frame was judged lately.", health.judging)
        if health.last_verdict_age_s is not None:
            text = "Seconds since the last verdict."
            yield _gauge("last_verdict_age_seconds", text, health.last_verdict_age_s)
        camera_ok = health.loop == "running" and health.camera == "ok"
        yield _gauge("camera_up", "Whether the camera sends pictures.", camera_ok)
        plc = not live.get("plc_silent", False)
        yield _gauge("plc_up", "Whether the machine's PLC is heard, where one is set up.", plc)
        yield _gauge("store_up", "Whether the store can be read.", health.store == "ok")
        yield _gauge("keeping", "Whether flagged patches are stored.", health.keeping)
        rate = live.get("frames_per_second", 0.0) if health.loop == "running" else 0.0
        yield _gauge("frames_per_second", "Frames judged per second, smoothed.", rate)

    def _disk(self) -> Iterator[Metric]:
        data = self._settings.device.data
        try:
            free, mounted = free_bytes(data), missing_disk(self._settings) is None
        except OSError:
            free, mounted = 0, False
        yield _gauge("disk_free_bytes", "Free space where the data lies.", free)
        yield _gauge("disk_mounted", "Whether the disk for the data is there.", mounted)
        for suffix, name in (("", "store"), ("-wal", "store_log")):
            file = data / (STORE_FILE + suffix)
            size = file.stat().st_size if file.exists() else 0
            yield _gauge(f"{name}_bytes", f"Size of {file.name}.", size)

    def _counts(self, db: Database) -> Iterator[Metric]:
        frames = CounterMetricFamily(
            "millsight_frames", "Frames by verdict and recipe.", labels=["verdict", "recipe"]
        )
        faults = CounterMetricFamily(
            "millsight_frame_faults", "Frames without a verdict, by fault.", labels=["fault"]
        )
        rows = db.execute(
            "SELECT verdict, recipe, CASE verdict WHEN 'fault' THEN class ELSE '' END, "
            "sum(frames) FROM counters GROUP BY 1, 2, 3"
        ).fetchall()
        totals: dict[tuple[str, str], int] = {}
        by_fault: dict[str, int] = {}
        for verdict, recipe, fault, count in rows:
            totals[verdict, recipe] = totals.get((verdict, recipe), 0) + count
            if fault:
                by_fault[fault] = by_fault.get(fault, 0) + count
        for key, total in totals.items():
            frames.add_metric(list(key), total)
        for fault, count in by_fault.items():
            faults.add_metric([fault], count)
        yield frames
        yield faults
        loop = get_state(db, "loop") or {}
        yield _counter("frames_dropped", "Frames lost since the start.", loop.get("dropped", 0))
        yield _counter(
            "patches_not_kept", "Flags given up since the start.", loop.get("not_kept", 0)
        )
        yield _counter("flags", "Patches kept, ever.", _top(db, "flags", "id"))
        yield _counter("labels", "Answers given, ever.", _top(db, "labels", "rowid"))
        yield _counter("parts", "Triggered parts, ever.", _top(db, "parts", "id"))
        unsent = db.execute(
            "SELECT (SELECT count(*) FROM labels) - (SELECT count(*) FROM sent_labels s "
            "JOIN batches b ON b.sequence = s.batch WHERE b.state = 'acknowledged')"
        ).fetchone()[0]
        yield _gauge("labels_unacknowledged", "Answers that the trainer has not.", unsent)
        waits = len(waiting(db, load_recipes(self._settings).quotas))
        yield _gauge("questions_waiting", "Questions without an answer.", waits)
        events = CounterMetricFamily("millsight_events", "What happened, by kind.", labels=["kind"])
        for kind, count in db.execute("SELECT kind, count(*) FROM events GROUP BY kind"):
            events.add_metric([kind], count)
        yield events

    def _upkeep(self, db: Database) -> Iterator[Metric]:
        model = GaugeMetricFamily("millsight_model_info", "The model in use.", labels=["model"])
        model.add_metric([(in_force(db).model_id or "none")[:12]], 1)
        yield model
        tidied = get_state(db, TIDY_STATE) or {}
        removed = CounterMetricFamily(
            "millsight_pictures_removed", "Pictures that made room.", labels=["answer"]
        )
        removed.add_metric(["none"], tidied.get("unlabelled", 0))
        removed.add_metric(["acknowledged"], tidied.get("labelled", 0))
        yield removed
        text = "Bytes that the store holds, by its last clean-up."
        yield _gauge("store_used_bytes", text, tidied.get("used", 0))
        for name, key, text in (
            ("last_tidy", TIDY_STATE, "the last clean-up"),
            ("last_check", CHECK_STATE, "the last check of the whole store"),
            ("last_backup", BACKUP_STATE, "the last copy"),
            ("last_mend", "mended", "a damaged store was last mended"),
        ):
            moment = (get_state(db, key) or {}).get("wall_ns", 0) / 1e9
            yield _gauge(f"{name}_timestamp_seconds", f"When {text} was; 0: never.", moment)
        yield _counter("clock_jumps", "Jumps of the wall clock.", count_jumps(db))
        believed = not clock_is_doubtful(db)
        yield _gauge("clock_ok", "Whether the wall clock is believed.", believed)


def _top(db: Database, table: str, column: str) -> int:
    """Rows ever put into a table: the largest number."""
    row = db.execute(f"SELECT coalesce(max({column}), 0) FROM {table}").fetchone()  # noqa: S608
    return int(row[0])


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"millsight_{name}", text, value=float(value))


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(f"millsight_{name}", text, value=float(value))
