"""Requests as they come over the wire, and what they may say.

The parameters of an endpoint are those that the installed SDK's own types name, so the double follows the SDK.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, get_args
from urllib.parse import parse_qsl

from stripe._request_options import RequestOptions
from typing_extensions import get_type_hints, is_typeddict

from ticket_worker.demo.stripe_double.answers import malformed

#: A parameter is text, a list of parameters or a mapping of them.
Params = dict[str, Any]
#: The class of a TypedDict from `stripe.params`.
Contract = Any

_KEY = re.compile(r"\[([^\]]*)\]")
_OPTIONS = frozenset(RequestOptions.__annotations__)
_WHOLE = re.compile(r"[+-]?\d+")


def decode(text: str) -> Params:
    """Return the parameters of a query or a form, nested as their names say."""
    return nest(parse_qsl(text, keep_blank_values=True))


def nest(pairs: Iterable[tuple[str, str]]) -> Params:
    """Return pairs such as `a[b][0]=c` as nested mappings; those counted from 0 become lists."""
    tree: Params = {}
    for name, value in pairs:
        first = name.partition("[")[0]
        keys = [first, *_KEY.findall(name[len(first) :])]
        branch = tree
        for key in keys[:-1]:
            inner = branch.setdefault(key or str(len(branch)), {})
            if not isinstance(inner, dict):
                raise malformed(f"Invalid parameter: {name}", "parameter_invalid", first)
            branch = inner
        branch[keys[-1] or str(len(branch))] = value
    return {key: _listed(value) for key, value in tree.items()}


def _listed(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    inner = {key: _listed(below) for key, below in value.items()}
    if inner and list(inner) == [str(number) for number in range(len(inner))]:
        return list(inner.values())
    return inner


@cache
def hints(contract: Contract) -> dict[str, Any]:
    """The parameters that an endpoint takes and their types; options of the SDK's client are no parameters."""
    # Names that the SDK imports for the type checker alone are given here.
    found = get_type_hints(contract, localns={"StripeContext": str, "Mapping": Mapping})
    return {name: hint for name, hint in found.items() if name not in _OPTIONS}


def check(params: Params, contract: Contract, *, within: str = "") -> Params:
    """Return the parameters with their numbers and truth values read, or refuse them as Stripe does."""
    known = hints(contract)
    for name in params:
        if name not in known:
            spelt = _spelt(within, name)
            raise malformed(f"Received unknown parameter: {spelt}", "parameter_unknown", spelt)
    for name in sorted(contract.__required_keys__ & known.keys()):
        if params.get(name) in (None, "", {}, []):
            spelt = _spelt(within, name)
            raise malformed(f"Missing required param: {spelt}.", "parameter_missing", spelt)
    return {name: _read(value, known[name], _spelt(within, name)) for name, value in params.items()}


def _spelt(within: str, name: str) -> str:
    return f"{within}[{name}]" if within else name


def _read(value: Any, hint: Any, name: str) -> Any:
    kinds = get_args(hint) or (hint,)
    if isinstance(value, dict):
        nested = [kind for kind in kinds if is_typeddict(kind)]
        if nested:
            return check(value, nested[0], within=name)
        if kinds in {(int,), (bool,), (str,)}:
            raise malformed(f"Invalid value for {name}", "parameter_invalid_type", name)
        return value
    if not isinstance(value, str):
        return value
    if kinds == (bool,):
        if value not in {"true", "false"}:
            raise malformed(f"Invalid boolean: {value}", "parameter_invalid_boolean", name)
        return value == "true"
    if int in kinds and str not in kinds:
        if not _WHOLE.fullmatch(value):
            raise malformed(f"Invalid integer: {value}", "parameter_invalid_integer", name)
        return int(value)
    if any(is_typeddict(kind) for kind in kinds):
        raise malformed(f"Invalid object: {name}", "parameter_invalid_type", name)
    return value
