"""Who reads a report, and how they like to read it. Pure."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from ticket_system.reports.contents import Daily, Weekly

MANAGER: Final = "manager"
AGENT: Final = "agent"
BILLING: Final = "billing"
ROLES: Final = (MANAGER, AGENT, BILLING)


@dataclass(frozen=True, slots=True)
class Reader:
    """One person, as a report is written for them."""

    #: Of the recipient, as they are stored; 0: of nobody who is.
    id: int
    address: str
    name: str = ""
    #: For numbers and dates, as `de_DE`; the words are English.
    locale: str = "en_GB"
    #: Instants are shown in it.
    zone: str = "UTC"
    #: What each agent has, for managers; what is billed, for the billing role.
    sees_agents: bool = False
    sees_billing: bool = False


def told_to(content: Weekly | Daily, roles: Collection[str], names: Collection[str]) -> Weekly | Daily:
    """Return what concerns somebody: of a day, managers are told of all tickets, an agent of their own."""
    if not isinstance(content, Daily) or MANAGER in roles:
        return content
    return content.of_agent([name for name in names if name] if AGENT in roles else [])
