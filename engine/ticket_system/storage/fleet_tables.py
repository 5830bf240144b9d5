"""The tables of a fleet: what it was asked, what it could not understand, and which ticks it has done."""

from __future__ import annotations

import sqlalchemy as sa

from ticket_system.storage.tables import Instant, metadata, partial, serial

#: What was asked under which key, written with what was done about it: the same key is done once.
wishes = sa.Table(
    "wishes",
    metadata,
    sa.Column("key", sa.Text, primary_key=True),
    #: The name of the message on the wire, without its version.
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("ticket_id", sa.Text),
    #: What became of it, in a word.
    sa.Column("outcome", sa.Text, nullable=False),
    sa.Column("taken_at", Instant, nullable=False),
    sa.Index("wishes_taken", "taken_at"),
)

#: Messages that nobody could understand or finish: kept until a person has them tried again, or drops them.
parked = sa.Table(
    "parked",
    metadata,
    sa.Column("id", serial, sa.Identity(), primary_key=True),
    #: Of name and body: the same message, however often it comes, is one row.
    sa.Column("fingerprint", sa.Text, nullable=False, unique=True),
    sa.Column("name", sa.Text, nullable=False),
    #: JSON, as it came.
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("times", sa.Integer, nullable=False),
    sa.Column("parked_at", Instant, nullable=False),
    #: `waiting` for a person; `due` to be tried again; `replayed` or `dropped`. Who decided, and when, from `due` on.
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("settled_at", Instant),
    sa.Column("settled_by", sa.Text),
)
partial("parked_open", parked.c.state, parked.c.id, where="state IN ('waiting', 'due')")
partial("parked_settled", parked.c.settled_at, where="state IN ('replayed', 'dropped')")

#: A tick: which job, and the moment at which it was due. Whoever writes the row does the job, everybody else does not.
job_runs = sa.Table(
    "job_runs",
    metadata,
    sa.Column("job", sa.Text, primary_key=True),
    sa.Column("slot", Instant, primary_key=True),
    #: `running`, `done` or `failed`.
    sa.Column("state", sa.Text, nullable=False),
    #: Who took it, and until when nobody else may; a run that outlives its lease was killed.
    sa.Column("taken_by", sa.Text, nullable=False),
    sa.Column("taken_at", Instant, nullable=False),
    sa.Column("lease_until", Instant, nullable=False),
    sa.Column("attempts", sa.SmallInteger, nullable=False),
    sa.Column("finished_at", Instant),
    #: Whether there was anything to do.
    sa.Column("found", sa.Boolean),
    sa.Column("error", sa.Text),
)
partial("job_runs_open", job_runs.c.lease_until, where="state <> 'done'")
partial("job_runs_done", job_runs.c.slot, where="state = 'done'")
