"""What a process counts of its own work, each with its name, its meaning and its labels.

A label never holds an id, an address or what a customer wrote: there are as many series as there are kinds of things.
Made when this module is imported, so `scraping.share_counts` comes first in a process that forks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib import metadata

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from typing_extensions import override

from ticket_system.monitor import LATENCIES, Sweep
from ticket_tasks import names
from ticket_tasks.intake import Intake
from ticket_tasks.outbox import Delivery
from ticket_tasks.payloads import WISHES
from ticket_tasks.reports import Mailed
from ticket_tasks.usage import Reported
from ticket_worker import pulse

registry = CollectorRegistry()

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
_QUEUES = frozenset(queue.name for queue in names.QUEUES)


class Classes(Histogram):
    """A histogram that takes what was sorted elsewhere."""

    def add(self, counts: Sequence[int], total: float) -> None:
        """Count so many in each class, the last without a bound, that come to `total` together."""
        for bucket, count in zip(self._buckets, counts, strict=True):
            if count:
                bucket.inc(count)
        self._sum.inc(total)


build_info = Gauge(
    "tickets_build_info",
    "1, and which version this process runs.",
    ["version"],
    registry=registry,
    multiprocess_mode="max",
)
task_seconds = Histogram(
    "tickets_task_seconds",
    "How long a task ran; outcome is done, failed or postponed.",
    ["task", "outcome"],
    registry=registry,
    buckets=_SECONDS,
)
queue_wait_seconds = Histogram(
    "tickets_queue_wait_seconds",
    "How long a message waited, from its publication to the start of its task.",
    ["queue"],
    registry=registry,
    buckets=_SECONDS,
)
detection_seconds = Classes(
    "tickets_detection_seconds",
    "From a deadline to its recorded breach, as scans find them.",
    registry=registry,
    buckets=LATENCIES,
)
breaches = Counter("tickets_breaches", "Breaches that scans recorded.", registry=registry)
alarms = Counter("tickets_alarms", "Warnings and levels of escalation that scans raised.", registry=registry)
slots = Counter(
    "tickets_slots",
    "Ticks by what became of them; outcome is taken, passed (somebody else has it) or failed.",
    ["job", "outcome"],
    registry=registry,
)
deliveries = Counter(
    "tickets_deliveries",
    "Attempts to hand something over; fate is sent, postponed, refused, uncertain or lost (to another worker).",
    ["channel", "fate"],
    registry=registry,
)
intake = Counter(
    "tickets_intake",
    "Wishes of other services; outcome is done, unchanged, repeated or parked.",
    ["kind", "outcome"],
    registry=registry,
)
strays = Counter(
    "tickets_strays",
    "Messages that no task understood; reason is unknown, undecodable or malformed.",
    ["reason"],
    registry=registry,
)


class Beat(Collector):
    """What a beat does, as it says itself."""

    @override
    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily(
            "tickets_beat_leader", "Whether this beat is the one that ticks.", value=float(pulse.is_leading())
        )
        ticks = CounterMetricFamily("tickets_beat_ticks", "Ticks handed to the broker.", labels=["job"])
        for job, number in sorted(pulse.ticks.items()):
            ticks.add_metric([job], number)
        yield ticks


def say_version() -> None:
    """Tell which version this process runs."""
    build_info.labels(metadata.version("blackroad-ticket-system")).set(1)


def finished(task: str, outcome: str, seconds: float) -> None:
    """Count a task that came to an end."""
    task_seconds.labels(task, outcome).observe(seconds)


def waited(queue: object, seconds: float) -> None:
    """Count how long a message waited. Clocks of two machines differ: it is never less than nothing."""
    queue_wait_seconds.labels(queue if queue in _QUEUES else "other").observe(max(seconds, 0.0))


def strayed(reason: str) -> None:
    """Count a message that no task understood."""
    strays.labels(reason).inc()


def settled(job: str, outcome: str) -> None:
    """Count what became of a tick."""
    slots.labels(job, outcome).inc()


def observe(_job: str, outcome: object) -> None:
    """Count what a job says it did; one that says nothing of it counts nothing."""
    match outcome:
        case Sweep():
            breaches.inc(outcome.breaches)
            alarms.inc(outcome.alarms)
            detection_seconds.add(outcome.latencies, outcome.latency_seconds)
        case Delivery():
            by_mail = outcome.by_mail
            for fate, name in _NOTICES.items():
                number, mailed = getattr(outcome, name), by_mail.get(name, 0)
                _delivered("mail", fate, mailed)
                _delivered("notify", fate, number - mailed)
        case Mailed():
            for fate, name in _LETTERS.items():
                _delivered("report", fate, getattr(outcome, name))
        case Reported():
            for fate, name in _USAGE.items():
                _delivered("usage", fate, getattr(outcome, name))
        case Intake():
            # A message that nobody understood may call itself anything.
            intake.labels(outcome.kind if outcome.kind in WISHES else "other", outcome.outcome).inc()
        case _:
            pass


#: What each room calls the fates of what it hands over.
_NOTICES = {"sent": "sent", "postponed": "postponed", "refused": "parked", "uncertain": "uncertain", "lost": "lost"}
_LETTERS = {"sent": "sent", "postponed": "postponed", "refused": "failed", "uncertain": "uncertain", "lost": "lost"}
_USAGE = {"sent": "accepted", "postponed": "again", "refused": "stuck", "uncertain": "unknown"}


def _delivered(channel: str, fate: str, number: int) -> None:
    if number:
        deliveries.labels(channel, fate).inc(number)
