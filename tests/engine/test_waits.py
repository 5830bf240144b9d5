"""Waits double, are spread, and end somewhere."""

from ticket_system.outbox import MAX_ATTEMPTS
from ticket_system.waits import backoff


def wait(attempts: int) -> float:
    return backoff(attempts, first_seconds=5, longest_seconds=4 * 3600).total_seconds()


def test_the_wait_doubles_with_jitter_up_to_a_bound() -> None:
    waits = {attempts: [wait(attempts) for _ in range(200)] for attempts in range(1, 40)}
    for attempts, found in waits.items():
        longest = min(5.0 * 2 ** (attempts - 1), 4 * 3600.0)
        assert longest / 2 <= min(found) < max(found) <= longest
        assert len(set(found)) > 150, "many do not come back at once"
    assert max(waits[1]) <= min(waits[3])
    assert sum(max(waits[attempts]) for attempts in range(1, MAX_ATTEMPTS)) > 24 * 3600, "a weekend's outage"
