"""One organization's transaction sees that organization's rows, whatever a query forgets; grants by role."""

from alembic import op

revision = "0009"
down_revision = "0008"

# Every table with rows of one organization, and what a tenant may do to its own.
TENANT_TABLES = {
    "memberships": "SELECT",
    "api_keys": "SELECT",
    "subscriptions": "SELECT",
    "usage_events": "SELECT, INSERT",
    "usage_series": "SELECT, INSERT",
    "usage_daily": "SELECT, INSERT, UPDATE",
    "invoices": "SELECT",
    "invoice_items": "SELECT",
    "one_off_items": "SELECT",
    "billed_usage": "SELECT",
    "balance_entries": "SELECT",
    "stripe_calls": "",
    "outbox": "",
    "audit_entries": "INSERT",
}
# An organization is its own tenant row; prices without an organization are everybody's.
OWN_ROW = "organization_id = NULLIF(current_setting('app.organization_id', true), '')::bigint"
SPECIAL = {
    "organizations": ("id" + OWN_ROW.removeprefix("organization_id"), "SELECT"),
    "prices": (f"organization_id IS NULL OR {OWN_ROW}", "SELECT"),
}
SHARED_READABLE = ("meters", "plans", "price_versions")
ADDED_ONLY = ("price_versions", "balance_entries", "audit_entries")
SYSTEM_ONLY = ("users", "sessions", "number_series", "stripe_events")
EVERYTHING = "portal_staff, portal_system"


def upgrade() -> None:
    for table, rights in TENANT_TABLES.items():
        protect(table, OWN_ROW, rights)
    for table, (condition, rights) in SPECIAL.items():
        protect(table, condition, rights)
    for table in (*SHARED_READABLE, *SYSTEM_ONLY):
        op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO {EVERYTHING}")
    for table in SHARED_READABLE:
        op.execute(f"GRANT SELECT ON {table} TO portal_tenant")
    # Price versions are shared, but an organization's own prices are not: their versions hide behind the price.
    op.execute("ALTER TABLE price_versions ENABLE ROW LEVEL SECURITY")
    op.execute("ALTER TABLE price_versions FORCE ROW LEVEL SECURITY")
    op.execute(f"CREATE POLICY everything ON price_versions TO {EVERYTHING} USING (true) WITH CHECK (true)")
    op.execute(
        "CREATE POLICY own_rows ON price_versions TO portal_tenant"
        " USING (EXISTS (SELECT FROM prices WHERE prices.id = price_versions.price_id))"
    )
    for table in ADDED_ONLY:
        op.execute(f"REVOKE UPDATE, DELETE ON {table} FROM {EVERYTHING}")


def protect(table: str, condition: str, rights: str) -> None:
    """Switch row level security on, for the owner too."""
    op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
    op.execute(f"CREATE POLICY everything ON {table} TO {EVERYTHING} USING (true) WITH CHECK (true)")
    op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO {EVERYTHING}")
    op.execute(f"CREATE POLICY own_rows ON {table} TO portal_tenant USING ({condition}) WITH CHECK ({condition})")
    if rights:
        op.execute(f"GRANT {rights} ON {table} TO portal_tenant")


def downgrade() -> None:
    for table in (*TENANT_TABLES, *SPECIAL, "price_versions"):
        op.execute(f"DROP POLICY own_rows ON {table}")
        op.execute(f"DROP POLICY everything ON {table}")
        op.execute(f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY")
    for table in (*TENANT_TABLES, *SPECIAL, *SHARED_READABLE, *SYSTEM_ONLY):
        op.execute(f"REVOKE ALL ON {table} FROM portal_tenant, {EVERYTHING}")
