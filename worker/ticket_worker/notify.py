"""The notifiers: one that knows every configured place by its name, and its console twin."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Protocol

import structlog

from ticket_tasks.errors import Rejected
from ticket_tasks.toolbox import Letter
from ticket_worker.destinations import ChatPlace, Place
from ticket_worker.errors import SettingsError

log = structlog.stdlib.get_logger(__name__)


class Sender(Protocol):
    """Whatever delivers letters to one place."""

    def send(self, letter: Letter, *, before_data: Callable[[], None]) -> None:
        """Deliver one letter."""

    def look(self) -> str:
        """Say what kind of place it is, as far as can be seen without telling it anything, or raise a JobError."""


@dataclass(frozen=True, slots=True)
class ConsoleNotifier:
    """Writes letters to the log instead of sending them, whatever place they are for."""

    def send(self, destination: str, letter: Letter, *, before_data: Callable[[], None]) -> None:
        """Log the letter as it would have gone out."""
        before_data()
        log.info(
            "notice.written",
            destination=destination,
            subject=letter.subject,
            text=letter.text,
            facts=letter.facts.model_dump(mode="json") if letter.facts else None,
            key=letter.key,
        )


@dataclass(frozen=True, slots=True)
class NamedNotifier:
    """Hands letters to the sender of that name."""

    senders: Mapping[str, Sender] = field(repr=False)

    def send(self, destination: str, letter: Letter, *, before_data: Callable[[], None]) -> None:
        """Deliver one letter, or raise what its sender raises."""
        sender = self.senders.get(destination)
        if sender is None:
            raise Rejected(
                f"TICKETS_DESTINATIONS knows no place of the name {destination!r}; add it, then: tickets outbox retry"
            )
        sender.send(letter, before_data=before_data)


def connect(places: Mapping[str, Place], *, timeout_seconds: float) -> NamedNotifier:
    """Return a notifier for these places, or raise SettingsError where one needs a package that is not installed."""
    return NamedNotifier({name: sender_for(place, timeout_seconds) for name, place in places.items()})


def sender_for(place: Place, timeout_seconds: float) -> Sender:
    """Return what delivers to a place. Only who has places needs the extra, and only who has chats loads apprise."""
    needed = ("apprise",) if isinstance(place, ChatPlace) else ("standardwebhooks", "urllib3")
    if missing := [package for package in needed if find_spec(package) is None]:
        raise SettingsError(
            f"TICKETS_DESTINATIONS: {place.name} needs the package {missing[0]}, which is not installed. "
            "Expected: pip install 'blackroad-ticket-system[notify]'"
        )
    if isinstance(place, ChatPlace):
        from ticket_worker.chat import ChatSender  # noqa: PLC0415

        return ChatSender(place, timeout_seconds)
    from ticket_worker.webhooks import WebhookSender  # noqa: PLC0415

    return WebhookSender(place, timeout_seconds)
