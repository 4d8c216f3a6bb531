"""What has to hold of credit notes, for the doctor: checks that are queries, and those that read whole documents."""

from collections.abc import Iterator

from sqlalchemy import select

from portal.infra.db import db
from portal.invoicing.credit_note_documents import is_intact
from portal.invoicing.credit_note_figures import by_rate, is_within, left_of
from portal.invoicing.credit_note_models import CreditNote
from portal.invoicing.credit_note_queries import creditable_lines, lines_on
from portal.invoicing.models import Invoice

# Code, rule and query; every row of it is a breach, its first column says where.
QUERIES = (
    (
        "I2",
        "a credit note is the sum of its lines",
        """
        SELECT coalesce(n.number, n.public_id::text) FROM credit_notes AS n
        LEFT JOIN (SELECT credit_note_id, sum(net) AS net, sum(tax) AS tax FROM credit_note_items GROUP BY 1) AS l
               ON l.credit_note_id = n.id
        WHERE (n.net, n.tax) IS DISTINCT FROM (l.net, l.tax)
        """,
    ),
    (
        "I2",
        "credit notes are on final invoices, take no more off than is due, and no more in all than was billed",
        """
        SELECT coalesce(i.number, i.public_id::text) FROM invoices AS i JOIN credit_notes AS n ON n.invoice_id = i.id
        GROUP BY i.id HAVING i.state <> 'finalized' OR sum(n.total) > i.total OR sum(n.stripe_amount) > i.amount_due
            OR (i.payment_state IN ('paid', 'refunded', 'disputed')
                AND i.amount_paid < sum(n.off_due - n.overpaid + n.to_refund))
        """,
    ),
    (
        "I2",
        "what credit notes gave to the account balance is there, once",
        """
        SELECT n.number FROM credit_notes AS n
        LEFT JOIN (SELECT invoice_id, split_part(reason, ':', 1) AS named, sum(amount) AS amount
                   FROM balance_entries GROUP BY 1, 2) AS b
               ON b.invoice_id = n.invoice_id AND b.named = 'credit note ' || n.number
        WHERE coalesce(b.amount, 0) <> n.to_balance + n.overpaid
        """,
    ),
    (
        "I5",
        "a synced credit note is the one that Stripe made, and one that Stripe need not know is not sent",
        """
        SELECT n.number FROM credit_notes AS n
        LEFT JOIN stripe_calls AS c
               ON c.subject = n.public_id AND c.step = 'credit_note' AND c.outcome IN ('ok', 'adopted')
        WHERE (n.sync_state = 'synced' AND (n.stripe_id IS NULL OR c.answer ->> 'id' IS DISTINCT FROM n.stripe_id))
           OR (n.sync_state = 'none') <> (n.stripe_amount = 0)
        """,
    ),
    (
        "I7",
        "every credit note has an audit entry of its invoice, with an actor",
        """
        SELECT coalesce(n.number, n.public_id::text) FROM credit_notes AS n
        WHERE NOT EXISTS (SELECT FROM audit_entries AS a
                          WHERE a.subject_kind = 'invoice' AND a.subject_id = n.invoice_id AND a.action = 'credited'
                          AND a.after ->> 'number' = n.number AND a.actor_name <> '')
        """,
    ),
    (
        "I11",
        "a credit note, its lines and what replaces an invoice are of the invoice's organization",
        """
        SELECT 'credit note ' || n.public_id FROM credit_notes AS n JOIN invoices AS i ON i.id = n.invoice_id
        WHERE n.organization_id <> i.organization_id OR n.currency <> i.currency
        UNION ALL
        SELECT 'credit note line ' || l.id FROM credit_note_items AS l
        JOIN credit_notes AS n ON n.id = l.credit_note_id JOIN invoice_items AS t ON t.id = l.invoice_item_id
        WHERE l.organization_id <> n.organization_id OR t.invoice_id <> n.invoice_id
        UNION ALL
        SELECT 'replacement of invoice ' || o.number FROM invoice_replacements AS r
        JOIN invoices AS i ON i.id = r.invoice_id JOIN invoices AS o ON o.id = r.replaces_id
        WHERE (r.organization_id, i.organization_id, i.period_start, 'void')
           IS DISTINCT FROM (o.organization_id, o.organization_id, o.period_start, o.state)
        """,
    ),
)


def notes_that_changed() -> Iterator[str]:
    """Credit notes that are not what they were: hash, lines, totals."""
    query = select(CreditNote).order_by(CreditNote.id).execution_options(yield_per=200)
    for note in db.session.scalars(query):
        if not is_intact(note, lines_on(note.id)):
            yield note.number or str(note.public_id)


def invoices_credited_too_far() -> Iterator[str]:
    """Invoices of which a line, or the lines of a tax rate, were credited beyond what was billed."""
    credited = select(CreditNote.invoice_id).distinct()
    query = select(Invoice).where(Invoice.id.in_(credited)).order_by(Invoice.id)
    for invoice in db.session.scalars(query.execution_options(yield_per=200)):
        lines = creditable_lines(invoice)
        rates = dict(by_rate((line.percent, line.billed) for line in lines))
        of_rate = by_rate((line.percent, line.credited) for line in lines)
        within = all(is_within(line.credited, line.billed) for line in lines) and all(
            is_within(part, rates[percent]) for percent, part in of_rate
        )
        if not within or left_of(lines).gross < 0:
            yield f"{invoice.number}"


DOCUMENTS = (
    ("I2", "credit notes stay within their invoice, by line and by tax rate", invoices_credited_too_far),
    ("I4", "credit notes are what they were (hash, lines, totals)", notes_that_changed),
)
