"""A wire between two programs that a test can have go dead: bytes are swallowed, and nobody hangs up."""

import selectors
import socket
import struct
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
        self._door = socket.create_server(("127.0.0.1", 0))
        self.host, self.port = self._door.getsockname()
        self._selector = selectors.DefaultSelector()
        #: Each end that is open, and the other end; None where it leads nowhere any more.
        self._ends: dict[socket.socket, socket.socket | None] = {}
        self._is_cut = self._is_over = self._is_to_break = False

    def cut(self) -> None:
        """From now on every connection is silent, new ones too; nobody is told."""
        self._is_cut = True

    def mend(self) -> None:
        """New connections work; those that were made before stay silent, like those of a server that is gone."""
        for end in list(self._ends):
            self._ends[end] = None
        self._is_cut = False

    def break_off(self) -> None:
        """Reset every connection there is; new ones work at once."""
        self._is_to_break = True

    def stop(self) -> None:
        """Hang up."""
        self._is_over = True

    def run(self) -> None:
        """Carry, until told to stop."""
        self._selector.register(self._door, selectors.EVENT_READ)
        while not self._is_over:
            if self._is_to_break:
                self._is_to_break = False
                for end in list(self._ends):
                    self._reset(end)
            for key, _ in self._selector.select(0.05):
                if key.fileobj is self._door:
                    self._connect(self._door.accept()[0])
                elif isinstance(key.fileobj, socket.socket) and key.fileobj in self._ends:
                    self._carry(key.fileobj)
        for end in list(self._ends):
            self._close(end)
        self._selector.close()
        self._door.close()

    def _connect(self, near: socket.socket) -> None:
        far = None
        if not self._is_cut:
            try:
                far = self._reach()
            except OSError:
                near.close()
                return
        for end, other in ((near, far), (far, near)):
            if end is not None:
                end.settimeout(5)
                self._ends[end] = other
                self._selector.register(end, selectors.EVENT_READ)

    def _reach(self) -> socket.socket:
        if not isinstance(self.upstream, Path):
            return socket.create_connection(self.upstream)
        far = socket.socket(socket.AF_UNIX)
        try:
            far.connect(str(self.upstream))
        except OSError:
            far.close()
            raise
        return far

    def _carry(self, end: socket.socket) -> None:
        try:
            data = end.recv(65536)
        except OSError:
            data = b""
        other = self._ends[end]
        if not data:
            self._close(end)
            if other is not None and not self._is_cut:
                self._close(other)
        elif self._is_cut:
            self._ends[end] = None
        elif other is not None:
            try:
                other.sendall(data)
            except OSError:
                # Half of it may have gone out: nothing that follows would make sense.
                self._close(end)
                self._close(other)

    def _reset(self, end: socket.socket) -> None:
        with suppress(OSError):
            # No goodbye, and nothing more of what was sent: Linux resets a connection that is closed like this.
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._close(end)

    def _close(self, end: socket.socket) -> None:
        if end in self._ends:
            del self._ends[end]
            self._selector.unregister(end)
            end.close()


@contextmanager
def running_wire(upstream: Upstream) -> Iterator[Wire]:
    """A wire to a server, whole to begin with."""
    wire = Wire(upstream)
    thread = threading.Thread(target=wire.run, daemon=True)
    thread.start()
    try:
        yield wire
    finally:
        wire.stop()
        thread.join(10)


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
