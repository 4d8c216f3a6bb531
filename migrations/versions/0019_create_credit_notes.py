"""Credit notes with their lines, frozen as invoices are, and which invoice replaces which."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0019"
down_revision = "0018"

OWN_ROW = "organization_id = NULLIF(current_setting('app.organization_id', true), '')::bigint"
EVERYTHING = "portal_staff, portal_system"
SYNC_STATES = "('none', 'pending', 'unknown', 'synced', 'mismatch', 'dead')"
# What still moves once a note has its hash: its way to Stripe, and what that found out.
MOVING = "sync_state, sync_message, stripe_id, synced_at, overpaid"
RIGHTS = {
    "credit_notes": "SELECT, INSERT, UPDATE",
    "credit_note_items": "SELECT, INSERT",
    "invoice_replacements": "SELECT, INSERT",
}

FREEZE_NOTE = f"""
CREATE FUNCTION freeze_credit_note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        RAISE EXCEPTION 'credit note % is final and cannot be deleted', OLD.number USING ERRCODE = 'restrict_violation';
    END IF;
    IF OLD.content_sha256 IS NOT NULL AND
       to_jsonb(NEW) - string_to_array('{MOVING}', ', ') <> to_jsonb(OLD) - string_to_array('{MOVING}', ', ') THEN
        RAISE EXCEPTION 'credit note % is final and its content cannot change', OLD.number
            USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$
"""
FREEZE_LINE = """
CREATE FUNCTION freeze_credit_note_item() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT'
       OR EXISTS (SELECT FROM credit_notes WHERE id = NEW.credit_note_id AND content_sha256 IS NOT NULL) THEN
        RAISE EXCEPTION 'the credit note of this line is final' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$
"""


def upgrade() -> None:
    op.create_table(
        "credit_notes",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False)),
        sa.Column("organization_id", sa.BigInteger(), nullable=False),
        sa.Column("invoice_id", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.Text()),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("issued_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("form_token", sa.Uuid(), nullable=False),
        *(
            sa.Column(name, sa.BigInteger(), nullable=False)
            for name in ("net", "tax", "total", "off_due", "to_refund", "to_balance", "stripe_amount")
        ),
        sa.Column("document", postgresql.JSONB(none_as_null=True)),
        sa.Column("content_sha256", sa.Text()),
        sa.Column("sync_state", sa.Text(), server_default="none", nullable=False),
        sa.Column("sync_message", sa.Text()),
        sa.Column("stripe_id", sa.Text()),
        sa.Column("synced_at", sa.DateTime(timezone=True)),
        sa.Column("overpaid", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("public_id", sa.Uuid(), nullable=False),
        sa.CheckConstraint(f"sync_state IN {SYNC_STATES}", name=op.f("ck_credit_notes_sync_state_known")),
        sa.CheckConstraint("total = net + tax AND total > 0", name=op.f("ck_credit_notes_total_adds_up")),
        sa.CheckConstraint("total = off_due + to_refund + to_balance", name=op.f("ck_credit_notes_uses_add_up")),
        sa.CheckConstraint(
            "off_due >= 0 AND to_refund >= 0 AND to_balance >= 0", name=op.f("ck_credit_notes_amounts_not_negative")
        ),
        sa.CheckConstraint(
            "stripe_amount BETWEEN off_due + to_refund AND total", name=op.f("ck_credit_notes_stripe_amount_in_range")
        ),
        sa.CheckConstraint("overpaid BETWEEN 0 AND off_due", name=op.f("ck_credit_notes_overpaid_in_range")),
        sa.CheckConstraint("reason <> ''", name=op.f("ck_credit_notes_has_a_reason")),
        sa.CheckConstraint(
            "(number IS NULL) = (content_sha256 IS NULL)", name=op.f("ck_credit_notes_number_when_frozen")
        ),
        sa.ForeignKeyConstraint(["invoice_id"], ["invoices.id"], name=op.f("fk_credit_notes_invoice_id")),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["organizations.id"], name=op.f("fk_credit_notes_organization_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_credit_notes")),
        *(
            sa.UniqueConstraint(column, name=op.f(f"uq_credit_notes_{column}"))
            for column in ("number", "form_token", "stripe_id", "public_id")
        ),
    )
    op.create_table(
        "credit_note_items",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False)),
        sa.Column("organization_id", sa.BigInteger(), nullable=False),
        sa.Column("credit_note_id", sa.BigInteger(), nullable=False),
        sa.Column("invoice_item_id", sa.BigInteger(), nullable=False),
        sa.Column("line_number", sa.Integer(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("quantity", sa.Numeric(precision=38, scale=12)),
        sa.Column("unit", sa.Text(), nullable=False),
        sa.Column("percent", sa.Numeric(9, 6), nullable=False),
        sa.Column("net", sa.BigInteger(), nullable=False),
        sa.Column("tax", sa.BigInteger(), nullable=False),
        *(
            sa.ForeignKeyConstraint([f"{table}_id"], [f"{table}s.id"], name=op.f(f"fk_credit_note_items_{table}_id"))
            for table in ("organization", "credit_note", "invoice_item")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_credit_note_items")),
        sa.UniqueConstraint(
            "credit_note_id", "invoice_item_id", name=op.f("uq_credit_note_items_credit_note_id_invoice_item_id")
        ),
    )
    op.create_table(
        "invoice_replacements",
        sa.Column("invoice_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("replaces_id", sa.BigInteger(), nullable=False),
        sa.Column("organization_id", sa.BigInteger(), nullable=False),
        *(
            sa.ForeignKeyConstraint([column], ["invoices.id"], name=op.f(f"fk_invoice_replacements_{column}"))
            for column in ("invoice_id", "replaces_id")
        ),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["organizations.id"], name=op.f("fk_invoice_replacements_organization_id")
        ),
        sa.PrimaryKeyConstraint("invoice_id", name=op.f("pk_invoice_replacements")),
        sa.UniqueConstraint("replaces_id", name=op.f("uq_invoice_replacements_replaces_id")),
    )
    for table, column in (
        ("credit_notes", "organization_id"),
        ("credit_notes", "invoice_id"),
        ("credit_note_items", "organization_id"),
        ("credit_note_items", "invoice_item_id"),
        ("invoice_replacements", "organization_id"),
    ):
        op.create_index(f"ix_{table}_{column}", table, [column])
    for table, rights in RIGHTS.items():
        _protect(table, rights)
    _freeze()


def _protect(table: str, rights: str) -> None:
    op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
    op.execute(f"CREATE POLICY everything ON {table} TO {EVERYTHING} USING (true) WITH CHECK (true)")
    op.execute(f"CREATE POLICY own_rows ON {table} TO portal_tenant USING ({OWN_ROW})")
    op.execute(f"GRANT {rights} ON {table} TO {EVERYTHING}")
    op.execute(f"GRANT SELECT ON {table} TO portal_tenant")


def _freeze() -> None:
    for function in (FREEZE_NOTE, FREEZE_LINE):
        op.execute(function)
    op.execute(
        "CREATE TRIGGER freeze_final BEFORE UPDATE OR DELETE ON credit_notes"
        " FOR EACH ROW EXECUTE FUNCTION freeze_credit_note()"
    )
    op.execute(
        "CREATE TRIGGER freeze_final BEFORE INSERT OR UPDATE OR DELETE ON credit_note_items"
        " FOR EACH ROW EXECUTE FUNCTION freeze_credit_note_item()"
    )
    op.execute(
        "CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON invoice_replacements"
        " FOR EACH ROW EXECUTE FUNCTION refuse_change()"
    )


def downgrade() -> None:
    for table in ("invoice_replacements", "credit_note_items", "credit_notes"):
        op.drop_table(table)
    for function in ("freeze_credit_note", "freeze_credit_note_item"):
        op.execute(f"DROP FUNCTION {function}()")
