"""Check everything under deploy/ with the programs that read it in earnest.

    make check-deploy                  one line for each check
    make check-deploy ARGS=--strict    what had to be skipped is a failure too

Exit status: 0 all is well; 1 something is wrong, or skipped and --strict.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from textwrap import indent
from typing import Final

from tests.deploy.images import compose, dockerfile
from tests.deploy.manifests import kubernetes
from tests.deploy.monitoring import alert_pages, board, prometheus, routes, rules
from tests.deploy.programs import ROOT, Absent, Wrong, fetch_missing
from tests.deploy.texts import scripts, yaml_files
from tests.deploy.units import units

#: Each gets the folder that holds deploy/, and returns what it looked at or raises Wrong or Absent.
CHECKS: Final[Mapping[str, Callable[[Path], str]]] = {
    "Dockerfile": dockerfile,
    "compose": compose,
    "kubernetes": kubernetes,
    "systemd": units,
    "alert rules": rules,
    "prometheus": prometheus,
    "alert routes": routes,
    "alert pages": alert_pages,
    "board": board,
    "YAML": yaml_files,
    "scripts": scripts,
}


def main(arguments: list[str]) -> int:
    """Make every check, and say what came of it."""
    is_strict = "--strict" in arguments
    fetch_missing()
    failed = 0
    for name, check in CHECKS.items():
        try:
            print(f"ok       {name}: {check(ROOT)}", flush=True)
        except Absent as reason:
            failed += is_strict
            print(f"skipped  {name}: {reason}", flush=True)
        except Wrong as fault:
            failed += 1
            print(f"FAILED   {name}:\n{indent(str(fault), '         ')}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
