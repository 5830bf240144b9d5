"""A double of Stripe: what a help desk's billing needs of it, over real HTTP, for the demo and the tests.

It is to be called by the real SDK. It is as strict as Stripe is documented to be, and where that is not known it is
as unkind as the documents allow. It does not import the worker, and nothing but the demo and the tests imports it.
"""

from ticket_worker.demo.stripe_double.double import LIVE_KEY, TEST_KEY, StripeDouble
from ticket_worker.demo.stripe_double.events import Delivery, Endpoint, Event, Postman, signed
from ticket_worker.demo.stripe_double.faults import Fault, FaultKind, FaultPlan, Request
from ticket_worker.demo.stripe_double.server import Running, running_double
from ticket_worker.demo.stripe_double.things import InvoiceItem, MeterEvent
from ticket_worker.demo.stripe_double.world import Rules

__all__ = [
    "LIVE_KEY",
    "TEST_KEY",
    "Delivery",
    "Endpoint",
    "Event",
    "Fault",
    "FaultKind",
    "FaultPlan",
    "InvoiceItem",
    "MeterEvent",
    "Postman",
    "Request",
    "Rules",
    "Running",
    "StripeDouble",
    "running_double",
    "signed",
]
