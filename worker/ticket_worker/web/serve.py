"""Serve what comes in over HTTP, in the process that calls it: each part where its secret is set."""

from __future__ import annotations

from importlib.util import find_spec

from ticket_worker.billing.paths import enabled_paths
from ticket_worker.billing_settings import secrets_in
from ticket_worker.errors import SettingsError
from ticket_worker.settings import Settings

_SERVER = ("starlette", "uvicorn")
UNSUBSCRIBE = "/unsubscribe"


def takes_events(settings: Settings) -> bool:
    """Whether Stripe's events come here."""
    return bool(enabled_paths(settings))


def takes_leave(settings: Settings) -> bool:
    """Whether readers of reports come here, to leave them."""
    return bool(secrets_in(settings.link_secrets))


def served_paths(settings: Settings) -> list[str]:
    """Return the paths of every part that has its secret."""
    return [one.path for one in enabled_paths(settings)] + [UNSUBSCRIBE] * takes_leave(settings)


def require(settings: Settings) -> None:
    """Raise SettingsError, saying what to do, unless there is something to serve, and something to serve it with."""
    problems = []
    if not served_paths(settings):
        problems.append(
            "TICKETS_STRIPE_WEBHOOK_SECRETS, TICKETS_STRIPE_THIN_SECRETS, TICKETS_LINK_SECRETS: none of them is set, "
            "and without its secret a path is not served. Expected: whsec_…, as Stripe shows it for the endpoint; "
            "or 32 random characters, for links that leave a report"
        )
    needed = {
        "billing": (*_SERVER, "stripe") if takes_events(settings) else (),
        "digest": (*_SERVER, "itsdangerous") if takes_leave(settings) else (),
    }
    for extra, packages in needed.items():
        if missing := [name for name in packages if find_spec(name) is None]:
            problems.append(
                f"the webhook endpoint needs {', '.join(missing)}. "
                f"Expected: pip install 'blackroad-ticket-system[{extra}]'"
            )
    if problems:
        raise SettingsError(*problems)


def run_web(settings: Settings) -> int:
    """Serve until SIGTERM or Ctrl-C; return the exit status."""
    require(settings)
    from ticket_worker.web import listener  # noqa: PLC0415 - an extra

    return listener.listen(settings)
