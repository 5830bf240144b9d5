import json

import pytest

from ticket_system import TicketSystem, parking
from ticket_system.errors import ParkingError


@pytest.fixture
def number(system: TicketSystem) -> int:
    return parking.park(system.database, "tickets.open_ticket", '{"a": 1}', "no title")


def test_a_message_lies_there_with_its_reason(system: TicketSystem, number: int) -> None:
    (one,) = parking.listed(system.database)
    assert (one.id, one.name, one.body, one.reason) == (number, "tickets.open_ticket", '{"a": 1}', "no title")
    assert (one.state, one.times, one.settled_at, one.settled_by) == ("waiting", 1, None, None)
    assert parking.count(system.database) == 1


def test_the_same_message_again_is_counted_and_has_the_newest_reason(system: TicketSystem, number: int) -> None:
    assert parking.park(system.database, "tickets.open_ticket", '{"a": 1}', "no requester") == number
    assert parking.park(system.database, "tickets.add_comment", '{"a": 1}', "no body") != number
    one = parking.get(system.database, number)
    assert (one.times, one.reason) == (2, "no requester")


def test_what_was_dropped_stays_dropped_when_it_comes_again(system: TicketSystem, number: int) -> None:
    parking.drop(system.database, number, by="ada")
    parking.park(system.database, "tickets.open_ticket", '{"a": 1}', "no title")
    one = parking.get(system.database, number)
    assert (one.state, one.settled_by, one.times) == ("dropped", "ada", 2)
    assert (parking.listed(system.database), parking.count(system.database)) == ([], 0)


def test_what_was_replayed_waits_when_it_comes_again(system: TicketSystem, number: int) -> None:
    parking.replay(system.database, number)
    parking.finish(system.database, number)
    assert parking.get(system.database, number).state == "replayed"
    parking.park(system.database, "tickets.open_ticket", '{"a": 1}', "no title")
    assert parking.get(system.database, number).state == "waiting"


def test_a_message_that_was_parked_anew_while_it_was_tried_is_not_finished(system: TicketSystem, number: int) -> None:
    parking.replay(system.database, number)
    parking.park(system.database, "tickets.open_ticket", '{"a": 1}', "still no title")
    parking.finish(system.database, number)
    assert parking.get(system.database, number).state == "waiting"


def test_a_mended_body_takes_the_place_of_the_old_one(system: TicketSystem, number: int) -> None:
    parking.replay(system.database, number, body='{"a": 2}', by="ada")
    (one,) = parking.due(system.database)
    assert (one.body, one.settled_by) == ('{"a": 2}', "ada")


def test_a_mended_body_that_lies_here_already_is_refused(system: TicketSystem, number: int) -> None:
    other = parking.park(system.database, "tickets.open_ticket", '{"a": 2}', "no title")
    with pytest.raises(ParkingError, match="already"):
        parking.replay(system.database, number, body='{"a": 2}')
    assert {one.id: one.state for one in parking.listed(system.database)} == {number: "waiting", other: "waiting"}


def test_what_is_no_json_has_to_be_mended_first(system: TicketSystem) -> None:
    number = parking.park(system.database, "tickets.open_ticket", "{", "unreadable")
    with pytest.raises(ParkingError, match="--body"):
        parking.replay(system.database, number)
    with pytest.raises(ParkingError, match="JSON"):
        parking.replay(system.database, number, body="}")
    parking.replay(system.database, number, body="{}")
    assert [one.id for one in parking.due(system.database)] == [number]


def test_what_was_settled_is_not_settled_again(system: TicketSystem, number: int) -> None:
    parking.drop(system.database, number, by="ada")
    for settle in (parking.drop, parking.replay):
        with pytest.raises(ParkingError, match="dropped by ada"):
            settle(system.database, number)
        with pytest.raises(ParkingError, match="no parked message has the number 999"):
            settle(system.database, 999)


def test_whatever_comes_in_can_be_stored(system: TicketSystem) -> None:
    number = parking.park(system.database, "n\0" * 500, "\0\ud800 body", "\0 why " * 1000)
    one = parking.get(system.database, number)
    assert len(one.name) <= 200
    assert len(one.reason) <= 1000
    assert "\0" not in one.name + one.body + one.reason


def test_a_body_that_is_too_long_is_cut_and_says_so(system: TicketSystem) -> None:
    number = parking.park(system.database, "tickets.open_ticket", json.dumps("x" * parking.MAX_BODY), "too long")
    one = parking.get(system.database, number)
    assert len(one.body) == parking.MAX_BODY
    assert "cannot be tried again" in one.reason
    with pytest.raises(ParkingError):
        parking.replay(system.database, number)
