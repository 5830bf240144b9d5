"""The units of systemd, as systemd itself reads them."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.deploy.programs import Wrong, run

FOLDER = Path("deploy/systemd")
#: In tenths: 2.0 on the scale from 0 to 10.
_MOST_EXPOSED = 20


def units(tree: Path) -> str:
    """Whether systemd understands every line, and calls every service well closed."""
    with _installed(tree) as folder:
        # Its own folders come behind ours: the colon at the end.
        env = {"SYSTEMD_UNIT_PATH": f"{folder}:"}
        target = (folder / "tickets.target").read_text()
        names = sorted(
            instance
            for path in folder.glob("*.service")
            for instance in (re.findall(rf"{path.stem}\w+\.service", target) if "@" in path.name else [path.name])
        )
        for name in ("tickets.target", *names):
            # It ends with 0 whatever it reads; what it says is what it found.
            said = "".join(run(["systemd-analyze", "verify", "--man=no", name], cwd=folder, env=env))
            if said.strip():
                raise Wrong(said.strip())
        for name in names:
            threshold = f"--threshold={_MOST_EXPOSED}"
            run(["systemd-analyze", "security", "--offline=true", "--no-pager", threshold, name], cwd=folder, env=env)
    return f"{len(names)} services, none exposed above {_MOST_EXPOSED / 10}"


@contextmanager
def _installed(tree: Path) -> Iterator[Path]:
    """The units where nothing else is, with a program that every machine has in place of ours."""
    with tempfile.TemporaryDirectory(prefix="tickets-units-") as name:
        folder = Path(name)
        shutil.copytree(tree / FOLDER, folder, dirs_exist_ok=True)
        for path in folder.glob("*.service"):
            path.write_text(re.sub(r"(?m)^ExecStart=/opt/tickets/bin/\S+", "ExecStart=/bin/true", path.read_text()))
        yield folder
