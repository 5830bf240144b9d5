"""A page with a few sentences and at most one button: small, escaped, light or dark as its reader has it."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from html import escape
from typing import Final

from starlette.responses import HTMLResponse

_STYLE: Final = (
    ":root{color-scheme:light dark}"
    "body{font:1.125rem/1.5 system-ui,sans-serif;max-width:36rem;margin:0 auto;padding:12vh 1.25rem}"
    "h1{font-size:1.5rem;line-height:1.25}"
    "button{font:inherit;padding:.6rem 1.2rem;cursor:pointer}"
)
_STYLE_DIGEST: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()

#: The address of a page is a key: it is kept nowhere, passed on to nobody, and shown in no other page's frame.
HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_STYLE_DIGEST}'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Robots-Tag": "noindex, nofollow",
}


@dataclass(frozen=True, slots=True)
class Button:
    """What can be done about it: posts one field to the address of the page."""

    label: str
    name: str
    value: str


def page(title: str, *sentences: str, button: Button | None = None, status: int = 200) -> HTMLResponse:
    """Return the page as an answer; what it is given is text, and stays text."""
    told = "".join(f"<p>{escape(sentence)}</p>" for sentence in sentences)
    form = ""
    if button is not None:
        form = (
            f'<form method="post"><input type="hidden" name="{escape(button.name)}" value="{escape(button.value)}">'
            f"<button>{escape(button.label)}</button></form>"
        )
    return HTMLResponse(
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>"
        f"<body><main><h1>{escape(title)}</h1>{told}{form}</main></body></html>",
        status,
        HEADERS,
    )
