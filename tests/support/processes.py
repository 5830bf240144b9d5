"""Child processes of a test run: started in a session of their own, always ended and reaped."""

import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from pwd import struct_passwd
from typing import IO


@contextmanager
def running(
    command: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    env: dict[str, str] | None = None,
    stdin: bytes = b"",
    log: IO[bytes] | None = None,
    account: struct_passwd | None = None,
    stop_signal: signal.Signals = signal.SIGTERM,
    grace_seconds: float = 10,
) -> Iterator[subprocess.Popen[bytes]]:
    """A process for as long as the block runs; asked to stop at its end, killed when it does not listen.

    Its own session keeps a Ctrl-C in the terminal from reaching it before the tests have let go of it.
    """
    process = subprocess.Popen(
        [str(word) for word in command],
        cwd=cwd,
        env=env,
        stdin=subprocess.PIPE,
        stdout=log or subprocess.DEVNULL,
        stderr=subprocess.STDOUT,
        user=account.pw_uid if account else None,
        group=account.pw_gid if account else None,
        extra_groups=[] if account else None,
        start_new_session=True,
    )
    try:
        assert process.stdin is not None
        process.stdin.write(stdin)
        process.stdin.close()
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(stop_signal)
        try:
            process.wait(grace_seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
