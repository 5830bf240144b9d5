"""One client for each process, made when it is first needed; and what its errors mean."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

import stripe
from stripe import RequestsClient, StripeClient, StripeError

from ticket_system.billing.deliveries import Answer, Said
from ticket_tasks.errors import JobError, Rejected, Transient, Unreachable

_CONNECT_SECONDS = 3.0
#: What Stripe says when an identifier is known already; it has no code of its own.
_DUPLICATE = "already exists with identifier"
_TOO_MANY, _CONFLICT, _SERVER, _TIMEOUT = 429, 409, 500, 408


@dataclass(slots=True)
class Account:
    """A key, and the mode it is for. The key is shown nowhere."""

    key: str = field(repr=False)
    livemode: bool
    url: str | None = None
    timeout_seconds: float = 10.0
    _client: StripeClient | None = field(default=None, init=False, repr=False)
    _made_in: int = field(default=0, init=False, repr=False)

    @property
    def client(self) -> StripeClient:
        """The client of this process: after a fork, two on one connection would read each other's answers."""
        if self._client is None or self._made_in != os.getpid():
            self._made_in = os.getpid()
            # On by default it leaves a file in the home directory and sends what machine this is.
            stripe.enable_telemetry = False
            addresses = {"base_addresses": {"api": self.url, "meter_events": self.url}} if self.url else {}
            self._client = StripeClient(
                self.key,
                # Repeats are the ledger's: it knows when one might count twice.
                max_network_retries=0,
                http_client=RequestsClient(timeout=(_CONNECT_SECONDS, self.timeout_seconds)),
                **addresses,  # type: ignore[arg-type]
            )
        return self._client


def said(error: StripeError) -> Said:
    """Return what an error of the SDK comes to."""
    answer = _answer(error)
    return Said(
        answer,
        request_id=error.request_id,
        http=error.http_status,
        code=_code(error),
        message=_without_key(error),
        wait_seconds=5.0 if answer is Answer.THROTTLED else 0.0,
    )


def translated(error: StripeError) -> JobError:
    """Return an error of ours for one of a call that only reads."""
    reason = f"Stripe: {_without_key(error)}"
    answer = _answer(error)
    if answer is Answer.UNAUTHORIZED:
        return Unreachable(reason, wait_seconds=60)
    if answer in {Answer.LOST, Answer.FAILED, Answer.THROTTLED, Answer.LOCKED}:
        return Transient(reason)
    return Rejected(reason)


def _answer(error: StripeError) -> Answer:
    status, code = error.http_status, _code(error)
    replayed = (error.headers or {}).get("idempotent-replayed") == "true"
    if isinstance(error, stripe.AuthenticationError | stripe.PermissionError):
        return Answer.UNAUTHORIZED
    if isinstance(error, stripe.IdempotencyError):
        return Answer.MISMATCH
    if status is None or status in {_CONFLICT, _TIMEOUT}:
        return Answer.LOST
    if status == _TOO_MANY:
        return Answer.LOCKED if replayed or code == "lock_timeout" else Answer.THROTTLED
    if status >= _SERVER or status < 400:  # noqa: PLR2004 - a success that cannot be read is none
        return Answer.FAILED
    return _refusal(error, code)


def _refusal(error: StripeError, code: str | None) -> Answer:
    text = (error.user_message or str(error)).lower()
    if _DUPLICATE in text:
        return Answer.DUPLICATE
    if code == "timestamp_too_far_in_past" or ("timestamp" in text and "past" in text):
        return Answer.TOO_OLD
    if code == "timestamp_in_future" or ("timestamp" in text and "future" in text):
        return Answer.TOO_EARLY
    return Answer.REFUSED


def _code(error: StripeError) -> str | None:
    # A RateLimitError keeps its code in the parsed body only.
    return error.code or getattr(error.error, "code", None)


def _without_key(error: StripeError) -> str:
    """Return what the error says; of a refused key Stripe repeats a part, which is left out."""
    if isinstance(error, stripe.AuthenticationError):
        return "the key was refused"
    if isinstance(error, stripe.APIConnectionError):
        # What the SDK says of it is a letter to its own makers.
        return f"no answer ({type(error.__cause__ or error).__name__})"
    if error.http_status is not None and error.http_status < 400:  # noqa: PLR2004 - as above
        return "an answer that cannot be read"
    return (error.user_message or type(error).__name__)[:500]
