"""What the double says: answers, refusals in Stripe's shape, and what happens to an answer on its way back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

#: An object as it stands in an answer.
Json = dict[str, Any]


class Way(StrEnum):
    """How an answer travels."""

    WHOLE = "whole"
    HANG_UP = "hang_up"
    HANG_UP_MID_BODY = "hang_up_mid_body"


@dataclass(frozen=True, slots=True)
class Effect:
    """What becomes of an answer: how it travels, and how long that takes."""

    way: Way = Way.WHOLE
    #: Real seconds of silence first.
    seconds: float = 0.0


ARRIVES = Effect()


@dataclass(frozen=True, slots=True)
class Response:
    """One answer. `raw` is sent instead of the body where it is given."""

    status: int
    body: Json
    headers: Mapping[str, str] = field(default_factory=dict)
    effect: Effect = ARRIVES
    raw: bytes | None = None
    content_type: str = "application/json"

    @property
    def outcome(self) -> str:
        """The answer in two words, as the journal keeps it."""
        error = self.body.get("error")
        if not isinstance(error, dict):
            return str(self.status)
        return f"{self.status} {error.get('code') or error['type']}"


@dataclass
class Refusal(Exception):
    """Stripe says no.

    `is_content` tells an error of the content, which the idempotency layer keeps, from one of the form, which it
    does not.
    """

    status: int
    message: str
    code: str | None = None
    param: str | None = None
    type: str = "invalid_request_error"
    headers: Mapping[str, str] = field(default_factory=dict)
    is_content: bool = False

    def response(self) -> Response:
        """The refusal as it goes out."""
        error = {"type": self.type, "message": self.message, "code": self.code, "param": self.param}
        return Response(
            self.status, {"error": {name: value for name, value in error.items() if value is not None}}, self.headers
        )


def malformed(message: str, code: str, param: str | None = None) -> Refusal:
    """A refusal of a request's form: nothing was begun, nothing is kept."""
    return Refusal(400, message, code, param)


def unfit(message: str, code: str | None = None, param: str | None = None) -> Refusal:
    """A refusal of what a request asks for: work was begun, and the answer is kept."""
    return Refusal(400, message, code, param, is_content=True)


def missing(kind: str, object_id: str, *, param: str = "id") -> Refusal:
    """Nothing of that name; 404 where it was asked for itself, 400 where another object was to refer to it."""
    return Refusal(
        404 if param == "id" else 400,
        f"No such {kind}: '{object_id}'",
        "resource_missing",
        param,
        is_content=True,
    )


def unknown_address(method: str, path: str) -> Refusal:
    """The double has no such endpoint, whether Stripe has one or not."""
    return Refusal(404, f"Unrecognized request URL ({method}: {path}).")
