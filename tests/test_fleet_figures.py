"""The figures of real processes can be made: a tiny load yields each of them, with its floor."""

from datetime import UTC, datetime

import pytest

from tests.benchmarks import stock
from tests.benchmarks.fleet_figures import TINY, fleet
from tests.benchmarks.results import Results
from ticket_system.storage.database import Database


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_tiny_load_yields_every_figure_of_a_fleet(postgres_url: str) -> None:
    results = Results()
    with Database(postgres_url) as database:
        stock.fill(database, 1, 500, datetime.now(UTC))
        fleet(results, {500: database}, load=TINY)
    figures = results.figures
    for words in ("detection p50", "detection p99", "the last detected", "wishes granted", "messages enqueued"):
        found = [one for name, one in figures.items() if words in name]
        assert found, words
        for one in found:
            assert one.value > 0
            assert one.floor
            assert one.ratio
    for kind in ("workers", "their children", "beats"):
        [held] = [one for name, one in figures.items() if f"memory of {kind} " in name]
        assert 10 < held.value < 4000
    points = {line: values[500] for line, values in results.curves.items()}
    assert points["detection latency, p50 floor"] == 0.5
    assert 0 < points["detection latency, p50"] <= points["detection latency, p99"]
    # Whether they are good is for a quiet machine to say; whether anything was lost on the way is not.
    assert not [miss for miss in results.missed if "wanted" not in miss]
