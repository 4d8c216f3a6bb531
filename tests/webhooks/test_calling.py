"""No address inside the network is ever called, whatever its name or spelling; and no endpoint can hold a worker up."""

import datetime
import http.server
import socket
import ssl
import threading
from collections.abc import Iterator

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from portal.core.errors import InvalidInput
from portal.infra import calling
from portal.infra.calling import CannotCall, call, check_url, checked_address, is_public

NEVER = [
    *("http://example.com/", "ftp://example.com/", "//example.com/", "example.com", "", "https://", "https:///x"),
    *("https://127.0.0.1/", "https://127.1/", "https://2130706433/", "https://0x7f000001/", "https://0177.0.0.1/"),
    *("https://[::1]/", "https://[::ffff:127.0.0.1]/", "https://169.254.169.254/latest/meta-data/"),
    *("https://10.0.0.1/", "https://8.8.8.8/", "https://localhost/", "https://localhost./", "https://intranet/"),
    *("https://printer.localhost/", "https://user:pass@example.com/", "https://user@example.com/"),
    *("https://example.com/#x", "https://example.com:0/", "https://example.com:99999/", "https://example.com:x/"),
    *("https://exa mple.com/", "https://example.com/\r\nHost: a", "https://example.com\\@127.0.0.1/"),
    *("https://ex\u00e4mple.com/", "https://example.com/" + "a" * 500, "https://[::1/"),
]
INSIDE = [
    *(
        "127.0.0.1",
        "127.9.9.9",
        "0.0.0.0",
        "10.1.2.3",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.1.1",
        "169.254.169.254",
    ),
    *("100.64.0.1", "192.0.2.1", "198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255", "::", "::1", "fe80::1"),
    *("fe80::1%eth0", "fc00::1", "fd12::1", "ff02::1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "64:ff9b::7f00:1"),
    *("64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "2002:7f00:1::", "2001:db8::1", "::127.0.0.1"),
]
OUTSIDE = ["8.8.8.8", "1.1.1.1", "172.32.0.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]


@pytest.mark.parametrize("url", NEVER)
def test_an_address_that_is_never_called_is_refused_with_a_sentence(url):
    with pytest.raises(InvalidInput) as refusal:
        check_url(url, private_too=False)
    assert refusal.value.field == "url"
    with pytest.raises(CannotCall):
        call(url, b"{}", {}, private_too=False)


def test_addresses_of_the_internet_are_taken():
    for url in ("https://hooks.example.com", "https://example.com:8443/a?b=c", "https://xn--exmple-cua.com/"):
        assert check_url(url, private_too=False).hostname


def test_addresses_inside_are_told_from_those_outside():
    assert [each for each in INSIDE if is_public(each)] == []
    assert [each for each in OUTSIDE if not is_public(each)] == []


def names(monkeypatch, *answers: list[str]) -> list[str]:
    """A stub for DNS: each question for hooks.example.com gets the next answer; returns the questions."""
    real, asked = socket.getaddrinfo, []

    def answer(host, port, *rest, **more):
        if host != "hooks.example.com":
            return real(host, port, *rest, **more)
        asked.append(host)
        found = answers[min(len(asked), len(answers)) - 1]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in found]

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    return asked


@pytest.mark.parametrize("address", ["127.0.0.1", "169.254.169.254", "::1", "10.0.0.5"])
def test_a_name_that_leads_inside_is_not_called_even_if_another_of_its_addresses_is_outside(monkeypatch, address):
    names(monkeypatch, ["8.8.8.8", address])
    with pytest.raises(CannotCall, match="not of the public internet"):
        checked_address("hooks.example.com", 443, private_too=False)


def test_a_name_is_asked_once_and_the_checked_address_is_the_one_that_is_called(monkeypatch):
    """DNS rebinding: the second answer would lead inside."""
    asked = names(monkeypatch, ["8.8.8.8"], ["127.0.0.1"])
    called = []

    def connect(address, timeout):
        called.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "create_connection", connect)
    with pytest.raises(CannotCall, match="could not be called"):
        call("https://hooks.example.com/x", b"{}", {}, private_too=False)
    assert (asked, called) == (["hooks.example.com"], [("8.8.8.8", 443)])


def test_a_name_that_is_not_there_is_a_sentence(monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: (_ for _ in ()).throw(socket.gaierror))
    with pytest.raises(CannotCall, match="was not found"):
        call("https://nowhere.example.com/", b"{}", {}, private_too=False)


def test_a_redirect_is_an_answer_and_is_not_followed(receiver):
    assert call(f"{receiver.url}/redirect", b"{}", {}, private_too=True).status == 302
    assert [each["path"] for each in receiver.heard] == ["/redirect"]


def test_a_large_answer_is_read_to_its_beginning_only(receiver):
    answer = call(f"{receiver.url}/large", b"{}", {}, private_too=True)
    assert (answer.status, answer.excerpt) == (200, "x" * calling.EXCERPT_BYTES)


@pytest.mark.parametrize("path", ["drip", "hang"])
def test_an_endpoint_that_never_ends_its_answer_is_left_at_the_deadline(receiver, monkeypatch, path):
    monkeypatch.setattr(calling, "SECONDS_IN_ALL", 0.4)
    with pytest.raises(CannotCall, match="did not answer within"):
        call(f"{receiver.url}/{path}", b"{}", {}, private_too=True)


class Secure(http.server.BaseHTTPRequestHandler):
    """Answers with the host that it was asked for."""

    def do_POST(self) -> None:  # noqa: N802
        body = self.headers["Host"].encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def secure(tmp_path, monkeypatch) -> Iterator[tuple[int, str]]:
    """The port of a server at 127.0.0.1 for hooks.example.com, and the file of its certificate."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("hooks.example.com")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = tmp_path / "both.pem"
    pem.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    names(monkeypatch, ["127.0.0.1"])
    with http.server.HTTPServer(("127.0.0.1", 0), Secure) as server:
        server.handle_error = lambda *_: None
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        yield server.server_port, str(pem)
        thread.join(10)


def test_a_certificate_that_nobody_has_signed_is_refused(secure):
    with pytest.raises(CannotCall, match="is not safe: CERTIFICATE_VERIFY_FAILED"):
        call(f"https://hooks.example.com:{secure[0]}/", b"{}", {}, private_too=True)


def test_the_certificate_has_to_name_the_host_and_not_the_address_that_is_called(secure, monkeypatch):
    port, pem = secure
    make = ssl.create_default_context
    monkeypatch.setattr(ssl, "create_default_context", lambda: make(cafile=pem))
    answer = call(f"https://hooks.example.com:{port}/", b"{}", {}, private_too=True)
    assert (answer.status, answer.excerpt) == (200, f"hooks.example.com:{port}")
