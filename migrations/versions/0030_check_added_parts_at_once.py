"""Check once a statement, not once a row, that nothing is added to a final invoice.

Freezing a month adds some fifty rows an invoice, thousands at once. What changes or takes away a row is still looked
at row by row.
"""

from alembic import op

revision = "0030"
down_revision = "0029"

PARTS = ("invoice_items", "billed_usage", "one_off_items")
FREEZE_ADDED = """
CREATE FUNCTION freeze_added_parts() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM invoices
               WHERE id IN (SELECT invoice_id FROM added) AND state IN ('finalized', 'void')) THEN
        RAISE EXCEPTION 'the invoice of this % row is final', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NULL;
END $$
"""


def upgrade() -> None:
    op.execute(FREEZE_ADDED)
    for table in PARTS:
        op.execute(f"DROP TRIGGER freeze_final ON {table}")
        op.execute(
            f"CREATE TRIGGER freeze_final BEFORE UPDATE OR DELETE ON {table}"
            " FOR EACH ROW EXECUTE FUNCTION freeze_part_of_invoice()"
        )
        op.execute(
            f"CREATE TRIGGER freeze_added AFTER INSERT ON {table} REFERENCING NEW TABLE AS added"
            " FOR EACH STATEMENT EXECUTE FUNCTION freeze_added_parts()"
        )


def downgrade() -> None:
    for table in PARTS:
        op.execute(f"DROP TRIGGER freeze_added ON {table}")
        op.execute(f"DROP TRIGGER freeze_final ON {table}")
        op.execute(
            f"CREATE TRIGGER freeze_final BEFORE INSERT OR UPDATE OR DELETE ON {table}"
            " FOR EACH ROW EXECUTE FUNCTION freeze_part_of_invoice()"
        )
    op.execute("DROP FUNCTION freeze_added_parts()")
