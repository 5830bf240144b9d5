"""A mail server on a loopback port: it keeps what it accepts, and answers as a test tells it to."""

import asyncio
from collections import defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from typing import Any, Literal, TypeAlias, cast

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

Verb: TypeAlias = Literal["MAIL", "RCPT", "DATA"]


@dataclass(frozen=True)
class Reply:
    """What the server says to one command, how long it thinks first, and whether it hangs up instead."""

    text: str = "250 OK"
    after_seconds: float = 0
    hang_up: bool = False

    @property
    def accepts(self) -> bool:
        return self.text.startswith("2")


HANG_UP = Reply("421 Bye", hang_up=True)
"""The connection breaks, nothing was taken."""

LOSE_REPLY = Reply(hang_up=True)
"""The command was obeyed, but the client never learns of it."""


@dataclass(frozen=True)
class Delivered:
    """A message that the server took responsibility for."""

    sender: str
    recipients: tuple[str, ...]
    content: bytes

    @property
    def message(self) -> EmailMessage:
        return message_from_bytes(self.content, _class=EmailMessage, policy=default)


@dataclass
class PostOffice:
    """The server as a test sees it: where it listens, what came, what it will say next."""

    host: str = "127.0.0.1"
    port: int = 0
    delivered: list[Delivered] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    _script: defaultdict[Verb, deque[Reply]] = field(default_factory=lambda: defaultdict(deque))

    def answer(self, verb: Verb, *replies: Reply | str) -> None:
        """The next answers to a command, in order; after them everything is welcome again."""
        self._script[verb].extend(Reply(reply) if isinstance(reply, str) else reply for reply in replies)

    async def _reply(self, verb: Verb, argument: str, server: SMTP) -> Reply:
        self.commands.append(f"{verb} {argument}".rstrip())
        script = self._script[verb]
        reply = script.popleft() if script else Reply()
        await asyncio.sleep(reply.after_seconds)
        if reply.hang_up:
            cast("asyncio.Transport", server.transport).abort()
        return reply

    # What follows has the names and the parameters that aiosmtpd looks for in a handler.

    async def handle_MAIL(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        reply = await self._reply("MAIL", address, server)
        if reply.accepts:
            envelope.mail_from = address
            envelope.mail_options.extend(options)
        return reply.text

    async def handle_RCPT(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        reply = await self._reply("RCPT", address, server)
        if reply.accepts:
            envelope.rcpt_tos.append(address)
            envelope.rcpt_options.extend(options)
        return reply.text

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        reply = await self._reply("DATA", "", server)
        if reply.accepts:
            content = cast("bytes", envelope.content)
            self.delivered.append(Delivered(envelope.mail_from or "", tuple(envelope.rcpt_tos), content))
        return reply.text


@contextmanager
def running_post_office(**how: Any) -> Iterator[PostOffice]:
    """A mail server for as long as the block runs; `how` is what aiosmtpd takes, for encryption and logins."""
    office = PostOffice()
    listener = _Listener(office, hostname=office.host, port=0, **how)
    listener.start()
    office.port = listener.port
    try:
        yield office
    finally:
        listener.stop()


class _Listener(Controller):
    """aiosmtpd greets its own server at the port it asked for; 0 asks for any, so look which one it got."""

    def _trigger_server(self) -> None:
        self.port = cast("asyncio.Server", self.server).sockets[0].getsockname()[1]
        super()._trigger_server()  # type: ignore[no-untyped-call]
