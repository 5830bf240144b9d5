"""Stripe as a test meets it, through the real SDK: the double on a loopback port, or Stripe's own test mode."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from uuid import uuid4

import stripe

from ticket_worker.demo.stripe_double import TEST_KEY, StripeDouble, running_double

stripe.enable_telemetry = False

KEY_VARIABLE = "TICKETS_TEST_STRIPE_KEY"


class NotATestKey(Exception):
    """Nobody's real customers are billed by a test."""


def stripe_test_key() -> str | None:
    """The key of Stripe's test mode, if whoever runs the tests has one."""
    key = os.environ.get(KEY_VARIABLE)
    if key and not key.startswith("sk_test_"):
        raise NotATestKey(f"{KEY_VARIABLE} holds a key that does not begin with sk_test_; no test runs with it")
    return key or None


def client_of(url: str, key: str = TEST_KEY, *, patience_seconds: float = 10) -> stripe.StripeClient:
    """The SDK as the worker sets it up."""
    return stripe.StripeClient(
        key,
        base_addresses={"api": url, "meter_events": url},
        max_network_retries=0,
        http_client=stripe.RequestsClient(timeout=(3, patience_seconds)),
    )


@dataclass(frozen=True)
class Side:
    """One Stripe or the other, with a customer and a meter of this test alone."""

    client: stripe.StripeClient
    customer: str
    meter: str
    event_name: str
    double: StripeDouble | None = None

    def now(self) -> int:
        """Its time."""
        return int(self.double.world.now().timestamp() if self.double else time.time())

    def report(
        self,
        value: str = "1",
        *,
        identifier: str | None = None,
        key: str | None = None,
        customer: str | None = None,
        event_name: str | None = None,
        timestamp: int | None = None,
    ) -> stripe.billing.MeterEvent:
        """Report usage, with an identifier and a key of its own unless told."""
        return self.client.v1.billing.meter_events.create(
            {
                "event_name": event_name or self.event_name,
                "identifier": identifier or uuid4().hex,
                "payload": {"stripe_customer_id": customer or self.customer, "value": value},
                "timestamp": timestamp or self.now(),
            },
            {"idempotency_key": key or uuid4().hex},
        )

    def summary(self, start: int, end: int) -> float:
        """What Stripe says was used."""
        found = self.client.v1.billing.meters.event_summaries.list(
            self.meter, {"customer": self.customer, "start_time": start, "end_time": end}
        )
        return sum(one.aggregated_value for one in found.auto_paging_iter())


@contextmanager
def double_side(now: datetime | None = None) -> Iterator[Side]:
    """The double, for as long as the block runs; its time stands still where it is told the time."""
    double = StripeDouble(clock=(lambda: now) if now else None)
    with running_double(double) as running:
        yield Side(
            client_of(running.url), double.add_customer(), double.add_meter("tickets_opened"), "tickets_opened", double
        )


@contextmanager
def real_side(key: str) -> Iterator[Side]:
    """Stripe's test mode; what is made there is deleted, or archived where it cannot be."""
    client = stripe.StripeClient(key, max_network_retries=2)
    customer = client.v1.customers.create({"name": "conformance test"})
    name = f"conformance_{uuid4().hex[:12]}"
    meter = client.v1.billing.meters.create(
        {"display_name": name, "event_name": name, "default_aggregation": {"formula": "sum"}}
    )
    try:
        yield Side(client, customer.id, meter.id, name)
    finally:
        client.v1.customers.delete(customer.id)
        client.v1.billing.meters.deactivate(meter.id)
