"""What must never be forgotten, as conditions; and what goes together with what.

A history goes when nothing can follow from it any more: its ticket is closed or cancelled, which is final; every clock
is stopped, so no scan looks at it and no key of its events can come up again; and what it was billed is settled. Usage
goes batch by batch, with the facts in it and the deliveries of it, once nothing about any of its tickets is open.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from ticket_system.billing.deliveries import STUCK, TO_SEND, State
from ticket_system.storage.billing_tables import (
    NEVER_SEALED,
    usage_batches,
    usage_deliveries,
    usage_facts,
    usage_lanes,
)
from ticket_system.storage.fleet_tables import job_runs
from ticket_system.storage.report_tables import report_deliveries, report_runs
from ticket_system.storage.tables import (
    OVER,
    Instant,
    audit_runs,
    clocks,
    events,
    is_active,
    named,
    one_of,
    outbox,
    tickets,
)

before = sa.bindparam("before", type_=Instant)
_now = sa.bindparam("now", type_=Instant)


def there_is(of: sa.FromClause, *where: sa.ColumnElement[bool]) -> sa.Exists:
    """Say that there is one, looked for row by row: OFFSET keeps PostgreSQL from joining all that is stored."""
    one: sa.Select[Any] = sa.select(sa.literal_column("1")).select_from(of).where(*where)
    return sa.exists(one.offset(sa.literal_column("0")))


# --- messages and reports ------------------------------------------------------------------------------------------

_bundle = outbox.alias("bundle")
is_in_a_bundle_to_come = there_is(
    _bundle,
    _bundle.c.id == outbox.c.bundle_id,
    _bundle.c.state.not_in([named("sent"), named("dropped")]),
)

has_letters_to_come = there_is(
    report_deliveries,
    report_deliveries.c.run_id == report_runs.c.id,
    report_deliveries.c.state.not_in([named("sent"), named("skipped")]),
)
# As a maximum, not as "there is a later one": that comes from the end of an index, whatever a planner expects.
_later = report_runs.alias("later")
last_report = (
    sa.select(sa.func.max(_later.c.sent_on))
    .where(_later.c.organisation == report_runs.c.organisation, _later.c.kind == report_runs.c.kind)
    .scalar_subquery()
)
_newer = job_runs.alias("newer")
last_tick = (
    sa.select(sa.func.max(_newer.c.slot))
    .where(_newer.c.job == job_runs.c.job, _newer.c.state == named("done"))
    .scalar_subquery()
)

_audit = audit_runs.alias("audit")
_young = sa.select(_audit.c.id).where(_audit.c.finished_at >= before).order_by(_audit.c.id).limit(1)
#: The number of the first audit that stays: it is young enough, or it is the newest.
first_audit_kept = sa.func.coalesce(
    _young.scalar_subquery(), sa.select(sa.func.max(_audit.c.id)).scalar_subquery(), type_=sa.BigInteger
)


def empty_reports(connection: sa.Connection, ids: list[Any], _given: dict[str, Any]) -> int:
    """Drop what stands in reports; that they were made, and who got them, stays."""
    mine = sa.update(report_runs).where(report_runs.c.id.in_(ids))
    return connection.execute(mine.values(content=None, picture=None)).rowcount


def forget_reports(connection: sa.Connection, ids: list[Any], _given: dict[str, Any]) -> int:
    """Delete reports, and what became of their letters."""
    connection.execute(sa.delete(report_deliveries).where(report_deliveries.c.run_id.in_(ids)))
    return connection.execute(sa.delete(report_runs).where(report_runs.c.id.in_(ids))).rowcount


# --- money ---------------------------------------------------------------------------------------------------------

#: What needs a call, an answer or a person. Accepted is as far as most come; it can be compared for 35 days.
_UNSETTLED = (*TO_SEND, State.UNKNOWN, *STUCK)

_fact = usage_facts.alias("fact")
_delivery = usage_deliveries.alias("delivery")


def _is_moving(batch_id: sa.ColumnElement[Any]) -> sa.ColumnElement[bool]:
    """Say that a delivery of a batch is not settled, or was not by then."""
    return there_is(
        _delivery,
        _delivery.c.batch_id == batch_id,
        sa.or_(one_of(_delivery.c.state, _UNSETTLED), _delivery.c.last_attempt_at >= before),
    )


def _owes(ticket_id: sa.ColumnElement[Any]) -> sa.ColumnElement[bool]:
    """Say that something a ticket was counted for is young, in no batch yet, or not settled."""
    unsealed = sa.and_(
        _fact.c.batch_id.is_(None),
        _fact.c.forgiven_at.is_(None),
        sa.or_(_fact.c.route.is_(None), _fact.c.route != named("none")),
    )
    young = sa.or_(_fact.c.recorded_at >= before, _fact.c.forgiven_at >= before)
    moving = sa.and_(_fact.c.batch_id.is_not(None), _is_moving(_fact.c.batch_id))
    return there_is(_fact, _fact.c.ticket_id == ticket_id, sa.or_(unsealed, young, moving))


def _is_at_work(ticket_id: sa.ColumnElement[Any]) -> sa.ColumnElement[bool]:
    """Say that a ticket is active, or was by then: it may be counted, or credited, again."""
    return there_is(tickets, tickets.c.id == ticket_id, sa.or_(is_active, tickets.c.updated_at >= before))


_inside = usage_facts.alias("inside")
_lane = usage_lanes.alias("lane")
_sent = usage_deliveries.alias("sent")

batch_may_go: tuple[sa.ColumnElement[bool], ...] = (
    usage_batches.c.sealed_at < before,
    usage_batches.c.window_end < before,
    sa.not_(_is_moving(usage_batches.c.id)),
    # Counted there, and sent by nobody we know: until that is settled, every batch of the lane may have to do with it.
    ~there_is(
        sa.join(_sent, _lane, _lane.c.id == _sent.c.lane_id),
        _sent.c.batch_id == usage_batches.c.id,
        _lane.c.surplus != sa.literal_column("0"),
    ),
    ~there_is(
        _inside,
        _inside.c.batch_id == usage_batches.c.id,
        sa.or_(_is_at_work(_inside.c.ticket_id), _owes(_inside.c.ticket_id)),
    ),
)
fact_may_go: tuple[sa.ColumnElement[bool] | sa.TextClause, ...] = (
    sa.text(NEVER_SEALED),
    usage_facts.c.recorded_at < before,
    sa.not_(_is_at_work(usage_facts.c.ticket_id)),
    sa.not_(_owes(usage_facts.c.ticket_id)),
)


def forget_batches(connection: sa.Connection, ids: list[Any], given: dict[str, Any]) -> int:
    """Delete batches with their facts and their deliveries."""
    ids = _settled(connection, usage_batches.c.id, usage_facts.c.batch_id, ids, batch_may_go, given)
    connection.execute(sa.delete(usage_facts).where(usage_facts.c.batch_id.in_(ids)))
    connection.execute(sa.delete(usage_deliveries).where(usage_deliveries.c.batch_id.in_(ids)))
    return connection.execute(sa.delete(usage_batches).where(usage_batches.c.id.in_(ids))).rowcount


def forget_facts(connection: sa.Connection, ids: list[Any], given: dict[str, Any]) -> int:
    """Delete facts that lie in no batch, and never will."""
    ids = _settled(connection, usage_facts.c.id, usage_facts.c.id, ids, fact_may_go, given)
    return connection.execute(sa.delete(usage_facts).where(usage_facts.c.id.in_(ids))).rowcount


def _settled(
    connection: sa.Connection,
    key: sa.ColumnElement[Any],
    of_fact: sa.ColumnElement[Any],
    ids: list[Any],
    may_go: Sequence[sa.ColumnElement[bool] | sa.TextClause],
    given: dict[str, Any],
) -> list[Any]:
    """Return which may go still once nobody changes their tickets; these are marked, and counted never again."""
    theirs = sa.select(usage_facts.c.ticket_id).where(of_fact.in_(ids))
    # In one order, and before anything of theirs: so does whoever changes a ticket.
    mine = sa.select(tickets.c.id).where(tickets.c.id.in_(theirs)).order_by(tickets.c.id)
    connection.execute(mine.with_for_update(key_share=True)).all()
    ids = list(connection.scalars(sa.select(key).where(key.in_(ids), *may_go), given))
    gone = sa.select(usage_facts.c.ticket_id).where(of_fact.in_(ids))
    marked = sa.update(tickets).where(tickets.c.id.in_(gone), tickets.c.usage_pruned_at.is_(None))
    connection.execute(marked.values(usage_pruned_at=_now), given)
    return ids


# --- histories -----------------------------------------------------------------------------------------------------

history_may_go: tuple[sa.ColumnElement[bool] | sa.TextClause, ...] = (
    sa.text(OVER),
    tickets.c.updated_at < before,
    ~there_is(clocks, clocks.c.ticket_id == tickets.c.id, clocks.c.stopped_at.is_(None)),
    # A waiver, for one, leaves the ticket itself as it was.
    ~there_is(events, events.c.ticket_id == tickets.c.id, events.c.recorded_at >= before),
    sa.not_(_owes(tickets.c.id)),
)


def forget_histories(connection: sa.Connection, ids: list[Any], given: dict[str, Any]) -> int:
    """Delete the events of tickets, and mark these: an audit has nothing to compare their clocks with."""
    still = sa.select(tickets.c.id).where(tickets.c.id.in_(ids), *history_may_go)
    ids = list(connection.scalars(still, given))
    connection.execute(sa.delete(events).where(events.c.ticket_id.in_(ids)))
    marked = sa.update(tickets).where(tickets.c.id.in_(ids)).values(history_pruned_at=_now)
    return connection.execute(marked, given).rowcount
