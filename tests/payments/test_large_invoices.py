"""Stripe takes 250 lines: more are grouped, always in the same way, and the sums agree."""

import pytest

from portal.infra.db import transaction
from portal.invoicing.queries import items_of, lock_invoice
from portal.payments.lines import LINES_PER_INVOICE, stripe_lines
from tests.factories import make_draft, make_final, make_organization, reload, sql
from tests.payments.conftest import examine, work

pytestmark = pytest.mark.usefixtures("books")
ADD_ITEMS = """
    INSERT INTO one_off_items (public_id, organization_id, invoice_id, kind, description, quantity, unit_amount, amount,
                               form_token)
    SELECT gen_random_uuid(), :organization, :invoice, 'charge', 'Machine ' || n, 1, n * 0.01, n, gen_random_uuid()
    FROM generate_series(1, :lines) AS n
"""


@pytest.mark.parametrize("lines", [251, 5_000])
def test_many_lines_are_grouped_and_the_sums_are_equal(sandbox, lines):
    organization = make_organization()
    draft = make_draft(organization)
    sql(ADD_ITEMS, organization=organization.id, invoice=draft.id, lines=lines)
    invoice = make_final(organization)
    assert invoice.amount_due == lines * (lines + 1) // 2
    work()
    [theirs] = sandbox.invoices(invoice.public_id)
    assert (theirs["total"], theirs["status"]) == (invoice.amount_due, "open")
    assert len(theirs["lines"]) == LINES_PER_INVOICE == 250
    assert sum(line["amount"] for line in theirs["lines"]) == invoice.amount_due
    [rest] = [line for line in theirs["lines"] if "further lines" in line["description"]]
    assert rest["description"].startswith(f"{lines - 249} further lines")
    assert rest["amount"] == sum(range(1, lines - 249 + 1))  # the smallest
    with transaction():
        ours = lock_invoice(invoice.id)
        items = items_of(invoice.id)
        assert len(items) == lines
        # Whatever order they come in, the same lines stay.
        kept = [{line["metadata"]["item_id"] for line in stripe_lines(ours, each)} for each in (items, items[::-1])]
        assert kept[0] == kept[1] == {line["metadata"]["item_id"] for line in theirs["lines"]}
    assert reload(invoice).sync_state == "synced"
    assert examine() == []
