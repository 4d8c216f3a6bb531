"""`flask billing credit-note` and `write-off`: what corrects a final invoice, which itself never changes."""

from decimal import Decimal
from uuid import UUID, uuid4

import click
from flask import g
from rich.console import Console

from portal.core.money import major_text
from portal.infra import clock
from portal.infra.db import transaction
from portal.invoicing.credit_notes import Wish, issue_credit_note
from portal.invoicing.queries import invoice_of
from portal.invoicing.writing_off import write_off
from portal.operator import as_operator
from portal.operator_console import DECIMAL, to_minor

console = Console()


@click.command("credit-note")
@click.argument("invoice", type=click.UUID)
@click.option("--amount", type=DECIMAL, help="What is credited with its tax, such as 12.50.")
@click.option("--full", is_flag=True, help="All that is left of the invoice.")
@click.option("--refund", is_flag=True, help="What was paid goes back through Stripe, not to the balance.")
@click.option("--reason", required=True, help="Why; the credit note shows it.")
@as_operator
def credit_note(invoice: UUID, amount: Decimal | None, full: bool, refund: bool, reason: str) -> None:
    """Credit a final invoice, in part or in full. Every run makes a new note."""
    if full == (amount is not None):
        raise click.UsageError("Say either --amount or --full.")
    with transaction():
        credited = invoice_of(invoice)
        note = issue_credit_note(
            credited.id,
            Wish(amount=None if amount is None else to_minor(amount, credited.currency)),
            reason=reason,
            by=g.actor.name,
            form_token=uuid4(),
            now=clock.now(),
            refund=refund,
        )
    amount_of_note = f"{major_text(note.total, note.currency)} {note.currency}"
    console.print(f"{note.number}: {amount_of_note} of {credited.number} were credited.")


@click.command("write-off")
@click.argument("invoice", type=click.UUID)
@click.option("--reason", required=True, help="Why; kept in the audit log.")
@as_operator
def write_off_invoice(invoice: UUID, reason: str) -> None:
    """Mark an open invoice as uncollectible, here and at Stripe. Safe to run twice."""
    with transaction():
        done = write_off(invoice_of(invoice).id, reason=reason)
    console.print(f"{done.number} is {done.payment_state}.")
