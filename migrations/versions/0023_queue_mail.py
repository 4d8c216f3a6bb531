"""Mails to organizations, and which members want them."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0023"
down_revision = "0022"

OWN_ROW = "organization_id = NULLIF(current_setting('app.organization_id', true), '')::bigint"
EVERYTHING = "portal_staff, portal_system"


def upgrade() -> None:
    op.create_table(
        "mails",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("public_id", sa.Uuid(), nullable=False),
        sa.Column("organization_id", sa.BigInteger(), nullable=False),
        sa.Column("invoice_id", sa.BigInteger()),
        *(
            sa.Column(name, sa.Text(), nullable=False)
            for name in ("kind", "dedupe_key", "subject", "body_text", "body_html")
        ),
        sa.Column("has_pdf", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("reason", sa.Text()),
        sa.Column("asked_by", sa.Text()),
        sa.Column("state", sa.Text(), server_default="queued", nullable=False),
        *(
            sa.Column(name, postgresql.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False)
            for name in ("recipients", "delivered")
        ),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("last_error", sa.Text()),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("sent_at", sa.DateTime(timezone=True)),
        sa.CheckConstraint(
            "kind IN ('issued', 'receipt', 'failed_payment', 'reminder', 'credited', 'voided')",
            name=op.f("ck_mails_kind_known"),
        ),
        sa.CheckConstraint("state IN ('queued', 'sent', 'failed', 'not_sent')", name=op.f("ck_mails_state_known")),
        sa.CheckConstraint("(state = 'sent') = (sent_at IS NOT NULL)", name=op.f("ck_mails_sent_at_when_sent")),
        sa.CheckConstraint(
            "state = 'sent' OR state = 'queued' OR last_error IS NOT NULL", name=op.f("ck_mails_unsent_with_an_error")
        ),
        sa.ForeignKeyConstraint(["organization_id"], ["organizations.id"], name=op.f("fk_mails_organization_id")),
        sa.ForeignKeyConstraint(["invoice_id"], ["invoices.id"], name=op.f("fk_mails_invoice_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_mails")),
        sa.UniqueConstraint("public_id", name=op.f("uq_mails_public_id")),
        sa.UniqueConstraint("organization_id", "dedupe_key", name=op.f("uq_mails_organization_id_dedupe_key")),
    )
    op.create_index("ix_mails_state_id", "mails", ["state", "id"])
    op.create_index("ix_mails_invoice_id", "mails", ["invoice_id"])
    # Nothing of it is for tenants: no right, and so no policy of theirs.
    _protect("mails")
    op.create_table(
        "mail_choices",
        sa.Column("organization_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("user_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("about_invoices", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["organizations.id"], name=op.f("fk_mail_choices_organization_id")
        ),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_mail_choices_user_id")),
        sa.PrimaryKeyConstraint("organization_id", "user_id", name=op.f("pk_mail_choices")),
    )
    op.create_index("ix_mail_choices_user_id", "mail_choices", ["user_id"])
    _protect("mail_choices")
    op.execute(f"CREATE POLICY own_rows ON mail_choices TO portal_tenant USING ({OWN_ROW}) WITH CHECK ({OWN_ROW})")
    op.execute("GRANT SELECT, INSERT, UPDATE ON mail_choices TO portal_tenant")
    op.create_index(
        "ix_invoices_unpaid_due_date",
        "invoices",
        ["due_date"],
        postgresql_where=sa.text("state = 'finalized' AND payment_state IN ('open', 'action_required', 'failed')"),
    )


def _protect(table: str) -> None:
    op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
    op.execute(f"CREATE POLICY everything ON {table} TO {EVERYTHING} USING (true) WITH CHECK (true)")
    op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO {EVERYTHING}")


def downgrade() -> None:
    op.drop_index("ix_invoices_unpaid_due_date", "invoices")
    for table in ("mail_choices", "mails"):
        op.drop_table(table)
