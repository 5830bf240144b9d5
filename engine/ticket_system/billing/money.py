"""Amounts of money, kept in the smallest unit of their currency. Pure."""

from __future__ import annotations

from decimal import Decimal

_WITHOUT_PARTS = (
    "bif", "clp", "djf", "gnf", "jpy", "kmf", "krw", "mga", "pyg", "rwf", "ugx", "vnd", "vuv", "xaf", "xof", "xpf",
)  # fmt: skip
_IN_THOUSANDTHS = ("bhd", "jod", "kwd", "omr", "tnd")


def money(amount: int, currency: str) -> str:
    """Write an amount as a person does: 15.00 EUR, 1500 JPY."""
    return f"{units(amount, currency):,} {currency.upper()}"


def units(amount: int, currency: str) -> Decimal:
    """Return an amount in the currency itself, with as many places as it has."""
    places = 0 if currency in _WITHOUT_PARTS else 3 if currency in _IN_THOUSANDTHS else 2
    return Decimal(amount).scaleb(-places)
