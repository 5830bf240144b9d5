"""Tickets, comments, rules, clocks, alarms, events, the outbox and the audit."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

instant = sa.DateTime(timezone=True)
serial = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
active = "status IN ('open', 'in_progress', 'review', 'on_hold')"
crossing = f"kind = 'status' AND ({active.replace('status', 'old')}) <> ({active.replace('status', 'new')})"


def where(condition: str) -> dict[str, Any]:
    """Say which rows a partial index holds."""
    return {"postgresql_where": sa.text(condition), "sqlite_where": sa.text(condition)}


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "events",
        sa.Column("id", serial, sa.Identity(), nullable=False),
        sa.Column("ticket_id", sa.Text(), nullable=False),
        sa.Column("at", instant, nullable=False),
        sa.Column("recorded_at", instant, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("old", sa.Text()),
        sa.Column("new", sa.Text()),
        sa.Column("note", sa.Text()),
        sa.Column("key", sa.Text()),
        sa.Column("detail", sa.Text()),
        sa.PrimaryKeyConstraint("id", name="events_pk"),
    )
    op.create_index("events_crossing", "events", ["at", "new", "ticket_id"], **where(crossing))
    op.create_index("events_of_ticket", "events", ["ticket_id", "at"])
    op.create_index("events_once", "events", ["key"], unique=True, **where("key IS NOT NULL"))
    op.create_table(
        "outbox",
        sa.Column("id", serial, sa.Identity(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("ticket_id", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("attempts", sa.SmallInteger(), nullable=False),
        sa.Column("created_at", instant, nullable=False),
        sa.Column("next_attempt_at", instant),
        sa.Column("lease", sa.Text()),
        sa.Column("error", sa.Text()),
        sa.Column("sent_at", instant),
        sa.Column("destination", sa.Text(), server_default="mail", nullable=False),
        sa.Column("bundle_id", serial),
        sa.PrimaryKeyConstraint("id", name="outbox_pk"),
        sa.UniqueConstraint("key", name="outbox_key_unique"),
    )
    op.create_index("outbox_of_bundle", "outbox", ["bundle_id"], **where("bundle_id IS NOT NULL"))
    op.create_index("outbox_stuck", "outbox", ["id"], **where("state IN ('parked', 'uncertain')"))
    op.create_index(
        "outbox_to_send", "outbox", ["destination", "next_attempt_at"], **where("state IN ('pending', 'leased')")
    )
    op.create_index("outbox_sending", "outbox", ["next_attempt_at"], **where("state = 'sending'"))
    op.create_table(
        "rests",
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("failures", sa.SmallInteger(), nullable=False),
        sa.Column("until", instant, nullable=False),
        sa.Column("error", sa.Text()),
        sa.PrimaryKeyConstraint("channel", name="rests_pk"),
    )
    op.create_table(
        "audit_runs",
        sa.Column("id", serial, sa.Identity(), nullable=False),
        sa.Column("finished_at", instant, nullable=False),
        sa.Column("event_id", sa.BigInteger(), nullable=False),
        sa.Column("ticket_id", sa.Text(), nullable=False),
        sa.Column("checked", sa.Integer(), nullable=False),
        sa.Column("differences", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="audit_runs_pk"),
    )
    op.create_table(
        "tickets",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("requester", sa.Text(), nullable=False),
        sa.Column("priority", sa.SmallInteger(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("assignee", sa.Text()),
        sa.Column("sla_hours", sa.Integer(), nullable=False),
        sa.Column("created_at", instant, nullable=False),
        sa.Column("updated_at", instant, nullable=False),
        sa.Column("resolved_at", instant),
        sa.Column("tags", sa.JSON(), nullable=False),
        sa.Column("customer", sa.Text()),
        sa.Column("plan", sa.Text()),
        sa.Column("group", sa.Text()),
        sa.Column("cycle", sa.SmallInteger(), server_default="1", nullable=False),
        sa.CheckConstraint("priority BETWEEN 1 AND 4", name=op.f("tickets_priority_known")),
        sa.PrimaryKeyConstraint("id", name="tickets_pk"),
    )
    op.create_index("tickets_of_assignee", "tickets", ["assignee", "priority", "created_at"])
    op.create_index("tickets_open_of_assignee", "tickets", ["assignee"], **where(active))
    op.create_index("tickets_opened", "tickets", ["created_at", "priority"])
    op.create_index("tickets_queue", "tickets", ["priority", "created_at"], **where(active))
    op.create_index(
        "tickets_resolved",
        "tickets",
        ["resolved_at", "priority", "created_at"],
        **where("resolved_at IS NOT NULL"),
    )
    op.create_table(
        "rules",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("applied_at", instant, nullable=False),
        sa.Column("applied_by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="rules_pk"),
    )
    op.create_table(
        "clocks",
        sa.Column("ticket_id", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("cycle", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("started_at", instant, nullable=False),
        sa.Column("target_seconds", sa.BigInteger(), nullable=False),
        sa.Column("due_at", instant),
        sa.Column("next_check_at", instant),
        sa.Column("paused_at", instant),
        sa.Column("paused_for", sa.BigInteger(), nullable=False),
        sa.Column("remaining", sa.BigInteger()),
        sa.Column("stopped_at", instant),
        sa.Column("breached_at", instant),
        sa.Column("detected_at", instant),
        sa.Column("cause", sa.Text()),
        sa.Column("policy", sa.Text(), server_default="default", nullable=False),
        sa.Column("rules", sa.Integer()),
        sa.Column("acknowledged_at", instant),
        sa.Column("rearms_at", instant),
        sa.Column("held_for", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("waived_at", instant),
        sa.Column("worked", sa.BigInteger()),
        sa.ForeignKeyConstraint(["ticket_id"], ["tickets.id"], name="clocks_ticket_id_fk"),
        sa.ForeignKeyConstraint(["rules"], ["rules.id"], name="clocks_rules_fk"),
        sa.PrimaryKeyConstraint("ticket_id", "target", "cycle", name="clocks_pk"),
    )
    op.create_index("clocks_breached", "clocks", ["breached_at"], **where("state = 'breached'"))
    op.create_index("clocks_overdue", "clocks", ["due_at"], **where("state = 'breached' AND stopped_at IS NULL"))
    op.create_index("clocks_stopped", "clocks", ["stopped_at"], **where("stopped_at IS NOT NULL"))
    op.create_index("clocks_to_check", "clocks", ["next_check_at"], **where("next_check_at IS NOT NULL"))
    steps = op.create_table(
        "steps",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("rules", sa.Integer()),
        sa.Column("policy", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("number", sa.SmallInteger(), nullable=False),
        sa.Column("raises", sa.Boolean(), nullable=False),
        sa.Column("by_hand", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["rules"], ["rules.id"], name="steps_rules_fk"),
        sa.PrimaryKeyConstraint("id", name="steps_pk"),
    )
    op.create_index("steps_of_rules", "steps", ["rules"])
    notices = op.create_table(
        "step_notices",
        sa.Column("step_id", sa.Integer(), nullable=False),
        sa.Column("destination", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["step_id"], ["steps.id"], name="step_notices_step_id_fk"),
        sa.PrimaryKeyConstraint("step_id", "destination", name="step_notices_pk"),
    )
    # The chain built in: at once when it is late, one step up, and whoever has the ticket is told.
    op.bulk_insert(
        steps,
        [{"rules": None, "policy": "", "kind": "escalated", "number": 1, "raises": True, "by_hand": False}],
    )
    op.bulk_insert(notices, [{"step_id": 1, "destination": "mail"}])
    op.create_table(
        "alarms",
        sa.Column("ticket_id", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("cycle", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("step_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("repeat", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("at", instant, nullable=False),
        sa.Column("raised_at", instant),
        sa.PrimaryKeyConstraint("ticket_id", "target", "cycle", "step_id", "repeat", name="alarms_pk"),
    )
    op.create_index("alarms_raised", "alarms", ["ticket_id"], **where("raised_at IS NOT NULL"))
    op.create_table(
        "comments",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("ticket_id", sa.Text(), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("is_internal", sa.Boolean(), nullable=False),
        sa.Column("created_at", instant, nullable=False),
        sa.ForeignKeyConstraint(["ticket_id"], ["tickets.id"], name="comments_ticket_id_fk"),
        sa.PrimaryKeyConstraint("id", name="comments_pk"),
    )
    op.create_index("comments_of_ticket", "comments", ["ticket_id", "created_at"])
