"""The tables of what is billed, beside those of tickets, and the same on SQLite and PostgreSQL.

What must never be billed twice is held by keys here, not by code: a fact by its cause, a batch by its window or its
fact, a delivery by its generation and its minute. A fact has one route, and lies in one batch of that very route.
"""

from __future__ import annotations

import sqlalchemy as sa

from ticket_system.storage.tables import Instant, metadata, partial, serial

_ROUTES = "('metered', 'invoice_item', 'none')"

#: Whom to bill: our name for a customer, theirs, and what they have bought.
customers = sa.Table(
    "customers",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("livemode", sa.Boolean, nullable=False),
    sa.Column("stripe_customer", sa.Text, nullable=False),
    sa.Column("subscription", sa.Text),
    #: As it was last fetched: `active`, `past_due`, `canceled`, …
    sa.Column("status", sa.Text),
    sa.Column("past_due_since", Instant),
    sa.Column("price", sa.Text),
    sa.Column("plan", sa.Text),
    #: Hours to a resolution, where the product and no policy names them.
    sa.Column("hours", sa.Integer),
    #: How the plan bills critical tickets.
    sa.Column("critical", sa.Text, nullable=False, server_default="metered"),
    #: What is not as it should be: a price that nobody knows.
    sa.Column("problem", sa.Text),
    #: Since when there is something new to fetch, and when it was fetched.
    sa.Column("dirty_at", Instant),
    sa.Column("synced_at", Instant),
    #: What was used before is on an invoice that is final.
    sa.Column("finalised_until", Instant),
    sa.UniqueConstraint("livemode", "stripe_customer", name="customers_of_stripe"),
    sa.CheckConstraint(f"critical IN {_ROUTES}", name="critical_known"),
)

billing_periods = sa.Table(
    "billing_periods",
    metadata,
    sa.Column("customer", sa.ForeignKey("customers.name"), primary_key=True),
    sa.Column("starts_at", Instant, primary_key=True),
    sa.Column("ends_at", Instant, primary_key=True),
)

usage_batches = sa.Table(
    "usage_batches",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("customer", sa.ForeignKey("customers.name"), nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("route", sa.Text, nullable=False),
    sa.Column("event_name", sa.Text, nullable=False),
    sa.Column("window_start", Instant, nullable=False),
    sa.Column("window_end", Instant, nullable=False),
    #: Which batch of the window it is, from 0: late facts make another.
    sa.Column("seq", sa.SmallInteger, nullable=False),
    sa.Column("quantity", sa.Integer, nullable=False),
    #: In the smallest unit of the currency, of one.
    sa.Column("amount", sa.Integer, nullable=False),
    sa.Column("currency", sa.Text, nullable=False),
    #: Of an invoice item, the fact that it charges, or the batch that it carries over.
    sa.Column("charges", sa.Text, unique=True),
    sa.Column("sealed_at", Instant, nullable=False),
    # What facts refer to, so that none lies in a batch of another route.
    sa.UniqueConstraint("id", "route", name="usage_batches_route"),
    sa.CheckConstraint("route IN ('metered', 'invoice_item')", name="route_known"),
    sa.CheckConstraint("(route = 'invoice_item') = (charges IS NOT NULL)", name="item_charges"),
    sa.Index("usage_batches_of_customer", "customer", "window_start"),
)

#: What happened, once by its key: appended to. Only its batch, and that it was forgiven, is written later.
usage_facts = sa.Table(
    "usage_facts",
    metadata,
    sa.Column("id", serial, sa.Identity(), primary_key=True),
    sa.Column("key", sa.Text, nullable=False, unique=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("ticket_id", sa.Text, nullable=False),
    sa.Column("customer", sa.Text, nullable=False),
    sa.Column("occurred_at", Instant, nullable=False),
    sa.Column("recorded_at", Instant, nullable=False),
    #: 1, or -1 for a credit.
    sa.Column("quantity", sa.SmallInteger, nullable=False),
    #: None until it is known who is billed.
    sa.Column("route", sa.Text),
    sa.Column("batch_id", sa.Text),
    sa.Column("forgiven_at", Instant),
    sa.Column("reason", sa.Text),
    # Written in either order within one transaction.
    sa.ForeignKeyConstraint(
        ["batch_id", "route"],
        ["usage_batches.id", "usage_batches.route"],
        name="usage_facts_batch_fk",
        deferrable=True,
        initially="DEFERRED",
    ),
    sa.CheckConstraint(f"route IN {_ROUTES}", name="route_known"),
    sa.CheckConstraint("batch_id IS NULL OR route IS NOT NULL", name="batch_has_route"),
    sa.Index("usage_facts_of_ticket", "ticket_id"),
)

#: One call at a time goes out for each: a customer of theirs and a meter, or a customer's invoice items.
usage_lanes = sa.Table(
    "usage_lanes",
    metadata,
    sa.Column("id", serial, sa.Identity(), primary_key=True),
    sa.Column("livemode", sa.Boolean, nullable=False),
    sa.Column("stripe_customer", sa.Text, nullable=False),
    sa.Column("event_name", sa.Text, nullable=False),
    sa.Column("lease", sa.Text),
    sa.Column("lease_until", Instant),
    #: When what is counted there is compared next.
    sa.Column("compare_at", Instant),
    #: When all that is kept was compared, and not just the newest.
    sa.Column("deep_at", Instant),
    #: Counted there in the last comparison, and sent by nobody we know.
    sa.Column("surplus", sa.Integer, nullable=False, server_default="0"),
    sa.UniqueConstraint("livemode", "stripe_customer", "event_name", name="usage_lanes_once"),
)

usage_deliveries = sa.Table(
    "usage_deliveries",
    metadata,
    sa.Column("id", serial, sa.Identity(), primary_key=True),
    sa.Column("batch_id", sa.ForeignKey("usage_batches.id"), nullable=False),
    sa.Column("lane_id", sa.ForeignKey("usage_lanes.id"), nullable=False),
    sa.Column("generation", sa.SmallInteger, nullable=False),
    sa.Column("identifier", sa.Text, nullable=False, unique=True),
    sa.Column("event_at", Instant, nullable=False),
    sa.Column("route", sa.Text, nullable=False),
    sa.Column("quantity", sa.Integer, nullable=False),
    sa.Column("epoch", sa.Integer, nullable=False, server_default="0"),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
    sa.Column("first_attempt_at", Instant),
    sa.Column("last_attempt_at", Instant),
    sa.Column("next_attempt_at", Instant),
    sa.Column("absent_since", Instant),
    sa.Column("refused_at", Instant),
    sa.Column("confirmed_by", sa.Text),
    sa.Column("found", sa.Integer),
    sa.Column("made", sa.Text),
    sa.Column("request_id", sa.Text),
    sa.Column("error_http", sa.SmallInteger),
    sa.Column("error_code", sa.Text),
    sa.Column("error", sa.Text),
    sa.UniqueConstraint("batch_id", "generation", name="usage_deliveries_generation"),
)

#: Events that were signed for us, each once, until somebody has done what follows from it.
stripe_events = sa.Table(
    "stripe_events",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    #: `snapshot` or `thin`.
    sa.Column("form", sa.Text, nullable=False),
    sa.Column("type", sa.Text, nullable=False),
    sa.Column("livemode", sa.Boolean, nullable=False),
    sa.Column("received_at", Instant, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    #: `new`, `handled`, `ignored`, or `dead` after too many attempts.
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("attempts", sa.SmallInteger, nullable=False, server_default="0"),
    sa.Column("next_attempt_at", Instant),
    sa.Column("handled_at", Instant),
    sa.Column("error", sa.Text),
)

#: Who linked, planned, settled or carried what, and why.
billing_log = sa.Table(
    "billing_log",
    metadata,
    sa.Column("id", serial, sa.Identity(), primary_key=True),
    sa.Column("at", Instant, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("customer", sa.Text),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("note", sa.Text, nullable=False),
    sa.Index("billing_log_of_customer", "customer", "id"),
)

#: The name of this installation: one row. What it sends is named after it.
installations = sa.Table(
    "installations",
    metadata,
    sa.Column("id", sa.SmallInteger, primary_key=True, autoincrement=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.CheckConstraint("id = 1", name="only_one"),
)

#: When something that is done now and then was done last.
billing_rounds = sa.Table(
    "billing_rounds",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("at", Instant, nullable=False),
)

#: What is in no batch, and will be in none.
NEVER_SEALED = "batch_id IS NULL AND (forgiven_at IS NOT NULL OR route = 'none')"
UNSEALED = "batch_id IS NULL AND forgiven_at IS NULL AND (route IS NULL OR route <> 'none')"


partial("usage_facts_unsealed", usage_facts.c.customer, usage_facts.c.occurred_at, where=UNSEALED)
# What is never billed lies in none, and there is ever more of it.
partial("usage_facts_of_batch", usage_facts.c.batch_id, where="batch_id IS NOT NULL")
partial(
    "usage_batches_window",
    usage_batches.c.customer,
    usage_batches.c.event_name,
    usage_batches.c.window_start,
    usage_batches.c.seq,
    where="route = 'metered'",
    unique=True,
)
partial(
    "usage_deliveries_open",
    usage_deliveries.c.batch_id,
    where="state NOT IN ('absent', 'replaced')",
    unique=True,
)
# Its own minute, so that what is counted there is an answer about one delivery.
partial(
    "usage_deliveries_minute",
    usage_deliveries.c.lane_id,
    usage_deliveries.c.event_at,
    where="route = 'metered' AND state NOT IN ('absent', 'replaced')",
    unique=True,
)
partial("usage_to_send", usage_deliveries.c.next_attempt_at, where="state IN ('sealed', 'sending')")
partial("usage_to_look_for", usage_deliveries.c.next_attempt_at, where="state = 'unknown'")
partial(
    "usage_stuck",
    usage_deliveries.c.id,
    where="state IN ('rejected', 'rejected_async', 'disputed', 'expired')",
)
partial("usage_lanes_to_compare", usage_lanes.c.compare_at, where="compare_at IS NOT NULL")
partial("usage_lanes_surplus", usage_lanes.c.id, where="surplus <> 0")
partial("customers_dirty", customers.c.dirty_at, where="dirty_at IS NOT NULL")
partial("stripe_events_new", stripe_events.c.next_attempt_at, where="state = 'new'")
partial("stripe_events_dead", stripe_events.c.received_at, where="state = 'dead'")
# What retention looks at, the oldest first.
sa.Index("usage_batches_sealed", usage_batches.c.sealed_at)
partial("usage_facts_never_sealed", usage_facts.c.recorded_at, where=NEVER_SEALED)
partial("stripe_events_done", stripe_events.c.handled_at, where="state IN ('handled', 'ignored')")
