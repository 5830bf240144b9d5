"""What addresses that somebody set have to look like."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

_PLAIN = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9](?:[A-Za-z0-9.-]{0,253}[A-Za-z0-9])?")


def is_plain_address(text: str) -> bool:
    """Whether this is name@domain in plain letters: no display name, no quotes, no second address, no line break."""
    return _PLAIN.fullmatch(text) is not None


def is_url(text: str) -> bool:
    """Whether this is http:// or https://, a host and perhaps more, without a password, in printable ASCII."""
    try:
        parts = urlsplit(text)
        fits = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    return fits and "@" not in parts.netloc and re.fullmatch(r"[!-;=?-~]+", text) is not None


def is_private(url: str) -> bool:
    """Whether nobody on the way reads what goes there: it is encrypted, or stays on this machine."""
    parts = urlsplit(url)
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in {"127.0.0.1", "localhost", "::1"})
