"""Stripe behind the ports, as the settings say."""

from __future__ import annotations

from ticket_tasks.names import KEY_PREFIX
from ticket_worker.billing.client import Account
from ticket_worker.billing.meter import StripeMeter
from ticket_worker.billing.pace import Pace
from ticket_worker.billing.shop import StripeShop
from ticket_worker.settings import Settings


def meter(settings: Settings) -> StripeMeter:
    """Return Billing Meters and invoice items."""
    return StripeMeter(_account(settings), _pace(settings))


def shop(settings: Settings) -> StripeShop:
    """Return subscriptions and events."""
    return StripeShop(_account(settings), _pace(settings))


def _account(settings: Settings) -> Account:
    key = settings.stripe_api_key.get_secret_value() if settings.stripe_api_key else ""
    return Account(key, settings.livemode, settings.stripe_api_url, settings.stripe_timeout_seconds)


def _pace(settings: Settings) -> Pace:
    # Without a broker there is no fleet to share a rate with.
    url = settings.redis_url.get_secret_value() if settings.redis_url else None
    return Pace(settings.stripe_calls_per_second, url, KEY_PREFIX)
