"""Mail by SMTP: one message to one server, with a time limit, and a clear answer about who will get it.

Nothing that is put into a header can become another header: line breaks and control characters are taken out, and
addresses are parsed. A Message-ID is the caller's, so that a message that is sent twice can be recognised.
"""

import re
import smtplib
import ssl
import time
import unicodedata
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, parseaddr
from typing import Any, Protocol
from urllib.parse import parse_qs, unquote, urlsplit

# A server that answers slowly may take as long as this for everything; less than the lease of a job.
LONGEST_SECONDS = 60
LONGEST_STEP_SECONDS = 20
LONGEST_HEADER = 250
_SPACES = re.compile(r"\s+")
# Without quoted names and other rarities: what remains has one meaning only.
_WORD = r"[^\s\x00-\x20\x7f()<>\[\]:;@\\,.\"]+"
_ADDRESS = re.compile(rf"{_WORD}(\.{_WORD})*@{_WORD}(\.{_WORD})*")


class NotNow(Exception):
    """The server is away, or says that it may take the message later. Nothing is known to have been delivered."""


class Refused(Exception):
    """The server will not take this message, now or later."""


@dataclass(frozen=True, slots=True)
class Server:
    """A mail server, as SMTP_URL names it: smtp://user:password@host:587?starttls=1, or smtps:// for TLS at once."""

    host: str
    port: int
    user: str
    password: str
    tls: bool
    starttls: bool


@dataclass(frozen=True, slots=True)
class File:
    """An attachment: its name, its type as "application/pdf", and its bytes."""

    name: str
    mimetype: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Letter:
    """What is said, by whom and to whom."""

    message_id: str
    sent_at: datetime
    sender: str
    reply_to: str | None
    to: Sequence[str]
    subject: str
    text: str
    html: str
    files: Sequence[File] = ()


class _Timed(Protocol):
    until: float
    sock: Any


def server_of(url: str) -> Server:
    """The server that SMTP_URL names. Raises ValueError for a port that is none."""
    parts = urlsplit(url)
    tls = parts.scheme == "smtps"
    return Server(
        host=parts.hostname or "",
        port=parts.port or (465 if tls else 25),
        user=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        tls=tls,
        starttls=parse_qs(parts.query).get("starttls") == ["1"],
    )


def one_line(text: str) -> str:
    """A text as it may stand in a header: no line breaks, no control characters, none that turn its direction."""
    seen = "".join(" " if unicodedata.category(character).startswith("C") else character for character in text)
    return _SPACES.sub(" ", seen).strip()[:LONGEST_HEADER]


def is_address(text: str) -> bool:
    """Whether a text is one plain address and nothing else; in ASCII, as every server takes it."""
    return text.isascii() and _ADDRESS.fullmatch(text) is not None


def domain_of(sender: str) -> str:
    """The host name of a sender's address: what Message-IDs end with."""
    return parseaddr(sender)[1].rpartition("@")[2]


def compose(letter: Letter) -> EmailMessage:
    """The message: plain text and HTML as alternatives, and the files. Raises ValueError for what is no address."""
    # A subject stays in one piece, but for those in other scripts, whose encoded words are short by RFC 2047.
    subject = one_line(letter.subject)
    message = EmailMessage(policy=SMTP.clone(max_line_length=2 * LONGEST_HEADER) if subject.isascii() else SMTP)
    name, address = parseaddr(letter.sender)
    message["From"] = Address(one_line(name), addr_spec=address)
    message["To"] = tuple(Address(addr_spec=each) for each in letter.to)
    if letter.reply_to:
        message["Reply-To"] = Address(addr_spec=parseaddr(letter.reply_to)[1])
    message["Subject"] = subject
    message["Date"] = format_datetime(letter.sent_at)
    message["Message-ID"] = f"<{letter.message_id}>"
    # RFC 3834: so that nobody's machine answers.
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(letter.text)
    message.add_alternative(letter.html, subtype="html")
    for file in letter.files:
        maintype, _, subtype = file.mimetype.partition("/")
        message.add_attachment(file.content, maintype=maintype, subtype=subtype, filename=file.name)
    return message


def deliver(letter: Letter, server: Server) -> Mapping[str, tuple[int, str]]:
    """Hand a letter to the server. Returns those of its addresses that were refused, with the code and the words.

    Raises NotNow or Refused if the server took it for nobody and the reason is not an address. A server that falls
    silent after it has taken the message changes nothing: it has taken it.
    """
    message = compose(letter)
    sender = parseaddr(letter.sender)[1]
    try:
        smtp = _connect(server, domain_of(letter.sender))
    except (OSError, smtplib.SMTPException) as error:
        raise NotNow(_words(error)) from error
    try:
        refused = smtp.send_message(message, from_addr=sender, to_addrs=list(letter.to))
    except smtplib.SMTPRecipientsRefused as error:
        refused = error.recipients
        if len(refused) < len(letter.to):
            # It hung up before it had answered for all of them, so nobody gets it.
            raise NotNow(*(_said(code, words) for code, words in list(refused.values())[-1:])) from error
    except smtplib.SMTPResponseException as error:
        raise (NotNow if error.smtp_code < 500 else Refused)(_words(error)) from error
    except smtplib.SMTPNotSupportedError as error:
        raise Refused(_words(error)) from error
    except (OSError, smtplib.SMTPException) as error:
        raise NotNow(_words(error)) from error
    finally:
        with suppress(OSError, smtplib.SMTPException):
            smtp.quit()
        smtp.close()
    return {address: (code, _text(words)) for address, (code, words) in refused.items()}


def greet(server: Server, our_name: str) -> None:
    """Connect, sign in and hang up, to see whether mail could be sent. Raises NotNow with the reason if not."""
    try:
        smtp = _connect(server, our_name)
        smtp.quit()
    except (OSError, smtplib.SMTPException) as error:
        raise NotNow(_words(error)) from error


def _connect(server: Server, our_name: str) -> smtplib.SMTP:
    """A connection that is ready to send; whatever goes wrong here is the server's or the settings' fault."""
    kind = _TimedSMTPS if server.tls else _TimedSMTP
    more: dict[str, Any] = {"context": ssl.create_default_context()} if server.tls else {}
    smtp: smtplib.SMTP = kind(server.host, server.port, our_name, **more)
    try:
        if server.starttls:
            smtp.starttls(context=ssl.create_default_context())
        if server.user:
            smtp.login(server.user, server.password)
    except BaseException:
        smtp.close()
        raise
    return smtp


class _TimedSMTP(smtplib.SMTP):
    """Gives up when all steps together took too long, not only when one did."""

    def __init__(self, host: str, port: int, our_name: str, **more: Any) -> None:
        self.until = time.monotonic() + LONGEST_SECONDS
        super().__init__(host, port, local_hostname=our_name, timeout=LONGEST_STEP_SECONDS, **more)

    def getreply(self) -> tuple[int, bytes]:
        """The server's answer, if it comes in time."""
        _hurry(self)
        return super().getreply()

    def send(self, s: Any) -> None:
        """Send, if there is time left."""
        _hurry(self)
        super().send(s)


class _TimedSMTPS(_TimedSMTP, smtplib.SMTP_SSL):
    """The same over TLS from the first byte."""


def _hurry(smtp: _Timed) -> None:
    left = smtp.until - time.monotonic()
    if left <= 0:
        raise TimeoutError(f"it took more than {LONGEST_SECONDS} s")
    if smtp.sock is not None:
        smtp.sock.settimeout(min(left, LONGEST_STEP_SECONDS))


def _words(error: Exception) -> str:
    """What the server or the system said, for people; never what we sent."""
    if isinstance(error, smtplib.SMTPAuthenticationError):
        return f"The mail server does not accept the user name and password of SMTP_URL ({error.smtp_code})."
    if isinstance(error, smtplib.SMTPResponseException):
        return _said(error.smtp_code, error.smtp_error)
    # smtplib says of every trouble while it reads that the connection was closed.
    if isinstance(error, TimeoutError) or isinstance(error.__context__, TimeoutError):
        return "The mail server did not answer in time."
    if isinstance(error, smtplib.SMTPServerDisconnected):
        return "The mail server closed the connection."
    return f"The mail server cannot be used: {one_line(str(error))}"


def _said(code: int, words: bytes | str) -> str:
    return f"The mail server said: {code} {_text(words)}"


def _text(words: bytes | str) -> str:
    return one_line(words.decode("utf-8", "replace") if isinstance(words, bytes) else words)
