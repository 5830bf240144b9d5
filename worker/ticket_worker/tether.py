"""Run a command that does not outlive its parent: `python tether.py PARENT_PID SIGNAL COMMAND …`.

Started by path, in a bare interpreter: nothing but the standard library may be imported here.
"""

from __future__ import annotations

import os
import sys
import time

_PR_SET_PDEATHSIG = 1
_LOOK_EVERY_SECONDS = 1.0


def main() -> None:
    """Tie this process to its parent, then become the command."""
    parent, death_signal, command = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    if not ask_kernel(death_signal):
        target = os.getpid()
        if os.fork() == 0:
            watch(parent, target, death_signal)
            os._exit(0)
    # The parent may have gone before the kernel was asked.
    if os.getppid() != parent:
        sys.exit(1)
    os.execvp(command[0], command)  # noqa: S606 - the supervisor's own command line


def ask_kernel(death_signal: int) -> bool:
    """Ask for a signal when the parent dies; it outlasts exec. False where the kernel offers no such thing."""
    if sys.platform != "linux":
        return False
    import ctypes  # noqa: PLC0415 - not on every platform, and not for nothing

    return bool(ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, death_signal, 0, 0, 0) == 0)


def watch(parent: int, target: int, death_signal: int) -> None:
    """Look every second whether the parent lives, as long as the target does; pass its death on."""
    while os.getppid() == target:
        try:
            os.kill(parent, 0)
        except ProcessLookupError:
            os.kill(target, death_signal)
            return
        time.sleep(_LOOK_EVERY_SECONDS)


if __name__ == "__main__":
    main()
