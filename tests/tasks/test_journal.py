import stat
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.tasks.test_client import payloads
from ticket_tasks import Answer, JournalError, TicketClient, names
from ticket_tasks.answers import Answers
from ticket_tasks.journal import LONGEST_REPEAT_SECONDS, Journal, Kept


def test_what_is_confirmed_is_forgotten(redis_url: str) -> None:
    with TicketClient(redis_url, journal="memory") as client:
        keys = [client.report(days) for days in (1, 2, 3)]
        assert sorted(one.key for one in client.unconfirmed()) == sorted(keys)
        answers = Answers(redis_url)
        for key in keys[:2]:
            answers.tell(Answer(key=key, outcome="done"))
        assert client.flush(0.5) == 1
        answers.tell(Answer(key=keys[2], outcome="parked", reason="it lies in the database, which is what counts"))
        assert client.flush(20.0) == 0
        answers.close()
    assert [one["key"] for one in payloads(redis_url)] == keys, "nothing was sent twice"


def test_a_broker_that_is_away_loses_nothing_and_raises_nothing(tmp_path: Path, redis_url: str) -> None:
    path = tmp_path / "outgoing.db"
    with TicketClient("redis://127.0.0.1:1/0", timeout_seconds=0.2, journal=path) as client:
        keys = [client.escalate_ticket("t-1"), client.open_ticket("Printer", "", "ada", key="crm-1")]
        assert [one.sent_at for one in client.unconfirmed()] == [None, None]
        assert client.flush(0.1) == 2
    with TicketClient(redis_url, journal=path) as client:
        deadline = time.monotonic() + 20
        while len(payloads(redis_url)) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert all(one.sent_at and one.times == 2 for one in client.unconfirmed())
    assert {one["key"] for one in payloads(redis_url)} == {keys[0], "crm-1"}


def test_the_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "outgoing.db")
    journal.keep("k", "n", "{}")
    journal.close()
    assert stat.S_IMODE((tmp_path / "outgoing.db").stat().st_mode) == 0o600


def test_a_key_is_kept_once(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "outgoing.db")
    journal.keep("k", "n", "1")
    journal.keep("k", "n", "2")
    other = Journal(tmp_path / "outgoing.db")
    assert [one.payload for one in other.waiting()] == ["1"]
    other.confirmed("k")
    assert journal.count() == 0
    for one in (journal, other):
        one.close()


def test_everything_is_walked_however_much_it_is() -> None:
    journal = Journal()
    for number in range(2500):
        journal.keep(f"{number:05}", "n", "{}")
    assert [len(some) for some in journal.all()] == [1000, 1000, 500]
    journal.close()


@pytest.mark.parametrize(
    ("kept", "sent", "times", "queued", "expected"),
    (
        (0, None, 0, None, True),
        (30, 30, 1, None, False),
        (90, 90, 1, None, True),
        (90, 90, 2, None, False),
        (9000, 3700, 50, None, True),
        # What was sent after the oldest that waits may wait itself; what was sent before it waits nowhere.
        (90, 90, 1, 100, False),
        (90, 90, 1, 80, True),
        (LONGEST_REPEAT_SECONDS + 1, None, 1, None, False),
    ),
)
def test_what_may_be_lost_is_sent_again_and_what_only_waits_is_not(
    kept: float, sent: float | None, times: int, queued: float | None, expected: bool
) -> None:
    """Ages in seconds."""
    now = time.time()
    message = Kept("k", "n", "{}", now - kept, None if sent is None else now - sent, times)
    assert message.is_to_be_sent(None if queued is None else now - queued) is expected


def test_the_age_of_a_queue_is_that_of_its_oldest_message(redis_url: str) -> None:
    answers = Answers(redis_url)
    assert answers.queued_since(names.INTAKE) is None
    before = time.time()
    with TicketClient(redis_url) as client:
        client.report(1)
        between = time.time()
        client.report(2)
    since = answers.queued_since(names.INTAKE)
    assert since is not None
    assert before <= since <= between
    answers.close()


def test_a_file_that_is_no_journal_is_left_as_it_is_and_said(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not a journal " * 100, "utf-8")
    with pytest.raises(JournalError, match=r"notes\.txt cannot be used"):
        TicketClient("redis://127.0.0.1:1/0", journal=path)
    with pytest.raises(JournalError, match="no such"):
        TicketClient("redis://127.0.0.1:1/0", journal=tmp_path / "no such" / "folder.db")
    assert path.read_text("utf-8").startswith("not a journal")


def test_what_cannot_be_written_down_is_not_sent(tmp_path: Path, redis_url: str) -> None:
    with TicketClient(redis_url, journal=tmp_path / "outgoing.db") as client:
        assert client._post.journal is not None
        client._post.journal._connection.execute("DROP TABLE sent")
        with pytest.raises(JournalError):
            client.report(7)
    assert payloads(redis_url) == []


def test_the_courier_goes_on_after_trouble(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    troubles = iter([RuntimeError("a bug"), JournalError("full")])

    def trouble(self: object, keys: object) -> list[Answer]:
        if (error := next(troubles, None)) is not None:
            raise error
        return told(self, keys)

    told: Callable[[object, object], list[Answer]] = Answers.told  # type: ignore[assignment] # called as a function
    monkeypatch.setattr("ticket_tasks.post._LOOK_EVERY_SECONDS", 0.01)
    with TicketClient(redis_url, journal="memory") as client:
        key = client.report(7)
        monkeypatch.setattr(Answers, "told", trouble)
        with closing(Answers(redis_url)) as answers:
            answers.tell(Answer(key=key, outcome="done"))
        deadline = time.monotonic() + 20
        while client.unconfirmed() and time.monotonic() < deadline:
            time.sleep(0.02)
        assert client.unconfirmed() == []
