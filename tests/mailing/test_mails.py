"""Each kind of mail arrives once, says what the page says, and carries what it should."""

from dataclasses import replace
from uuid import uuid4

import pytest

from portal.core.lifecycle import PaymentState
from portal.infra import outbox
from portal.infra.db import db, transaction
from portal.invoicing.credit_notes import Wish, issue_credit_note
from portal.invoicing.exporting.files import Paper, pdf_file
from portal.invoicing.jobs import terms_of
from portal.invoicing.voiding import void_invoice
from portal.organizations.models import Organization
from portal.organizations.people import create_user
from tests.factories import MONTH, NOW, make_final, make_organization, reload, sql
from tests.mailing.conftest import PASSWORD, hear_from_stripe, issue, join
from tests.payments.conftest import work

pytestmark = pytest.mark.usefixtures("post")


def parts_of(mail) -> tuple[str, str]:
    text, html = mail.get_body(("plain",)), mail.get_body(("html",))
    return text.get_content().replace("\r\n", "\n"), html.get_content()


def states() -> list[tuple[str, str]]:
    return [(kind, state) for kind, state in sql("SELECT kind, state FROM mails ORDER BY id")]


def test_a_final_invoice_arrives_once_with_its_figures_and_its_pdf(app, acme, post):
    invoice = issue(acme)
    [mail] = post.mails
    assert mail["Subject"] == f"Acme: invoice {invoice.number}, $430.00, due 6 Dec 2026"
    assert (mail["From"], mail["To"]) == ("Example Cloud <billing@example.com>", "owner@acme.example")
    assert mail["Auto-Submitted"] == "auto-generated"
    for part in parts_of(mail):
        assert "Payment is due on 6 Dec 2026." in part
        assert f"/invoices/{invoice.public_id}" in part
        assert invoice.hosted_invoice_url.replace("&", "&amp;") in part or invoice.hosted_invoice_url in part
    text, html = parts_of(mail)
    assert "Amount due: $430.00" in text
    assert "Pay $430.00:\n" in text
    assert ">Pay $430.00</a>" in html
    [pdf] = mail.iter_attachments()
    assert (pdf.get_content_type(), pdf.get_filename()) == ("application/pdf", f"invoice-{invoice.number}.pdf")
    settings = app.config["SETTINGS"]
    paper = Paper(terms_of(settings).seller, settings.portal_url)
    assert pdf.get_content() == pdf_file(reload(invoice), paper, now=NOW).make()
    work()
    assert len(post.taken) == 1
    assert states() == [("issued", "sent")]


def test_a_mail_is_in_the_language_of_the_organizations_mails(app, acme, post):
    with transaction():
        db.session.get_one(Organization, acme.id).language = "de"
    invoice = issue(acme)
    [mail] = post.mails
    assert mail["Subject"] == f"Acme: Rechnung {invoice.number}, 430,00 $, fällig am 6. Dez. 2026"
    text, html = parts_of(mail)
    assert "Zu zahlender Betrag: 430,00\u00a0$" in text
    assert "Die Zahlung ist am 6. Dez. 2026 fällig." in text
    assert '<html lang="de">' in html
    # The paper is the same for everybody.
    [pdf] = mail.iter_attachments()
    settings = app.config["SETTINGS"]
    paper = Paper(terms_of(settings).seller, settings.portal_url)
    assert pdf.get_content() == pdf_file(reload(invoice), paper, now=NOW).make()


def test_the_pdf_can_be_left_out_by_setting(app, acme, post, monkeypatch):
    changed = replace(app.config["SETTINGS"], mail_attach_pdf=False)
    monkeypatch.setitem(app.config, "SETTINGS", changed)
    issue(acme)
    [mail] = post.mails
    assert list(mail.iter_attachments()) == []
    assert "attached" not in parts_of(mail)[0]


def test_an_invoice_of_nothing_is_mailed_at_once_and_brings_no_receipt(acme, post):
    invoice = issue(acme, "5.00", "-5.00")
    assert post.subjects == [f"Acme: invoice {invoice.number}, nothing to pay"]
    text, _ = parts_of(post.mails[0])
    assert "Nothing is left to pay." in text
    assert "Pay $" not in text


def test_nothing_is_mailed_before_the_invoice_can_be_paid(acme, post, sandbox):
    sandbox.fault("POST /v1/invoices", "429")
    make_final(acme, "430.00")
    outbox.drain()
    assert states() == []
    sandbox.heal()
    work()
    assert len(post.taken) == 1


def test_a_payment_brings_a_receipt_once_however_often_stripe_says_it(acme, post, sandbox):
    invoice = issue(acme)
    sandbox.act("pay", invoice=invoice.stripe_id)
    hear_from_stripe(sandbox)
    sql("UPDATE stripe_events SET state = 'stored'")
    hear_from_stripe(sandbox)
    assert reload(invoice).payment_state == PaymentState.PAID
    assert post.subjects[1:] == [f"Acme: receipt for invoice {invoice.number}, $430.00"]
    assert "Paid on " in parts_of(post.mails[1])[0]


def test_a_failed_payment_says_how_to_mend_it_and_when_it_is_tried_again(acme, post, sandbox):
    with transaction() as session:
        session.merge(acme).collection_method = "charge_automatically"
    invoice = issue(acme)
    sandbox.act("pay", invoice=invoice.stripe_id, outcome="declines")
    hear_from_stripe(sandbox)
    assert post.subjects[1:] == [f"Acme: the payment of invoice {invoice.number}, $430.00, failed"]
    text, html = parts_of(post.mails[1])
    for part in (text, html):
        assert "The payment failed. Pay again with another card, or ask the bank." in part
        assert "It is tried again on " in part
    assert invoice.hosted_invoice_url in text
    sandbox.act("pay", invoice=invoice.stripe_id, outcome="declines")
    hear_from_stripe(sandbox)
    assert len(post.taken) == 3
    assert states() == [("issued", "sent"), ("failed_payment", "sent"), ("failed_payment", "sent")]


def test_a_credit_note_is_mailed_with_what_became_of_it(acme, post):
    invoice = issue(acme)
    with transaction():
        note = issue_credit_note(
            invoice.id, Wish(amount=3000), reason="An outage", by="Ada", form_token=uuid4(), now=NOW
        )
    work()
    assert post.subjects[1:] == [f"Acme: credit note {note.number}, $30.00, for invoice {invoice.number}"]
    text, _ = parts_of(post.mails[1])
    for words in ("Reason: An outage", "Taken off what was due: $30.00", "$400.00 of the invoice is still due."):
        assert words in text
    assert f"/credit-notes/{note.public_id}" in text


def test_a_refund_is_mailed_once_and_a_dispute_to_staff(acme, post, sandbox):
    with transaction():
        for name, role in (("finance", "finance_lead"), ("support", "support")):
            create_user(email=f"{name}@seller.example", name=name, password=PASSWORD, staff_role=role)
    invoice = issue(acme)
    sandbox.act("pay", invoice=invoice.stripe_id)
    hear_from_stripe(sandbox)
    sandbox.act("refund", invoice=invoice.stripe_id, amount=13_000)
    for _ in range(2):
        hear_from_stripe(sandbox)
    assert post.subjects[2:] == [f"Acme: $130.00 of invoice {invoice.number} refunded"]
    text, html = parts_of(post.mails[2])
    for part in (text, html):
        assert "We have given $130.00 of what you paid" in part
        assert "$430.00" in part
    sandbox.act("dispute", invoice=invoice.stripe_id)
    for _ in range(2):
        hear_from_stripe(sandbox)
    assert post.subjects[3:] == [f"Acme: $300.00 of invoice {invoice.number} disputed"]
    assert post.taken[3][0] == ["finance@seller.example"]
    text, _ = parts_of(post.mails[3])
    assert f"/admin/invoices/{invoice.public_id}" in text
    assert "Answer at Stripe until " in text


def test_a_void_invoice_is_mailed_only_to_those_who_got_it(acme, post):
    invoice = issue(acme)
    with transaction():
        void_invoice(invoice.id, reason="internal words", now=NOW)
    work()
    assert post.subjects[1:] == [f"Acme: invoice {invoice.number}, $430.00, is void"]
    text, html = parts_of(post.mails[1])
    assert "it does not count, and there is nothing to pay" in text
    assert "internal words" not in text + html


def test_a_void_invoice_that_nobody_was_mailed_is_not_mailed(acme, post):
    post.answers["RCPT"] = "550 no such mailbox"
    invoice = issue(acme)
    post.answers.clear()
    with transaction():
        void_invoice(invoice.id, reason="x", now=NOW)
    work()
    assert post.taken == []
    assert states() == [("issued", "failed")]


def test_two_organizations_get_only_their_own(acme, post):
    rival = make_organization("rival")
    join(rival, "boss", "owner")
    issue(acme)
    issue(rival, month=MONTH)
    assert [to for to, _ in post.taken] == [["owner@acme.example"], ["boss@rival.example"]]
    assert "Acme" not in post.taken[1][1].decode()
