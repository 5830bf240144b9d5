"""The tables of reports that go out by mail: for whom, when, what stood in them, and what became of each."""

from __future__ import annotations

import sqlalchemy as sa

from ticket_system.storage.tables import Instant, Names, metadata, partial, serial

#: Who gets reports together: whose tickets are counted, and where and when it is Monday at nine.
organisations = sa.Table(
    "organisations",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("customer", sa.Text),
    sa.Column("group", sa.Text),
    sa.Column("zone", sa.Text, nullable=False),
    sa.Column("locale", sa.Text, nullable=False),
    #: 0 is Monday.
    sa.Column("weekday", sa.SmallInteger, nullable=False),
    sa.Column("hour", sa.SmallInteger, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    sa.CheckConstraint("weekday BETWEEN 0 AND 6", name="weekday_known"),
    sa.CheckConstraint("hour BETWEEN 0 AND 23", name="hour_known"),
)

recipients = sa.Table(
    "recipients",
    metadata,
    sa.Column("id", serial, sa.Identity(), primary_key=True),
    sa.Column("organisation", sa.ForeignKey("organisations.name"), nullable=False),
    sa.Column("address", sa.Text, nullable=False),
    #: The address in lower-case letters: one person, however it is spelt.
    sa.Column("key", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("roles", Names, nullable=False),
    #: None: as the organisation has it.
    sa.Column("zone", sa.Text),
    sa.Column("locale", sa.Text),
    sa.Column("hour", sa.SmallInteger),
    sa.Column("weekly", sa.Boolean, nullable=False),
    sa.Column("daily", sa.Boolean, nullable=False),
    #: Who said last which reports they want, and when.
    sa.Column("changed_at", Instant, nullable=False),
    sa.Column("changed_by", sa.Text, nullable=False),
    sa.UniqueConstraint("organisation", "key", name="recipients_once"),
)

#: Addresses that no report goes to, whoever added them: the server of one said that there is nobody.
suppressions = sa.Table(
    "suppressions",
    metadata,
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("at", Instant, nullable=False),
)

#: The next report of each kind: the local day it is sent on, and when it is due for the first who gets it.
report_schedules = sa.Table(
    "report_schedules",
    metadata,
    sa.Column("organisation", sa.ForeignKey("organisations.name"), primary_key=True),
    sa.Column("kind", sa.Text, primary_key=True),
    sa.Column("next_on", sa.Date, nullable=False),
    sa.Column("next_at", Instant, nullable=False),
    sa.Index("report_schedules_due", "next_at"),
)

#: One report: once for an organisation, a kind and a local day. What it says is frozen when it is made.
report_runs = sa.Table(
    "report_runs",
    metadata,
    sa.Column("id", serial, sa.Identity(), primary_key=True),
    sa.Column("organisation", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    #: The local day it is sent on; the day after the last that it tells of.
    sa.Column("sent_on", sa.Date, nullable=False),
    #: The zone, the weekday and the hour that made it due.
    sa.Column("zone", sa.Text, nullable=False),
    sa.Column("hour", sa.SmallInteger, nullable=False),
    sa.Column("due_at", Instant, nullable=False),
    #: `planned`, `ready`, `empty`, `missed`.
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("attempts", sa.SmallInteger, nullable=False),
    #: When to look at it again: the next attempt to make it, or the end of the lease of whoever does.
    sa.Column("next_attempt_at", Instant),
    sa.Column("lease", sa.Text),
    sa.Column("made_at", Instant),
    sa.Column("content", sa.Text),
    sa.Column("picture", sa.LargeBinary),
    sa.Column("error", sa.Text),
    sa.UniqueConstraint("organisation", "kind", "sent_on", name="report_runs_once"),
)

#: One report to one person.
report_deliveries = sa.Table(
    "report_deliveries",
    metadata,
    sa.Column("id", serial, sa.Identity(), primary_key=True),
    sa.Column("run_id", sa.ForeignKey("report_runs.id"), nullable=False),
    sa.Column("key", sa.Text, nullable=False),
    sa.Column("address", sa.Text, nullable=False),
    #: `pending`, `claimed`, `in_data`, `sent`, `failed`, `uncertain`, `skipped`.
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("due_at", Instant, nullable=False),
    sa.Column("attempts", sa.SmallInteger, nullable=False),
    sa.Column("next_attempt_at", Instant),
    #: Who holds it; only the holder may say what became of it.
    sa.Column("lease", sa.Text),
    #: What the mail server answered, what went wrong, or why it is not sent.
    sa.Column("answer", sa.Text),
    sa.Column("finished_at", Instant),
    sa.UniqueConstraint("run_id", "key", name="report_deliveries_once"),
)

partial("report_runs_to_make", report_runs.c.next_attempt_at, where="state = 'planned'")
partial("report_runs_missed", report_runs.c.due_at, where="state = 'missed'")
partial("report_deliveries_to_send", report_deliveries.c.next_attempt_at, where="state IN ('pending', 'claimed')")
partial("report_deliveries_in_data", report_deliveries.c.next_attempt_at, where="state = 'in_data'")
partial("report_deliveries_stuck", report_deliveries.c.id, where="state IN ('failed', 'uncertain')")
sa.Index("report_runs_due", report_runs.c.due_at, report_runs.c.id)
partial("report_runs_frozen", report_runs.c.due_at, where="content IS NOT NULL")
