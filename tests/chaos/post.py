"""A mail server in a process of its own, so that killing it is killing: `python -m tests.chaos.post FOLDER PORT`.

What it takes responsibility for stands in FOLDER/letters.jsonl before it says so; how it behaves, in FOLDER/mood.json.
"""

import asyncio
import hashlib
import json
import signal
import sys
from contextlib import suppress
from datetime import UTC, datetime
from email import message_from_bytes
from pathlib import Path
from random import Random
from typing import Any, cast

from aiosmtpd.controller import UnthreadedController
from aiosmtpd.smtp import SMTP, Envelope, Session

LETTERS, MOOD = "letters.jsonl", "mood.json"
_SLOW_SECONDS = 2.0


class Post:
    """The server's manners."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._letters = (folder / LETTERS).open("a", encoding="utf-8")
        self._lots: dict[int, Random] = {}

    def mood(self) -> str:
        """How this command is to be answered."""
        try:
            told = json.loads((self.folder / MOOD).read_text("utf-8"))
        except FileNotFoundError:
            return "well"
        lot = self._lots.setdefault(told["lot"], Random(told["lot"]))
        return str(told["mood"]) if lot.random() < told["share"] else "well"

    def keep(self, envelope: Envelope, *, answered: bool) -> None:
        """Take responsibility for a letter: what is written to the file outlives this process."""
        content = cast("bytes", envelope.content)
        message = message_from_bytes(content)
        line = {
            "at": datetime.now(UTC).isoformat(),
            "message_id": message["Message-ID"],
            "subject": message["Subject"],
            "from": envelope.mail_from,
            "recipients": list(envelope.rcpt_tos),
            "headers": {name: str(value) for name, value in message.items()},
            "sha256": hashlib.sha256(content).hexdigest(),
            "answered": answered,
        }
        self._letters.write(json.dumps(line) + "\n")
        self._letters.flush()

    # What follows has the names and the parameters that aiosmtpd looks for in a handler.

    async def handle_RCPT(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        mood = self.mood()
        if mood == "slow":
            await asyncio.sleep(_SLOW_SECONDS)
        elif mood == "later":
            return "451 4.3.0 Later, please"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        match self.mood():
            case "later":
                return "451 4.3.0 Later, please"
            case "hang up before":
                self._hang_up(server)
                return "451 nobody hears this"
            case "hang up after":
                self.keep(envelope, answered=False)
                self._hang_up(server)
                return "250 nobody hears this"
            case _:
                self.keep(envelope, answered=True)
                return "250 OK"

    @staticmethod
    def _hang_up(server: SMTP) -> None:
        cast("asyncio.Transport", server.transport).abort()


def main() -> None:
    """Serve until told to stop."""
    folder, port = Path(sys.argv[1]), int(sys.argv[2])
    loop = asyncio.new_event_loop()
    controller: Any = UnthreadedController(Post(folder), hostname="127.0.0.1", port=port, loop=loop)
    controller.begin()
    loop.add_signal_handler(signal.SIGTERM, loop.stop)
    print(json.dumps({"event": "post.opened", "port": port}), flush=True)
    with suppress(KeyboardInterrupt):
        loop.run_forever()


if __name__ == "__main__":
    main()
