"""What a fleet was asked, what it could not understand, which ticks it has done; and what of all that is old."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

instant = sa.DateTime(timezone=True)
serial = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def where(condition: str) -> dict[str, Any]:
    """Say which rows a partial index holds."""
    return {"postgresql_where": sa.text(condition), "sqlite_where": sa.text(condition)}


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "wishes",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("ticket_id", sa.Text()),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("taken_at", instant, nullable=False),
        sa.PrimaryKeyConstraint("key", name="wishes_pk"),
    )
    op.create_index("wishes_taken", "wishes", ["taken_at"])
    op.create_table(
        "parked",
        sa.Column("id", serial, sa.Identity(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("times", sa.Integer(), nullable=False),
        sa.Column("parked_at", instant, nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("settled_at", instant),
        sa.Column("settled_by", sa.Text()),
        sa.PrimaryKeyConstraint("id", name="parked_pk"),
        sa.UniqueConstraint("fingerprint", name="parked_fingerprint_unique"),
    )
    op.create_index("parked_open", "parked", ["state", "id"], **where("state IN ('waiting', 'due')"))
    op.create_index("parked_settled", "parked", ["settled_at"], **where("state IN ('replayed', 'dropped')"))
    op.create_table(
        "job_runs",
        sa.Column("job", sa.Text(), nullable=False),
        sa.Column("slot", instant, nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("taken_by", sa.Text(), nullable=False),
        sa.Column("taken_at", instant, nullable=False),
        sa.Column("lease_until", instant, nullable=False),
        sa.Column("attempts", sa.SmallInteger(), nullable=False),
        sa.Column("finished_at", instant),
        sa.Column("found", sa.Boolean()),
        sa.Column("error", sa.Text()),
        sa.PrimaryKeyConstraint("job", "slot", name="job_runs_pk"),
    )
    op.create_index("job_runs_open", "job_runs", ["lease_until"], **where("state <> 'done'"))
    op.create_index("report_runs_missed", "report_runs", ["due_at"], **where("state = 'missed'"))
    op.create_index("job_runs_done", "job_runs", ["slot"], **where("state = 'done'"))
    _what_is_kept()


def _what_is_kept() -> None:
    """Mark what was forgotten, and index what may be."""
    op.add_column("tickets", sa.Column("history_pruned_at", instant))
    op.add_column("tickets", sa.Column("usage_pruned_at", instant))
    over = "status IN ('closed', 'cancelled') AND history_pruned_at IS NULL"
    op.create_index("tickets_over", "tickets", ["updated_at"], **where(over))
    op.create_index("outbox_done", "outbox", ["created_at"], **where("state IN ('sent', 'bundled', 'dropped')"))
    op.create_index("report_runs_due", "report_runs", ["due_at", "id"])
    op.create_index("report_runs_frozen", "report_runs", ["due_at"], **where("content IS NOT NULL"))
    op.create_index("usage_batches_sealed", "usage_batches", ["sealed_at"])
    never_sealed = "batch_id IS NULL AND (forgiven_at IS NOT NULL OR route = 'none')"
    op.create_index("usage_facts_never_sealed", "usage_facts", ["recorded_at"], **where(never_sealed))
    op.create_index("stripe_events_done", "stripe_events", ["handled_at"], **where("state IN ('handled', 'ignored')"))
