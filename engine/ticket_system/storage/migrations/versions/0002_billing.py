"""Customers, usage facts, batches and deliveries, and the events of whoever bills."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

instant = sa.DateTime(timezone=True)
serial = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def where(condition: str) -> dict[str, Any]:
    """Say which rows a partial index holds."""
    return {"postgresql_where": sa.text(condition), "sqlite_where": sa.text(condition)}


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "billing_log",
        sa.Column("id", serial, sa.Identity(), nullable=False),
        sa.Column("at", instant, nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("customer", sa.Text()),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="billing_log_pk"),
    )
    op.create_index("billing_log_of_customer", "billing_log", ["customer", "id"])
    op.create_table(
        "billing_rounds",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("at", instant, nullable=False),
        sa.PrimaryKeyConstraint("name", name="billing_rounds_pk"),
    )
    op.create_table(
        "installations",
        sa.Column("id", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.CheckConstraint("id = 1", name="only_one"),
        sa.PrimaryKeyConstraint("id", name="installations_pk"),
    )
    op.create_table(
        "customers",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("livemode", sa.Boolean(), nullable=False),
        sa.Column("stripe_customer", sa.Text(), nullable=False),
        sa.Column("subscription", sa.Text()),
        sa.Column("status", sa.Text()),
        sa.Column("past_due_since", instant),
        sa.Column("price", sa.Text()),
        sa.Column("plan", sa.Text()),
        sa.Column("hours", sa.Integer()),
        sa.Column("critical", sa.Text(), server_default="metered", nullable=False),
        sa.Column("problem", sa.Text()),
        sa.Column("dirty_at", instant),
        sa.Column("synced_at", instant),
        sa.Column("finalised_until", instant),
        sa.CheckConstraint("critical IN ('metered', 'invoice_item', 'none')", name="critical_known"),
        sa.PrimaryKeyConstraint("name", name="customers_pk"),
        sa.UniqueConstraint("livemode", "stripe_customer", name="customers_of_stripe"),
    )
    op.create_index("customers_dirty", "customers", ["dirty_at"], **where("dirty_at IS NOT NULL"))
    op.create_table(
        "stripe_events",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("form", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("livemode", sa.Boolean(), nullable=False),
        sa.Column("received_at", instant, nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("attempts", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("next_attempt_at", instant),
        sa.Column("handled_at", instant),
        sa.Column("error", sa.Text()),
        sa.PrimaryKeyConstraint("id", name="stripe_events_pk"),
    )
    op.create_index("stripe_events_dead", "stripe_events", ["received_at"], **where("state = 'dead'"))
    op.create_index("stripe_events_new", "stripe_events", ["next_attempt_at"], **where("state = 'new'"))
    op.create_table(
        "usage_lanes",
        sa.Column("id", serial, sa.Identity(), nullable=False),
        sa.Column("livemode", sa.Boolean(), nullable=False),
        sa.Column("stripe_customer", sa.Text(), nullable=False),
        sa.Column("event_name", sa.Text(), nullable=False),
        sa.Column("lease", sa.Text()),
        sa.Column("lease_until", instant),
        sa.Column("compare_at", instant),
        sa.Column("deep_at", instant),
        sa.Column("surplus", sa.Integer(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("id", name="usage_lanes_pk"),
        sa.UniqueConstraint("livemode", "stripe_customer", "event_name", name="usage_lanes_once"),
    )
    op.create_index("usage_lanes_surplus", "usage_lanes", ["id"], **where("surplus <> 0"))
    op.create_index("usage_lanes_to_compare", "usage_lanes", ["compare_at"], **where("compare_at IS NOT NULL"))
    op.create_table(
        "billing_periods",
        sa.Column("customer", sa.Text(), nullable=False),
        sa.Column("starts_at", instant, nullable=False),
        sa.Column("ends_at", instant, nullable=False),
        sa.ForeignKeyConstraint(["customer"], ["customers.name"], name="billing_periods_customer_fk"),
        sa.PrimaryKeyConstraint("customer", "starts_at", "ends_at", name="billing_periods_pk"),
    )
    op.create_table(
        "usage_batches",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("customer", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("route", sa.Text(), nullable=False),
        sa.Column("event_name", sa.Text(), nullable=False),
        sa.Column("window_start", instant, nullable=False),
        sa.Column("window_end", instant, nullable=False),
        sa.Column("seq", sa.SmallInteger(), nullable=False),
        sa.Column("quantity", sa.Integer(), nullable=False),
        sa.Column("amount", sa.Integer(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("charges", sa.Text()),
        sa.Column("sealed_at", instant, nullable=False),
        sa.CheckConstraint("(route = 'invoice_item') = (charges IS NOT NULL)", name="item_charges"),
        sa.CheckConstraint("route IN ('metered', 'invoice_item')", name="route_known"),
        sa.ForeignKeyConstraint(["customer"], ["customers.name"], name="usage_batches_customer_fk"),
        sa.PrimaryKeyConstraint("id", name="usage_batches_pk"),
        sa.UniqueConstraint("charges", name="usage_batches_charges_unique"),
        sa.UniqueConstraint("id", "route", name="usage_batches_route"),
    )
    op.create_index("usage_batches_of_customer", "usage_batches", ["customer", "window_start"])
    op.create_index(
        "usage_batches_window",
        "usage_batches",
        ["customer", "event_name", "window_start", "seq"],
        unique=True,
        **where("route = 'metered'"),
    )
    op.create_table(
        "usage_deliveries",
        sa.Column("id", serial, sa.Identity(), nullable=False),
        sa.Column("batch_id", sa.Text(), nullable=False),
        sa.Column("lane_id", serial, nullable=False),
        sa.Column("generation", sa.SmallInteger(), nullable=False),
        sa.Column("identifier", sa.Text(), nullable=False),
        sa.Column("event_at", instant, nullable=False),
        sa.Column("route", sa.Text(), nullable=False),
        sa.Column("quantity", sa.Integer(), nullable=False),
        sa.Column("epoch", sa.Integer(), server_default="0", nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("first_attempt_at", instant),
        sa.Column("last_attempt_at", instant),
        sa.Column("next_attempt_at", instant),
        sa.Column("absent_since", instant),
        sa.Column("refused_at", instant),
        sa.Column("confirmed_by", sa.Text()),
        sa.Column("found", sa.Integer()),
        sa.Column("made", sa.Text()),
        sa.Column("request_id", sa.Text()),
        sa.Column("error_http", sa.SmallInteger()),
        sa.Column("error_code", sa.Text()),
        sa.Column("error", sa.Text()),
        sa.ForeignKeyConstraint(["batch_id"], ["usage_batches.id"], name="usage_deliveries_batch_id_fk"),
        sa.ForeignKeyConstraint(["lane_id"], ["usage_lanes.id"], name="usage_deliveries_lane_id_fk"),
        sa.PrimaryKeyConstraint("id", name="usage_deliveries_pk"),
        sa.UniqueConstraint("batch_id", "generation", name="usage_deliveries_generation"),
        sa.UniqueConstraint("identifier", name="usage_deliveries_identifier_unique"),
    )
    op.create_index(
        "usage_deliveries_minute",
        "usage_deliveries",
        ["lane_id", "event_at"],
        unique=True,
        **where("route = 'metered' AND state NOT IN ('absent', 'replaced')"),
    )
    op.create_index(
        "usage_deliveries_open",
        "usage_deliveries",
        ["batch_id"],
        unique=True,
        **where("state NOT IN ('absent', 'replaced')"),
    )
    op.create_index(
        "usage_stuck",
        "usage_deliveries",
        ["id"],
        **where("state IN ('rejected', 'rejected_async', 'disputed', 'expired')"),
    )
    op.create_index("usage_to_look_for", "usage_deliveries", ["next_attempt_at"], **where("state = 'unknown'"))
    op.create_index("usage_to_send", "usage_deliveries", ["next_attempt_at"], **where("state IN ('sealed', 'sending')"))
    op.create_table(
        "usage_facts",
        sa.Column("id", serial, sa.Identity(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("ticket_id", sa.Text(), nullable=False),
        sa.Column("customer", sa.Text(), nullable=False),
        sa.Column("occurred_at", instant, nullable=False),
        sa.Column("recorded_at", instant, nullable=False),
        sa.Column("quantity", sa.SmallInteger(), nullable=False),
        sa.Column("route", sa.Text()),
        sa.Column("batch_id", sa.Text()),
        sa.Column("forgiven_at", instant),
        sa.Column("reason", sa.Text()),
        sa.CheckConstraint("route IN ('metered', 'invoice_item', 'none')", name="route_known"),
        sa.CheckConstraint("batch_id IS NULL OR route IS NOT NULL", name="batch_has_route"),
        sa.ForeignKeyConstraint(
            ["batch_id", "route"],
            ["usage_batches.id", "usage_batches.route"],
            name="usage_facts_batch_fk",
            initially="DEFERRED",
            deferrable=True,
        ),
        sa.PrimaryKeyConstraint("id", name="usage_facts_pk"),
        sa.UniqueConstraint("key", name="usage_facts_key_unique"),
    )
    op.create_index("usage_facts_of_batch", "usage_facts", ["batch_id"], **where("batch_id IS NOT NULL"))
    op.create_index("usage_facts_of_ticket", "usage_facts", ["ticket_id"])
    op.create_index(
        "usage_facts_unsealed",
        "usage_facts",
        ["customer", "occurred_at"],
        **where("batch_id IS NULL AND forgiven_at IS NULL AND (route IS NULL OR route <> 'none')"),
    )
    active = "status IN ('open', 'in_progress', 'review', 'on_hold')"
    op.create_index("tickets_open_of_customer", "tickets", ["customer"], **where(f"{active} AND customer IS NOT NULL"))
