"""Whether a body was signed for us, and lately."""

from __future__ import annotations

import time
from collections.abc import Iterable

from stripe import SignatureVerificationError, WebhookSignature

#: So far the sender's clock and ours may be apart, or a delivery on its way; whoever repeats one later is refused.
TOLERANCE_SECONDS = 300


class BadSignature(ValueError):
    """A body was not signed for us, or not lately; the message says which, and quotes nothing."""


def verify(body: bytes, header: str | None, secrets: Iterable[str], *, now: float | None = None) -> None:
    """Raise BadSignature unless one of the secrets signed this body within the last minutes."""
    if not header:
        raise BadSignature("there is no Stripe-Signature")
    # Digests are compared as ASCII; anything else would be an exception there.
    if not header.isascii():
        raise BadSignature("the Stripe-Signature cannot be read")
    if not any(_is_signed(body, header, secret) for secret in secrets if secret):
        raise BadSignature("no secret of this endpoint made this signature")
    # By ourselves, and after the signature: the SDK lets through what is dated in the future, for ever.
    age = (time.time() if now is None else now) - _signed_at(header)
    if abs(age) > TOLERANCE_SECONDS:
        raise BadSignature(f"the signature is {abs(age):.0f} s {'old' if age > 0 else 'ahead of our clock'}")


def _is_signed(body: bytes, header: str, secret: str) -> bool:
    try:
        WebhookSignature.verify_header(body, header, secret)
    except UnicodeDecodeError as error:
        raise BadSignature("the body is not UTF-8") from error
    except SignatureVerificationError:
        return False
    return True


def _signed_at(header: str) -> int:
    """Return the instant that was signed: as for the SDK the first one, or a second could make an old body new."""
    parts = [part.split("=", 2) for part in header.split(",")]
    return int(next(part[1] for part in parts if part[0] == "t"))
