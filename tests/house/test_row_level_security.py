"""One organization's transaction sees that organization's rows, whatever a query forgets."""

from datetime import UTC, date, datetime
from decimal import Decimal
from uuid import uuid4

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, ProgrammingError

from portal.budgets.keeping import Watched, set_budget
from portal.catalog.coupons import create_coupon, redeem
from portal.catalog.models import Subscription
from portal.catalog.subscribing import change_subscription
from portal.catalog.tax_rates import add_tax_rate
from portal.core.quantities import Aggregation as A
from portal.core.quantities import Counting
from portal.infra.db import STAFF_ROLE, SYSTEM_ROLE, TENANT_ROLE, Scope, db, tenant, transaction
from portal.invoicing.credit_notes import Wish, issue_credit_note
from portal.invoicing.crediting import grant_credit
from portal.invoicing.voiding import void_invoice
from portal.organizations.api_keys import create_key
from portal.organizations.invitations import invite
from portal.organizations.models import Organization
from portal.organizations.people import add_member, create_user
from portal.usage.batches import store_documents
from portal.usage.folding import fold_by_clock
from portal.usage.lateness import mark
from portal.usage.request_log import line_of, log_refused
from tests.factories import (
    MONTH,
    acting,
    add,
    finalize_now,
    make_draft,
    make_final,
    make_meter,
    make_organization,
    make_plan,
    make_price,
    sql,
    subscribe,
    use,
)

ROLES = (TENANT_ROLE, STAFF_ROLE, SYSTEM_ROLE)
USAGE = (
    *("usage_events", "usage_series", "usage_daily", "usage_hourly", "usage_heard"),
    *("usage_readings", "usage_subjects", "usage_changes", "usage_levels"),
    *("waiting_events", "archived_events", "archived_daily"),
)
# Looked up by token before anybody knows the organization; a tenant has no right to it at all.
WITHOUT_POLICIES = {"sessions"}


def rows(connection: psycopg.Connection, query: str, *values: object) -> list[tuple]:
    return connection.execute(query, values).fetchall()


def tables_with(connection: psycopg.Connection, column: str) -> set[str]:
    found = rows(
        connection,
        "SELECT c.relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid"
        " WHERE c.relkind IN ('r', 'p') AND c.relnamespace = 'public'::regnamespace AND a.attname = %s",
        column,
    )
    return {name for (name,) in found}


def test_every_table_with_an_organization_has_row_level_security_that_binds_its_owner_too(owner_connection):
    found = rows(
        owner_connection,
        "SELECT c.relname, c.relrowsecurity, c.relforcerowsecurity,"
        " (SELECT count(*) FROM pg_policy p WHERE p.polrelid = c.oid) FROM pg_class c WHERE c.relkind IN ('r', 'p')",
    )
    state = {name: rest for name, *rest in found}
    tables = tables_with(owner_connection, "organization_id")
    assert {"invoices", "usage_events", "outbox", "audit_entries"} <= tables
    for table in (tables | {"organizations", "price_versions"}) - WITHOUT_POLICIES:
        enabled, forced, policies = state[table]
        assert enabled, table
        assert forced, table
        assert policies, table


def test_what_has_no_policies_is_closed_to_tenants(owner_connection):
    everything = {name for (name,) in rows(
        owner_connection, "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
        " AND NOT relrowsecurity",
    )}  # fmt: skip
    shared = {"products", "meters", "plans", "coupons", "alembic_version"}
    assert everything >= WITHOUT_POLICIES
    for table in everything - shared:
        for right in ("SELECT", "INSERT", "UPDATE", "DELETE"):
            may = rows(owner_connection, "SELECT has_table_privilege(%s, %s, %s)", TENANT_ROLE, table, right)
            assert may == [(False,)], f"a tenant may {right} {table}"


@pytest.mark.parametrize(
    "table",
    [
        *("products", "meters", "plans", "price_versions", "prices", "organizations", "invoices"),
        *("subscriptions", "subscription_changes", "coupons", "coupon_redemptions", "tax_rates"),
        *("credit_grants", "credit_entries", "credit_notes", "credit_note_items", "invoice_replacements"),
        *("invoice_months", "platform_months", "mails", "forecasts", "budget_warnings"),
        *("draft_totals", "item_templates", "drafts_as_of", "announcements", "payer_links"),
        "billed_parts",
        *("payment_methods", "refunds", "disputes"),
        *("exports", "export_parts", "webhook_endpoints", "webhook_deliveries"),
    ],
)
def test_a_tenant_changes_nothing_but_usage(owner_connection, table):
    for right in ("INSERT", "UPDATE", "DELETE", "TRUNCATE"):
        may = rows(owner_connection, "SELECT has_table_privilege(%s, %s, %s)", TENANT_ROLE, table, right)
        assert may == [(False,)], f"a tenant may {right} {table}"


def test_what_a_tenant_may_change_of_itself_is_its_billing_details(owner_connection):
    granted = rows(
        owner_connection,
        "SELECT table_name, column_name FROM information_schema.column_privileges WHERE grantee = %s"
        " AND privilege_type = 'UPDATE' AND table_name IN ('organizations', 'invoices')",
        TENANT_ROLE,
    )
    details = ("legal_name", "address", "country", "tax_id", "purchase_order", "language")
    assert set(granted) == {("invoices", "purchase_order"), *(("organizations", name) for name in details)}


def test_runtime_roles_can_neither_sign_in_nor_bypass_nor_own_anything(owner_connection):
    for role in ROLES:
        [(superuser, bypass, login, create, owned)] = rows(
            owner_connection,
            "SELECT rolsuper, rolbypassrls, rolcanlogin, rolcreaterole OR rolcreatedb,"
            " (SELECT count(*) FROM pg_class WHERE relowner = r.oid) FROM pg_roles r WHERE rolname = %s",
            role,
        )
        assert (superuser, bypass, login, create, owned) == (False, False, False, False, 0), role


def test_no_runtime_role_is_a_member_of_another_role(owner_connection):
    assert (
        rows(
            owner_connection,
            "SELECT m.member::regrole FROM pg_auth_members m WHERE m.member::regrole::text = ANY(%s)",
            list(ROLES),
        )
        == []
    )


def test_the_application_signs_in_as_somebody_who_is_bound_by_the_policies(owner_connection):
    [(superuser, bypass)] = rows(
        owner_connection, "SELECT rolsuper, rolbypassrls FROM pg_roles WHERE rolname = current_user"
    )
    if superuser:
        pytest.skip("these servers' DATABASE_URL is a superuser's; the roles of transactions still bind it")
    assert (superuser, bypass) == (False, False)


def test_every_view_runs_as_whoever_asks(owner_connection):
    assert (
        rows(
            owner_connection,
            "SELECT relname FROM pg_class WHERE relkind IN ('v', 'm') AND relnamespace = 'public'::regnamespace"
            " AND NOT coalesce(reloptions, '{}') @> ARRAY['security_invoker=true']",
        )
        == []
    )


@pytest.mark.parametrize("table", USAGE)
def test_usage_tables_can_be_spread_by_organization(owner_connection, table):
    """Citus' rules: the organization in every unique key, no foreign keys from or to them, no triggers."""
    keys = rows(
        owner_connection,
        "SELECT c.relname, ARRAY(SELECT attname::text FROM pg_attribute WHERE attrelid = i.indrelid"
        " AND attnum = ANY(i.indkey)) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid"
        " WHERE i.indrelid = %s::regclass AND i.indisunique",
        table,
    )
    assert keys
    assert all("organization_id" in columns for _, columns in keys), keys
    foreign = "SELECT conname FROM pg_constraint WHERE contype = 'f' AND %s::regclass IN (conrelid, confrelid)"
    assert rows(owner_connection, foreign, table) == []
    assert rows(owner_connection, "SELECT tgname FROM pg_trigger WHERE tgrelid = %s::regclass", table) == []


def test_money_is_whole_and_quantities_are_exact(owner_connection):
    found = rows(
        owner_connection,
        "SELECT table_name, column_name, data_type FROM information_schema.columns WHERE table_schema = 'public'"
        " AND data_type IN ('real', 'double precision', 'money', 'timestamp without time zone')",
    )
    assert found == []
    amounts = rows(
        owner_connection,
        "SELECT table_name || '.' || column_name, data_type FROM information_schema.columns"
        " WHERE table_schema = 'public' AND column_name = ANY(%s)",
        ["total", "amount", "amount_due", "amount_paid", "balance_applied"],
    )
    assert amounts
    assert {kind for _, kind in amounts} == {"bigint"}


@pytest.fixture
def two_organizations(app, clean_database) -> dict[str, int]:
    """Two organizations with rows in every table that holds rows of one."""
    with acting(app):
        meter, plan = make_meter(), make_plan()
        make_price(meter)
        with transaction():
            add_tax_rate(Decimal(0), valid_from=date(2026, 1, 1), open_from=None)
            create_coupon("HALF", name="Half", percent=Decimal(50))
        make_organization("payer")
        ids = {}
        for slug in ("acme", "umbrella"):
            organization = make_organization(slug)
            ids[slug] = organization.id
            make_price(meter, "0.005", organization_id=organization.id, name=f"Own price of {slug}")
            subscription = subscribe(organization, plan, datetime(2026, 9, 1, tzinfo=UTC))
            _agree(organization, subscription)
            use(organization, meter, 5000, region="ams")
            for counting in (Counting(A.MAX), Counting(A.UNIQUE, subject="user"), Counting(A.LEVEL, per="hour")):
                counted = make_meter(counting.aggregation, counting=counting)
                use(organization, counted, 1, at=MONTH.next.first_day, user="u1")
            with transaction():
                person = create_user(email=f"{slug}@example.com", name=slug, password="correct horse battery")
                add_member(person, organization, "owner")
                create_key(name="machine", organization_id=organization.id, scopes=("ingest",), live=False)
                invite(organization.id, "guest@example.com", "viewer", by_id=person.id, now=MONTH.start)
            log_refused(line_of(
                organization_id=organization.id, api_key_id=1, at=MONTH.start, request_id="1", status=400, counts={},
                bytes_sent=1, sent_as="JSON", rejections=[],
            ))  # fmt: skip
            _let_wait(organization)
            lower = make_draft(organization, MONTH.previous)
            add(lower, "-500.00")
            finalize_now(lower)
            invoice = make_draft(organization)
            add(invoice, "10.00")
            finalize_now(invoice)
            make_draft(organization, MONTH.next)
            sql(
                "INSERT INTO stripe_calls (organization_id, invoice_id, subject, step, generation, idempotency_key,"
                " parameters) VALUES (:organization, :invoice, gen_random_uuid(), 'create', 1, :slug, '{}')",
                organization=organization.id,
                invoice=invoice.id,
                slug=slug,
            )
            sql(
                "INSERT INTO drift (public_id, organization_id, stripe_id, field, seen_since, last_seen)"
                " VALUES (gen_random_uuid(), :organization, :slug, 'unmanaged', now(), now())",
                organization=organization.id,
                slug=slug,
            )
            sql(
                "WITH run AS (INSERT INTO bill_runs (public_id, month, kind, started_by, hold_seconds)"
                " VALUES (gen_random_uuid(), '2026-01-01', 'monthly', 'Ada', 0)"
                " ON CONFLICT (month, kind) DO UPDATE SET hold_seconds = 0 RETURNING id)"
                " INSERT INTO bill_run_items (bill_run_id, organization_id, chunk, currency)"
                " SELECT id, :organization, 0, 'USD' FROM run",
                organization=organization.id,
            )
            sql(
                "WITH asked AS (INSERT INTO price_simulations"
                " (public_id, price_id, terms, valid_from, months, started_by, as_of)"
                " SELECT gen_random_uuid(), min(id), '{}', :month, ARRAY[CAST(:month AS date)], 'Ada', now()"
                " FROM prices RETURNING id)"
                " INSERT INTO price_simulation_results SELECT id, :organization, :month, 1, 2, 1 FROM asked",
                organization=organization.id,
                month=MONTH.first_day,
            )
            sql(
                "INSERT INTO mails (public_id, organization_id, kind, dedupe_key, subject, body_text, body_html)"
                " VALUES (gen_random_uuid(), :organization, 'issued', '1', '', '', '')",
                organization=organization.id,
            )
            sql(
                "INSERT INTO approval_requests (public_id, subject_kind, subject_id, organization_id, fingerprint,"
                " facts, asked_by_id, asked_by, asked_at, expires_at) VALUES (gen_random_uuid(), 'invoice', :invoice,"
                " :organization, '', '{}', :user, 'Ada', now(), now())",
                organization=organization.id,
                invoice=invoice.id,
                user=person.id,
            )
            _let_in_by_provider(organization.id, person.id)
            sql(
                "INSERT INTO drafts_as_of (organization_id, month, instant) VALUES (:organization, :month, now())",
                organization=organization.id,
                month=MONTH.first_day,
            )
            sql(
                "INSERT INTO mail_choices VALUES (:organization, :user, true)",
                organization=organization.id,
                user=person.id,
            )
            sql(
                "INSERT INTO payer_links (organization_id, payer_id, currency, first_day)"
                " SELECT :organization, id, currency, :month FROM organizations WHERE slug = 'payer'",
                organization=organization.id,
                month=MONTH.first_day,
            )
            sql(
                "INSERT INTO billed_parts SELECT min(id), organization_id, max(id), 'X-1' FROM invoices"
                " WHERE organization_id = :organization GROUP BY organization_id",
                organization=organization.id,
            )
            sql(
                "INSERT INTO announcements (public_id, organization_id, text, severity, starts_at, ends_at, created_by)"
                " VALUES (gen_random_uuid(), :organization, '', 'warning', now(), now(), 'Ada')",
                organization=organization.id,
            )
            _warn(organization)
            _export_and_listen(organization)
            sql(
                "INSERT INTO refunds (public_id, organization_id, invoice_id, amount, created_at, stripe_id)"
                " VALUES (gen_random_uuid(), :organization, :invoice, 1, now(), :slug)",
                organization=organization.id,
                invoice=invoice.id,
                slug=slug,
            )
            sql(
                "INSERT INTO disputes (organization_id, invoice_id, amount, stripe_id, status, opened_at)"
                " VALUES (:organization, :invoice, 1, :slug, 'won', now())",
                organization=organization.id,
                invoice=invoice.id,
                slug=slug,
            )
            sql(
                "INSERT INTO payment_methods (organization_id, read_at) VALUES (:organization, now())",
                organization=organization.id,
            )
            sql(
                "INSERT INTO forecasts VALUES (:organization, :day, :day, 0, 0, now())",
                organization=organization.id,
                day=MONTH.first_day,
            )
            sql(
                "INSERT INTO draft_totals SELECT id, organization_id, 1, 1, now() FROM invoices"
                " WHERE organization_id = :organization AND state = 'draft'",
                organization=organization.id,
            )
            credited = make_final(organization, "900.00", month=MONTH.plus(-2))  # waits in the outbox for its sync
            replaced = make_final(organization, "9.00", month=MONTH.plus(-3))
            with transaction():
                issue_credit_note(
                    credited.id, Wish(amount=1), reason="test", by="Ada", form_token=uuid4(), now=MONTH.plus(3).start
                )
                void_invoice(replaced.id, reason="test", now=MONTH.plus(3).start)
                mark({(organization.id, MONTH)})
            sql(
                "INSERT INTO archived_events (organization_id, event_key, content, counts)"
                " VALUES (:organization, gen_random_uuid(), gen_random_uuid(), true)",
                organization=organization.id,
            )
            sql(
                "INSERT INTO archived_daily (organization_id, day, series_id, recorded_day, meter_id, quantity, events)"
                " VALUES (:organization, :day, 1, :day, :meter, 1, 1)",
                organization=organization.id,
                day=MONTH.plus(-9).first_day,
                meter=meter.id,
            )
        fold_by_clock()
        for organization_id in ids.values():
            use(Organization(id=organization_id), meter, 1)  # waits to be folded
    return ids


def _warn(organization: Organization) -> None:
    """A budget that has warned."""
    with transaction():
        set_budget(organization, Watched(), amount=1, thresholds=(100,), now=MONTH.start)
    sql(
        "INSERT INTO budget_warnings SELECT id, :month, 'spent', 100, organization_id, 1, 1, now() FROM budgets"
        " WHERE organization_id = :organization",
        organization=organization.id,
        month=MONTH.first_day,
    )


def _export_and_listen(organization: Organization) -> None:
    """An export with a part of its file, and an endpoint of webhooks with a delivery."""
    values = {"organization": organization.id, "export": uuid4(), "endpoint": uuid4(), "delivery": uuid4()}
    sql(
        "INSERT INTO exports (public_id, organization_id, kind, first_day, last_day, asked_by, created_at)"
        " VALUES (:export, :organization, 'usage_csv', '2026-01-01', '2026-01-01', 'Ada', now())",
        **values,
    )
    sql(
        "INSERT INTO export_parts SELECT id, 0, organization_id, '' FROM exports WHERE public_id = :export",
        **values,
    )
    sql(
        "INSERT INTO webhook_endpoints (public_id, organization_id, url, events, sealed_secret, created_at)"
        " VALUES (:endpoint, :organization, 'https://hooks.example.com', '{invoice.paid}', '', now())",
        **values,
    )
    sql(
        "INSERT INTO webhook_deliveries (public_id, organization_id, endpoint_id, event_id, dedupe_key, type, data)"
        " SELECT :delivery, organization_id, id, :delivery, '1', 'invoice.paid', '{}' FROM webhook_endpoints"
        " WHERE public_id = :endpoint",
        **values,
    )


def _let_in_by_provider(organization_id: int, user_id: int) -> None:
    """A provider of its own, one person linked there, and somebody on the way."""
    values = {"organization": organization_id, "user": user_id}
    sql(
        "INSERT INTO organization_providers (organization_id, issuer, client_id, sealed_secret, is_required,"
        " changed_at) VALUES (:organization, 'https://id.example.com', 'portal', '', false, now())",
        **values,
    )
    sql(
        "INSERT INTO organization_provider_links (organization_id, subject, user_id, created_at)"
        " VALUES (:organization, '1', :user, now())",
        **values,
    )
    sql(
        "INSERT INTO provider_sign_ins (token_sha256, state_sha256, nonce, verifier, next_path, expires_at,"
        " organization_id) VALUES (CAST(CAST(:organization AS text) AS bytea), '', '', '', '/', now(), :organization)",
        **values,
    )


def _let_wait(organization: Organization) -> None:
    """An event of a meter that does not exist, in a month that is not billed here."""
    moment = MONTH.plus(1).start
    event = {"id": "1", "meter": "unknown", "quantity": "1", "time": moment.isoformat()}
    store_documents([event], organization_id=organization.id, now=moment, and_then=lambda _: None)


def _agree(organization: Organization, subscription: Subscription) -> None:
    """A change, a coupon, credit and a tax rate of its own, all from a month that is not billed here."""
    later = MONTH.plus(3)
    now = later.start
    with transaction():
        change_subscription(subscription.id, quantity=2, at=now, now=now, open_from=None)
        redeem(organization, "HALF", first_month=later, today=later.first_day, open_from=None)
        add_tax_rate(Decimal(1), valid_from=later.first_day, organization_id=organization.id, open_from=None)
        grant_credit(
            organization.id, kind="prepaid", name="Top-up", amount=100, reason="paid", by="Ada", today=later.first_day
        )


def tenant_tables(connection: psycopg.Connection) -> list[str]:
    return sorted(tables_with(connection, "organization_id") - WITHOUT_POLICIES)


def test_a_tenant_sees_only_its_own_rows_in_every_table(app, owner_connection, two_organizations):
    seen = 0
    for slug, mine in two_organizations.items():
        other = next(each for name, each in two_organizations.items() if name != slug)
        for table in tenant_tables(owner_connection):
            with acting(app):
                everybody = [row[0] for row in sql(f"SELECT organization_id FROM {table}")]
            assert {mine, other} <= set(everybody), f"{table} has no rows to tell apart"
            with acting(app, tenant(mine)):
                if table in (
                    *("outbox", "stripe_calls", "audit_entries", "usage_unfolded"),
                    *("drift", "bill_run_items", "price_simulation_results", "mails", "draft_totals", "invitations"),
                    *("approval_requests", "organization_providers", "organization_provider_links"),
                    *("provider_sign_ins", "payer_links"),
                ):
                    with pytest.raises(ProgrammingError, match="permission denied"):
                        sql(f"SELECT organization_id FROM {table}")
                    continue
                visible = [row[0] for row in sql(f"SELECT organization_id FROM {table}")]
            assert set(visible) - {None} == {mine}, table
            assert visible.count(mine) == everybody.count(mine), table
            assert table in ("prices", "tax_rates") or None not in visible
            seen += 1
    assert seen == 2 * 46


def test_a_tenant_sees_itself_and_its_own_price_versions_only(app, two_organizations):
    for slug, mine in two_organizations.items():
        with acting(app, tenant(mine)):
            assert sql("SELECT slug FROM organizations") == [(slug,)]
            names = {name for (name,) in sql("SELECT p.name FROM price_versions v JOIN prices p ON p.id = v.price_id")}
            assert names == {f"Own price of {slug}", "Price of machine_seconds", "Support"}
            assert len(sql("SELECT id FROM price_versions")) == 3


def test_without_an_organization_a_tenant_sees_nothing_and_nothing_breaks(app, owner_connection, two_organizations):
    with acting(app, Scope(TENANT_ROLE)):
        for table in ("invoices", "usage_daily", "memberships", "organizations", "one_off_items"):
            assert sql(f"SELECT * FROM {table}") == []
        assert {row[0] for row in sql("SELECT organization_id FROM prices")} == {None}


def test_a_tenant_cannot_write_into_another_organizations_books(app, two_organizations):
    insert = (
        "INSERT INTO usage_series (organization_id, series_id, meter_id, dimensions) VALUES (:organization, 1, 1, '{}')"
    )
    with acting(app, tenant(two_organizations["acme"])):
        with pytest.raises(ProgrammingError, match="row-level security"):
            sql(insert, organization=two_organizations["umbrella"])
        sql(insert, organization=two_organizations["acme"])
        changed = sql(
            "UPDATE usage_daily SET quantity = 0 WHERE organization_id = :other RETURNING day",
            other=two_organizations["umbrella"],
        )
        assert changed == []


def test_a_tenant_cannot_take_another_role_within_its_transaction_by_leaving_it(app, two_organizations):
    """What a role may do ends with the transaction: the next one on the same connection starts from nothing."""
    with acting(app, tenant(two_organizations["acme"])):
        assert sql("SELECT current_user") == [(TENANT_ROLE,)]
    with acting(app):
        assert sql("SELECT current_user") == [(SYSTEM_ROLE,)]
        assert sql("SELECT NULLIF(current_setting('app.organization_id', true), '')") == [(None,)]


def test_no_role_can_change_what_is_only_added(app, two_organizations):
    for scope in (Scope(SYSTEM_ROLE), Scope(STAFF_ROLE), tenant(two_organizations["acme"])):
        for table in ("audit_entries", "balance_entries", "price_versions", "credit_entries", "tax_rates"):
            for statement in (f"DELETE FROM {table}", f"UPDATE {table} SET id = id"):
                with acting(app, scope), pytest.raises(DBAPIError, match="permission denied|only added"):
                    sql(statement)


def test_even_the_owner_cannot_change_what_is_only_added(owner_connection, two_organizations):
    with owner_connection.transaction(force_rollback=True):
        owner_connection.execute(f"SET LOCAL ROLE {SYSTEM_ROLE}")
        owner_connection.execute("RESET ROLE")
        owner_connection.execute("ALTER TABLE audit_entries NO FORCE ROW LEVEL SECURITY")
        with pytest.raises(psycopg.errors.RestrictViolation):
            owner_connection.execute("DELETE FROM audit_entries")


def test_a_capability_asks_the_database_as_the_role_of_the_scope(app, two_organizations):
    with acting(app, tenant(two_organizations["acme"])), transaction() as session:
        assert session.execute(text("SELECT current_user, session_user <> current_user")).one() == (TENANT_ROLE, True)
        assert db.session() is session


def test_the_owner_of_the_tables_sees_nothing_before_taking_a_role(app, clean_database, owner_connection):
    """The roles are only to be taken (PostgreSQL 16 or newer can say so); without one the owner has no rows."""
    if owner_connection.info.server_version < 160000:
        pytest.skip("before PostgreSQL 16 a member of a role always has its rights")
    with acting(app):
        make_organization()
    assert owner_connection.execute("SELECT count(*) FROM organizations").fetchone() == (0,)
    with owner_connection.transaction():
        owner_connection.execute("SET LOCAL ROLE portal_system")
        assert owner_connection.execute("SELECT count(*) FROM organizations").fetchone() == (1,)
