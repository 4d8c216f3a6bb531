"""Products; plans by the month or year with trials and credits; subscriptions that change; prices for a plan."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0010"
down_revision = "0009"

OWN_ROW = "organization_id = NULLIF(current_setting('app.organization_id', true), '')::bigint"
EVERYTHING = "portal_staff, portal_system"
OF_PLANS = "Subscriptions"
PLACE = ["meter_id", "plan_id", "currency", "organization_id", "match"]


def upgrade() -> None:
    op.create_table(
        "products",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False)),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("archived_at", sa.DateTime(timezone=True)),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("public_id", sa.Uuid(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_products")),
        sa.UniqueConstraint("name", name=op.f("uq_products_name")),
        sa.UniqueConstraint("public_id", name=op.f("uq_products_public_id")),
    )
    op.execute(
        "INSERT INTO products (name, public_id) SELECT name, gen_random_uuid() FROM"
        f" (SELECT product AS name FROM meters UNION SELECT '{OF_PLANS}' WHERE EXISTS (SELECT FROM plans)) AS known"
    )
    for table, name in (("meters", "meters.product"), ("plans", f"'{OF_PLANS}'")):
        op.add_column(table, sa.Column("product_id", sa.BigInteger()))
        op.execute(f"UPDATE {table} SET product_id = products.id FROM products WHERE products.name = {name}")
        op.alter_column(table, "product_id", nullable=False)
        op.create_foreign_key(op.f(f"fk_{table}_product_id"), table, "products", ["product_id"], ["id"])
    op.drop_column("meters", "product")

    op.add_column("plans", sa.Column("interval", sa.Text(), server_default="month", nullable=False))
    op.add_column("plans", sa.Column("trial_days", sa.Integer(), server_default=sa.text("0"), nullable=False))
    op.add_column(
        "plans",
        sa.Column("credit_meters", postgresql.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False),
    )
    op.create_check_constraint(op.f("ck_plans_interval_known"), "plans", "interval IN ('month', 'year')")
    op.create_check_constraint(op.f("ck_plans_trial_not_negative"), "plans", "trial_days >= 0")

    op.add_column("prices", sa.Column("for_plan_id", sa.BigInteger()))
    op.create_foreign_key(op.f("fk_prices_for_plan_id"), "prices", "plans", ["for_plan_id"], ["id"])
    op.create_check_constraint(
        op.f("ck_prices_for_plan_is_of_a_meter"), "prices", "for_plan_id IS NULL OR meter_id IS NOT NULL"
    )
    op.add_column("prices", sa.Column("off_sale", postgresql.JSONB(), server_default=sa.text("'[]'"), nullable=False))
    op.drop_index("uq_prices_place", "prices")
    op.create_index(
        "uq_prices_place",
        "prices",
        [*PLACE[:4], "for_plan_id", "match"],
        unique=True,
        postgresql_nulls_not_distinct=True,
    )

    op.add_column("subscriptions", sa.Column("anchor_at", sa.DateTime(timezone=True)))
    op.add_column("subscriptions", sa.Column("trial_ends_at", sa.DateTime(timezone=True)))
    # Under forced row level security the owner of the table would update nothing.
    op.execute("ALTER TABLE subscriptions NO FORCE ROW LEVEL SECURITY")
    op.execute("UPDATE subscriptions SET anchor_at = date_trunc('month', started_at, 'UTC')")
    op.execute("ALTER TABLE subscriptions FORCE ROW LEVEL SECURITY")
    op.alter_column("subscriptions", "anchor_at", nullable=False)

    op.create_table(
        "subscription_changes",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False)),
        sa.Column("organization_id", sa.BigInteger(), nullable=False),
        sa.Column("subscription_id", sa.BigInteger(), nullable=False),
        sa.Column("effective_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("plan_id", sa.BigInteger(), nullable=False),
        sa.Column("quantity", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("removed_at", sa.DateTime(timezone=True)),
        sa.Column("public_id", sa.Uuid(), nullable=False),
        sa.CheckConstraint("quantity > 0", name=op.f("ck_subscription_changes_quantity_positive")),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["organizations.id"], name=op.f("fk_subscription_changes_organization_id")
        ),
        sa.ForeignKeyConstraint(["plan_id"], ["plans.id"], name=op.f("fk_subscription_changes_plan_id")),
        sa.ForeignKeyConstraint(
            ["subscription_id"], ["subscriptions.id"], name=op.f("fk_subscription_changes_subscription_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_subscription_changes")),
        sa.UniqueConstraint("public_id", name=op.f("uq_subscription_changes_public_id")),
    )
    op.create_index("ix_subscription_changes_organization_id", "subscription_changes", ["organization_id"])
    op.create_index(
        "uq_subscription_changes_subscription_id_effective_at",
        "subscription_changes",
        ["subscription_id", "effective_at"],
        unique=True,
        postgresql_where=sa.text("removed_at IS NULL"),
    )
    op.execute("ALTER TABLE subscription_changes ENABLE ROW LEVEL SECURITY")
    op.execute("ALTER TABLE subscription_changes FORCE ROW LEVEL SECURITY")
    op.execute(f"CREATE POLICY everything ON subscription_changes TO {EVERYTHING} USING (true) WITH CHECK (true)")
    op.execute(f"CREATE POLICY own_rows ON subscription_changes TO portal_tenant USING ({OWN_ROW})")
    op.execute(f"GRANT SELECT, INSERT, UPDATE ON subscription_changes TO {EVERYTHING}")
    op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON products TO {EVERYTHING}")
    op.execute("GRANT SELECT ON products, subscription_changes TO portal_tenant")


def downgrade() -> None:
    op.drop_table("subscription_changes")
    op.drop_column("subscriptions", "trial_ends_at")
    op.drop_column("subscriptions", "anchor_at")
    op.drop_index("uq_prices_place", "prices")
    op.drop_column("prices", "off_sale")
    op.drop_column("prices", "for_plan_id")
    op.create_index("uq_prices_place", "prices", PLACE, unique=True, postgresql_nulls_not_distinct=True)
    for column in ("credit_meters", "trial_days", "interval", "product_id"):
        op.drop_column("plans", column)
    op.add_column("meters", sa.Column("product", sa.Text()))
    op.execute("UPDATE meters SET product = products.name FROM products WHERE products.id = meters.product_id")
    op.alter_column("meters", "product", nullable=False)
    op.drop_column("meters", "product_id")
    op.drop_table("products")
