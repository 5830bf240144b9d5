"""Named places that notices go to, read from TOML; and the parts of their addresses that nobody may ever see.

ops = "slack://TokenA/TokenB/TokenC/#ops"                               # whatever apprise understands
crm = { webhook = "https://crm.example.org/hooks", secret = "whsec_…" }    # a signed webhook
"group:network" = "msteams://TokenA/TokenB/TokenC"                         # what is for the group of a ticket
"""

from __future__ import annotations

import base64
import binascii
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias
from urllib.parse import parse_qsl, unquote, urlsplit

MASK = "***"
SECRET_PREFIX = "whsec_"  # noqa: S105 - the mark of a secret, not one
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
#: A prefix of its own: whoever writes a ticket's group reaches no other place by it.
_GROUP = re.compile(r"group:[^\x00-\x1f\x7f-\x9f]{1,200}")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://.+", re.DOTALL)
_SHORTEST_KEY, _LONGEST_KEY = 24, 64


@dataclass(frozen=True, slots=True)
class ChatPlace:
    """A chat or pager, by its apprise URL."""

    name: str
    url: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class WebhookPlace:
    """A program that is told over HTTP, and knows by the signature who speaks."""

    name: str
    url: str = field(repr=False)
    secret: str = field(repr=False)


Place: TypeAlias = ChatPlace | WebhookPlace


def read_places(text: str) -> dict[str, Place]:
    """Return the places by name, or raise ValueError; what it says quotes names, never values."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        # The parser's own words may quote what stands there.
        where = re.search(r"\(at .*\)$", str(error))
        raise ValueError(f"this is not TOML {where.group() if where else ''}".rstrip()) from None
    return {name: _place(name, value) for name, value in table.items()}


def _place(name: str, value: Any) -> Place:
    if not _GROUP.fullmatch(name) and (not _NAME.fullmatch(name) or name == "mail"):
        raise ValueError(
            f"{name!r} cannot be a name; small letters, digits, - and _ can, or `group:` and the name of a group;"
            " `mail` is taken"
        )
    match value:
        case str() if _SCHEME.fullmatch(value):
            return ChatPlace(name, value)
        case {"webhook": str(url), "secret": str(secret), **others} if not others:
            _require_url(name, url)
            _require_secret(name, secret)
            return WebhookPlace(name, url, secret)
    raise ValueError(f"{name}: neither an apprise URL nor a table with exactly `webhook` and `secret`")


def _require_url(name: str, url: str) -> None:
    try:
        parts = urlsplit(url)
        fits = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
        fits = fits and "@" not in parts.netloc and url.isascii() and url.isprintable() and " " not in url
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(f"{name}: `webhook` is no plain https:// or http:// URL without user and password")


def _require_secret(name: str, secret: str) -> None:
    try:
        encoded = secret.removeprefix(SECRET_PREFIX)
        key = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except (ValueError, binascii.Error):
        key = b""
    if not secret.startswith(SECRET_PREFIX) or not _SHORTEST_KEY <= len(key) <= _LONGEST_KEY:
        raise ValueError(
            f"{name}: `secret` is not {SECRET_PREFIX} and {_SHORTEST_KEY} to {_LONGEST_KEY} bytes in base64"
        )


class Mask:
    """Hides given strings wherever they stand in a text."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        longest_first = sorted(set(secrets), key=len, reverse=True)
        self._pattern = re.compile("|".join(_bounded(one) for one in longest_first)) if longest_first else None

    def __call__(self, text: str) -> str:
        """Return the text with every secret replaced."""
        return self._pattern.sub(MASK, text) if self._pattern else text


def secrets_of(places: Mapping[str, Place]) -> frozenset[str]:
    """Return every string that must not be seen: addresses as wholes, and what in them may be a token."""
    found: set[str] = set()
    for place in places.values():
        found |= _parts(place.url)
        if isinstance(place, WebhookPlace):
            found |= {place.secret, place.secret.removeprefix(SECRET_PREFIX)}
    return frozenset(found)


_SHORT = 8
_TELLTALE = 6
_HOST = re.compile(r"localhost|[0-9]+(\.[0-9]+){3}|\[[0-9a-fA-F:.]+\]|([a-z0-9-]+\.)+[a-z]{2,}")
# A channel's or a folder's name: hidden by itself, it would make holes in every log line that uses the word.
_WORD = re.compile(r"[a-z_-]{1,15}|[0-9]{1,6}")


def _parts(url: str) -> set[str]:
    """Take an address apart by hand: `urlsplit` would turn a token that stands where a host does to small letters."""
    rest = url.partition("://")[2]
    before_fragment, _, fragment = rest.partition("#")
    before_query, _, query = before_fragment.partition("?")
    netloc, _, path = before_query.partition("/")
    user_info, _, host = netloc.rpartition("@")
    user, _, password = user_info.partition(":")
    host, _, after_host = (host, "", "") if host.startswith("[") else host.partition(":")
    tokens = {user, after_host, *path.split("/"), *fragment.split("/"), *(value for _, value in parse_qsl(query))}
    if not _HOST.fullmatch(host):
        tokens.add(host)
    telling = {one for one in tokens if len(one) >= _TELLTALE and not _WORD.fullmatch(one)}
    wholes = {whole for whole in (url, rest, f"{path}?{query}", path, query, user_info) if len(whole) >= _SHORT}
    found = {*telling, *wholes, password} - {""}
    return found | {unquote(one) for one in found}


def _bounded(secret: str) -> str:
    """Match a short secret as a word of its own only: `key` hides nothing of `monkey`."""
    pattern = re.escape(secret)
    return pattern if len(secret) >= _SHORT else rf"(?<![A-Za-z0-9]){pattern}(?![A-Za-z0-9])"
