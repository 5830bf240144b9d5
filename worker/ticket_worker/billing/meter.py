"""Usage goes out: as events of a meter, or as items on the next invoice. And what was counted there."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from stripe import RequestOptions, StripeError

from ticket_system.billing.deliveries import Answer, Delivery, Said
from ticket_system.billing.usage import HOUR, Window
from ticket_system.ledger import Lane, Row
from ticket_tasks.errors import Rejected
from ticket_worker.billing.client import Account, said, translated
from ticket_worker.billing.console import BATCH_KEY, event_params, item_params
from ticket_worker.billing.pace import Pace

_MOST_IN_A_PAGE = 100


@dataclass(slots=True)
class StripeMeter:
    """Billing Meters and invoice items of Stripe, through its SDK."""

    account: Account
    pace: Pace
    looks: bool = True
    _meters: dict[str, str] = field(default_factory=dict, init=False, repr=False)

    @property
    def livemode(self) -> bool:
        """Whether it is about real money."""
        return self.account.livemode

    def take_turn(self) -> None:
        """Wait until a call keeps within the rate of the fleet."""
        self.pace.take_turn()

    def send(self, row: Row, begun: Delivery) -> Said:
        """Have a batch counted, or charged."""
        v1, options = self.account.client.v1, RequestOptions(idempotency_key=begun.idempotency_key)
        item: Any = item_params(row) if row.is_item else None
        event: Any = None if row.is_item else event_params(row, begun)
        try:
            made = v1.invoice_items.create(item, options) if item else v1.billing.meter_events.create(event, options)
        except StripeError as error:
            return said(error)
        request_id = made.last_response.request_id if made.last_response else None
        return Said(Answer.ACCEPTED, request_id, http=200, made=getattr(made, "id", None) if item else None)

    def counted(self, lane: Lane, minute: Window) -> int:
        """Return what was counted in a minute."""
        return sum(self._summaries(lane, minute).values())

    def counted_by_hour(self, lane: Lane, span: Window) -> dict[datetime, int]:
        """Return what was counted, by the beginning of each hour in which anything was."""
        return self._summaries(lane, span, value_grouping_window="hour", limit=_MOST_IN_A_PAGE)

    def items(self, row: Row) -> list[str]:
        """Return the ids of the invoice items that were made for a batch: they are found by what they say of it."""
        first = row.delivery.first_attempt_at or row.batch.window_start
        wanted: Any = {
            "customer": row.lane.stripe_customer,
            "created": {"gte": int((first - HOUR).timestamp())},
            "limit": _MOST_IN_A_PAGE,
        }
        try:
            found = self.account.client.v1.invoice_items.list(wanted).auto_paging_iter()
            return [one.id for one in found if one.metadata and one.metadata.to_dict().get(BATCH_KEY) == row.batch.id]
        except StripeError as error:
            raise translated(error) from error

    def _summaries(self, lane: Lane, span: Window, **more: object) -> dict[datetime, int]:
        wanted: Any = {
            "customer": lane.stripe_customer,
            "start_time": int(span.start.timestamp()),
            "end_time": int(span.end.timestamp()),
            **more,
        }
        summaries = self.account.client.v1.billing.meters.event_summaries
        try:
            found = summaries.list(self._meter(lane.event_name), wanted).auto_paging_iter()
            return {datetime.fromtimestamp(one.start_time, UTC): round(one.aggregated_value) for one in found}
        except StripeError as error:
            raise translated(error) from error

    def known(self, event_names: Iterable[str]) -> list[str]:
        """Return the meters of these events, or raise: Rejected where one is missing."""
        try:
            return [f"{name} ({self._meter(name)})" for name in event_names]
        except StripeError as error:
            raise translated(error) from error

    def _meter(self, event_name: str) -> str:
        """Return the id of a meter by the name of its events."""
        if event_name not in self._meters:
            found = self.account.client.v1.billing.meters.list({"limit": _MOST_IN_A_PAGE}).auto_paging_iter()
            # Of several the active one: an archived meter keeps its name.
            meters = sorted(found, key=lambda one: one.status == "active")
            self._meters |= {one.event_name: one.id for one in meters}
        if event_name not in self._meters:
            raise Rejected(f"Stripe has no meter for events named {event_name!r}; make it, or change [billing.meters]")
        return self._meters[event_name]
