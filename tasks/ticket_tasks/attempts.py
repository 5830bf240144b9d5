"""One attempt to hand something over, and what became of it: the part that notices and reports have in common."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from celery.exceptions import SoftTimeLimitExceeded

from ticket_system.errors import StorageError, TicketSystemError
from ticket_tasks.errors import Rejected, Transient, Uncertain, Unreachable

#: Sent; taken over by another worker; surely not sent, and to be tried again; refused for good; or nobody can know.
Fate: TypeAlias = Literal["sent", "lost", "postponed", "refused", "uncertain"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one attempt."""

    fate: Fate
    #: What the other side answered.
    answer: str = ""
    error: Exception | None = None
    #: It failed by a mistake of ours, and not by the weather.
    is_bug: bool = False

    @property
    def reason(self) -> str:
        """What went wrong, in words."""
        return (str(self.error) or type(self.error).__name__) if self.error else ""

    @property
    def wait_seconds(self) -> float:
        """Before that it need not be tried again."""
        return self.error.wait_seconds if isinstance(self.error, Transient) else 0.0

    @property
    def is_away(self) -> bool:
        """Whether whatever else goes there would fail the same way."""
        return isinstance(self.error, Unreachable)


class _LeaseLost(Exception):
    """Another worker has it now."""


def attempt(send: Callable[[Callable[[], None]], str | None], begin: Callable[[], bool]) -> Outcome:
    """Have something sent; errors of the database come out, every other one is an outcome.

    `send` is given what it has to call at the last moment at which nothing has left the house; that calls `begin`,
    which commits the intent and returns False where somebody else holds the thing now.
    """
    begun = False

    def before_data() -> None:
        nonlocal begun
        if not begin():
            raise _LeaseLost("another worker has it now")
        begun = True

    try:
        return Outcome("sent", send(before_data) or "")
    except StorageError:
        raise
    except _LeaseLost as error:
        return Outcome("lost", error=error)
    except (Transient, Uncertain) as error:
        return Outcome("postponed" if isinstance(error, Transient) else "uncertain", error=error)
    except SoftTimeLimitExceeded:
        # Not the letter's fault: one that has not left the house may do so in the next run.
        return (
            Outcome("uncertain", error=Uncertain("the job ran out of time halfway through"))
            if begun
            else Outcome("postponed", error=Transient("the job ran out of time before its turn"))
        )
    except (Rejected, TicketSystemError) as error:
        return Outcome("refused", error=error)
    except Exception as error:  # noqa: BLE001 - a bug, not the weather: it stops nothing of what lies behind it
        return Outcome("uncertain" if begun else "refused", error=error, is_bug=True)
