"""Chats and pagers, through apprise.

Apprise swallows every error, answers yes or no, and logs as it likes. So: its log lines are listened to while it works,
masked, and become the reason; they go nowhere else. "No" may also mean that the answer was lost after the message
arrived; it is tried again all the same, because an alarm that comes twice is better than one that does not come.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from typing_extensions import override

from ticket_tasks.errors import Unreachable
from ticket_tasks.toolbox import Letter
from ticket_worker.destinations import ChatPlace, Mask, secrets_of

_LOGGER = "apprise"
_CONNECT_SECONDS = 5.0
_REASON_LIMIT = 300
_UNKNOWN = "its address is none that apprise knows"


@dataclass(frozen=True, slots=True)
class ChatSender:
    """Posts letters to one place, one connection each."""

    place: ChatPlace
    timeout_seconds: float = field(default=10.0, repr=False)

    def send(self, letter: Letter, *, before_data: Callable[[], None]) -> None:
        """Deliver one letter, or raise `Unreachable`: more than "no" nobody learns."""
        with _overheard() as said:
            chat = self._chat()
            if chat is None:
                # Like a wrong password: waits for the operator, and parks nothing.
                raise Unreachable(_UNKNOWN)
            before_data()
            if chat.notify(body=letter.text, title=letter.subject, notify_type="failure", body_format="text"):
                return
        mask = Mask(secrets_of({self.place.name: self.place}))
        reason = mask(" ".join(" ".join(said).split()))[:_REASON_LIMIT]
        raise Unreachable(f"apprise could not deliver: {reason or 'it does not say why'}")

    def look(self) -> str:
        """Return which service it is; its address is taken apart, and nobody is called."""
        with _overheard():
            chat = self._chat()
        if chat is None:
            raise Unreachable(_UNKNOWN)
        return f"apprise, {chat[0].service_name}, not called"

    def _chat(self) -> Any:
        """Return apprise with this one service; made anew each time, because a kept one sleeps between two messages."""
        # Half a second to import, and most workers never need it.
        import apprise  # noqa: PLC0415

        asset = apprise.AppriseAsset(
            app_id="tickets",
            app_desc="ticket system",
            # Nothing of a chat on disk, and no thread that goes on when nobody waits any more: a job has limits itself.
            async_mode=False,
            service_timeout=0,
            storage_mode=apprise.PersistentStoreMode.MEMORY,
            secure_logging=True,
            # What a ticket's title holds is text.
            allow_templates=False,
            # A message that was turned into a GET elsewhere is not delivered.
            http_redirects=False,
        )
        service = apprise.Apprise.instantiate(self.place.url, asset=asset, suppress_exceptions=True)
        if service is None:
            return None
        service.socket_connect_timeout = min(_CONNECT_SECONDS, self.timeout_seconds)
        service.socket_read_timeout = self.timeout_seconds
        chat = apprise.Apprise(asset=asset)
        chat.add(service)
        return chat


class _Ear(logging.Handler):
    """Keeps what is said."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said: list[str] = []

    @override
    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())


@contextmanager
def _overheard() -> Iterator[list[str]]:
    """Collect apprise's log lines instead of letting them out."""
    logger, ear = logging.getLogger(_LOGGER), _Ear()
    before = logger.handlers[:], logger.level, logger.propagate
    logger.handlers[:], logger.level, logger.propagate = [ear], logging.WARNING, False
    try:
        yield ear.said
    finally:
        logger.handlers[:], logger.level, logger.propagate = before
