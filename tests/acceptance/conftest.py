from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest


@pytest.fixture
def log(tmp_path: Path) -> Iterator[IO[bytes]]:
    """What the fleet says, shown when a test fails."""
    path = tmp_path / "fleet.log"
    with path.open("wb") as output:
        yield output
    print(path.read_text("utf-8", errors="replace")[-20_000:])
