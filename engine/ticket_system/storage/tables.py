"""The tables, the same on SQLite and PostgreSQL."""

from __future__ import annotations

from dataclasses import fields
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from ticket_system.tickets import ACTIVE_STATUSES

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


class Instant(sa.TypeDecorator[datetime]):
    """An instant: `timestamptz` on PostgreSQL, UTC text that sorts on SQLite; aware UTC in Python."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        """Hand the database an instant in its own form."""
        if value is None or dialect.name != "sqlite":
            return value
        return value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        """Return aware UTC, whatever the zone of the connection."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if dialect.name == "sqlite" else value.astimezone(UTC)


class Span(sa.TypeDecorator[timedelta]):
    """A length of time, kept as whole microseconds: exact, and the same on both databases."""

    impl = sa.BigInteger
    cache_ok = True

    def process_bind_param(self, value: timedelta | None, dialect: sa.Dialect) -> int | None:  # noqa: ARG002
        """Count the microseconds."""
        return None if value is None else value // timedelta(microseconds=1)

    def process_result_value(self, value: int | None, dialect: sa.Dialect) -> timedelta | None:  # noqa: ARG002
        """Return the length."""
        return None if value is None else timedelta(microseconds=value)


class Names(sa.TypeDecorator[list[str]]):
    """A list of words as JSON."""

    impl = sa.JSON
    cache_ok = True


metadata = sa.MetaData(
    naming_convention={
        "pk": "%(table_name)s_pk",
        "fk": "%(table_name)s_%(column_0_name)s_fk",
        "uq": "%(table_name)s_%(column_0_name)s_unique",
        "ck": "%(table_name)s_%(constraint_name)s",
    }
)
# SQLite numbers rows by itself only in a column of exactly this type.
serial = sa.BigInteger().with_variant(sa.Integer, "sqlite")

tickets = sa.Table(
    "tickets",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("requester", sa.Text, nullable=False),
    sa.Column("priority", sa.SmallInteger, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("assignee", sa.Text),
    sa.Column("sla_hours", sa.Integer, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("updated_at", Instant, nullable=False),
    sa.Column("resolved_at", Instant),
    sa.Column("tags", Names, nullable=False),
    sa.Column("customer", sa.Text),
    sa.Column("plan", sa.Text),
    sa.Column("group", sa.Text),
    #: The cycle of the resolution clock that counts now.
    sa.Column("cycle", sa.SmallInteger, nullable=False, server_default="1"),
    #: When its events were forgotten, and what it was counted for on bills: nothing is compared with either any more.
    sa.Column("history_pruned_at", Instant),
    sa.Column("usage_pruned_at", Instant),
    sa.CheckConstraint("priority BETWEEN 1 AND 4", name="priority_known"),
)

comments = sa.Table(
    "comments",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("ticket_id", sa.ForeignKey("tickets.id"), nullable=False),
    sa.Column("author", sa.Text, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("is_internal", sa.Boolean, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    sa.Index("comments_of_ticket", "ticket_id", "created_at"),
)

clocks = sa.Table(
    "clocks",
    metadata,
    sa.Column("ticket_id", sa.ForeignKey("tickets.id"), primary_key=True),
    sa.Column("target", sa.Text, primary_key=True),
    sa.Column("cycle", sa.SmallInteger, primary_key=True, autoincrement=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("started_at", Instant, nullable=False),
    sa.Column("target_seconds", sa.BigInteger, nullable=False),
    sa.Column("due_at", Instant),
    sa.Column("next_check_at", Instant),
    sa.Column("paused_at", Instant),
    sa.Column("paused_for", Span, nullable=False),
    sa.Column("remaining", Span),
    sa.Column("stopped_at", Instant),
    sa.Column("breached_at", Instant),
    sa.Column("detected_at", Instant),
    sa.Column("cause", sa.Text),
    sa.Column("policy", sa.Text, nullable=False, server_default="default"),
    sa.Column("rules", sa.ForeignKey("rules.id")),
    sa.Column("acknowledged_at", Instant),
    sa.Column("rearms_at", Instant),
    sa.Column("held_for", Span, nullable=False, server_default="0"),
    sa.Column("waived_at", Instant),
    sa.Column("worked", Span),
)

#: What the warnings and levels of stored rules do, as far as a sweep has to know; written with them, never changed.
#: The one row without rules is the chain built in.
steps = sa.Table(
    "steps",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("rules", sa.ForeignKey("rules.id")),
    sa.Column("policy", sa.Text, nullable=False),
    #: `warned` or `escalated`, as the event that it becomes.
    sa.Column("kind", sa.Text, nullable=False),
    #: Its place among the policy's warnings, or in its chain, from 1.
    sa.Column("number", sa.SmallInteger, nullable=False),
    sa.Column("raises", sa.Boolean, nullable=False),
    #: It does more than a sweep can: reassigns, tags, or moves the deadline.
    sa.Column("by_hand", sa.Boolean, nullable=False),
    sa.Index("steps_of_rules", "rules"),
)

step_notices = sa.Table(
    "step_notices",
    metadata,
    sa.Column("step_id", sa.ForeignKey("steps.id"), primary_key=True),
    #: As in the outbox; `group` stands for the group of the ticket.
    sa.Column("destination", sa.Text, primary_key=True),
)

#: The chain built in, as the first migration writes it.
BUILT_IN_STEP = {"id": 1, "policy": "", "kind": "escalated", "number": 1, "raises": True, "by_hand": False}
BUILT_IN_NOTICE = {"step_id": 1, "destination": "mail"}

#: The alarms that are still to come: what was raised, or passed over, is an event, and its row is gone.
#: Without foreign keys: they would lock the same few steps for every ticket that is opened.
alarms = sa.Table(
    "alarms",
    metadata,
    sa.Column("ticket_id", sa.Text, primary_key=True),
    sa.Column("target", sa.Text, primary_key=True),
    sa.Column("cycle", sa.SmallInteger, primary_key=True, autoincrement=False),
    sa.Column("step_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("repeat", sa.SmallInteger, primary_key=True, autoincrement=False),
    sa.Column("at", Instant, nullable=False),
    #: Raised and told; what is left of it is to be done by hand.
    sa.Column("raised_at", Instant),
)

#: Policies and calendars as they were when somebody put them in force: kept for ever, because clocks refer to them.
rules = sa.Table(
    "rules",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("applied_at", Instant, nullable=False),
    sa.Column("applied_by", sa.Text, nullable=False),
)

events = sa.Table(
    "events",
    metadata,
    sa.Column("id", serial, sa.Identity(), primary_key=True),
    sa.Column("ticket_id", sa.Text, nullable=False),
    #: When it happened, and when it was written down.
    sa.Column("at", Instant, nullable=False),
    sa.Column("recorded_at", Instant, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("old", sa.Text),
    sa.Column("new", sa.Text),
    sa.Column("note", sa.Text),
    #: ticket/target/cycle/kind/level/repeat for what may happen once only (rule 8).
    sa.Column("key", sa.Text),
    #: What a replay needs beyond the other columns, as JSON.
    sa.Column("detail", sa.Text),
    sa.Index("events_of_ticket", "ticket_id", "at"),
)

outbox = sa.Table(
    "outbox",
    metadata,
    sa.Column("id", serial, sa.Identity(), primary_key=True),
    #: The key of the event that caused it, and the way it leaves.
    sa.Column("key", sa.Text, nullable=False, unique=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("ticket_id", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("attempts", sa.SmallInteger, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    #: When to look at it again: the next attempt of a pending one, the end of the lease of a taken one.
    sa.Column("next_attempt_at", Instant),
    #: Who holds it; only the holder may say what became of it.
    sa.Column("lease", sa.Text),
    sa.Column("error", sa.Text),
    sa.Column("sent_at", Instant),
    #: A name, never a URL: `mail`, `mail:name@example.org`, or one that the worker's settings know. Ends the key.
    sa.Column("destination", sa.Text, nullable=False, server_default="mail"),
    #: The message that it went out in, together with others.
    sa.Column("bundle_id", sa.BigInteger().with_variant(sa.Integer, "sqlite")),
)

#: Where nothing gets through at the moment, and until when nobody tries; destinations that are well have no row.
rests = sa.Table(
    "rests",
    metadata,
    sa.Column("channel", sa.Text, primary_key=True),
    sa.Column("failures", sa.SmallInteger, nullable=False),
    sa.Column("until", Instant, nullable=False),
    sa.Column("error", sa.Text),
)

audit_runs = sa.Table(
    "audit_runs",
    metadata,
    sa.Column("id", serial, sa.Identity(), primary_key=True),
    sa.Column("finished_at", Instant, nullable=False),
    #: The event up to which every ticket that changed was looked at.
    sa.Column("event_id", sa.BigInteger, nullable=False),
    #: Where the walk over all tickets goes on; empty at its beginning.
    sa.Column("ticket_id", sa.Text, nullable=False),
    sa.Column("checked", sa.Integer, nullable=False),
    sa.Column("differences", sa.Integer, nullable=False),
)


def as_row(thing: DataclassInstance) -> dict[str, Any]:
    """Return the fields of a flat dataclass by name; `asdict` would copy what lies in them."""
    return {field.name: getattr(thing, field.name) for field in fields(thing)}


def named(value: str) -> sa.ColumnElement[str]:
    """Spell a constant of ours out in the SQL: a planner cannot match a parameter with a partial index."""
    return sa.literal_column("'" + value.replace("'", "''") + "'", sa.Text)


def one_of(column: sa.ColumnElement[Any], values: tuple[str, ...]) -> sa.ColumnElement[bool]:
    """Say "is one of" such constants, for the same reason; of a single one that it is that."""
    if len(values) == 1:
        return column == named(values[0])
    return column.in_([named(value) for value in values])


is_active = one_of(tickets.c.status, ACTIVE_STATUSES)

_active_sql = "status IN ({})".format(", ".join(f"'{status}'" for status in ACTIVE_STATUSES))


def partial(name: str, *columns: sa.Column[Any], where: str, unique: bool = False) -> sa.Index:
    """Index the rows for which a condition holds, and no others."""
    condition = sa.text(where)
    return sa.Index(name, *columns, unique=unique, postgresql_where=condition, sqlite_where=condition)


# The queue, and one agent's open work.
partial("tickets_queue", tickets.c.priority, tickets.c.created_at, where=_active_sql)
partial("tickets_open_of_assignee", tickets.c.assignee, where=_active_sql)
partial("tickets_open_of_customer", tickets.c.customer, where=f"{_active_sql} AND customer IS NOT NULL")
sa.Index("tickets_of_assignee", tickets.c.assignee, tickets.c.priority, tickets.c.created_at)
# The report reads what happened in its period, from the index alone.
sa.Index("tickets_opened", tickets.c.created_at, tickets.c.priority)
partial(
    "tickets_resolved",
    tickets.c.resolved_at,
    tickets.c.priority,
    tickets.c.created_at,
    where="resolved_at IS NOT NULL",
)
# What nobody can open again and whose events are still there: retention reads no others.
OVER = "status IN ('closed', 'cancelled') AND history_pruned_at IS NULL"
partial("tickets_over", tickets.c.updated_at, where=OVER)
partial("clocks_stopped", clocks.c.stopped_at, where="stopped_at IS NOT NULL")
partial("clocks_breached", clocks.c.breached_at, where="state = 'breached'")
# What came back and what was done, by which the backlog of a moment in the past is counted; other moves change nothing.
CROSSING = f"kind = 'status' AND ({_active_sql.replace('status', 'old')}) <> ({_active_sql.replace('status', 'new')})"
partial("events_crossing", events.c.at, events.c.new, events.c.ticket_id, where=CROSSING)
# The scan: what is not due is not read.
partial("clocks_to_check", clocks.c.next_check_at, where="next_check_at IS NOT NULL")
partial("alarms_raised", alarms.c.ticket_id, where="raised_at IS NOT NULL")
# The breach list, worst first.
partial("clocks_overdue", clocks.c.due_at, where="state = 'breached' AND stopped_at IS NULL")
once_only = sa.Index(
    "events_once",
    events.c.key,
    unique=True,
    postgresql_where=sa.text("key IS NOT NULL"),
    sqlite_where=sa.text("key IS NOT NULL"),
)
# By destination first: what one destination has waiting is not walked to reach what the next has.
partial(
    "outbox_to_send",
    outbox.c.destination,
    outbox.c.next_attempt_at,
    where="state IN ('pending', 'leased')",
)
partial("outbox_sending", outbox.c.next_attempt_at, where="state = 'sending'")
partial("outbox_of_bundle", outbox.c.bundle_id, where="bundle_id IS NOT NULL")
partial("outbox_stuck", outbox.c.id, where="state IN ('parked', 'uncertain')")
partial("outbox_done", outbox.c.created_at, where="state IN ('sent', 'bundled', 'dropped')")
