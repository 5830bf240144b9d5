"""Mailers that a job can be given instead of a real one."""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from ticket_tasks.errors import Unreachable
from ticket_tasks.toolbox import Letter


@dataclass
class KeepingMailer:
    """Keeps every letter, and fails as it is told: before anything left the house, or after."""

    letters: list[Letter] = field(default_factory=list)
    before: deque[Exception] = field(default_factory=deque)
    after: deque[Exception] = field(default_factory=deque)

    def send(self, letter: Letter, *, before_data: Callable[[], None]) -> str:
        if self.before:
            raise self.before.popleft()
        before_data()
        self.letters.append(letter)
        if self.after:
            raise self.after.popleft()
        return f"250 kept as {len(self.letters)}"


@dataclass
class KeepingNotifier:
    """The same for every other place; a place that is `away` fails every time, one that is `slow` takes so long."""

    letters: list[tuple[str, Letter]] = field(default_factory=list)
    tried: list[str] = field(default_factory=list)
    away: set[str] = field(default_factory=set)
    slow: dict[str, float] = field(default_factory=dict)

    def send(self, destination: str, letter: Letter, *, before_data: Callable[[], None]) -> None:
        self.tried.append(destination)
        before_data()
        time.sleep(self.slow.get(destination, 0))
        if destination in self.away:
            raise Unreachable("connection refused")
        self.letters.append((destination, letter))
