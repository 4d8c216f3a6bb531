"""What is final never changes: triggers refuse it, whoever asks."""

from alembic import op

revision = "0008"
down_revision = "0007"

# What still moves after finalizing: the sync, the payment, and voiding. Everything else is content.
MOVING = (
    "state, sync_state, payment_state, stripe_id, stripe_status, hosted_invoice_url, sync_message, synced_at, "
    "amount_paid, paid_at, payment_message, voided_at, void_reason"
)

FREEZE_INVOICE = f"""
CREATE FUNCTION freeze_invoice() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.state NOT IN ('finalized', 'void') THEN
        RETURN CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
    END IF;
    IF TG_OP = 'DELETE' THEN
        RAISE EXCEPTION 'invoice % is final and cannot be deleted', OLD.number USING ERRCODE = 'restrict_violation';
    END IF;
    IF NEW.state <> OLD.state AND NOT (OLD.state = 'finalized' AND NEW.state = 'void') THEN
        RAISE EXCEPTION 'invoice % is %', OLD.number, OLD.state USING ERRCODE = 'restrict_violation';
    END IF;
    IF to_jsonb(NEW) - string_to_array('{MOVING}', ', ') <> to_jsonb(OLD) - string_to_array('{MOVING}', ', ') THEN
        RAISE EXCEPTION 'invoice % is final and its content cannot change', OLD.number
            USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$
"""
FREEZE_PART = """
CREATE FUNCTION freeze_part_of_invoice() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    part record := CASE TG_OP WHEN 'INSERT' THEN NEW ELSE OLD END;
BEGIN
    IF EXISTS (SELECT FROM invoices WHERE id = part.invoice_id AND state IN ('finalized', 'void'))
       OR (TG_OP = 'UPDATE' AND NEW.invoice_id <> OLD.invoice_id) THEN
        RAISE EXCEPTION 'the invoice of this % row is final', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
END $$
"""
NEVER = """
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'rows of % are only added', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END $$
"""
PARTS = ("invoice_items", "billed_usage", "one_off_items")
APPEND_ONLY = ("price_versions", "balance_entries", "audit_entries")


def upgrade() -> None:
    for function in (FREEZE_INVOICE, FREEZE_PART, NEVER):
        op.execute(function)
    op.execute(
        "CREATE TRIGGER freeze_final BEFORE UPDATE OR DELETE ON invoices FOR EACH ROW EXECUTE FUNCTION freeze_invoice()"
    )
    for table in PARTS:
        op.execute(
            f"CREATE TRIGGER freeze_final BEFORE INSERT OR UPDATE OR DELETE ON {table}"
            " FOR EACH ROW EXECUTE FUNCTION freeze_part_of_invoice()"
        )
    for table in APPEND_ONLY:
        op.execute(
            f"CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON {table}"
            " FOR EACH ROW EXECUTE FUNCTION refuse_change()"
        )


def downgrade() -> None:
    for table in APPEND_ONLY:
        op.execute(f"DROP TRIGGER append_only ON {table}")
    for table in (*PARTS, "invoices"):
        op.execute(f"DROP TRIGGER freeze_final ON {table}")
    for function in ("refuse_change", "freeze_part_of_invoice", "freeze_invoice"):
        op.execute(f"DROP FUNCTION {function}()")
