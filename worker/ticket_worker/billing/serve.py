"""Serve the endpoint for Stripe's events, in the process that calls it."""

from __future__ import annotations

from importlib.util import find_spec
from typing import NamedTuple

from ticket_worker.billing_settings import secrets_in
from ticket_worker.errors import SettingsError
from ticket_worker.settings import Settings


class Enabled(NamedTuple):
    """A path that is served: which form of event comes there, and the secrets that may have signed it."""

    form: str
    path: str
    secrets: tuple[str, ...]


def enabled_paths(settings: Settings) -> list[Enabled]:
    """Return the paths that have a secret. Without one there is no path: an empty key would verify anything."""
    paths = [
        Enabled("snapshot", "/stripe", tuple(secrets_in(settings.stripe_webhook_secrets))),
        Enabled("thin", "/stripe/thin", tuple(secrets_in(settings.stripe_thin_secrets))),
    ]
    return [one for one in paths if one.secrets]


def require(settings: Settings) -> None:
    """Raise SettingsError, saying what to do, unless there is something to serve, and something to serve it with."""
    problems = []
    if not enabled_paths(settings):
        problems.append(
            "TICKETS_STRIPE_WEBHOOK_SECRETS, TICKETS_STRIPE_THIN_SECRETS: neither is set, and without its secret a "
            "path is not served. Expected: whsec_…, as Stripe shows it for the endpoint"
        )
    if missing := [name for name in ("starlette", "stripe", "uvicorn") if find_spec(name) is None]:
        problems.append(
            f"the webhook endpoint needs {', '.join(missing)}. Expected: pip install 'blackroad-ticket-system[billing]'"
        )
    if problems:
        raise SettingsError(*problems)


def run_webhook(settings: Settings) -> int:
    """Serve until SIGTERM or Ctrl-C; return the exit status."""
    require(settings)
    from ticket_worker.billing import listener  # noqa: PLC0415 - an extra

    return listener.listen(settings)
