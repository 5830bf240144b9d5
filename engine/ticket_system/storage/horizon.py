"""From where on a scan looks for what is due: from the very beginning, unless dead index entries make that dear.

While anybody holds an old snapshot, the entries of all that was handled since stay in the index, and a look from the
beginning walks them: a microsecond each, a tenth of a second behind a hundred thousand breaches. A program that finds
it so begins where it last saw nothing left, and looks at all of it again after a while that grows with what that
costs, ten seconds at most. What lies before the horizon, because it arrived late or was locked, is found then: the
horizon is about cost, and nothing is ever lost by it. Without an old snapshot every look is from the beginning, but
for one such while behind a burst: until the entries were found dead once.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

#: Before every clock.
START = datetime(1, 1, 1, tzinfo=UTC)

#: A look that took longer, in seconds, is worth asking how much it walked. Not enough by itself: so is a busy machine.
DEAR_SECONDS = 0.005
#: Pages that a look reads where few entries are dead: a handful. From so many on the horizon is kept.
MANY_PAGES = 100
#: Looks at everything take no larger share of the time than one part in so many …
_SHARE = 40
#: … but come at least so often, in seconds.
AT_LEAST_EVERY = 10.0
#: Kept behind the moment of the look: what a transaction writes that is under way just then is found by the next one.
SLACK = timedelta(seconds=2)


class Horizon:
    """What one program knows of one database. Threads may share it: whichever writes last, it is true."""

    def __init__(self) -> None:
        self._kept: tuple[datetime, float] = (START, 0.0)

    @property
    def start(self) -> datetime:
        """From where on to look now."""
        since, everything_again_at = self._kept
        return since if time.monotonic() < everything_again_at else START

    def keep(self, since: datetime, seen_at: datetime, took_seconds: float) -> None:
        """Begin there from now on: from `since` on nothing is left that was due then; looking took so long."""
        _, everything_again_at = self._kept
        if since == START:
            everything_again_at = time.monotonic() + min(_SHARE * took_seconds, AT_LEAST_EVERY)
        self._kept = (seen_at - SLACK, everything_again_at)
