"""Exports of organizations with their bytes; endpoints of their webhooks and what is delivered to them."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0037"
down_revision = "0036"

OWN_ROW = "organization_id = NULLIF(current_setting('app.organization_id', true), '')::bigint"
EVERYTHING = "portal_staff, portal_system"
KINDS_BEFORE = "'issued', 'receipt', 'failed_payment', 'reminder', 'credited', 'voided', 'budget'"


def upgrade() -> None:
    op.create_table(
        "exports",
        *_public("exports"),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("first_day", sa.Date(), nullable=False),
        sa.Column("last_day", sa.Date(), nullable=False),
        sa.Column("meter", sa.Text()),
        sa.Column("where", sa.Text()),
        sa.Column("asked_by", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), server_default="waiting", nullable=False),
        sa.Column("reached", sa.Text(), server_default="", nullable=False),
        *(
            sa.Column(name, sa.BigInteger(), server_default=sa.text("0"), nullable=False)
            for name in ("units", "units_done", "rows", "size")
        ),
        sa.Column("last_error", sa.Text()),
        sa.Column("created_at", _MOMENT, nullable=False),
        *(sa.Column(name, _MOMENT) for name in ("started_at", "finished_at", "expires_at")),
        sa.CheckConstraint("first_day <= last_day", name=op.f("ck_exports_days_in_order")),
        sa.CheckConstraint(
            "kind IN ('usage_csv', 'events_csv', 'events_jsonl', 'focus_csv', 'invoices_jsonl')",
            name=op.f("ck_exports_kind_known"),
        ),
        sa.CheckConstraint(
            "state IN ('waiting', 'running', 'done', 'failed', 'cancelled')", name=op.f("ck_exports_state_known")
        ),
        sa.CheckConstraint(
            "(state IN ('waiting', 'running')) = (finished_at IS NULL)", name=op.f("ck_exports_finished_at_when_over")
        ),
    )
    op.create_index("ix_exports_organization_id_id", "exports", ["organization_id", "id"])
    op.create_index("ix_exports_expires_at", "exports", ["expires_at"])
    op.create_table(
        "export_parts",
        sa.Column("export_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("organization_id", sa.BigInteger(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["export_id"], ["exports.id"], name=op.f("fk_export_parts_export_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["organizations.id"], name=op.f("fk_export_parts_organization_id")
        ),
        sa.PrimaryKeyConstraint("export_id", "number", name=op.f("pk_export_parts")),
    )
    # The bytes are compressed already.
    op.execute("ALTER TABLE export_parts ALTER COLUMN content SET STORAGE EXTERNAL")
    op.create_table(
        "webhook_endpoints",
        *_public("webhook_endpoints"),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("events", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("sealed_secret", sa.LargeBinary(), nullable=False),
        sa.Column("sealed_secret_before", sa.LargeBinary()),
        sa.Column("secret_before_until", _MOMENT),
        sa.Column("created_at", _MOMENT, nullable=False),
        *(sa.Column(name, _MOMENT) for name in ("failing_since", "disabled_at", "removed_at")),
        sa.Column("disabled_because", sa.Text()),
        sa.CheckConstraint("cardinality(events) > 0", name=op.f("ck_webhook_endpoints_some_events")),
        sa.CheckConstraint(
            "(disabled_at IS NULL) = (disabled_because IS NULL)",
            name=op.f("ck_webhook_endpoints_disabled_with_a_reason"),
        ),
    )
    op.create_index(
        "ix_webhook_endpoints_organization_id",
        "webhook_endpoints",
        ["organization_id"],
        postgresql_where=sa.text("removed_at IS NULL"),
    )
    op.create_table(
        "webhook_deliveries",
        *_public("webhook_deliveries"),
        sa.Column("endpoint_id", sa.BigInteger(), nullable=False),
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("dedupe_key", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("data", postgresql.JSONB(), nullable=False),
        sa.Column("created_at", _MOMENT, server_default=sa.text("now()"), nullable=False),
        sa.Column("state", sa.Text(), server_default="pending", nullable=False),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("begun_at", _MOMENT, server_default=sa.text("now()"), nullable=False),
        *(sa.Column(name, _MOMENT) for name in ("last_attempt_at", "next_attempt_at", "delivered_at")),
        sa.Column("last_status", sa.Integer()),
        sa.Column("last_milliseconds", sa.Integer()),
        sa.Column("last_answer", sa.Text()),
        sa.Column("last_error", sa.Text()),
        sa.ForeignKeyConstraint(
            ["endpoint_id"], ["webhook_endpoints.id"], name=op.f("fk_webhook_deliveries_endpoint_id")
        ),
        sa.UniqueConstraint("endpoint_id", "dedupe_key", name=op.f("uq_webhook_deliveries_endpoint_id_dedupe_key")),
        sa.CheckConstraint(
            "state IN ('pending', 'delivered', 'failed')", name=op.f("ck_webhook_deliveries_state_known")
        ),
        sa.CheckConstraint(
            "(state = 'delivered') = (delivered_at IS NOT NULL)",
            name=op.f("ck_webhook_deliveries_delivered_at_when_delivered"),
        ),
    )
    op.create_index("ix_webhook_deliveries_organization_id_id", "webhook_deliveries", ["organization_id", "id"])
    op.create_index("ix_webhook_deliveries_created_at", "webhook_deliveries", ["created_at"])
    for table in ("exports", "export_parts", "webhook_endpoints", "webhook_deliveries"):
        _protect(table)
        op.execute(f"CREATE POLICY own_rows ON {table} TO portal_tenant USING ({OWN_ROW})")
        op.execute(f"GRANT SELECT ON {table} TO portal_tenant")
    _take_kinds(f"{KINDS_BEFORE}, 'webhook'")


_MOMENT = sa.DateTime(timezone=True)


def _public(table: str) -> list[sa.Column | sa.Constraint]:
    return [
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("public_id", sa.Uuid(), nullable=False),
        sa.Column("organization_id", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["organization_id"], ["organizations.id"], name=op.f(f"fk_{table}_organization_id")),
        sa.PrimaryKeyConstraint("id", name=op.f(f"pk_{table}")),
        sa.UniqueConstraint("public_id", name=op.f(f"uq_{table}_public_id")),
    ]


def _protect(table: str) -> None:
    op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
    op.execute(f"CREATE POLICY everything ON {table} TO {EVERYTHING} USING (true) WITH CHECK (true)")
    op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO {EVERYTHING}")


def _take_kinds(kinds: str) -> None:
    op.drop_constraint(op.f("ck_mails_kind_known"), "mails")
    op.create_check_constraint(op.f("ck_mails_kind_known"), "mails", f"kind IN ({kinds})")


def downgrade() -> None:
    op.drop_constraint(op.f("ck_mails_kind_known"), "mails")
    # Mails about webhooks stay; only new ones are refused.
    op.execute(f"ALTER TABLE mails ADD CONSTRAINT ck_mails_kind_known CHECK (kind IN ({KINDS_BEFORE})) NOT VALID")
    for table in ("webhook_deliveries", "webhook_endpoints", "export_parts", "exports"):
        op.drop_table(table)
