"""What database and broker say of the fleet, for Prometheus: read when it is asked for, whoever works meanwhile.

Each part is read by itself, and kept for a few seconds: a part that cannot be read is missing, and says so
(`tickets_scrape_errors`), and the others still come. Two that ask at once cost one look.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing

import structlog
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from redis.exceptions import RedisError
from typing_extensions import override

from ticket_system import state
from ticket_system.errors import StorageError
from ticket_system.state import Waiting
from ticket_system.storage.database import Database
from ticket_tasks import names
from ticket_tasks.registry import JOBS
from ticket_worker import scraping
from ticket_worker.broker import Glance, glance_at
from ticket_worker.errors import FleetError
from ticket_worker.settings import Settings

log = structlog.stdlib.get_logger(__name__)

_KEPT_SECONDS = 5.0

_DATABASE, _BROKER = "database", "broker"


class FleetMetrics(Collector):
    """What database and broker say; safe to ask from several threads, which take turns."""

    def __init__(self, settings: Settings, *, kept_seconds: float = _KEPT_SECONDS) -> None:
        self._settings, self._kept_seconds = settings, kept_seconds
        self._database: Database | None = None
        self._turn = threading.Lock()
        self._fresh_until, self._last = 0.0, list[Metric]()

    @override
    def collect(self) -> Iterable[Metric]:
        with self._turn:
            if time.monotonic() >= self._fresh_until:
                self._last = list(self._read())
                self._fresh_until = time.monotonic() + self._kept_seconds
            return self._last

    def describe(self) -> Iterable[Metric]:
        """Nothing: a registry would read everything once, just to learn the names."""
        return []

    def close(self) -> None:
        """Let go of the database."""
        with self._turn:
            if self._database is not None:
                self._database.close()

    def _read(self) -> Iterator[Metric]:
        errors = _gauge("tickets_scrape_errors", "1 where a part could not be read this time.", "part")
        away: set[str] = set()
        for part, read in self._parts():
            # Of a server that is away one part learns, after seconds; the others need not.
            found = None if part != _BROKER and _DATABASE in away else self._try(part, read)
            errors.add_metric([part], found is None)
            if part in {_DATABASE, _BROKER}:
                yield _single(f"tickets_{part}_up", f"Whether the {part} answers.", found is not None)
                away |= {part} if found is None else set()
            yield from found or ()
        yield errors

    def _try(self, part: str, read: Callable[[], Iterable[Metric]]) -> list[Metric] | None:
        try:
            return list(read())
        except Exception as error:  # noqa: BLE001 - whatever it is, the others still come
            # Of what nobody foresaw only the kind: its text may quote what is stored.
            known = isinstance(error, StorageError | FleetError | RedisError | OSError)
            log.warning("metrics.missing", part=part, error=str(error) if known else type(error).__name__)
            return None

    def _parts(self) -> Iterator[tuple[str, Callable[[], Iterable[Metric]]]]:
        yield _DATABASE, self._answers
        yield (
            "tickets",
            lambda: [
                _single("tickets_open_tickets", "Tickets that somebody works on.", state.open_tickets(self._opened()))
            ],
        )
        yield "clocks", self._clocks
        yield "jobs", self._jobs
        yield "outbox", lambda: _piles("tickets_outbox", "messages", "Notices", state.notices(self._opened()))
        yield "usage", lambda: _piles("tickets_usage", "deliveries", "Reports of usage", state.usage(self._opened()))
        yield "reports", self._reports
        yield (
            "destinations",
            lambda: [
                _single(
                    "tickets_destinations_resting",
                    "Places that nobody tries for a while, because nothing gets through.",
                    state.destinations_resting(self._opened()),
                )
            ],
        )
        yield "parked", self._parked
        yield "audit", self._audit
        yield _BROKER, self._queues

    def _opened(self) -> Database:
        if self._database is None:
            self._database = Database(self._settings.database, pool_size=1)
        return self._database

    def _answers(self) -> Iterator[Metric]:
        database = self._opened()
        # A SQLite file that is not there yet would be made by looking at it.
        if database.path is not None and not database.path.exists():
            raise FleetError(f"{database.path}: there is no such file yet")
        skew = state.clock_skew(database)
        yield _single("tickets_clock_skew_seconds", "This machine's clock minus the database's.", skew)
        is_current = True
        try:
            database.require_current_schema()
        except StorageError:
            is_current = False
        yield _single("tickets_schema_current", "Whether database and program belong together.", is_current)

    def _clocks(self) -> Iterator[Metric]:
        due = state.clocks_due(self._opened())
        yield _single("tickets_clocks_due", "Clocks that wait for a scan.", due.count)
        yield _single(
            "tickets_clocks_late_seconds", "How long the one waits that waits longest; 0: none.", due.oldest_seconds
        )

    def _jobs(self) -> Iterator[Metric]:
        done = _gauge("tickets_job_last_done_timestamp_seconds", "When a job of the schedule last ended well.", "job")
        for job, at in state.jobs_done(self._opened()).items():
            done.add_metric([job], at.timestamp())
        yield done
        intervals = _gauge("tickets_job_interval_seconds", "How often a job of the schedule is to run.", "job")
        own = {
            names.SCAN_BREACHES: self._settings.scan_interval_seconds,
            names.DELIVER_OUTBOX: self._settings.deliver_interval_seconds,
            names.REPORT_USAGE: self._settings.report_interval_seconds,
        }
        for one in JOBS:
            if one.every is not None:
                intervals.add_metric([one.name], own.get(one.name, one.every))
        yield intervals

    def _reports(self) -> Iterator[Metric]:
        runs = _gauge(
            "tickets_report_runs", "Reports to be made, and those that were missed in the last seven days.", "state"
        )
        for one in state.reports(self._opened()):
            runs.add_metric([one.state], one.count)
        yield runs
        letters = state.report_letters(self._opened())
        yield from _piles("tickets_report_letters", "", "Letters of reports", letters)

    def _parked(self) -> Iterator[Metric]:
        parked = state.parked_messages(self._opened())
        yield _single("tickets_parked_messages", "Messages that nobody could understand.", parked.count)
        yield _single("tickets_parked_oldest_seconds", "Age of the oldest of them; 0: none.", parked.oldest_seconds)

    def _audit(self) -> Iterator[Metric]:
        last = state.last_audit(self._opened())
        if last is not None:
            yield _single("tickets_audit_differences", "Clocks that the last audit disagrees with.", last.differences)
            yield _single("tickets_audit_last_timestamp_seconds", "When it ended.", last.finished_at.timestamp())

    def _queues(self) -> Iterator[Metric]:
        found: Glance = glance_at(self._settings.broker, now=time.time())
        waiting = _gauge("tickets_queue_messages", "Messages that wait in a queue.", "queue")
        oldest = _gauge("tickets_queue_oldest_seconds", "Age of the one that waits longest; 0: none.", "queue")
        for queue in found.queues:
            waiting.add_metric([queue.name], queue.messages)
            oldest.add_metric([queue.name], queue.oldest_seconds)
        yield waiting
        yield oldest
        yield _single("tickets_unacked_messages", "Messages that a worker holds and has not finished.", found.unacked)


def print_once(settings: Settings) -> str:
    """Return all of it once, in Prometheus's own form."""
    with closing(FleetMetrics(settings)) as fleet:
        return generate_latest(_registry(fleet)).decode()


def serve_fleet(settings: Settings, host: str, port: int) -> int:
    """Serve it until SIGTERM or Ctrl-C; return the exit status."""
    ended = threading.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: ended.set())
    with closing(FleetMetrics(settings)) as fleet:
        served = scraping.serve(_registry(fleet), host, port)
        if served is None:
            return 1
        ended.wait()
        served.stop()
    return 0


def _registry(fleet: FleetMetrics) -> CollectorRegistry:
    return scraping.collected_by(fleet)


def _gauge(name: str, meaning: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, meaning, labels=labels)


def _single(name: str, meaning: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, meaning, value=float(value))


def _piles(prefix: str, what: str, meaning: str, piles: list[Waiting]) -> Iterator[Metric]:
    counts = _gauge(
        f"{prefix}_{what}" if what else prefix, f"{meaning} by state; those that are done are left out.", "state"
    )
    oldest = _gauge(f"{prefix}_oldest_seconds", "Age of the oldest in each state.", "state")
    for one in piles:
        counts.add_metric([one.state], one.count)
        oldest.add_metric([one.state], one.oldest_seconds)
    yield counts
    yield oldest
