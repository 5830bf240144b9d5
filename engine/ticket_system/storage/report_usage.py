"""What a customer has used in a period, from batches that were sealed and facts that were not."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import sqlalchemy as sa

from ticket_system.billing.deliveries import COUNTED, STUCK, SUPERSEDED, State
from ticket_system.billing.usage import Window
from ticket_system.storage.billing_tables import UNSEALED, usage_batches, usage_deliveries, usage_facts
from ticket_system.storage.tables import named, one_of

#: What is in such a batch is not billed, or is billed by another one.
_GONE = (*SUPERSEDED, State.VOIDED, State.CARRIED)


class Used(NamedTuple):
    """By kind: how much there is in all, and how much of it was accepted by whoever bills."""

    used: Counter[str]
    reported: Counter[str]


def used(connection: sa.Connection, customer: str, period: Window) -> Used:
    """Count what a customer is billed for in a period, credits taken off."""
    found = Used(Counter(), Counter())
    waiting = (
        sa.select(usage_facts.c.kind, sa.func.sum(usage_facts.c.quantity))
        .where(
            usage_facts.c.customer == customer,
            usage_facts.c.occurred_at >= period.start,
            usage_facts.c.occurred_at < period.end,
            sa.text(UNSEALED),
        )
        .group_by(usage_facts.c.kind)
    )
    for kind, quantity in connection.execute(waiting):
        found.used[kind] += int(quantity)
    sealed = (
        sa.select(usage_batches.c.kind, usage_deliveries.c.state, sa.func.sum(usage_batches.c.quantity))
        .join_from(usage_batches, usage_deliveries, usage_deliveries.c.batch_id == usage_batches.c.id)
        .where(
            usage_batches.c.customer == customer,
            # No batch crosses the end of a billing period.
            usage_batches.c.window_start >= period.start,
            usage_batches.c.window_start < period.end,
            usage_deliveries.c.state.not_in([named(state) for state in _GONE]),
        )
        .group_by(usage_batches.c.kind, usage_deliveries.c.state)
    )
    for kind, state, quantity in connection.execute(sealed):
        found.used[kind] += int(quantity)
        if state in COUNTED:
            found.reported[kind] += int(quantity)
    return found


def stuck(connection: sa.Connection, customer: str) -> int:
    """Count the deliveries of a customer that a person has to look at."""
    # From what is stuck, which is little, to whose it is: joined, SQLite begins with all that was ever billed.
    theirs = sa.exists().where(usage_batches.c.id == usage_deliveries.c.batch_id, usage_batches.c.customer == customer)
    query = sa.select(sa.func.count()).select_from(usage_deliveries)
    return connection.execute(query.where(one_of(usage_deliveries.c.state, STUCK), theirs)).scalar_one()
