"""Usage goes out: whoever bills is told nothing that is not on record as about to be sent."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from typing_extensions import override

from tests.support.till import HOUR, Till, a_till
from ticket_system import ledger
from ticket_system.billing.deliveries import Delivery, Said
from ticket_system.ledger import Row
from ticket_tasks.usage import report_usage
from ticket_worker.billing.meter import StripeMeter
from ticket_worker.billing.pace import Pace


@pytest.fixture(params=("sqlite", "postgresql"))
def till(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Till]:
    """Usage of two hours waits to be sent."""
    url = str(tmp_path / "till.db") if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    with a_till(url) as opened:
        opened.opens(2)
        opened.opens(3, at=opened.now - HOUR)
        opened.passes(2 * HOUR)
        yield opened


def test_the_intent_is_on_record_before_anybody_is_told(till: Till) -> None:
    seen: list[tuple[str, int, bool]] = []

    class Peeking(StripeMeter):
        @override
        def send(self, row: Row, begun: Delivery) -> Said:
            [mine] = [one for one in till.deliveries() if one["id"] == row.delivery.id]
            seen.append((mine["state"], mine["attempts"], mine["first_attempt_at"] == till.now))
            return super().send(row, begun)

    report_usage(replace(till.toolbox, meter=Peeking(till.account, Pace(100))))
    assert seen == [("sending", 1, True)] * 2
    till.balances()


def test_who_lost_the_lane_in_the_last_moment_tells_nobody(till: Till) -> None:
    others: list[ledger.Held | None] = []

    class Slow(StripeMeter):
        @override
        def take_turn(self) -> None:
            # So long that somebody else takes it up.
            till.passes(2 * ledger.LEASE)
            others.append(ledger.claim(till.database, livemode=False))

    report_usage(replace(till.toolbox, meter=Slow(till.account, Pace(100)), billing_budget_seconds=5))
    assert others[0] is not None
    assert till.double.journal.events == []
