"""Pages find drafts, what went wrong, organizations by name and staff by an index, however much there is of the rest.

And a simulation finds the next invoices that bill a price.
"""

from alembic import op

revision = "0046"
down_revision = "0045"

INDEXES = {
    "ix_invoices_drafts": "invoices (period_start, organization_id) WHERE state = 'draft'",
    "ix_invoices_wrong": (
        "invoices (period_start, id)"
        " WHERE sync_state IN ('mismatch', 'unknown', 'dead') OR payment_state IN ('failed', 'disputed')"
    ),
    "ix_organizations_name": "organizations (name, id)",
    "ix_users_staff_role": "users (staff_role) WHERE staff_role IS NOT NULL",
    "ix_invoice_items_price_version_id_invoice_id": "invoice_items (price_version_id, invoice_id)",
}


def upgrade() -> None:
    # These tables may be large and are written to all the time: nobody waits for an index.
    with op.get_context().autocommit_block():
        for name, what in INDEXES.items():
            op.execute(f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {name} ON {what}")
        # Its place is taken by the one that goes on with the invoice.
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS ix_invoice_items_price_version_id")


def downgrade() -> None:
    op.create_index("ix_invoice_items_price_version_id", "invoice_items", ["price_version_id"])
    for name in INDEXES:
        op.execute(f"DROP INDEX {name}")
