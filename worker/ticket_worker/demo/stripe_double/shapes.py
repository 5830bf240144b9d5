"""Shapes that many answers share: lists in pages, objects in place of their ids, JSON as bytes."""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from ticket_worker.demo.stripe_double.answers import Json, malformed, missing, unfit
from ticket_worker.demo.stripe_double.forms import Params

_DEFAULT_LIMIT = 10
_HIGHEST_LIMIT = 100
_DEEPEST = 4
_FITS = {"gt": operator.gt, "gte": operator.ge, "lt": operator.lt, "lte": operator.le}


def as_bytes(body: Json) -> bytes:
    """The body as it goes over the wire."""
    return json.dumps(body, indent=2).encode()


def iso(moment: datetime) -> str:
    """A moment as v2 writes it."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def page(found: Sequence[Json], params: Params, url: str) -> Json:
    """Return one page of a v1 list, whose first is the newest."""
    limit = _limit(params)
    ids = [one["id"] for one in found]
    first, last = 0, len(found)
    if cursor := params.get("starting_after"):
        first = _place(ids, cursor, "starting_after") + 1
        last = min(last, first + limit)
    elif cursor := params.get("ending_before"):
        last = _place(ids, cursor, "ending_before")
        first = max(0, last - limit)
        return {"object": "list", "data": list(found[first:last]), "has_more": first > 0, "url": url}
    else:
        last = min(last, limit)
    return {"object": "list", "data": list(found[first:last]), "has_more": last < len(found), "url": url}


def page_v2(found: Sequence[Json], params: Params, url: str) -> Json:
    """Return one page of a v2 list; it names the address of the next."""
    limit = _limit(params)
    first = int(params.get("page", "0"))
    rest = {name: value for name, value in params.items() if name != "page"} | {"page": str(first + limit)}
    more = f"{url}?{urlencode(_flat(rest))}" if first + limit < len(found) else None
    return {"data": list(found[first : first + limit]), "next_page_url": more, "previous_page_url": None}


def _flat(params: Params) -> dict[str, str]:
    """The opposite of decoding."""
    flat: dict[str, str] = {}
    for name, value in params.items():
        below = value if isinstance(value, dict) else dict(enumerate(value)) if isinstance(value, list) else None
        if below is None:
            flat[name] = str(value)
            continue
        flat |= {f"{name}[{key}]": str(one) for key, one in below.items()}
    return flat


def _limit(params: Params) -> int:
    limit: int = params.get("limit", _DEFAULT_LIMIT)
    if not 1 <= limit <= _HIGHEST_LIMIT:
        raise malformed(f"limit is from 1 to {_HIGHEST_LIMIT}", "parameter_invalid_integer", "limit")
    return limit


def _place(ids: list[str], cursor: str, param: str) -> int:
    if cursor not in ids:
        raise missing("object", cursor, param=param)
    return ids.index(cursor)


def is_within(moment: float, bounds: Any) -> bool:
    """Whether a moment fits a filter: seconds, or a mapping of gt, gte, lt, lte."""
    if bounds is None:
        return True
    if not isinstance(bounds, dict):
        return moment == int(bounds)
    return all(_FITS[name](moment, bound) for name, bound in bounds.items())


def expand(body: Json, paths: Sequence[str], look_up: Callable[[str], Json | None]) -> Json:
    """Put objects in place of the ids that `paths` lead to."""
    for path in paths:
        _expand(body, path.split("."), path, look_up)
    return body


def check_depth(paths: Sequence[str]) -> None:
    """Refuse what lies deeper than four levels, as Stripe does; in a list, `data` is one of them."""
    for path in paths:
        if len(path.split(".")) > _DEEPEST:
            raise malformed(f"You cannot expand more than {_DEEPEST} levels of a property: {path}", "expand_too_deep")


def _expand(node: Any, names: Sequence[str], path: str, look_up: Callable[[str], Json | None]) -> None:
    if isinstance(node, list):
        for one in node:
            _expand(one, names, path, look_up)
        return
    name, *rest = names
    if not isinstance(node, dict) or name not in node:
        raise unfit(f"This property cannot be expanded ({path}).", None, "expand")
    value = node[name]
    if isinstance(value, str):
        node[name] = value = look_up(value)
        if value is None:
            raise unfit(f"This property cannot be expanded ({path}).", None, "expand")
    if rest and value is not None:
        _expand(value, rest, path, look_up)
