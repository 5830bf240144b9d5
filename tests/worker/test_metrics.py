import socket
import time
from types import SimpleNamespace
from typing import Any
from urllib.request import urlopen

import pytest
from billiard.exceptions import TimeLimitExceeded, WorkerLostError
from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.metrics_core import Metric

from ticket_system.monitor import LATENCIES, Sweep
from ticket_tasks import names
from ticket_tasks.intake import Intake
from ticket_tasks.outbox import Delivery
from ticket_tasks.reports import Mailed
from ticket_tasks.turns import slot_settled
from ticket_tasks.usage import Reported
from ticket_worker import metrics, pulse, scraping
from ticket_worker.counting import Counting
from ticket_worker.settings import read_settings
from ticket_worker.strays import stray_found

#: What alerts and dashboards rely on: the name, its kind, its labels.
SERVED = {
    "tickets_build_info": ("gauge", ("version",)),
    "tickets_task_seconds": ("histogram", ("task", "outcome")),
    "tickets_queue_wait_seconds": ("histogram", ("queue",)),
    "tickets_detection_seconds": ("histogram", ()),
    "tickets_breaches": ("counter", ()),
    "tickets_alarms": ("counter", ()),
    "tickets_slots": ("counter", ("job", "outcome")),
    "tickets_deliveries": ("counter", ("channel", "fate")),
    "tickets_intake": ("counter", ("kind", "outcome")),
    "tickets_strays": ("counter", ("reason",)),
}


def value(name: str, **labels: str) -> float:
    return metrics.registry.get_sample_value(name, labels) or 0.0


class Grown:
    """How much a figure grew since the last look."""

    def __init__(self, name: str, **labels: str) -> None:
        self.name, self.labels, self.before = name, labels, value(name, **labels)

    def by(self) -> float:
        before, self.before = self.before, value(self.name, **self.labels)
        return self.before - before


def test_every_metric_has_its_name_its_kind_its_labels_and_a_meaning() -> None:
    made = {name: one for name, one in vars(metrics).items() if hasattr(one, "_labelnames")}
    assert {one._name: (one._type, tuple(one._labelnames)) for one in made.values()} == SERVED
    assert all(len(one._documentation.split()) > 2 for one in made.values())


def test_a_beat_tells_whether_it_leads_and_how_often_it_ticked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulse, "ticks", {names.SCAN_BREACHES: 3})
    pulse.leading(True)
    registry = scraping.collected_by(metrics.Beat())
    assert registry.get_sample_value("tickets_beat_leader") == 1
    assert registry.get_sample_value("tickets_beat_ticks_total", {"job": names.SCAN_BREACHES}) == 3
    pulse.leading(False)
    assert registry.get_sample_value("tickets_beat_leader") == 0


def a_sweep(**changes: Any) -> Sweep:
    nothing: dict[str, Any] = {
        "found": 0,
        "breaches": 0,
        "alarms": 0,
        "batches": 1,
        "drained": True,
        "slowest_seconds": 0.0,
    }
    classes: dict[str, Any] = {"latencies": (0,) * (len(LATENCIES) + 1), "latency_seconds": 0.0}
    return Sweep(**(nothing | classes | changes))


def test_a_scan_is_counted() -> None:
    breaches, alarms = Grown("tickets_breaches_total"), Grown("tickets_alarms_total")
    seen, total = Grown("tickets_detection_seconds_count"), Grown("tickets_detection_seconds_sum")
    within = Grown("tickets_detection_seconds_bucket", le="2.0")
    latencies = (1, 2, 3, 0, 0, 0, 0, 0, 4)
    metrics.observe(names.SCAN_BREACHES, a_sweep(breaches=10, alarms=7, latencies=latencies, latency_seconds=4_000.5))
    assert (breaches.by(), alarms.by(), seen.by(), total.by(), within.by()) == (10, 7, 10, 4_000.5, 6)


def test_what_was_sorted_elsewhere_looks_like_what_was_observed_one_by_one() -> None:
    registry, bounds = CollectorRegistry(), (1.0, 2.0)
    classes = metrics.Classes("classes", "Sorted elsewhere.", registry=registry, buckets=bounds)
    plain = Histogram("plain", "Observed.", registry=registry, buckets=bounds)
    for seconds in (0.5, 1.0, 1.5, 9.0):
        plain.observe(seconds)
    classes.add((2, 1, 1), 12.0)
    assert samples(registry, "classes") == samples(registry, "plain")


def samples(registry: CollectorRegistry, name: str) -> list[tuple[str, dict[str, str], float]]:
    found: list[Metric] = [one for one in registry.collect() if one.name == name]
    return [
        (sample.name.removeprefix(name), sample.labels, sample.value)
        for one in found
        for sample in one.samples
        if not sample.name.endswith("_created")
    ]


@pytest.mark.parametrize(
    ("outcome", "counted"),
    (
        (
            Delivery(sent=3, parked=1, by_mail={"sent": 2}),
            {("mail", "sent"): 2, ("notify", "sent"): 1, ("notify", "refused"): 1},
        ),
        (Delivery(uncertain=1, by_mail={"uncertain": 1}), {("mail", "uncertain"): 1}),
        (Mailed(sent=2, failed=1, skipped=5), {("report", "sent"): 2, ("report", "refused"): 1}),
        (
            Reported(accepted=4, again=1, unknown=1),
            {("usage", "sent"): 4, ("usage", "postponed"): 1, ("usage", "uncertain"): 1},
        ),
        (Reported(stuck=2), {("usage", "refused"): 2}),
    ),
)
def test_what_was_handed_over_is_counted_by_channel_and_fate(
    outcome: object, counted: dict[tuple[str, str], int]
) -> None:
    channels, fates = ("mail", "notify", "report", "usage"), ("sent", "postponed", "refused", "uncertain", "lost")
    grown = {
        (one, fate): Grown("tickets_deliveries_total", channel=one, fate=fate) for one in channels for fate in fates
    }
    metrics.observe("any", outcome)
    assert {key: more for key, one in grown.items() if (more := one.by())} == counted


def test_wishes_are_counted_by_what_became_of_them_and_never_by_what_they_call_themselves() -> None:
    repeated = Grown("tickets_intake_total", kind=names.OPEN_TICKET, outcome="repeated")
    other = Grown("tickets_intake_total", kind="other", outcome="parked")
    metrics.observe(names.OPEN_TICKET, Intake(names.OPEN_TICKET, "repeated"))
    metrics.observe(names.PARK_MESSAGE, Intake("ada@example.org", "parked"))
    metrics.observe(names.REPLAY_PARKED, 3)
    metrics.observe(names.SCAN_BREACHES, None)
    assert (repeated.by(), other.by()) == (1, 1)


@pytest.fixture
def counting() -> Counting:
    return Counting(metrics, read_settings(metrics_port=1), None)


def a_task(**request: Any) -> Any:
    given = {"delivery_info": {"routing_key": names.CLOCK}, "eta": None} | request
    return SimpleNamespace(name=names.SCAN_BREACHES, request=SimpleNamespace(**given))


@pytest.mark.parametrize(("state", "outcome"), (("SUCCESS", "done"), ("FAILURE", "failed"), ("RETRY", "postponed")))
def test_a_task_is_timed_by_how_it_ended(counting: Counting, state: str, outcome: str) -> None:
    grown = Grown("tickets_task_seconds_count", task=names.SCAN_BREACHES, outcome=outcome)
    counting.begin("id", a_task())
    counting.end("id", a_task(), state)
    assert grown.by() == 1


def test_a_task_that_was_killed_failed(counting: Counting) -> None:
    grown = Grown("tickets_task_seconds_count", task=names.SCAN_BREACHES, outcome="failed")
    took = Grown("tickets_task_seconds_sum", task=names.SCAN_BREACHES, outcome="failed")
    counting.killed(a_task(), TimeLimitExceeded(60))
    counting.killed(a_task(), WorkerLostError("signal 9"))
    counting.killed(a_task(), ValueError("told by the end of the task already"))
    assert (grown.by(), took.by()) == (2, 60)


def test_a_message_waited_from_its_publication_to_its_start(counting: Counting) -> None:
    waits, long = (Grown(f"tickets_queue_wait_seconds_{what}", queue=names.CLOCK) for what in ("count", "sum"))
    counting.begin("1", a_task(sent_at=time.time() - 40))
    assert waits.by() == 1
    assert long.by() == pytest.approx(40, abs=5)
    # The sender's clock is ahead; it was put off on purpose; it does not say; it says nonsense.
    counting.begin("2", a_task(sent_at=time.time() + 40))
    assert (waits.by(), long.by()) == (1, 0)
    for request in ({"sent_at": 1.0, "eta": "2026-01-01T00:00:00+00:00"}, {}, {"sent_at": "yesterday"}):
        counting.begin("3", a_task(**request))
    assert waits.by() == 0


def test_a_queue_that_nobody_knows_makes_no_series_of_its_own(counting: Counting) -> None:
    other = Grown("tickets_queue_wait_seconds_count", queue="other")
    counting.begin("1", a_task(sent_at=time.time(), delivery_info={"routing_key": "ada@example.org"}))
    assert other.by() == 1


def test_ticks_and_messages_that_nobody_understood_are_counted_as_they_are_told_of(counting: Counting) -> None:
    passed = Grown("tickets_slots_total", job=names.SCAN_BREACHES, outcome="passed")
    unknown = Grown("tickets_strays_total", reason="unknown")
    slot_settled.connect(counting.slot)
    stray_found.connect(counting.stray)
    slot_settled.send(sender=None, job=names.SCAN_BREACHES, outcome="passed")
    stray_found.send(sender=None, kind="unknown")
    assert (passed.by(), unknown.by()) == (1, 1)


def test_metrics_are_served_and_a_port_that_is_taken_stops_nothing() -> None:
    registry = scraping.collected_by(metrics.registry)
    served = scraping.serve(registry, "127.0.0.1", 0)
    assert served is not None
    with urlopen(f"http://127.0.0.1:{served.port}/metrics") as answer:
        assert b"tickets_breaches_total" in answer.read()
    assert scraping.serve(registry, "127.0.0.1", served.port) is None
    served.stop()
    with socket.create_server(("127.0.0.1", served.port)):
        pass
