"""Rows that only Stripe, the clock or a worker makes, for an organization of the crawl."""

from tests.factories import MONTH, sql

_OF_AN_INVOICE = (
    "INSERT INTO refunds (public_id, organization_id, invoice_id, amount, reason, message, created_at, stripe_id)"
    " SELECT gen_random_uuid(), organization_id, id, 1, :mark, :mark, now(), :mark FROM paid",
    "INSERT INTO disputes (organization_id, invoice_id, amount, stripe_id, status, opened_at)"
    " SELECT organization_id, id, 1, :mark, 'needs_response', now() FROM paid",
    "INSERT INTO balance_entries (organization_id, invoice_id, amount, reason)"
    " SELECT organization_id, id, 1, :mark FROM paid",
    "INSERT INTO stripe_calls (organization_id, invoice_id, subject, step, generation, idempotency_key, parameters)"
    " SELECT organization_id, id, gen_random_uuid(), 'create', 1, :mark, '{}' FROM paid",
    "INSERT INTO draft_totals SELECT id, organization_id, 1, 1, now() FROM paid",
    "INSERT INTO billed_parts SELECT id, organization_id, id, :mark FROM paid",
)
_OF_THE_ORGANIZATION = (
    "INSERT INTO payment_methods (organization_id, stripe_id, kind, brand, last4, read_at)"
    " VALUES (:organization, :mark, 'card', :mark, :mark, now())",
    "INSERT INTO budget_warnings SELECT id, :month, 'spent', 100, organization_id, 1, 1, now() FROM budgets"
    " WHERE organization_id = :organization",
    "INSERT INTO mail_choices SELECT organization_id, min(user_id), true FROM memberships"
    " WHERE organization_id = :organization GROUP BY 1",
    "INSERT INTO drafts_as_of (organization_id, month, instant) VALUES (:organization, :month, now())",
    # One simulation of everybody's invoices: only its results are an organization's.
    "INSERT INTO price_simulations (public_id, price_id, terms, valid_from, months, started_by, as_of)"
    " SELECT gen_random_uuid(), p.id, v.terms, :month, ARRAY[CAST(:month AS date)], 'Ada', now() FROM prices p"
    " JOIN price_versions v ON v.price_id = p.id WHERE p.organization_id IS NULL AND p.meter_id IS NOT NULL"
    " AND NOT EXISTS (SELECT FROM price_simulations) LIMIT 1",
    "INSERT INTO announcements (public_id, organization_id, text, severity, starts_at, ends_at, created_by)"
    " VALUES (gen_random_uuid(), :organization, :mark, 'warning', :month, '2999-01-01', 'Ada')",
    "INSERT INTO price_simulation_results SELECT id, :organization, :month, 1, 2, 1 FROM price_simulations",
)


def insert_what_money_leaves(organization_id: int, mark: str) -> None:
    """A refund, a dispute, a card, a warning, a simulated invoice, an announcement: what no page makes at once."""
    values = {"organization": organization_id, "mark": mark, "month": MONTH.first_day}
    paid = "WITH paid AS (SELECT id, organization_id FROM invoices WHERE organization_id = :organization ORDER BY id"
    for statement in _OF_AN_INVOICE:
        sql(f"{paid} LIMIT 1) {statement}", **{name: values[name] for name in ("organization", "mark")})
    for statement in _OF_THE_ORGANIZATION:
        sql(statement, **{name: value for name, value in values.items() if f":{name}" in statement})
