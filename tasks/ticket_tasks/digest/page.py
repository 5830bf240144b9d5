"""Templates: a page and its text from the same view. What is undefined is an error; what is text is escaped."""

from __future__ import annotations

from functools import cache
from typing import Any

import css_inline
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape


@cache
def environment() -> Environment:
    """Return the templates, read once."""
    return Environment(
        loader=PackageLoader("ticket_tasks.digest"),
        autoescape=select_autoescape(("html", "svg"), default=False, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def text(name: str, **facts: Any) -> str:
    """Fill in a template as it is."""
    return environment().get_template(name).render(**facts)


def page(name: str, **facts: Any) -> str:
    """Fill in a page, with each style where every mail program reads it: on the element. Nothing is fetched."""
    return _inliner().inline(text(name, **facts))


@cache
def _inliner() -> css_inline.CSSInliner:
    return css_inline.CSSInliner(load_remote_stylesheets=False, keep_style_tags=False, remove_inlined_selectors=False)
