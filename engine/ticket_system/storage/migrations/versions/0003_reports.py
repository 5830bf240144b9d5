"""Organisations, who gets their reports, and the reports: planned, frozen, delivered."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

instant = sa.DateTime(timezone=True)
serial = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def where(condition: str) -> dict[str, Any]:
    """Say which rows a partial index holds."""
    return {"postgresql_where": sa.text(condition), "sqlite_where": sa.text(condition)}


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "organisations",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("customer", sa.Text()),
        sa.Column("group", sa.Text()),
        sa.Column("zone", sa.Text(), nullable=False),
        sa.Column("locale", sa.Text(), nullable=False),
        sa.Column("weekday", sa.SmallInteger(), nullable=False),
        sa.Column("hour", sa.SmallInteger(), nullable=False),
        sa.Column("created_at", instant, nullable=False),
        sa.CheckConstraint("weekday BETWEEN 0 AND 6", name="weekday_known"),
        sa.CheckConstraint("hour BETWEEN 0 AND 23", name="hour_known"),
        sa.PrimaryKeyConstraint("name", name="organisations_pk"),
    )
    op.create_table(
        "recipients",
        sa.Column("id", serial, sa.Identity(), nullable=False),
        sa.Column("organisation", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("roles", sa.JSON(), nullable=False),
        sa.Column("zone", sa.Text()),
        sa.Column("locale", sa.Text()),
        sa.Column("hour", sa.SmallInteger()),
        sa.Column("weekly", sa.Boolean(), nullable=False),
        sa.Column("daily", sa.Boolean(), nullable=False),
        sa.Column("changed_at", instant, nullable=False),
        sa.Column("changed_by", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["organisation"], ["organisations.name"], name="recipients_organisation_fk"),
        sa.PrimaryKeyConstraint("id", name="recipients_pk"),
        sa.UniqueConstraint("organisation", "key", name="recipients_once"),
    )
    op.create_table(
        "suppressions",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("at", instant, nullable=False),
        sa.PrimaryKeyConstraint("key", name="suppressions_pk"),
    )
    op.create_table(
        "report_schedules",
        sa.Column("organisation", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("next_on", sa.Date(), nullable=False),
        sa.Column("next_at", instant, nullable=False),
        sa.ForeignKeyConstraint(["organisation"], ["organisations.name"], name="report_schedules_organisation_fk"),
        sa.PrimaryKeyConstraint("organisation", "kind", name="report_schedules_pk"),
    )
    op.create_index("report_schedules_due", "report_schedules", ["next_at"])
    op.create_table(
        "report_runs",
        sa.Column("id", serial, sa.Identity(), nullable=False),
        sa.Column("organisation", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("sent_on", sa.Date(), nullable=False),
        sa.Column("zone", sa.Text(), nullable=False),
        sa.Column("hour", sa.SmallInteger(), nullable=False),
        sa.Column("due_at", instant, nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("attempts", sa.SmallInteger(), nullable=False),
        sa.Column("next_attempt_at", instant),
        sa.Column("lease", sa.Text()),
        sa.Column("made_at", instant),
        sa.Column("content", sa.Text()),
        sa.Column("picture", sa.LargeBinary()),
        sa.Column("error", sa.Text()),
        sa.PrimaryKeyConstraint("id", name="report_runs_pk"),
        sa.UniqueConstraint("organisation", "kind", "sent_on", name="report_runs_once"),
    )
    op.create_index("report_runs_to_make", "report_runs", ["next_attempt_at"], **where("state = 'planned'"))
    op.create_table(
        "report_deliveries",
        sa.Column("id", serial, sa.Identity(), nullable=False),
        sa.Column("run_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("due_at", instant, nullable=False),
        sa.Column("attempts", sa.SmallInteger(), nullable=False),
        sa.Column("next_attempt_at", instant),
        sa.Column("lease", sa.Text()),
        sa.Column("answer", sa.Text()),
        sa.Column("finished_at", instant),
        sa.ForeignKeyConstraint(["run_id"], ["report_runs.id"], name="report_deliveries_run_id_fk"),
        sa.PrimaryKeyConstraint("id", name="report_deliveries_pk"),
        sa.UniqueConstraint("run_id", "key", name="report_deliveries_once"),
    )
    op.create_index(
        "report_deliveries_to_send",
        "report_deliveries",
        ["next_attempt_at"],
        **where("state IN ('pending', 'claimed')"),
    )
    op.create_index("report_deliveries_in_data", "report_deliveries", ["next_attempt_at"], **where("state = 'in_data'"))
    op.create_index("report_deliveries_stuck", "report_deliveries", ["id"], **where("state IN ('failed', 'uncertain')"))
