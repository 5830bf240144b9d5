"""A wire between two programs that a test can have go dead: bytes are swallowed, and nobody hangs up."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import sqlalchemy as sa

#: Where the other end is: host and port, or the path of a socket.
Upstream = tuple[str, int] | Path


class Wire:
    """Carries bytes both ways between a loopback port and a server, as long as it is whole."""

    def __init__(self, upstream: Upstream) -> None:
        self.upstream = upstream
        self.host, self.port = "127.0.0.1", 0
        #: How many connections were ever made.
        self.connections = 0
        self._dead: set[asyncio.Task[None]] = set()
        self._is_cut = False
        self._loop = asyncio.new_event_loop()
        self._open: set[asyncio.Task[None]] = set()

    def cut(self) -> None:
        """From now on every connection is silent, new ones too; nobody is told."""
        self._is_cut = True

    def mend(self) -> None:
        """New connections work again; those that were silent once stay so, like those of a server that is gone."""
        self._loop.call_soon_threadsafe(self._bury)

    def _bury(self) -> None:
        self._dead |= self._open
        self._is_cut = False

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            while self._is_cut and task not in self._dead:
                await asyncio.sleep(0.05)
            if task in self._dead:
                await asyncio.Event().wait()
            if isinstance(self.upstream, Path):
                far_reader, far_writer = await asyncio.open_unix_connection(str(self.upstream))
            else:
                far_reader, far_writer = await asyncio.open_connection(*self.upstream)
            with suppress(OSError):
                await asyncio.gather(
                    self._carry(task, reader, far_writer),
                    self._carry(task, far_reader, writer),
                )
            far_writer.close()
        except OSError:
            pass
        finally:
            self._open.discard(task)
            self._dead.discard(task)
            writer.close()

    async def _carry(
        self, task: asyncio.Task[None], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        while data := await reader.read(65536):
            if self._is_cut or task in self._dead:
                self._dead.add(task)
                continue
            writer.write(data)
            await writer.drain()
        if task not in self._dead:
            writer.close()

    async def _listen(self) -> asyncio.Server:
        server = await asyncio.start_server(self._serve, self.host, 0)
        self.port = server.sockets[0].getsockname()[1]
        return server

    async def _hang_up(self, server: asyncio.Server) -> None:
        server.close()
        for task in list(self._open):
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)


@contextmanager
def running_wire(upstream: Upstream) -> Iterator[Wire]:
    """A wire to a server, whole to begin with."""
    wire = Wire(upstream)
    thread = threading.Thread(target=wire._loop.run_forever, daemon=True)
    thread.start()
    server = asyncio.run_coroutine_threadsafe(wire._listen(), wire._loop).result(10)
    try:
        yield wire
    finally:
        asyncio.run_coroutine_threadsafe(wire._hang_up(server), wire._loop).result(10)
        wire._loop.call_soon_threadsafe(wire._loop.stop)
        thread.join(10)
        wire._loop.close()


@contextmanager
def wire_to_database(url: str) -> Iterator[tuple[Wire, str]]:
    """A wire to a PostgreSQL server, and the URL of the database by way of it."""
    parsed = sa.make_url(url)
    host, port = parsed.query.get("host", parsed.host), parsed.port or 5432
    upstream: Upstream = Path(f"{host}/.s.PGSQL.{port}") if str(host).startswith("/") else (str(host), port)
    with running_wire(upstream) as wire:
        by_wire = parsed.difference_update_query(["host"]).set(host=wire.host, port=wire.port)
        yield wire, by_wire.render_as_string(hide_password=False)


@contextmanager
def wire_to_broker(url: str) -> Iterator[tuple[Wire, str]]:
    """A wire to a Redis-protocol server, and its URL by way of it."""
    parsed = sa.make_url(url)
    with running_wire((str(parsed.host), parsed.port or 6379)) as wire:
        yield wire, parsed.set(host=wire.host, port=wire.port).render_as_string(hide_password=False)
