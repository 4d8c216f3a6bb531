"""What the network, the server and bad names can do to a mail."""

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

import pytest

from devkit.ports import free_port
from portal.infra import mail as smtp
from portal.infra import outbox
from portal.infra.db import transaction
from portal.infra.mail import Letter, compose, is_address, one_line
from portal.invoicing.voiding import void_invoice
from portal.mailing import reminding, sending
from portal.mailing.models import Mail, MailState
from portal.organizations.models import Organization
from tests.factories import NOW, at_once, make_final, make_organization, sql
from tests.mailing.conftest import NO_SERVER, Controller, PostOffice, issue, join, use_server
from tests.payments.conftest import ROOT, examine, work

pytestmark = pytest.mark.fault


def the_mail() -> Mail:
    with transaction() as session:
        return session.query(Mail).populate_existing().order_by(Mail.id.desc()).first()


def try_now(times: int = 1) -> None:
    """Do what is due, skipping the waits."""
    for _ in range(times):
        sql("UPDATE outbox SET run_after = clock_timestamp(), lease_until = NULL WHERE finished_at IS NULL")
        outbox.drain(1)


def queue_a_mail(organization: Organization) -> None:
    """Everything up to the mail itself; the next thing that is done is sending it."""
    make_final(organization, "430.00")
    while not sql("SELECT 1 FROM mails"):
        try_now()


def send_job() -> int:
    return sql("SELECT id FROM outbox WHERE kind = 'send_mail'")[0][0]


def test_without_a_server_a_mail_is_kept_and_says_so(app, acme):
    issue(acme)
    mail = the_mail()
    assert (mail.state, mail.last_error) == (MailState.NOT_SENT, "Not sent: no mail server is set.")
    assert mail.recipients == ["owner@acme.example"]
    assert "Amount due: $430.00" in mail.body_text


def test_a_server_that_is_down_gets_the_mail_once_it_is_up(app, acme, monkeypatch):
    office = PostOffice(port=free_port())
    use_server(app, monkeypatch, office.url)
    queue_a_mail(acme)
    try_now(20)
    mail = the_mail()
    assert (mail.state, mail.attempts) == (MailState.QUEUED, 20)
    assert mail.last_error.startswith("The mail server cannot be used")
    controller = Controller(office, hostname="127.0.0.1", port=office.port)
    controller.start()
    try_now()
    controller.stop()
    assert (the_mail().state, the_mail().last_error) == (MailState.SENT, None)
    assert len(office.taken) == 1


@pytest.mark.parametrize("step", ["MAIL", "RCPT", "DATA"])
def test_a_refusal_for_now_is_tried_again_and_a_refusal_for_good_is_not(acme, post, step):
    post.answers[step] = "451 greylisted, come back"
    queue_a_mail(acme)
    try_now(3)
    mail = the_mail()
    assert (mail.state, mail.attempts) == (MailState.QUEUED, 3)
    assert "451 greylisted, come back" in mail.last_error
    post.answers[step] = "554 no"
    try_now()
    assert the_mail().state == MailState.FAILED
    assert "554 no" in the_mail().last_error
    work()
    assert post.taken == []


def test_who_was_refused_for_now_is_tried_alone_and_who_was_refused_for_good_is_named(acme, post):
    join(acme, "grey", "billing")
    join(acme, "gone", "billing")
    post.answers |= {"grey@acme.example": "450 later", "gone@acme.example": "550 unknown"}
    queue_a_mail(acme)
    try_now()
    assert (the_mail().state, the_mail().delivered) == (MailState.QUEUED, ["owner@acme.example"])
    post.answers.pop("grey@acme.example")
    try_now()
    mail = the_mail()
    assert (mail.state, set(mail.delivered)) == (MailState.SENT, {"owner@acme.example", "grey@acme.example"})
    assert "gone@acme.example: 550 unknown" in mail.last_error
    assert [to for to, _ in post.taken] == [["owner@acme.example"], ["grey@acme.example"]]
    assert len({each["Message-ID"] for each in post.mails}) == 1


def test_a_server_that_hangs_up_at_one_of_several_has_taken_it_for_nobody(acme, post):
    join(acme, "zoe", "billing")
    post.answers["zoe@acme.example"] = "421 closing"
    queue_a_mail(acme)
    try_now()
    assert (the_mail().state, the_mail().delivered, post.taken) == (MailState.QUEUED, [], [])


def test_two_days_of_trouble_are_the_end(acme, post):
    post.answers["DATA"] = "451 later"
    queue_a_mail(acme)
    sql("UPDATE mails SET created_at = created_at - interval '3 days'")
    try_now()
    assert the_mail().state == MailState.FAILED
    assert sql("SELECT count(*) FROM outbox WHERE finished_at IS NULL") == [(0,)]


@contextmanager
def talk(*lines: bytes) -> Iterator[tuple[str, list[bytes]]]:
    """A server that says these lines, one for each that it is sent, and then nothing."""
    stop, heard = threading.Event(), []

    def serve(listener: socket.socket) -> None:
        with suppress(OSError), listener.accept()[0] as connection:
            connection.settimeout(0.3)
            for line in lines:
                connection.sendall(line)
                with suppress(TimeoutError):
                    heard.append(connection.recv(100_000))
            stop.wait(20)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        yield f"smtp://127.0.0.1:{listener.getsockname()[1]}", heard
        stop.set()
        thread.join(10)


@pytest.mark.parametrize("lines", [(), (b"220 hello\r\n",), (b"220 hello\r\n", b"250 ok\r\n")])
def test_a_server_that_falls_silent_is_given_up_and_asked_again(app, acme, monkeypatch, lines):
    monkeypatch.setattr(smtp, "LONGEST_STEP_SECONDS", 0.4)
    with talk(*lines) as (url, _):
        use_server(app, monkeypatch, url)
        queue_a_mail(acme)
        try_now()
    assert (the_mail().state, the_mail().last_error) == (MailState.QUEUED, "The mail server did not answer in time.")


def test_a_server_that_answers_slowly_is_given_up_when_all_of_it_takes_too_long(app, acme, monkeypatch):
    monkeypatch.setattr(smtp, "LONGEST_SECONDS", 0.5)
    with talk(b"220 hello\r\n", *[b"250-wait\r\n"] * 5) as (url, _):
        use_server(app, monkeypatch, url)
        queue_a_mail(acme)
        try_now()
    assert the_mail().state == MailState.QUEUED


def test_a_server_that_falls_silent_after_it_has_taken_the_mail_has_taken_it(app, acme, monkeypatch):
    monkeypatch.setattr(smtp, "LONGEST_STEP_SECONDS", 0.8)
    steps = (b"220 hello\r\n", b"250 ok\r\n", b"250 ok\r\n", b"250 ok\r\n", b"354 go on\r\n", b"250 taken\r\n")
    with talk(*steps) as (url, _):
        use_server(app, monkeypatch, url)
        queue_a_mail(acme)
        try_now()
    assert the_mail().state == MailState.SENT


def test_the_time_of_a_mail_fits_into_the_lease():
    assert outbox.LEASE.total_seconds() > smtp.LONGEST_SECONDS + smtp.LONGEST_STEP_SECONDS


def test_two_workers_send_a_mail_once(app, acme, post):
    queue_a_mail(acme)
    job = send_job()
    at_once(app, *[lambda: outbox.run(job)] * 4)
    assert len(post.taken) == 1
    assert the_mail().state == MailState.SENT


def test_a_mail_is_written_once_however_many_ask_for_it(app, acme, post):
    invoice = issue(acme)
    for number in range(3):
        sql(
            "INSERT INTO outbox (kind, dedupe_key, organization_id, arguments) VALUES ('mail_issued_invoice', :key,"
            " :organization, jsonb_build_object('invoice_id', CAST(:invoice AS bigint)))",
            key=str(number),
            organization=acme.id,
            invoice=invoice.id,
        )
    jobs = [row[0] for row in sql("SELECT id FROM outbox WHERE finished_at IS NULL")]
    at_once(app, *[lambda job=job: outbox.run(job) for job in jobs])
    work()
    assert sql("SELECT count(*) FROM mails") == [(1,)]
    assert len(post.taken) == 1


KILLED = """
import os, signal, sys
from portal import create_app
from portal.config import settings_from_env
from portal.infra import outbox
from portal.mailing import sending
deliver = sending.deliver
def and_die(letter, server):
    deliver(letter, server)
    os.kill(os.getpid(), signal.SIGKILL)
sending.deliver = and_die
with create_app(settings_from_env(os.environ)).app_context():
    outbox.run(int(sys.argv[1]))
"""


def test_a_worker_that_dies_after_the_server_took_the_mail_sends_it_again_as_the_same(acme, post, portal_environment):
    """The one case in which a mail arrives twice; its Message-ID says that it is the same."""
    queue_a_mail(acme)
    job = send_job()
    environment = {**os.environ, **portal_environment, "SMTP_URL": post.url, "MAIL_FROM": "billing@example.com"}
    died = subprocess.run([sys.executable, "-c", KILLED, str(job)], cwd=ROOT, env=environment, capture_output=True)
    assert died.returncode == -signal.SIGKILL, died.stderr
    assert (len(post.taken), the_mail().state) == (1, MailState.QUEUED)
    try_now()
    assert (len(post.taken), the_mail().state) == (2, MailState.SENT)
    first, second = post.mails
    assert first["Message-ID"] == second["Message-ID"] == f"<{the_mail().public_id}@example.com>"
    work()
    assert len(post.taken) == 2
    assert examine() == []


def test_a_mail_whose_job_has_died_is_closed_by_the_clock(app, acme, monkeypatch):
    use_server(app, monkeypatch, NO_SERVER)
    queue_a_mail(acme)
    sql("UPDATE outbox SET dead_at = now() WHERE kind = 'send_mail'")
    reminding.remind_by_clock(now=NOW, schedule=())
    assert (the_mail().state, the_mail().last_error) == (MailState.FAILED, "The job that sends it has died.")


def test_what_is_no_longer_true_when_the_server_is_up_again_is_not_sent(app, acme, post, monkeypatch):
    use_server(app, monkeypatch, NO_SERVER)
    queue_a_mail(acme)
    try_now()
    invoice_id = the_mail().invoice_id
    with transaction():
        void_invoice(invoice_id, reason="wrong", now=NOW)
    use_server(app, monkeypatch, post.url)
    work()
    assert post.taken == []
    assert sql("SELECT kind, state FROM mails") == [("issued", "not_sent")]
    assert the_mail().last_error == "Not sent: the invoice was voided before."


def test_a_void_mail_waits_for_the_invoice_mail_that_may_be_on_its_way(app, acme, post):
    queue_a_mail(acme)
    mail = the_mail()
    with transaction():
        void_invoice(mail.invoice_id, reason="wrong", now=NOW)
    # The sending job is in the middle of its call: the mail is still queued.
    voided = sql("SELECT id FROM outbox WHERE kind = 'mail_void_invoice'")[0][0]
    outbox.run(voided)
    [(error,)] = sql("SELECT last_error FROM outbox WHERE id = :id", id=voided)
    assert error.startswith("The mail of the invoice may be on its way")
    sql("UPDATE mails SET state = 'sent', sent_at = now(), delivered = recipients")
    work()
    assert post.subjects[-1].endswith("is void")


# Headers and addresses


def test_line_breaks_in_names_cannot_become_headers(books, post):
    name = "Evil\r\nBcc: victim@example.org\r\n\r\n<b>body</b>\u2028X\u202egnp"
    organization = make_organization("evil")
    with transaction() as session:
        session.merge(organization).name = name
    join(organization, "owner", "owner")
    invoice = issue(organization)
    [(to, _)] = post.taken
    [mail] = post.mails
    assert to == ["owner@evil.example"]
    assert mail["Bcc"] is None
    assert mail["Subject"].startswith("Evil Bcc: victim@example.org <b>body</b> X gnp: invoice")
    html = mail.get_body(("html",)).get_content()
    assert "<b>body</b>" not in html
    assert "&lt;b&gt;body&lt;/b&gt;" in html
    assert invoice.number in mail["Subject"]


def test_a_hostile_billing_address_gets_nothing_and_stops_nobody(acme, post):
    with transaction() as session:
        session.merge(acme).billing_email = "ap@acme.example;evil@x:y\r\nRCPT, <x@y>,Owner@acme.example, ä@acme.example"
    issue(acme)
    assert post.taken[0][0] == ["ap@acme.example", "Owner@acme.example"]


@pytest.mark.parametrize(
    "text",
    ["a@b\r\nBcc: c@d", "a b@c", "<a@b>", "A <a@b>", "a@b, c@d", "a@", "@b", "", "a", "a@b\0", "a@b\n", "ü@b"],
)
def test_what_is_not_one_plain_address_is_none(text):
    assert not is_address(text)


def test_a_header_keeps_words_in_any_script_and_is_never_folded_into_another():
    sender = "Café\r\nX: y <billing@example.com>"
    letter = Letter("1@example.com", NOW, sender, None, ["a@b.example"], "請求書 " * 60, "t", "<p>t</p>")
    raw = compose(letter).as_bytes()
    head = raw.partition(b"\r\n\r\n")[0]
    assert b"\nX:" not in head
    assert max(map(len, head.split(b"\r\n"))) < 100
    assert one_line("a\x85b\x1fc\td") == "a b c d"


# The settings of the server


def test_a_password_and_starttls_are_spoken_to_servers_that_want_them(app, acme, monkeypatch):
    with talk(b"220 hello\r\n", b"250-x\r\n250 STARTTLS\r\n", b"454 no certificate\r\n") as (url, heard):
        use_server(app, monkeypatch, url.replace("smtp://", "smtp://user:p%40ss@") + "?starttls=1")
        queue_a_mail(acme)
        try_now()
    assert [each.split()[0] for each in heard if each] == [b"ehlo", b"STARTTLS"]
    assert the_mail().state == MailState.QUEUED
    server = smtp.server_of("smtps://user:p%40ss@mail.example")
    assert (server.host, server.port, server.password, server.tls) == ("mail.example", 465, "p@ss", True)


def test_the_password_of_the_server_is_never_written_down(app, acme, monkeypatch):
    with talk(b"220 hello\r\n", b"250-x\r\n250 AUTH PLAIN\r\n", b"535 wrong\r\n", b"535 wrong\r\n") as (url, _):
        use_server(app, monkeypatch, url.replace("smtp://", "smtp://user:geheim@"))
        queue_a_mail(acme)
        try_now()
    mail = the_mail()
    assert mail.state == MailState.QUEUED
    assert "user name and password" in mail.last_error
    assert "geheim" not in str(sql("SELECT * FROM mails")) + str(sql("SELECT * FROM outbox"))


def test_a_pdf_that_cannot_be_made_holds_the_mail_back_until_it_can(acme, post, monkeypatch):
    from portal.invoicing.exporting.pdf import CannotPrint

    queue_a_mail(acme)
    make = sending.pdf_file

    def broken(*arguments, **named):
        def no_bytes() -> bytes:
            raise CannotPrint("The PDF could not be made.")

        return replace(make(*arguments, **named), make=no_bytes)

    monkeypatch.setattr(sending, "pdf_file", broken)
    try_now()
    assert (the_mail().state, the_mail().last_error) == (MailState.QUEUED, "The PDF could not be made.")
    monkeypatch.setattr(sending, "pdf_file", make)
    try_now()
    assert the_mail().state == MailState.SENT
