"""Words suggest a priority: whole words, the most urgent first, from a table that can be replaced."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ticket_system import DEFAULT_SLA, PRIORITY_KEYWORDS, TicketSystem
from ticket_system.triage import auto_priority


def test_the_words_are_those_of_the_contract() -> None:
    assert PRIORITY_KEYWORDS == {
        1: ["down", "outage", "crash", "critical", "emergency", "production", "breach"],
        2: ["broken", "error", "fail", "urgent", "security", "data loss", "high"],
        3: ["slow", "degraded", "incorrect", "issue", "bug", "medium"],
        4: ["feature", "enhancement", "request", "question", "low"],
    }


@pytest.mark.parametrize(
    ("word", "priority"), [(word, priority) for priority, words in PRIORITY_KEYWORDS.items() for word in words]
)
def test_each_word_suggests_its_priority_and_hours(word: str, priority: int) -> None:
    expected = (priority, DEFAULT_SLA[priority])
    assert auto_priority(word) == auto_priority(f"The thing, {word.upper()}! it is") == expected


@pytest.mark.parametrize(
    ("text", "priority"),
    (
        ("please download the file", 3),
        ("a showdown at noon", 3),
        ("downtown, countdown, downstairs", 3),
        ("the server is down", 1),
        ("DOWN.", 1),
        ("it (down) again", 1),
        ("down-time", 1),
        ("snake_down_case", 1),
        ("a slow page", 3),
        ("slow and a question", 3),
        ("follow the flow below", 3),
        ("low toner", 4),
        ("it failed", 2),
        ("failing, fails, failure, failures", 2),
        ("failsafe", 3),
        ("it crashes", 1),
        ("crashed", 1),
        ("crashing", 1),
        ("errors everywhere", 2),
        ("terror", 3),
        ("urgently", 2),
        ("emergencies", 1),
        ("insecurity", 3),
        ("data loss", 2),
        ("data   \n loss", 2),
        ("data-loss", 3),
        ("dataloss", 3),
        ("loss of data", 3),
        ("highly", 2),
        ("thigh", 3),
        ("debug", 3),
        ("requests", 4),
        ("requested", 4),
        ("a feature request, but production is down", 1),
        ("a question about an error", 2),
        ("issue with a feature", 3),
        ("productions", 1),
        ("reproduction", 3),
        ("", 3),
        ("nothing in particular", 3),
        ("überdown", 3),
        ("down2", 3),
    ),
)
def test_words_match_as_words(text: str, priority: int) -> None:
    assert auto_priority(text) == (priority, DEFAULT_SLA[priority])


@given(st.text())
def test_any_text_gets_a_priority(text: str) -> None:
    priority, hours = auto_priority(text)
    assert DEFAULT_SLA[priority] == hours


@given(st.lists(st.sampled_from([word for words in PRIORITY_KEYWORDS.values() for word in words]), min_size=1))
def test_the_most_urgent_word_wins(words: list[str]) -> None:
    most_urgent = min(priority for word in words for priority, of in PRIORITY_KEYWORDS.items() if word in of)
    assert auto_priority(", ".join(words))[0] == most_urgent


def test_a_table_of_ones_own_replaces_the_words() -> None:
    words = {1: ["Feuer"], 2: ["c++", "a.b"], 4: []}
    assert auto_priority("es brennt: FEUER!", words=words) == (1, 4)
    assert auto_priority("a c++ program", words=words) == (2, 24)
    assert auto_priority("aXb", words=words) == auto_priority("production is down", words=words) == (3, 72)
    assert auto_priority("feuer", words=words, hours={1: 9, 2: 9, 3: 9, 4: 9}) == (1, 9)


def test_a_system_uses_the_words_and_hours_it_was_given() -> None:
    with TicketSystem(words={2: ["paper"]}) as system:
        assert system.auto_priority("no Paper") == (2, 24)
        assert system.auto_priority("outage") == (3, 72)
    with TicketSystem() as system:
        assert system.auto_priority("outage") == (1, 4)
