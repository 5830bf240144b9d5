"""Mailers that a job can be given instead of a real one."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from ticket_tasks.toolbox import Letter


@dataclass
class KeepingMailer:
    """Keeps every letter, and fails as it is told: before anything left the house, or after."""

    letters: list[Letter] = field(default_factory=list)
    before: deque[Exception] = field(default_factory=deque)
    after: deque[Exception] = field(default_factory=deque)

    def send(self, letter: Letter, *, before_data: Callable[[], None]) -> None:
        if self.before:
            raise self.before.popleft()
        before_data()
        self.letters.append(letter)
        if self.after:
            raise self.after.popleft()
