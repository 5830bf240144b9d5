"""What a fleet was asked, what it could not understand, and which ticks it has done."""

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
