"""The paths on which Stripe's events come in."""

from __future__ import annotations

from typing import NamedTuple

from ticket_worker.billing_settings import secrets_in
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
