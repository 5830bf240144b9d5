"""What the reader of a report sees: every figure, as they write it; whatever people typed, as they typed it."""

import html
import re
import subprocess
import sys
import zlib
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from struct import unpack

import pytest
import resvg_py
from jinja2 import UndefinedError
from structlog.testing import capture_logs

from ticket_system.reports.contents import DEFINITIONS, Daily, Totals, Weekly
from ticket_system.reports.readers import Reader
from ticket_tasks.digest import chart, letter, page, samples
from ticket_tasks.digest.words import plain, words_of
from ticket_tasks.toolbox import Letter, Stationery

PAPER = Stationery(
    ticket_url="https://desk.example.com/tickets/{id}",
    postal_address="Initech, 4120 Freidrich Lane, Austin",
    unsubscribe_address="leave@example.com",
)
LEAVE = "https://desk.example.com/unsubscribe/abc.def?x=1&y=2"
AT = datetime(2026, 11, 23, 8, tzinfo=UTC)
GOLDEN = Path(__file__).with_name("weekly_full.txt")


class Page(HTMLParser):
    """A page as a reader meets it: its words, its links, its pictures, and what is wrong with its tags."""

    VOID = frozenset({"meta", "img", "br"})

    def __init__(self, source: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.links: list[str] = []
        self.pictures: list[dict[str, str | None]] = []
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.feed(source)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "a":
            self.links.append(dict(attrs)["href"] or "")
        if tag == "img":
            self.pictures.append(dict(attrs))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"style", "title"} & set(self.open):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def written(name: str, *, picture: bytes | None = b"png", paper: Stationery = PAPER, **reader: object) -> Letter:
    content, who = samples.sample(name)
    given = {field: getattr(who, field) for field in who.__slots__} | reader
    return letter.write(content, Reader(**given), paper, key="k", at=AT, picture=picture, unsubscribe_url=LEAVE)


def seen(one: Letter) -> Page:
    assert one.html is not None
    return Page(one.html)


# --- what stands in it ---------------------------------------------------------------------------------------------


def test_the_text_of_a_full_week_is_as_it_was_read_and_found_good() -> None:
    assert written("full").text == GOLDEN.read_text("utf-8")


def test_subject_and_headline_say_the_one_fact() -> None:
    assert written("full").subject == "Initech, 16–22 Nov 2026: 93% of promises kept, 11 broken"
    assert written("empty").subject == "Initech, 16–22 Nov 2026: a quiet week"
    assert written("daily").subject == "Initech, 22 Nov: 3 promises broken, 5 due soon"
    assert "93% of promises kept, 11 broken." in seen(written("full")).text


@pytest.mark.parametrize("name", samples.NAMES)
def test_every_figure_of_the_page_stands_in_the_text(name: str) -> None:
    one = written(name)
    figures = set(re.findall(r"\d[\d.,]*\d|\d", seen(one).text)) - {"24"}
    assert figures - set(re.findall(r"\d[\d.,]*\d|\d", one.text)) == set()
    assert len(figures) > (40 if name in {"full", "hostile"} else 3)


@pytest.mark.parametrize("name", ("full", "hostile"))
def test_every_figure_of_the_text_stands_on_the_page_once_the_curve_is_a_table(name: str) -> None:
    one = written(name, picture=None)
    text = one.text.replace(LEAVE, "")
    figures = set(re.findall(r"(?<![/%F])\b\d[\d.,]*\d|\b\d\b", re.sub(r"https://\S+", "", text)))
    assert figures - set(re.findall(r"\d[\d.,]*\d|\d", seen(one).text)) == set()


def test_definitions_stand_where_their_figures_are() -> None:
    for one in (written("full").text.replace("\n", " "), seen(written("full")).text):
        for name in DEFINITIONS:
            assert DEFINITIONS[name] in one, name


def test_only_managers_see_what_agents_have_and_only_the_billing_role_what_is_billed() -> None:
    both = seen(written("full")).text
    assert "By agent" in both
    assert "What is billed to initech" in both
    neither = written("full", sees_agents=False, sees_billing=False)
    for one in (seen(neither).text, neither.text.lower()):
        assert "by agent" not in one.lower()
        assert "billed" not in one
        assert "66.20" not in one


def test_why_it_came_when_it_was_counted_and_how_to_leave_stand_at_its_end() -> None:
    one = written("full")
    page = seen(one)
    for text in (one.text, page.text):
        assert "Counted on Mon 23 Nov, 09:00; times are those of Europe/Berlin." in text
        assert "Only tickets of customer initech are counted." in text
        assert "sent to ada@example.org" in text
        assert "4120 Freidrich Lane" in text
    assert LEAVE in page.links
    assert "mailto:leave@example.com" in page.links
    assert LEAVE in one.text
    assert one.mailing is not None
    assert (one.mailing.unsubscribe_url, one.mailing.list_name) == (LEAVE, "weekly.Initech")


def test_where_nothing_can_be_left_or_looked_at_there_are_no_links() -> None:
    content, reader = samples.sample("full")
    one = letter.write(content, reader, Stationery(), key="k", at=AT, picture=None, unsubscribe_url=None)
    assert seen(one).links == []
    assert "Get no more" not in one.text


def test_a_tickets_id_becomes_one_part_of_its_address() -> None:
    assert "https://desk.example.com/tickets/ticket%2F0%3F%26" in seen(written("full")).links


def test_a_quiet_week_says_so_and_a_first_one_compares_itself_with_nothing() -> None:
    page = seen(written("empty")).text
    for said in ("A quiet week.", "Nothing was decided this week.", "No promise was broken this week.", "n/a"):
        assert said in page


# --- how it compares -----------------------------------------------------------------------------------------------


def tiles(now: Totals, before: Totals | None) -> str:
    content, reader = samples.sample("empty")
    assert isinstance(content, Weekly)
    content = content.model_copy(update={"totals": now, "before": before})
    return letter.write(content, reader, PAPER, key="k", at=AT, picture=None, unsubscribe_url=None).text


@pytest.mark.parametrize(
    ("now", "before", "said"),
    (
        (Totals(opened=110), Totals(opened=100), "New: 110 (▲ +10%)"),
        (Totals(opened=5), Totals(opened=0), "New: 5 (n/a)"),
        (Totals(opened=6), None, "New: 6 (n/a)"),
        (Totals(opened=0), Totals(opened=0), "New: 0 (unchanged)"),
        (Totals(opened=7), Totals(opened=7), "New: 7 (unchanged)"),
        (Totals(opened=100), Totals(opened=10), "New: 100 (▲ ×10)"),
        (Totals(solved=110), Totals(solved=100), "Solved: 110 (▲ +10%, better)"),
        (Totals(solved=90), Totals(solved=100), "Solved: 90 (▼ −10%, worse)"),
        (Totals(solved=0), Totals(solved=100), "Solved: 0 (▼ −100%, worse)"),
        (Totals(backlog=50), Totals(backlog=40), "Open: 50 (▲ +25%, worse)"),
        (Totals(backlog=30), Totals(backlog=40), "Open: 30 (▼ −25%, better)"),
        (Totals(met=9, breached=1), Totals(met=8, breached=2), "Promises kept: 90% (▲ +10 points, better), 9 of 10"),
        (Totals(met=8, breached=2), Totals(met=9, breached=1), "Promises kept: 80% (▼ −10 points, worse), 8 of 10"),
        (Totals(met=9, breached=1), Totals(met=18, breached=2), "Promises kept: 90% (unchanged), 9 of 10"),
        (Totals(met=9, breached=1), Totals(), "Promises kept: 90% (n/a), 9 of 10"),
        (Totals(), Totals(met=9, breached=1), "Promises kept: – (nothing was decided)"),
        (Totals(met=999, breached=1), None, "Promises kept: 99.9% (n/a), 999 of 1,000"),
        (Totals(met=99_999, breached=1), None, "Promises kept: 99.9% (n/a), 99,999 of 100,000"),
        (Totals(met=1, breached=99_999), None, "Promises kept: 0.1% (n/a), 1 of 100,000"),
        (Totals(met=4, breached=0), None, "All 4 promises kept."),
        (Totals(met=1, breached=0), None, "The one promise was kept."),
    ),
    ids=lambda one: str(one) if isinstance(one, str) else "",
)
def test_a_figure_says_how_it_changed_and_whether_that_is_good(now: Totals, before: Totals | None, said: str) -> None:
    assert said in tiles(now, before)


# --- what people type ----------------------------------------------------------------------------------------------


def test_whatever_people_typed_is_text() -> None:
    one = written("hostile")
    page = seen(one)
    assert one.html is not None
    assert {"script", "b"} & page.tags == set()
    assert "<script>alert('x')</script> & \"quoted\" <b>bold</b>" in page.text
    assert html.escape("{{ 7 * 7 }} {% raw %} ${jndi:ldap://x} %s", quote=False) in one.html.replace("&quot;", '"')
    assert not re.search("[\u202a-\u202e\u2066-\u2069]", one.html + one.text + one.subject)
    assert "Bcc: everybody@example.org" in one.text
    assert "\nBcc:" not in one.text.replace("\r", "\n")
    assert "\n" not in one.subject
    assert "\r" not in one.html + one.text + one.subject
    assert "🖨️ on fire 🔥 👩🏽‍💻" in page.text
    assert "שלום עולם" in page.text


def test_of_five_hundred_agents_the_busiest_are_named() -> None:
    page = seen(written("hostile")).text
    assert "agent 13 <13@example.org>" in page
    assert "agent 14 <" not in page
    assert "and 480 more" in page


@pytest.mark.parametrize("name", samples.NAMES)
def test_a_page_is_small_fetches_nothing_and_is_well_formed(name: str) -> None:
    one = written(name)
    assert one.html is not None
    assert len(one.html.encode()) < 100_000
    assert not re.search(r"(src|background)\s*=\s*[\"']?(https?:)?//", one.html)
    assert "url(" not in one.html
    assert "@import" not in one.html
    assert "<link" not in one.html
    assert 'lang="en"' in one.html
    page = seen(one)
    assert all(link.startswith(("https://desk.example.com/", "mailto:")) for link in page.links)


@pytest.mark.parametrize("text", ("a\r\nb", "a\u2028b", "a\x00b", "a\u202eb", "  a \t b ", "a\ufeffb"), ids=ascii)
def test_a_name_is_one_line(text: str) -> None:
    assert plain(text) in {"a b", "ab"}
    assert plain("x" * 1000) == "x" * 59 + "…"
    assert plain("Z" + "\u0321\u0337" * 40 + "a") == "Z\u0321\u0337\u0321a"
    assert plain("Việt Nam, é") == "Việt Nam, é"


def test_what_is_undefined_is_an_error() -> None:
    with pytest.raises(UndefinedError):
        page.text("weekly.txt", title="only this")


# --- how its reader writes -----------------------------------------------------------------------------------------


def test_numbers_and_dates_are_as_the_reader_writes_them_and_instants_in_their_zone() -> None:
    german = written("full", locale="de_DE", zone="America/New_York")
    assert german.subject == "Initech, 16.–22. Nov. 2026: 93\xa0% of promises kept, 11 broken"
    assert "Mo., 23. Nov., 03:00; times are those of America/New_York" in german.text
    american = written("hostile", locale="en_US")
    assert "New: 1,234,567" in american.text
    assert "New: 1.234.567" in written("hostile", locale="de_DE").text


@pytest.mark.parametrize(("given", "used"), (("xx_YY", "en_GB"), ("de_XX", "de"), ("zz", "en_GB"), ("pt_BR", "pt_BR")))
def test_a_locale_that_nobody_knows_is_that_of_its_language_or_english(given: str, used: str) -> None:
    assert str(words_of(Reader(1, "a@example.org", locale=given)).locale) == used


def test_a_zone_that_nobody_knows_any_more_is_not_said_to_be_used() -> None:
    assert "times are those of UTC" in written("full", zone="Mars/Olympus").text


@pytest.mark.parametrize(
    ("seconds", "wall", "working"),
    (
        (0, "under a minute", "under a minute"),
        (-5, "under a minute", "under a minute"),
        (59.9, "under a minute", "under a minute"),
        (60, "1 min", "1 min"),
        (3600, "1 h", "1 h"),
        (5 * 3600 + 12 * 60 + 59, "5 h 12 min", "5 h 12 min"),
        (86_400, "1 d", "24 h"),
        (86_400 + 59, "1 d", "24 h"),
        (2 * 86_400 + 4 * 3600 + 5, "2 d 4 h", "52 h"),
        (2000 * 86_400, "2,000 d", "48,000 h"),
    ),
)
def test_a_working_day_is_not_a_day(seconds: float, wall: str, working: str) -> None:
    words = words_of(Reader(1, "a@example.org"))
    assert (words.span(seconds), words.working(seconds)) == (wall, working)


# --- the curve -----------------------------------------------------------------------------------------------------


def pixels(png: bytes) -> tuple[int, int, int]:
    """Width, height, and how many pixels are dark: of an 8-bit RGB or RGBA picture."""
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    width, height, depth, colour = unpack(">IIBB", png[16:26])
    assert depth == 8
    size = {2: 3, 6: 4}[colour]
    place, packed = 8, b""
    while place < len(png):
        (length,), kind = unpack(">I", png[place : place + 4]), png[place + 4 : place + 8]
        packed += png[place + 8 : place + 8 + length] if kind == b"IDAT" else b""
        place += 12 + length
    raw, before, dark = zlib.decompress(packed), bytearray(width * size), 0
    for row in range(height):
        start = row * (width * size + 1)
        line = bytearray(raw[start + 1 : start + 1 + width * size])
        unfilter(raw[start], line, before, size)
        if colour == 6:
            assert set(line[3::4]) == {255}, "opaque: it is seen on dark pages as well"
        dark += sum(line[at] < 100 for at in range(0, len(line), size))
        before = line
    return width, height, dark


def unfilter(kind: int, line: bytearray, before: bytearray, size: int) -> None:
    for at in range(len(line)):
        left = line[at - size] if at >= size else 0
        up, corner = before[at], before[at - size] if at >= size else 0
        if kind == 1:
            line[at] = (line[at] + left) % 256
        elif kind == 2:
            line[at] = (line[at] + up) % 256
        elif kind == 3:
            line[at] = (line[at] + (left + up) // 2) % 256
        elif kind == 4:
            distance = {left: abs(up - corner), up: abs(left - corner), corner: abs(left + up - 2 * corner)}
            nearest = min((left, up, corner), key=lambda one: distance[one])
            line[at] = (line[at] + nearest) % 256


def a_week() -> Weekly:
    content, _ = samples.sample("full")
    assert isinstance(content, Weekly)
    return content


def test_the_curve_is_drawn_with_its_words_and_always_the_same() -> None:
    png = chart.draw(a_week())
    assert png is not None
    assert png == chart.draw(a_week())
    width, height, dark = pixels(png)
    assert (width, height) == (2 * chart.WIDTH, 2 * chart.HEIGHT)
    without_words = re.sub(r"<text.*?</text>", "", chart.svg(a_week()), flags=re.DOTALL)
    assert dark > 1.5 * pixels(bytes(resvg_py.svg_to_bytes(svg_string=without_words, zoom=2)))[2]
    assert len(png) < 60_000


def test_the_curve_holds_nothing_that_anybody_wrote() -> None:
    hostile, _ = samples.sample("hostile")
    assert isinstance(hostile, Weekly)
    drawn = chart.svg(hostile)
    assert "script" not in drawn
    assert "href" not in drawn
    assert {html.unescape(word) for word in re.findall(r"<text[^>]*>([^<]*)</text>", drawn)} == {
        "new", "open at the week's end", "2M", "11 Oct", "25 Oct", "8 Nov", "22 Nov",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("number", "said"), ((0, "0"), (999, "999"), (1000, "1k"), (1549, "1.5k"), (12_345, "12k"), (3_400_000, "3.4M"))
)
def test_a_figure_on_the_curve_has_few_letters(number: int, said: str) -> None:
    assert chart._short(number) == said


def test_without_a_renderer_the_report_is_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "resvg_py", None)
    with capture_logs() as logs:
        assert chart.draw(a_week()) is None
    assert [one["event"] for one in logs] == ["chart.omitted"]
    one = written("full", picture=None)
    assert one.pictures == ()
    assert seen(one).pictures == []
    assert "Open at its end" in seen(one).text, "a table in its place"


def test_a_drawing_that_fails_costs_the_curve_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chart, "svg", lambda _: "<svg")
    with capture_logs() as logs:
        assert chart.draw(a_week()) is None
    assert logs[0]["organisation"] == "Initech"


def test_the_page_shows_the_picture_of_the_letter_and_says_in_words_what_it_shows() -> None:
    one = written("full")
    [picture] = one.pictures
    [shown] = seen(one).pictures
    assert shown["src"] == f"cid:{picture.name}"
    assert shown["alt"] == (
        "Open tickets at the end of each of 8 weeks: 38 on 4 Oct, 53 on 22 Nov; the most were 58 on 8 Nov. "
        "In the last week 108 came in."
    )
    assert shown["width"] == "584"
    assert written("daily").pictures == ()


# --- the same again ------------------------------------------------------------------------------------------------


def test_a_letter_written_twice_is_the_same() -> None:
    assert written("hostile") == written("hostile")
    assert (written("full").at, written("full").key, written("full").to, written("full").to_name) == (
        AT, "k", "ada@example.org", "Ada",
    )  # fmt: skip


def test_of_a_busy_day_fifty_are_named() -> None:
    content, reader = samples.sample("daily")
    assert isinstance(content, Daily)
    late = content.worst[0]
    busy = content.model_copy(update={"worst": (late,) * 120, "at_risk": ()})
    one = letter.write(busy, reader, PAPER, key="k", at=AT, picture=None, unsubscribe_url=None)
    assert one.text.count("Checkout is down") == 50
    assert "and 70 more" in one.text
    assert one.html is not None
    assert len(one.html.encode()) < 100_000


def test_whoever_only_enqueues_needs_none_of_it() -> None:
    check = "import sys, ticket_tasks.client; print({'jinja2', 'babel', 'css_inline'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert found.stdout == "set()\n"
