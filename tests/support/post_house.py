"""A mail server in a process of its own: `python -m tests.support.post_house FOLDER SCRIPT` keeps there what it takes.

SCRIPT is JSON: the answers to each command, in order, with `text`, `after_seconds` and `hang_up`.
"""

import json
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from time import monotonic, sleep
from typing import Any

from tests.support.processes import running
from tests.support.smtp import PostOffice, Reply, running_post_office

PATIENCE_SECONDS = 20.0


class Shelf(list[Any]):
    """A list whose things are files as well, so that another process sees them."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def append(self, delivered: Any) -> None:
        super().append(delivered)
        part = self.folder / f".{len(self)}"
        part.write_bytes(delivered.content)
        part.rename(self.folder / f"{len(self):03}.eml")


@contextmanager
def running_post_house(folder: Path, script: dict[str, list[dict[str, Any]]]) -> Iterator[int]:
    """A mail server for as long as the block runs; yields its port."""
    folder.mkdir(parents=True, exist_ok=True)
    place = folder / "port"
    command = [sys.executable, "-m", "tests.support.post_house", str(folder), json.dumps(script)]
    with TemporaryFile() as log, running(command, log=log):
        deadline = monotonic() + PATIENCE_SECONDS
        while not place.exists():
            log.seek(0)
            assert monotonic() < deadline, log.read()
            sleep(0.02)
        yield int(place.read_text())


def main() -> None:
    """Serve until told to stop."""
    folder, script = Path(sys.argv[1]), json.loads(sys.argv[2])
    with running_post_office() as office:
        office.delivered = Shelf(folder)
        answer(office, script)
        (folder / ".port").write_text(str(office.port))
        (folder / ".port").rename(folder / "port")
        signal.pause()


def answer(office: PostOffice, script: dict[Any, list[dict[str, Any]]]) -> None:
    """Give it its answers."""
    for verb, replies in script.items():
        office.answer(verb, *(Reply(**reply) for reply in replies))


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    main()
