"""The meter and the shop that the settings name."""

from __future__ import annotations

from importlib.util import find_spec

from ticket_tasks.toolbox import Meter, Shop
from ticket_worker.billing.console import ConsoleMeter
from ticket_worker.errors import SettingsError
from ticket_worker.settings import Settings


def meter(settings: Settings) -> Meter | None:
    """Return what usage is reported to; None: nothing is billed from here."""
    if settings.billing == "stripe":
        require()
        from ticket_worker.billing import stripe_ports  # noqa: PLC0415 - an extra

        return stripe_ports.meter(settings)
    return ConsoleMeter() if settings.billing == "console" else None


def shop(settings: Settings) -> Shop | None:
    """Return where subscriptions are fetched; None: nowhere."""
    if settings.billing != "stripe":
        return None
    require()
    from ticket_worker.billing import stripe_ports  # noqa: PLC0415 - as above

    return stripe_ports.shop(settings)


def require() -> None:
    """Raise SettingsError, saying what to do, where the extra is missing."""
    if find_spec("stripe") is None or find_spec("limits") is None:
        raise SettingsError(
            "TICKETS_BILLING: stripe needs an extra. Expected: pip install 'blackroad-ticket-system[billing]'"
        )
