"""The endpoints that the double has, and no others."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol
from urllib.parse import unquote

from stripe import params as v1
from stripe.params import billing as v1_billing
from stripe.params.v2 import core as v2_core

from ticket_worker.demo.stripe_double import billing, reading, usage
from ticket_worker.demo.stripe_double.answers import Json, unknown_address
from ticket_worker.demo.stripe_double.forms import Contract, Params, check
from ticket_worker.demo.stripe_double.shapes import check_depth
from ticket_worker.demo.stripe_double.world import World

#: A later page of a v2 list: the SDK's types do not name it, as nobody but Stripe writes it.
_V2_PAGE = "page"


class Work(Protocol):
    """What an endpoint does. The id is empty where the path names no object."""

    def __call__(self, world: World, object_id: str, params: Params, /, *, livemode: bool) -> Json:
        """Return the body of the answer."""


class OfAll(Protocol):
    """Work that is about no single object."""

    def __call__(self, world: World, params: Params, /, *, livemode: bool) -> Json:
        """Return the body of the answer."""


class OfOne(Protocol):
    """Work that needs an id and nothing else."""

    def __call__(self, world: World, object_id: str, /, *, livemode: bool) -> Json:
        """Return the body of the answer."""


@dataclass(frozen=True, slots=True)
class Route:
    """One endpoint: where, with which parameters, and what it does."""

    method: str
    path: re.Pattern[str]
    contract: Contract
    work: Work
    check_form: Callable[[Params], None] | None = None

    def read(self, params: Params) -> Params:
        """Return the parameters as the endpoint understands them, or refuse them."""
        known = check({name: value for name, value in params.items() if name != _V2_PAGE}, self.contract)
        check_depth(known.get("expand") or [])
        if self.check_form:
            self.check_form(known)
        return known | {name: value for name, value in params.items() if name == _V2_PAGE}


def find(method: str, path: str) -> tuple[Route, str]:
    """Return the endpoint, and the id in its path."""
    for route in ROUTES:
        if route.method == method and (found := route.path.fullmatch(path)):
            return route, unquote("".join(found.groups()))
    raise unknown_address(method, path)


def _route(call: str, contract: Contract, work: Work, check_form: Callable[[Params], None] | None = None) -> Route:
    method, _, path = call.partition(" ")
    return Route(method, re.compile(path.replace("{id}", "([^/]+)")), contract, work, check_form)


def _all(work: OfAll) -> Work:
    def of_all(world: World, _object_id: str, params: Params, /, *, livemode: bool) -> Json:
        return work(world, params, livemode=livemode)

    return of_all


def _one(work: OfOne) -> Work:
    def of_one(world: World, object_id: str, _params: Params, /, *, livemode: bool) -> Json:
        return work(world, object_id, livemode=livemode)

    return of_one


def _kind(kind: str) -> Work:
    def of_kind(world: World, object_id: str, _params: Params, /, *, livemode: bool) -> Json:
        return reading.retrieve(world, kind, object_id, livemode=livemode)

    return of_kind


_SNAPSHOT = partial(reading.retrieve_event, is_thin=False)
_THIN = partial(reading.retrieve_event, is_thin=True)

ROUTES = (
    _route("POST /v1/billing/meter_events", v1_billing.MeterEventCreateParams, _all(usage.take), usage.check_form),
    _route("POST /v1/billing/meter_event_adjustments", v1_billing.MeterEventAdjustmentCreateParams, _all(usage.adjust)),
    _route("GET /v1/billing/meters", v1_billing.MeterListParams, _all(reading.list_meters)),
    _route("GET /v1/billing/meters/{id}", v1_billing.MeterRetrieveParams, _kind("meter")),
    _route("GET /v1/billing/meters/{id}/event_summaries", v1_billing.MeterEventSummaryListParams, usage.summaries),
    _route("POST /v1/invoiceitems", v1.InvoiceItemCreateParams, _all(billing.add_item), billing.check_form),
    _route("GET /v1/invoiceitems", v1.InvoiceItemListParams, _all(billing.list_items)),
    _route("GET /v1/invoiceitems/{id}", v1.InvoiceItemRetrieveParams, _kind("invoiceitem")),
    _route("DELETE /v1/invoiceitems/{id}", v1.InvoiceItemDeleteParams, _one(billing.delete_item)),
    _route("GET /v1/invoices", v1.InvoiceListParams, _all(reading.list_invoices)),
    _route("GET /v1/invoices/{id}", v1.InvoiceRetrieveParams, _kind("invoice")),
    _route("GET /v1/subscriptions", v1.SubscriptionListParams, _all(reading.list_subscriptions)),
    _route("GET /v1/subscriptions/{id}", v1.SubscriptionRetrieveParams, _kind("subscription")),
    _route("GET /v1/prices/{id}", v1.PriceRetrieveParams, _kind("price")),
    _route("GET /v1/products/{id}", v1.ProductRetrieveParams, _kind("product")),
    _route("GET /v1/customers/{id}", v1.CustomerRetrieveParams, _kind("customer")),
    _route("GET /v1/events", v1.EventListParams, _all(reading.list_events)),
    _route("GET /v1/events/{id}", v1.EventRetrieveParams, _one(_SNAPSHOT)),
    _route("GET /v2/core/events", v2_core.EventListParams, _all(reading.list_thin_events)),
    _route("GET /v2/core/events/{id}", v2_core.EventRetrieveParams, _one(_THIN)),
)
