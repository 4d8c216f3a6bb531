"""A one-off item, and a template of one, may have a tax code of its own beside its product."""

from alembic import op

revision = "0054"
down_revision = "0053"


def upgrade() -> None:
    op.execute("ALTER TABLE one_off_items ADD COLUMN tax_code text")
    op.execute("ALTER TABLE item_templates ADD COLUMN tax_code text")


def downgrade() -> None:
    op.execute("ALTER TABLE item_templates DROP COLUMN tax_code")
    op.execute("ALTER TABLE one_off_items DROP COLUMN tax_code")
