"""What is sold at which price."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "meters",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False)),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("product", sa.Text(), nullable=False),
        sa.Column("unit", sa.Text(), nullable=False),
        sa.Column("dimensions", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("archived_at", sa.DateTime(timezone=True)),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("public_id", sa.Uuid(), nullable=False),
        sa.CheckConstraint("cardinality(dimensions) <= 8", name=op.f("ck_meters_at_most_8_dimensions")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_meters")),
        sa.UniqueConstraint("code", name=op.f("uq_meters_code")),
        sa.UniqueConstraint("public_id", name=op.f("uq_meters_public_id")),
    )

    op.create_table(
        "plans",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False)),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("unit", sa.Text(), nullable=False),
        sa.Column("archived_at", sa.DateTime(timezone=True)),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("public_id", sa.Uuid(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_plans")),
        sa.UniqueConstraint("code", name=op.f("uq_plans_code")),
        sa.UniqueConstraint("public_id", name=op.f("uq_plans_public_id")),
    )

    op.create_table(
        "prices",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False)),
        sa.Column("meter_id", sa.BigInteger()),
        sa.Column("plan_id", sa.BigInteger()),
        sa.Column("organization_id", sa.BigInteger()),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("match", postgresql.JSONB(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("archived_at", sa.DateTime(timezone=True)),
        sa.Column("public_id", sa.Uuid(), nullable=False),
        sa.CheckConstraint("currency ~ '^[A-Z]{3}$'", name=op.f("ck_prices_currency_is_iso")),
        sa.CheckConstraint("(meter_id IS NULL) <> (plan_id IS NULL)", name=op.f("ck_prices_of_a_meter_or_a_plan")),
        sa.ForeignKeyConstraint(["meter_id"], ["meters.id"], name=op.f("fk_prices_meter_id")),
        sa.ForeignKeyConstraint(["organization_id"], ["organizations.id"], name=op.f("fk_prices_organization_id")),
        sa.ForeignKeyConstraint(["plan_id"], ["plans.id"], name=op.f("fk_prices_plan_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_prices")),
        sa.UniqueConstraint("public_id", name=op.f("uq_prices_public_id")),
    )
    op.create_index("ix_prices_organization_id", "prices", ["organization_id"])
    op.create_index(
        "uq_prices_place",
        "prices",
        ["meter_id", "plan_id", "currency", "organization_id", "match"],
        unique=True,
        postgresql_nulls_not_distinct=True,
    )

    op.create_table(
        "price_versions",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False)),
        sa.Column("price_id", sa.BigInteger(), nullable=False),
        sa.Column("valid_from", sa.Date(), nullable=False),
        sa.Column("terms", postgresql.JSONB(), nullable=False),
        sa.Column("note", sa.Text()),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("public_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(["price_id"], ["prices.id"], name=op.f("fk_price_versions_price_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_price_versions")),
        sa.UniqueConstraint("price_id", "valid_from", name=op.f("uq_price_versions_price_id_valid_from")),
        sa.UniqueConstraint("public_id", name=op.f("uq_price_versions_public_id")),
    )

    op.create_table(
        "subscriptions",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False)),
        sa.Column("organization_id", sa.BigInteger(), nullable=False),
        sa.Column("plan_id", sa.BigInteger(), nullable=False),
        sa.Column("quantity", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("label", sa.Text()),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True)),
        sa.Column("public_id", sa.Uuid(), nullable=False),
        sa.CheckConstraint("ended_at IS NULL OR ended_at > started_at", name=op.f("ck_subscriptions_ends_after_start")),
        sa.CheckConstraint("quantity > 0", name=op.f("ck_subscriptions_quantity_positive")),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["organizations.id"], name=op.f("fk_subscriptions_organization_id")
        ),
        sa.ForeignKeyConstraint(["plan_id"], ["plans.id"], name=op.f("fk_subscriptions_plan_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_subscriptions")),
        sa.UniqueConstraint("public_id", name=op.f("uq_subscriptions_public_id")),
    )
    op.create_index("ix_subscriptions_organization_id", "subscriptions", ["organization_id"])


def downgrade() -> None:
    op.drop_table("subscriptions")
    op.drop_table("price_versions")
    op.drop_table("prices")
    op.drop_table("plans")
    op.drop_table("meters")
