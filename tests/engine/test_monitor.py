"""A scan finds what is late, once, and raises it, once; it moves no clock. On every database."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.support.contents import everything, rows_of
from tests.support.factories import a_comment, a_ticket, a_ticket_due_in
from ticket_system import Ticket, TicketSystem, monitor
from ticket_system.changes import Changes
from ticket_system.sla.clocks import Clock, ClockState, settle
from ticket_system.storage import tables

START = datetime(2020, 2, 29, 22, 0, tzinfo=UTC)
DUE = START + timedelta(hours=4)
TICK = timedelta(microseconds=1)


def due_at(system: TicketSystem, *moments: datetime, prefix: str = "", **changes: Any) -> list[str]:
    """Critical tickets that are due at these moments, named by their number."""
    ids = [f"{prefix}{number:04}" for number in range(len(moments))]
    system.create_tickets(
        [
            a_ticket(**{"id": name, "priority": 1, "sla_hours": 4, "created_at": due - timedelta(hours=4)} | changes)
            for name, due in zip(ids, moments, strict=True)
        ]
    )
    return ids


def at(hours: float) -> datetime:
    """A moment so many hours after the deadline."""
    return DUE + timedelta(hours=hours)


def change(system: TicketSystem, verb: str, *values: Any, now: datetime, **more: Any) -> None:
    with system.database.write() as connection:
        getattr(Changes(connection), verb)(*values, now=now, **more)


def known(system: TicketSystem, ticket_id: str = "0000") -> Ticket:
    ticket = system.get_ticket(ticket_id)
    assert ticket is not None
    return ticket


def clock(system: TicketSystem, ticket_id: str = "0000") -> Clock:
    found = known(system, ticket_id).clock
    assert found is not None
    return found


def breached(system: TicketSystem) -> set[str]:
    return {row["ticket_id"] for row in rows_of(system.database, tables.events, tables.events.c.kind == "breached")}


def escalations(system: TicketSystem) -> list[dict[str, Any]]:
    return rows_of(system.database, tables.events, tables.events.c.kind == "escalated")


# --- scan --------------------------------------------------------------------------------------------------------


def test_a_scan_finds_exactly_what_is_due(system: TicketSystem) -> None:
    early, on_time, late = due_at(system, DUE - TICK, DUE, DUE + TICK)
    assert monitor.scan_breaches(system.database, now=DUE).found == 1
    assert breached(system) == {early}
    assert monitor.scan_breaches(system.database, now=DUE).found == 0
    assert monitor.scan_breaches(system.database, now=DUE + TICK).found == 1
    assert breached(system) == {early, on_time}
    assert monitor.scan_breaches(system.database, now=at(1)).found == 1
    assert breached(system) == {early, on_time, late}


def test_a_breach_tells_when_it_was_and_apart_from_it_when_it_was_found(system: TicketSystem) -> None:
    """Rule 6."""
    due_at(system, DUE)
    sweep = monitor.scan_breaches(system.database, now=at(2))
    assert (sweep.found, sweep.batches, sweep.drained, sweep.slowest_seconds) == (1, 1, True, 7200.0)
    assert clock(system) == replace(
        clock(system), state=ClockState.BREACHED, due_at=DUE, breached_at=DUE, detected_at=at(2), next_check_at=None,
        cause="deadline",
    )  # fmt: skip
    key = "0000/resolution/1/breached/0/0"
    [event] = rows_of(system.database, tables.events, tables.events.c.key == key)
    assert (event["at"], event["kind"], event["actor"], event["old"], event["new"], event["note"]) == (
        DUE, "breached", "system", "running", "breached", "resolution deadline",
    )  # fmt: skip
    [message] = rows_of(system.database, tables.outbox)
    assert message == {
        "id": message["id"], "key": "0000/resolution/1/escalated/1/0/mail", "kind": "escalated",
        "ticket_id": "0000", "state": "pending",
        "attempts": 0, "created_at": at(2), "next_attempt_at": at(2), "lease": None, "error": None,
        "sent_at": None, "destination": "mail", "bundle_id": None,
    }  # fmt: skip


@pytest.mark.parametrize("kind", ("breach", "retarget"))
def test_a_scan_writes_what_the_change_itself_would_have_written(system: TicketSystem, kind: str) -> None:
    """Whatever changes a ticket has first happen what a scan would have done (rule 7)."""
    due_at(system, DUE, DUE, DUE, priority=2)
    change(system, "settle", "0000", now=at(1))
    change(system, "escalate", "0001", now=at(1)) if kind == "retarget" else None
    monitor.scan_breaches(system.database, now=at(1))

    def of(ticket_id: str) -> dict[str, list[dict[str, Any]]]:
        found = {}
        for table in (tables.clocks, tables.events, tables.outbox, tables.comments, tables.alarms):
            rows = rows_of(system.database, table, table.c.ticket_id == ticket_id)
            found[table.name] = [
                {
                    name: value.replace(ticket_id, "?") if isinstance(value, str) else value
                    for name, value in row.items()
                    if name not in {"id", "recorded_at"}
                }
                for row in rows
                if row.get("kind") != "escalated" or row.get("key")
            ]
        return found

    assert of("0002") == of("0000")
    assert of("0002")["comments"] != [] == of("0002")["alarms"]
    assert replace(known(system, "0002"), id="", description="") == replace(known(system), id="", description="")
    assert of("0002") == of("0001"), "what was late before a change stays late as it was"


def test_a_second_scan_adds_nothing(system: TicketSystem) -> None:
    due_at(system, *[DUE] * 7)
    monitor.scan_breaches(system.database, now=at(1))
    before = everything(system.database)
    for later in (at(1), at(2), at(1000), DUE - timedelta(days=1)):
        sweep = monitor.scan_breaches(system.database, now=later)
        assert (sweep.found, sweep.drained, sweep.slowest_seconds) == (0, True, 0.0)
    assert everything(system.database) == before


def test_what_does_not_run_is_not_found(system: TicketSystem) -> None:
    for status in ("on_hold", "resolved", "closed", "cancelled"):
        due_at(system, DUE, status=status, prefix=status)
    assert monitor.scan_breaches(system.database, now=at(1000)).found == 0


@pytest.mark.parametrize("step", (0, 1, 2), ids=("the same moment", "in pairs", "all different"))
def test_batches_leave_nobody_out(system: TicketSystem, step: int) -> None:
    for batch_size in (1, 3, 5, 10, 11):
        prefix = f"by {batch_size} "
        ids = due_at(system, *[DUE - (number * step // 2) * TICK for number in range(10)], prefix=prefix)
        done = monitor.scan_breaches(system.database, now=at(1), batch_size=batch_size)
        assert (done.found, done.breaches, done.alarms, done.drained) == (10, 10, 10, True)
        assert 10 // batch_size <= done.batches <= 10 // batch_size + 1
        for kind in ("breached", "escalated"):
            mine = tables.events.c.ticket_id.startswith(prefix)
            events = rows_of(system.database, tables.events, tables.events.c.kind == kind, mine)
            assert sorted(row["ticket_id"] for row in events) == ids


def test_a_scan_whose_time_is_up_says_so_and_the_next_one_goes_on(system: TicketSystem) -> None:
    ids = due_at(system, *[DUE] * 7)
    runs = [monitor.scan_breaches(system.database, now=at(1), batch_size=3, budget_seconds=0) for _ in range(3)]
    assert [(run.found, run.batches, run.drained) for run in runs] == [(3, 1, False), (3, 1, False), (1, 1, True)]
    assert breached(system) == {row["ticket_id"] for row in escalations(system)} == set(ids)


def test_the_longest_overdue_come_first(system: TicketSystem) -> None:
    ids = due_at(system, *[DUE - timedelta(minutes=number) for number in range(6)])
    first = monitor.scan_breaches(system.database, now=at(1), batch_size=2, budget_seconds=0)
    assert breached(system) == set(ids[-2:])
    assert first.slowest_seconds == 3600 + 5 * 60


def test_the_past_and_the_future_can_be_scanned(system: TicketSystem) -> None:
    now = datetime.now(UTC)
    ids = due_at(system, DUE, now + timedelta(hours=1))
    assert monitor.scan_breaches(system.database, now=DUE - timedelta(days=365)).found == 0
    assert monitor.scan_breaches(system.database, now=now + timedelta(hours=2)).found == 2
    assert breached(system) == set(ids)
    assert clock(system, ids[1]).detected_at == now + timedelta(hours=2)
    assert clock(system, ids[1]).breached_at == now + timedelta(hours=1)


def test_a_scan_of_an_empty_database_finds_nothing(system: TicketSystem) -> None:
    sweep = monitor.scan_breaches(system.database)
    assert (sweep.found, sweep.batches, sweep.drained) == (0, 0, True)


def test_without_a_moment_the_present_decides(system: TicketSystem) -> None:
    late = system.create_ticket(a_ticket_due_in(-90, id="late"))
    system.create_ticket(a_ticket_due_in(90, id="in time"))
    sweep = monitor.scan_breaches(system.database)
    assert sweep.found == 1
    assert 90 <= sweep.slowest_seconds < 120
    assert breached(system) == {row["ticket_id"] for row in escalations(system)} == {late.id}


# --- the chain built in -------------------------------------------------------------------------------------------


def test_a_late_ticket_is_raised_one_step_and_its_clock_is_left_alone(system: TicketSystem) -> None:
    """Rule 11."""
    for before, after in ((4, 3), (3, 2), (2, 1), (1, 1)):
        [name] = due_at(system, DUE, priority=before, updated_at=START, prefix=f"{before} ")
        clock_before, ticket_before = clock(system, name), known(system, name)
        assert monitor.scan_breaches(system.database, now=at(2)).found == 1
        assert clock(system, name) == settle(clock_before, at(2))
        assert known(system, name) == replace(ticket_before, priority=after, updated_at=at(2))
        assert known(system, name).sla_hours == 4
        event = escalations(system)[-1]
        assert event["key"] == f"{name}/resolution/1/escalated/1/0"
        assert (event["at"], event["actor"], event["old"], event["new"]) == (at(2), "system", str(before), str(after))
        [comment] = system.get_comments(name)
        assert (comment.author, comment.is_internal, comment.created_at) == ("system", True, at(2))
        assert comment.body == f"Escalated: the resolution deadline has passed; priority {before} → {after}"
        assert len(comment.id) == 36


def test_a_second_escalation_adds_nothing(system: TicketSystem) -> None:
    due_at(system, *[DUE] * 5, priority=4)
    monitor.scan_breaches(system.database, now=at(1))
    before = everything(system.database)
    for _ in range(3):
        assert monitor.scan_breaches(system.database, now=at(1000)).found == 0
    assert everything(system.database) == before


def test_an_escalation_raises_nobody_but_the_late(system: TicketSystem) -> None:
    due_at(system, DUE, DUE + timedelta(hours=50), priority=3)
    monitor.scan_breaches(system.database, now=at(1))
    assert [known(system, name).priority for name in ("0000", "0001")] == [2, 3]


@pytest.mark.parametrize("status", ("resolved", "cancelled"))
def test_a_ticket_that_was_done_in_time_is_not_raised(system: TicketSystem, status: str) -> None:
    due_at(system, DUE, status="in_progress" if status == "resolved" else "open", priority=3)
    change(system, "set_status", "0000", status, now=DUE)
    assert monitor.scan_breaches(system.database, now=at(3)).found == 0
    assert known(system).priority == 3
    assert escalations(system) == []
    assert system.get_comments("0000") == []


def test_one_that_was_done_too_early_to_be_raised_is_raised_when_it_comes_back_late(system: TicketSystem) -> None:
    """A new promise makes it late and it is done at the same moment: nothing has been raised by then (rule 7)."""
    due_at(system, DUE, status="in_progress", priority=3)
    change(system, "set_priority", "0000", 3, sla_hours=1, now=at(-1))
    change(system, "set_status", "0000", "resolved", now=at(-1))
    assert monitor.scan_breaches(system.database, now=at(2)).found == 0
    assert (breached(system), escalations(system)) == ({"0000"}, [])
    change(system, "set_status", "0000", "open", now=at(3))
    sweep = monitor.scan_breaches(system.database, now=at(3.5))
    assert (sweep.breaches, sweep.alarms) == (0, 1)
    assert known(system).priority == 2


def test_one_that_was_done_in_time_is_raised_when_it_comes_back_and_gets_late(system: TicketSystem) -> None:
    due_at(system, DUE, status="in_progress", priority=3)
    change(system, "set_status", "0000", "resolved", now=at(-1))
    change(system, "set_status", "0000", "open", now=at(3))
    assert monitor.scan_breaches(system.database, now=at(3.5)).found == 0
    assert monitor.scan_breaches(system.database, now=at(4.5)).found == 1
    assert known(system).priority == 2


def test_a_ticket_that_comes_back_is_not_raised_twice(system: TicketSystem) -> None:
    """Rule 8."""
    due_at(system, DUE, status="in_progress", priority=4)
    for hours in (1, 5, 9):
        monitor.scan_breaches(system.database, now=at(hours))
        change(system, "set_status", "0000", "resolved", now=at(hours + 1))
        change(system, "set_status", "0000", "open", now=at(hours + 2))
        change(system, "set_status", "0000", "in_progress", now=at(hours + 3))
    monitor.scan_breaches(system.database, now=at(99))
    assert known(system).priority == 3
    assert len(escalations(system)) == len(system.get_comments("0000")) == len(breached(system)) == 1
    assert len(rows_of(system.database, tables.outbox)) == 1
    assert clock(system).next_check_at is None, "taken off the list"


def test_a_breach_that_a_change_found_is_escalated_too(system: TicketSystem) -> None:
    due_at(system, DUE, priority=3)
    change(system, "set_status", "0000", "on_hold", now=at(1))
    assert monitor.scan_breaches(system.database, now=at(2)).found == 0
    assert known(system).priority == 2


@pytest.mark.parametrize(
    ("hours", "by_hand", "breached_at"),
    ((-3, [True, False], at(68)), (2, [False, True], DUE)),
    ids=("before the deadline: 72 hours from the opening", "after it, which raises it first"),
)
def test_an_escalation_by_hand_does_not_replace_the_one_by_itself(
    system: TicketSystem, hours: int, by_hand: list[bool], breached_at: datetime
) -> None:
    due_at(system, DUE, priority=4)
    change(system, "escalate", "0000", "The board asked.", now=at(hours))
    monitor.scan_breaches(system.database, now=at(99))
    assert known(system).priority == 2
    assert [row["key"] is None for row in escalations(system)] == by_hand
    assert clock(system).breached_at == breached_at


def test_an_escalation_leaves_the_comments_of_people_alone(system: TicketSystem) -> None:
    due_at(system, DUE)
    change(system, "comment", a_comment("0000", created_at=START), now=START)
    monitor.scan_breaches(system.database, now=at(1))
    assert [comment.author for comment in system.get_comments("0000")] == ["grace", "system"]
    assert len(system.get_comments("0000", include_internal=False)) == 1


@pytest.mark.parametrize("ids", (('it\'s "quoted"', "a/b/c", "%s :x {y}", "Ü😀", " spaced "),))
def test_ids_of_any_kind_are_swept(system: TicketSystem, ids: Sequence[str]) -> None:
    system.create_tickets([a_ticket(id=name, created_at=START) for name in ids])
    assert monitor.scan_breaches(system.database).found == 5
    assert breached(system) == {row["ticket_id"] for row in escalations(system)} == set(ids)
    assert {row["key"] for row in rows_of(system.database, tables.outbox)} == {
        f"{name}/resolution/1/escalated/1/0/mail" for name in ids
    }


def test_breaches_are_counted_by_how_long_they_lay_unseen(system: TicketSystem) -> None:
    """In classes, and added over the batches of a scan."""
    ages = (0.5, 0.6, 4.0, 4.0, 299.0, 301.0, 90_000.0)
    due_at(system, *[DUE - timedelta(seconds=age) for age in ages])
    sweep = monitor.scan_breaches(system.database, now=DUE, batch_size=2)
    assert sweep.breaches == len(ages)
    classes = dict(zip((*monitor.LATENCIES, None), sweep.latencies, strict=True))
    assert {bound: count for bound, count in classes.items() if count} == {0.5: 1, 1.0: 1, 5.0: 2, 300.0: 1, None: 2}
    assert sweep.latency_seconds == pytest.approx(sum(ages), abs=0.05)
    idle = monitor.scan_breaches(system.database, now=DUE)
    assert (sum(idle.latencies), idle.latency_seconds) == (0, 0.0)
