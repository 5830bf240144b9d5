"""What other services ask for, done once: the key of a wish is written down in the transaction that grants it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ticket_system.changes import Changes
from ticket_system.storage import wishes
from ticket_system.storage.wishes import Wish
from ticket_system.system import TicketSystem
from ticket_system.tickets import check_name

__all__ = ["DONE", "UNCHANGED", "Granted", "Wish", "grant", "granted"]

DONE = "done"
#: There was nothing to do: it was so already, or the ticket is done with.
UNCHANGED = "unchanged"


class Granted(NamedTuple):
    """What became of a wish; not `is_new`: it was granted before, and nothing was done now."""

    outcome: str
    is_new: bool


def grant(
    system: TicketSystem, key: str, kind: str, ticket_id: str | None, act: Callable[[Changes], bool | None]
) -> Granted:
    """Do what somebody asked for, unless it was done under this key before; all of it in one transaction.

    `act` returns False where there was nothing to do. What it raises undoes everything, the key too: the same wish can
    be tried again.
    """
    check_name("key", key, limit=200)
    with system.database.write() as connection:
        if not wishes.take(connection, key, kind, ticket_id, DONE):
            before = wishes.get(connection, key)
            return Granted(before.outcome if before else DONE, is_new=False)
        if act(Changes(connection, system.rules)) is not False:
            return Granted(DONE, is_new=True)
        wishes.settle(connection, key, UNCHANGED)
        return Granted(UNCHANGED, is_new=True)


def granted(system: TicketSystem, key: str) -> Wish | None:
    """Return what became of the wish with that key; None: it never came, or was forgotten."""
    with system.database.read() as connection:
        return wishes.get(connection, key)
