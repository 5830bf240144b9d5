"""The client of a program that awaits."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Literal, ParamSpec, Self, TypeVar

from ticket_tasks.client import TicketClient
from ticket_tasks.payloads import Answer

#: Calls that are in the broker at the same moment.
_THREADS = 10
#: How often the broker is asked for an answer that somebody awaits.
_ASK_EVERY_SECONDS = 0.1

_P = ParamSpec("_P")
_R = TypeVar("_R")


class AsyncTicketClient:
    """`TicketClient`, to be awaited: every call runs in a thread, and nothing blocks the loop meanwhile."""

    def __init__(
        self, broker_url: str, *, timeout_seconds: float = 3.0, journal: Path | Literal["memory"] | None = None
    ) -> None:
        client = self._client = TicketClient(broker_url, timeout_seconds=timeout_seconds, journal=journal)
        self._threads = ThreadPoolExecutor(_THREADS, "ticket-client")
        self.open_ticket = self._awaited(client.open_ticket)
        self.add_comment = self._awaited(client.add_comment)
        self.assign_ticket = self._awaited(client.assign_ticket)
        self.set_status = self._awaited(client.set_status)
        self.escalate_ticket = self._awaited(client.escalate_ticket)
        self.acknowledge_ticket = self._awaited(client.acknowledge_ticket)
        self.report = self._awaited(client.report)
        self.unconfirmed = self._awaited(client.unconfirmed)
        self.flush = self._awaited(client.flush)

    async def wait(self, key: str, timeout_seconds: float = 10.0) -> Answer | None:
        """Return what became of a wish, or None, as `TicketClient.wait` does; any number may wait at once."""
        ends = time.monotonic() + timeout_seconds
        while (found := await self._run(self._client.wait, key, 0.0)) is None and time.monotonic() < ends:  # noqa: ASYNC110 - a sleep in the broker would hold a thread for each
            await asyncio.sleep(_ASK_EVERY_SECONDS)
        return found

    async def close(self) -> None:
        """Give back the connections."""
        await self._run(self._client.close)
        self._threads.shutdown(wait=False)

    def _awaited(self, call: Callable[_P, _R]) -> Callable[_P, Awaitable[_R]]:
        @functools.wraps(call)
        def later(*args: _P.args, **kwargs: _P.kwargs) -> Awaitable[_R]:
            return self._run(call, *args, **kwargs)

        return later

    def _run(self, call: Callable[_P, _R], *args: _P.args, **kwargs: _P.kwargs) -> Awaitable[_R]:
        return asyncio.get_running_loop().run_in_executor(self._threads, functools.partial(call, *args, **kwargs))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
