"""Calling an address that a customer has chosen, without ever calling into the network of the portal.

The name is resolved once, every address that it has must be public, and the connection goes to the one that was checked
(a name that answers otherwise the second time gains nothing). Redirects are not followed, no proxy is asked, an answer
is read up to a limit, and everything together has a deadline.
"""

import http.client
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from portal.core.errors import InvalidInput
from portal.core.saying import Said

LONGEST_URL = 500
SECONDS_TO_CONNECT, SECONDS_IN_ALL = 5, 15
EXCERPT_BYTES = 500
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_NAT64_INSIDE = ipaddress.ip_network("64:ff9b:1::/48")
# What of an answer is no text to show.
_CONTROLS = dict.fromkeys([*range(32), 127], " ")


class CannotCall(Exception):
    """Nothing was heard; the reason is a sentence for whoever owns the endpoint."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What was answered: the status, as much of the body as was asked for, and after how long."""

    status: int
    body: bytes
    milliseconds: int

    @property
    def excerpt(self) -> str:
        """The beginning of the body, as text to show."""
        return self.body[:EXCERPT_BYTES].decode(errors="replace").translate(_CONTROLS).strip()


def check_url(url: str, *, private_too: bool) -> SplitResult:
    """The parts of an address that may be called. Raises InvalidInput (field "url")."""
    parts = _split(url)
    if parts.scheme != "https" and not (private_too and parts.scheme == "http"):
        raise InvalidInput("An address begins with https://.", field="url")
    if parts.username is not None or parts.password is not None or "@" in parts.netloc:
        raise InvalidInput("Leave user and password out of the address.", field="url")
    if parts.fragment or "#" in url:
        raise InvalidInput("Leave out what stands behind #; it is never sent.", field="url")
    host = parts.hostname or ""
    if not host or parts.port == 0:
        raise InvalidInput("The address names no host.", field="url")
    if not private_too and (is_literal(host) or "." not in host.rstrip(".") or host.rstrip(".").endswith(".localhost")):
        raise InvalidInput("Name a host of the public internet, like billing.example.com.", field="url")
    return parts


def _split(url: str) -> SplitResult:
    plain = url.isascii() and url.isprintable() and " " not in url and "\\" not in url
    if not plain or len(url) > LONGEST_URL:
        raise InvalidInput(
            Said("An address has at most %(longest)s characters, none but those of addresses.", longest=LONGEST_URL),
            field="url",
        )
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018  it is read here, where a wrong one can be refused
    except ValueError:
        raise InvalidInput("This is not an address.", field="url") from None
    return parts


def is_literal(host: str) -> bool:
    """Whether a host is an address itself, in any spelling that resolvers take for one: 127.1 or 2130706433, too."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        last = host.rstrip(".").rpartition(".")[2].lower()
        return last.isdecimal() or last.startswith("0x")
    return True


def is_public(address: str) -> bool:
    """Whether an address is one of the public internet; those that carry another inside are as that one is."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour or (found.teredo or (None, None))[1]
        if found in _NAT64:
            inner = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
        if found in _NAT64_INSIDE:
            return False
        if inner is not None:
            found = inner
    return found.is_global and not (found.is_multicast or found.is_reserved or found.is_unspecified)


def resolve(host: str, port: int) -> list[str]:
    """All addresses of a host. Raises CannotCall."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise CannotCall(f"The name {host} was not found.") from None
    return list(dict.fromkeys(str(each[4][0]) for each in found))


def checked_address(host: str, port: int, *, private_too: bool) -> str:
    """The address to connect to. Raises CannotCall if any address of the host is not of the public internet."""
    addresses = resolve(host, port)
    if not private_too and not all(map(is_public, addresses)):
        raise CannotCall(f"The name {host} leads to an address that is not of the public internet; it is not called.")
    return addresses[0]


def call(
    url: str,
    body: bytes | None,
    headers: Mapping[str, str],
    *,
    private_too: bool,
    most_bytes: int = EXCERPT_BYTES,
) -> Answer:
    """POST a body, or GET without one; hear the answer, whatever its status, up to so many bytes. Raises CannotCall."""
    try:
        parts = check_url(url, private_too=private_too)
    except InvalidInput as refusal:
        raise CannotCall(refusal.sentence) from None
    host = parts.hostname or ""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    address = checked_address(host, port, private_too=private_too)
    connection = _Pinned(host, port, address, is_secure=parts.scheme == "https")
    # A server that sends a byte now and then would outlast every timeout of a single read.
    deadline = threading.Timer(SECONDS_IN_ALL, connection.cut)
    began = time.monotonic_ns()
    deadline.start()
    try:
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("GET" if body is None else "POST", target, body=body, headers=dict(headers))
        response = connection.getresponse()
        heard = response.read(most_bytes)
        if connection.was_cut:
            raise TimeoutError
    except ssl.SSLError as error:
        raise CannotCall(f"The connection to {host} is not safe: {error.reason or 'TLS failed'}.") from None
    except (OSError, http.client.HTTPException) as error:
        late = connection.was_cut or isinstance(error, TimeoutError)
        why = (
            f"did not answer within {SECONDS_IN_ALL} seconds"
            if late
            else f"could not be called ({type(error).__name__})"
        )
        raise CannotCall(f"{host} {why}.") from None
    finally:
        deadline.cancel()
        connection.close()
    milliseconds = (time.monotonic_ns() - began) // 1_000_000
    return Answer(response.status, heard, milliseconds)


class _Pinned(http.client.HTTPConnection):
    """A connection to an address that was checked, for a host whose certificate it must have."""

    def __init__(self, host: str, port: int, address: str, *, is_secure: bool) -> None:
        super().__init__(host, port, timeout=SECONDS_IN_ALL)
        self.default_port = 443 if is_secure else 80
        self.was_cut = False
        self._address = address
        self._context = ssl.create_default_context() if is_secure else None

    def connect(self) -> None:
        """Connect to the checked address; the host is only whom the certificate has to name."""
        raw = socket.create_connection((self._address, self.port), timeout=SECONDS_TO_CONNECT)
        raw.settimeout(SECONDS_IN_ALL)
        self.sock = raw
        if self._context is not None:
            # Not shaking hands at once, so that a handshake without an end can be cut too.
            secure = self._context.wrap_socket(raw, server_hostname=self.host, do_handshake_on_connect=False)
            self.sock = secure
            secure.do_handshake()

    def cut(self) -> None:
        """End it from another thread: whoever reads gets an error."""
        self.was_cut = True
        if self.sock is not None:
            with suppress(OSError):
                self.sock.shutdown(socket.SHUT_RDWR)
