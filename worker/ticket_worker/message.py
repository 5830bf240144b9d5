"""A letter as it goes over the wire: seven bits, the same bytes for every attempt."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP, EmailPolicy
from typing import Any
from urllib.parse import quote

from typing_extensions import override

from ticket_tasks.errors import Rejected
from ticket_tasks.toolbox import Letter, Mailing
from ticket_worker.addresses import is_plain_address

#: A line of a message holds 998 characters; a header that may not be folded stays below, and so does any one word.
_LONGEST_VALUE = 950
_LONGEST_LABEL = 60
_LONGEST_TITLE = 200
_BREAK = re.compile(r"[\r\n\0]")
# The rest of what the email package, or a mail program, might take for the end of a line.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_LINK = re.compile(r"https?://[!-;=?-~]+")
_PICTURE = re.compile(r"[A-Za-z0-9-]+")
_LABEL = re.compile(r"[a-z0-9-]+(?:\.[a-z0-9-]+)*")
#: People read these: they may hold encoded words, of which none is longer than 75 characters, and so does no line.
_WORDS = frozenset({"from", "to", "reply-to", "subject"})


@dataclass(frozen=True, slots=True)
class Sender:
    """Whom a letter is from, and who gets the answers."""

    address: str
    name: str | None = None
    reply_to: str | None = None

    @property
    def domain(self) -> str:
        """Where its address is."""
        return self.address.rpartition("@")[2]


class _Wire(EmailPolicy):
    """Leaves in one line what programs read: folded, it would become encoded words, which they do not understand."""

    @override
    def fold_binary(self, name: str, value: Any) -> bytes:
        if name.lower() in _WORDS:
            return super().fold_binary(name, value)
        return _WIDE.fold_binary(name, value)


# Seven bits pass through every server, and no server on the way has a reason to break a signature.
_WIDE = SMTP.clone(cte_type="7bit", max_line_length=998)
_POLICY = _Wire(linesep="\r\n", cte_type="7bit", max_line_length=76)


def as_bytes(letter: Letter, sender: Sender) -> bytes:
    """Return the message as it goes over the wire; raises `Rejected` where it would be more, or other, than one."""
    try:
        message = EmailMessage(policy=_POLICY)
        _address(message, letter, sender)
        if letter.mailing is not None:
            _enrol(message, letter.mailing, sender)
            message["X-Ticket-System-Delivery"] = digest(letter)
        _fill(message, letter)
        return message.as_bytes()
    except UnicodeEncodeError:
        raise Rejected("the letter holds half a character, which no mail can carry") from None


def recipient(letter: Letter) -> str:
    """Return the address that the letter goes to, or raise `Rejected` where it has none."""
    if letter.to is None:
        raise Rejected("nobody to send it to")
    return letter.to


def digest(letter: Letter) -> str:
    """Return what the letter is called outside: the same for every attempt, and nobody reads its key in it."""
    return hashlib.sha256(letter.key.encode()).hexdigest()[:40]


def _address(message: EmailMessage, letter: Letter, sender: Sender) -> None:
    message["From"] = _mailbox(sender.address, sender.name)
    message["To"] = _mailbox(recipient(letter), letter.to_name)
    if sender.reply_to is not None:
        message["Reply-To"] = _mailbox(sender.reply_to)
    message["Subject"] = _line(letter.subject, "the subject")
    message["Date"] = letter.at
    message["Message-ID"] = f"<{digest(letter)}@{sender.domain}>"
    # Keeps holiday notices from answering a machine.
    message["Auto-Submitted"] = "auto-generated"
    message["X-Auto-Response-Suppress"] = "All"


def _enrol(message: EmailMessage, mailing: Mailing, sender: Sender) -> None:
    """Say which series it is one of, and how to leave it (RFC 2369, 2919, 8058)."""
    label = _list_label(mailing.list_name)
    ways = []
    if (url := mailing.unsubscribe_url) is not None:
        if not _LINK.fullmatch(url):
            raise Rejected("the address that leaves the series is no plain URL")
        ways.append(f"<{url}>")
    if (address := mailing.unsubscribe_address) is not None:
        _mailbox(address)
        ways.append(f"<mailto:{quote(address, safe='@')}?subject=unsubscribe%20{label}>")
    told = ", ".join(ways)
    if len(told) > _LONGEST_VALUE:
        raise Rejected("the ways out of the series are longer than a line can be")
    if told:
        message["List-Unsubscribe"] = told
    if url is not None and url.startswith("https://"):
        message["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    title = _line(mailing.title, "the title")[:_LONGEST_TITLE].replace("\\", "\\\\").replace('"', '\\"')
    identity = f"<{label}.{sender.domain}>"
    # It may be left out, and in other letters it would need encoded words.
    message["List-Id"] = f'"{title}" {identity}' if title.isascii() else identity
    message["Feedback-ID"] = f"{label}:tickets"


def _fill(message: EmailMessage, letter: Letter) -> None:
    """Put in the text; where there is a page, that too, its pictures beside it."""
    message.set_content(_body(letter.text))
    if letter.html is None:
        return
    message.add_alternative(_body(letter.html), subtype="html")
    # Made of what it must not occur in: nobody can write a text that holds the digest of itself.
    mark = hashlib.sha256(f"{letter.key}\0{letter.text}\0{letter.html}".encode()).hexdigest()[:32]
    message.set_boundary(f"=_{mark}-a")
    if not letter.pictures:
        return
    _, page = message.iter_parts()
    for picture in letter.pictures:
        if not _PICTURE.fullmatch(picture.name):
            raise Rejected("a picture's name holds more than letters, digits and dashes")
        name = picture.name
        page.add_related(picture.png, "image", "png", cid=f"<{name}>", filename=f"{name}.png", disposition="inline")
    page.set_boundary(f"=_{mark}-r")
    page.set_param("type", "text/html")


def _mailbox(address: str, name: str | None = None) -> Address:
    if not is_plain_address(address):
        raise Rejected("an address is not plainly name@domain")
    user, _, domain = address.partition("@")
    return Address(_line(name or "", "a name"), user, domain)


def _line(text: str, what: str) -> str:
    """Return it as one line of words that mean nothing to a mail program; refuse what would begin another header."""
    if _BREAK.search(text):
        raise Rejected(f"{what} holds a line break")
    text.encode()  # raises for half a character, of which a header would make something else
    # An encoded word that somebody wrote is no encoded word: decoded, it might hold a line break.
    return _CONTROL.sub(" ", text[:_LONGEST_VALUE]).replace("=?", "= ?")


def _body(text: str) -> str:
    return text.replace("\0", "")


def _list_label(list_name: str) -> str:
    """Return the series' name as part of a domain name; what had to be changed keeps apart by its digest."""
    if _LABEL.fullmatch(list_name) and len(list_name) <= _LONGEST_LABEL:
        return list_name
    mark = hashlib.sha256(list_name.encode()).hexdigest()[:8]
    plain = re.sub(r"[^a-z0-9]+", ".", list_name.lower()).strip(".")[:_LONGEST_LABEL].strip(".")
    return f"{plain}.{mark}" if plain else mark
