"""Plant a bug by hand: `python -m tests.planted BUG FOLDER` prints the PYTHONPATH of a copy that has it.

`python -m tests.planted --list` prints the bugs. A chaos run with a bug planted:

    PYTHONPATH="$(python -m tests.planted 'doubt is repeated' /tmp/planted)" make chaos
"""

import argparse
import sys
from pathlib import Path

from tests.planted.bugs import BUGS
from tests.planted.planting import named, plant, table


def main() -> int:
    """Plant it."""
    parser = argparse.ArgumentParser(prog="python -m tests.planted", description=main.__doc__)
    parser.add_argument("bug", nargs="?", choices=[bug.name for bug in BUGS], metavar="BUG")
    parser.add_argument("folder", nargs="?", type=Path, metavar="FOLDER", help="a new one, or an empty one")
    parser.add_argument("--list", action="store_true", help="name the bugs, and the tests that catch them")
    given = parser.parse_args()
    if given.list:
        print(table())
        return 0
    if given.bug is None or given.folder is None:
        parser.error("name a bug and a folder; --list names the bugs")
    if given.folder.exists() and any(given.folder.iterdir()):
        parser.error(f"{given.folder} is not empty")
    print(plant(given.folder, named(given.bug)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
