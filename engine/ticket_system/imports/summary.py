"""What an import did, and what it could not do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

#: Called now and then with how far an import is, and how far it goes.
Progress: TypeAlias = Callable[[int, int], None]

_SHOWN = 1000


@dataclass(frozen=True, slots=True)
class Problem:
    """A row that was left out, and why; no line where the source has none."""

    line: int | None
    reason: str


@dataclass(slots=True)
class ImportSummary:
    """What an import did. `problems` holds the first thousand of the `failed` ones."""

    #: Rows read, good and bad.
    read: int = 0
    #: Tickets that are new here, and tickets that were here before.
    added: int = 0
    present: int = 0
    #: Changes in the life of the added tickets that were applied.
    events: int = 0
    failed: int = 0
    problems: list[Problem] = field(default_factory=list)
    #: Columns of the file that mean nothing here.
    ignored: tuple[str, ...] = ()

    def fail(self, line: int | None, reason: str) -> None:
        """Report a row that was left out."""
        self.failed += 1
        if len(self.problems) < _SHOWN:
            self.problems.append(Problem(line, reason))
