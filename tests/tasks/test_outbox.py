from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from tests.support.factories import a_ticket_due_in
from tests.support.mailers import KeepingMailer
from ticket_system import outbox
from ticket_tasks.breaches import scan_breaches
from ticket_tasks.errors import Rejected, Transient, Uncertain
from ticket_tasks.outbox import deliver_outbox
from ticket_tasks.toolbox import Toolbox


@pytest.fixture
def late(toolbox: Toolbox) -> Toolbox:
    """Three tickets are late, and a notice waits for each."""
    toolbox.system.create_tickets([a_ticket_due_in(-seconds) for seconds in (5, 4, 3)])
    scan_breaches(toolbox)
    return toolbox


def states(toolbox: Toolbox) -> dict[str, int]:
    return outbox.count(toolbox.database)


def test_every_notice_is_sent_once(late: Toolbox, mailer: KeepingMailer) -> None:
    assert deliver_outbox(late).sent == 3
    assert deliver_outbox(late).found == 0
    assert len({letter.key for letter in mailer.letters}) == len(mailer.letters) == 3
    assert states(late) == {"sent": 3}


def test_small_claims_drain_all_the_same(late: Toolbox) -> None:
    assert deliver_outbox(replace(late, deliver_batch_size=1)).sent == 3


def test_nothing_is_claimed_when_the_time_is_up(late: Toolbox, mailer: KeepingMailer) -> None:
    assert deliver_outbox(replace(late, deliver_budget_seconds=0)).found == 0
    assert mailer.letters == []


def test_bad_weather_postpones_one_and_not_the_rest(late: Toolbox, mailer: KeepingMailer) -> None:
    mailer.before.append(Transient("connection refused"))
    with capture_logs() as lines:
        delivery = deliver_outbox(late)
    assert (delivery.sent, delivery.postponed) == (2, 1)
    assert states(late) == {"sent": 2, "pending": 1}
    (line,) = [line for line in lines if line["event"] == "notice.postponed"]
    assert line["error"] == "connection refused"


def test_a_refused_letter_is_parked(late: Toolbox, mailer: KeepingMailer) -> None:
    mailer.after.append(Rejected("550 no such user"))
    assert deliver_outbox(late).parked == 1
    (row,) = outbox.rows(late.database)
    assert (row.state, row.error) == ("parked", "550 no such user")


def test_a_letter_that_may_have_arrived_is_shown_and_not_repeated(late: Toolbox, mailer: KeepingMailer) -> None:
    mailer.after.append(Uncertain("the line broke"))
    assert deliver_outbox(late).uncertain == 1
    assert deliver_outbox(late).found == 0
    assert states(late) == {"sent": 2, "uncertain": 1}


@pytest.mark.parametrize(("when", "state"), (("before", "parked"), ("after", "uncertain")))
def test_a_bug_stops_one_letter_loudly_and_not_the_rest(
    late: Toolbox, mailer: KeepingMailer, when: str, state: str
) -> None:
    getattr(mailer, when).append(ZeroDivisionError("oops"))
    with capture_logs() as lines:
        deliver_outbox(late)
    assert states(late) == {"sent": 2, state: 1}
    assert "notice.failed" in [line["event"] for line in lines]


def test_who_lost_the_lease_does_not_send(
    late: Toolbox, mailer: KeepingMailer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "begin_sending", lambda *_, **__: False)
    assert deliver_outbox(late).lost == 3
    assert mailer.letters == []


def test_the_intent_is_stored_before_anything_leaves(late: Toolbox) -> None:
    seen: list[dict[str, int]] = []

    class Peeking(KeepingMailer):
        def send(self, letter, *, before_data):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
            before_data()
            seen.append(states(late))

    deliver_outbox(replace(late, mailer=Peeking(), deliver_batch_size=1))
    assert [one["sending"] for one in seen] == [1, 1, 1]


def test_a_notice_of_an_unknown_kind_is_parked(late: Toolbox, monkeypatch: pytest.MonkeyPatch) -> None:
    claim = outbox.claim
    monkeypatch.setattr(
        outbox, "claim", lambda *args, **more: [replace(row, kind="pigeon") for row in claim(*args, **more)]
    )
    assert deliver_outbox(late).parked == 3
