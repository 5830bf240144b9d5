"""What v1 remembers of a request that came with an Idempotency-Key.

An answer is kept once work has begun, whatever it says: also an error, and also a `lock_timeout`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from ticket_worker.demo.stripe_double.answers import Refusal, Response, malformed
from ticket_worker.demo.stripe_double.faults import Request

#: How long an answer is kept.
KEPT = timedelta(hours=24)
_LONGEST_KEY = 255


@dataclass(frozen=True, slots=True)
class _Kept:
    """An answer and the request that it was given to; no answer while the work goes on."""

    fingerprint: str
    answer: Response | None = None
    until: datetime | None = None


@dataclass(slots=True)
class IdempotencyLayer:
    """The keys of one account and one mode each. Its caller holds the double's lock."""

    _kept: dict[tuple[bool, str], _Kept] = field(default_factory=dict)

    def look_up(self, request: Request, now: datetime, *, livemode: bool) -> Response | None:
        """Return the answer that is kept for this request; refuse a key that means something else."""
        if not (key := request.key) or request.method != "POST":
            return None
        if len(key) > _LONGEST_KEY:
            raise malformed(f"Idempotency-Key is longer than {_LONGEST_KEY} characters.", "idempotency_key_too_long")
        kept = self._kept.get((livemode, key))
        if kept is None or (kept.until is not None and kept.until <= now):
            return None
        if kept.fingerprint != _fingerprint(request):
            raise Refusal(
                400,
                "Keys for idempotent requests can only be used with the endpoint and the parameters they were first "
                f"used with; '{key}' was used for another request.",
                type="idempotency_error",
            )
        if kept.answer is None:
            raise Refusal(
                409,
                "There is another request in progress that uses this Idempotency-Key.",
                "idempotency_key_in_use",
                headers={"stripe-should-retry": "true"},
            )
        return Response(kept.answer.status, kept.answer.body, {**kept.answer.headers, "Idempotent-Replayed": "true"})

    def begin(self, request: Request, *, livemode: bool) -> None:
        """From here on the key is in use."""
        if request.key and request.method == "POST":
            self._kept[livemode, request.key] = _Kept(_fingerprint(request))

    def keep(self, request: Request, answer: Response, now: datetime, *, livemode: bool) -> None:
        """Keep the answer from here on."""
        if request.key and request.method == "POST":
            self._kept[livemode, request.key] = _Kept(_fingerprint(request), answer, now + KEPT)

    def forget(self, request: Request, *, livemode: bool) -> None:
        """Work did not begin after all: the key is free."""
        if request.key and request.method == "POST":
            self._kept.pop((livemode, request.key), None)


def _fingerprint(request: Request) -> str:
    return json.dumps([request.method, request.path, request.params], sort_keys=True)
