"""The signed link by which a reader leaves a series of reports: it says who and which, and nobody can make another."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from itsdangerous import BadData, URLSafeSerializer

from ticket_worker.billing_settings import secrets_in
from ticket_worker.settings import Settings

#: A report that is older than this is left by the next one's link.
VALID: Final = timedelta(days=180)
PATH: Final = "/unsubscribe/"
_LONGEST_TOKEN = 512


class BadLink(ValueError):
    """Nobody here signed this; the message quotes nothing of it."""


class ExpiredLink(BadLink):
    """It was signed here, too long ago."""


class Links:
    """Signs with the first of the secrets, and takes what was signed with any of them."""

    def __init__(self, secrets: Sequence[str], public_url: str) -> None:
        self._public_url = public_url
        self._serializer = URLSafeSerializer(
            # The last one signs, there.
            list(reversed(secrets)),
            salt="ticket-system.unsubscribe",
            signer_kwargs={"key_derivation": "hmac", "digest_method": hashlib.sha256},
        )

    def __repr__(self) -> str:
        """Leave the secrets out."""
        return f"Links({self._public_url!r})"

    def unsubscribe_url(self, recipient_id: int, kind: str, at: datetime) -> str:
        """Return the link of one report, written at that moment: the same every time, so that a repeat is the same."""
        token = self._serializer.dumps([recipient_id, kind, int(at.timestamp())])
        return f"{self._public_url}{PATH}{token}"

    def read(self, token: str, now: datetime) -> tuple[int, str]:
        """Return the recipient's id and the kind of report, or raise `BadLink` or `ExpiredLink`."""
        if len(token) > _LONGEST_TOKEN:
            raise BadLink("too long")
        try:
            recipient_id, kind, at = self._serializer.loads(token)
        except BadData:
            raise BadLink("not signed here") from None
        if now.timestamp() > at + VALID.total_seconds():
            raise ExpiredLink("signed too long ago")
        return recipient_id, kind


def links_of(settings: Settings) -> Links:
    """Return what signs and reads links, as the settings say: with secrets, without which anything would be signed."""
    return Links(secrets_in(settings.link_secrets), settings.public_url or "")
