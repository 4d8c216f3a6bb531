"""Two organizations of the same shape with rows everywhere, made by the portal's own verbs.

Whatever a person or a sender can write holds the organization's mark; afterwards the mark is put into every other
column of text that takes it, so that no page of the one can show a text of the other unseen.
"""

import json
import zlib
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from uuid import UUID, uuid4

import psycopg
from flask import Flask
from psycopg import sql as composed

from portal.budgets.keeping import Watched, set_budget
from portal.catalog.coupons import create_coupon, redeem
from portal.catalog.models import Meter, Plan
from portal.catalog.subscribing import change_subscription
from portal.catalog.tax_rates import add_tax_rate
from portal.infra.db import SYSTEM_ROLE, transaction
from portal.invoicing.credit_notes import Wish, issue_credit_note
from portal.invoicing.crediting import grant_credit
from portal.organizations.api_keys import create_key
from portal.organizations.models import Organization
from portal.organizations.people import add_member, create_user
from portal.organizations.roles import CUSTOMER_ROLES, STAFF_ROLES
from portal.organizations.sessions import sign_in
from portal.usage.batches import store_documents
from portal.usage.folding import fold_by_clock
from portal.usage.request_log import line_of, log_refused
from tests.factories import (
    MONTH,
    NOW,
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
from tests.security.money_rows import insert_what_money_leaves

PASSWORD = "only for tests, long"
MINE, THEIRS = "Mark0Mine", "Mark0Theirs"
# Texts that are names of code or of files, so that they mean nothing to anybody but the program, or make others up.
NOT_WORDS = {
    *("currency", "kind", "state", "status", "role", "theme", "key", "step", "topic", "scopes", "content_type"),
    "language",
    *("subject_kind", "actor_kind", "action", "password_hash", "dedupe_key", "series_code", "field", "tax_treatment"),
}
# What may stand in a row without anything else. Other texts that are missing say that something did not happen.
FILLED = {
    *("invoices.sync_message", "invoices.payment_message", "invoices.hosted_invoice_url", "subscriptions.label"),
    *("one_off_items.internal_reason", "drift.ours", "drift.theirs", "mails.last_error", "credit_notes.sync_message"),
    *("organizations.billing_email", "organizations.purchase_order", "organizations.stripe_customer_id"),
    *("outbox.last_error", "audit_entries.reason", "audit_entries.address"),
}


@dataclass(frozen=True)
class Side:
    """One organization: its keys inside and outside, and the public ids of its rows by table."""

    mark: str
    id: int
    public_id: UUID
    slug: str
    ids: dict[str, list[str]]
    keys: dict[str, str]


def build(app: Flask, owner: psycopg.Connection, *, marks: tuple[str, str] = (MINE, THEIRS)) -> tuple[Side, Side]:
    """Make both sides, their people (owner@mine.example, …), the staff (admin@example.com, …) and the platform's key.

    `owner` is a session of the tables' owner.
    """
    with acting(app):
        meter, plan = make_meter("machine_seconds", dimensions=("app",)), make_plan()
        make_price(meter)
        with transaction():
            add_tax_rate(Decimal(0), valid_from=date(2026, 1, 1), open_from=None)
            create_coupon("HALF", name="Half", percent=Decimal(50))
            for role in STAFF_ROLES:
                create_user(email=f"{role}@example.com", name=role, password=PASSWORD, staff_role=role)
        sql(
            "INSERT INTO item_templates (public_id, name, kind, description, currency, quantity, unit_amount)"
            " VALUES (gen_random_uuid(), 'Onboarding', 'charge', 'Onboarding', 'USD', 1, 100)"
        )
        made = [_organization(slug, mark, meter, plan) for slug, mark in zip(("mine", "theirs"), marks, strict=True)]
        fold_by_clock()
    for (organization, _), mark in zip(made, marks, strict=True):
        mark_texts(owner, organization.id, mark)
    first, second = (
        Side(mark, organization.id, organization.public_id, organization.slug, _ids(app, organization.id), keys)
        for (organization, keys), mark in zip(made, marks, strict=True)
    )
    return first, second


def _organization(slug: str, mark: str, meter: Meter, plan: Plan) -> tuple[Organization, dict[str, str]]:
    """An organization with a row of every kind, and its API keys by scope."""
    organization = make_organization(slug, legal_name=f"{mark} Ltd", address=f"{mark} street", tax_id=mark)
    with transaction() as session:
        session.merge(organization).name = mark
    make_price(meter, "0.005", organization_id=organization.id, name=f"Own price {mark}")
    subscription = subscribe(organization, plan, datetime(2026, 9, 1, tzinfo=UTC))
    use(organization, meter, 5000, app=mark, event_id=f"{mark}-1")
    use(organization, meter, 300, app=mark, event_id=f"{mark}-2", at=MONTH.next.first_day)
    later = MONTH.plus(3)
    keys = {}
    with transaction():
        for role in CUSTOMER_ROLES:
            email = f"{role}@{slug}.example"
            add_member(create_user(email=email, name=f"{role} {mark}", password=PASSWORD), organization, role)
            sign_in(email, PASSWORD, now=datetime.now(UTC), days=1, address=None, user_agent=mark)
        for scopes in (("read",), ("ingest",)):
            keys[scopes[0]] = create_key(name=mark, organization_id=organization.id, scopes=scopes, live=False)
        change_subscription(subscription.id, quantity=2, at=later.start, now=later.start, open_from=None)
        redeem(organization, "HALF", first_month=later, today=later.first_day, open_from=None)
        add_tax_rate(Decimal(1), valid_from=later.first_day, organization_id=organization.id, open_from=None)
        grant_credit(
            organization.id, kind="prepaid", name=mark, amount=100, reason=mark, by=mark, today=later.first_day
        )
        set_budget(organization, Watched(), amount=1, thresholds=(100,), now=MONTH.start)
    log_refused(line_of(
        organization_id=organization.id, api_key_id=1, at=NOW, request_id=mark, status=400, counts={}, bytes_sent=1,
        sent_as="JSON", rejections=[{"message": mark}],
    ))  # fmt: skip
    waiting = {"id": f"{mark}-3", "meter": f"unknown_{mark.lower()}", "quantity": "1", "time": NOW.isoformat()}
    store_documents([waiting], organization_id=organization.id, now=NOW, and_then=lambda _: None)
    earlier = make_draft(organization, MONTH.previous)
    add(earlier, "900.00", f"Work {mark}")
    credited = finalize_now(earlier)
    make_final(organization, "9.00", month=MONTH.plus(-3))
    for month in (MONTH, MONTH.next):
        add(make_draft(organization, month), "10.00", f"Item {mark}")
    with transaction():
        issue_credit_note(credited.id, Wish(amount=1), reason=mark, by=mark, form_token=uuid4(), now=NOW)
    _insert_what_machines_write(organization.id, mark)
    insert_what_money_leaves(organization.id, mark)
    return organization, keys


def _insert_what_machines_write(organization_id: int, mark: str) -> None:
    sql(
        "INSERT INTO drift (public_id, organization_id, stripe_id, field, seen_since, last_seen)"
        " VALUES (gen_random_uuid(), :organization, :mark, 'unmanaged', now(), now())",
        organization=organization_id,
        mark=mark,
    )
    sql(
        "WITH run AS (INSERT INTO bill_runs (public_id, month, kind, started_by, hold_seconds)"
        " VALUES (gen_random_uuid(), '2026-01-01', 'monthly', 'Ada', 0)"
        " ON CONFLICT (month, kind) DO UPDATE SET hold_seconds = 0 RETURNING id)"
        " INSERT INTO bill_run_items (bill_run_id, organization_id, chunk, currency)"
        " SELECT id, :organization, 0, 'USD' FROM run",
        organization=organization_id,
    )
    sql(
        "INSERT INTO mails (public_id, organization_id, kind, dedupe_key, subject, body_text, body_html)"
        " VALUES (gen_random_uuid(), :organization, 'issued', :mark, :mark, :mark, :mark)",
        organization=organization_id,
        mark=mark,
    )
    sql(
        'WITH made AS (INSERT INTO exports (public_id, organization_id, kind, first_day, last_day, meter, "where",'
        " asked_by, state, created_at, finished_at, expires_at) VALUES (gen_random_uuid(), :organization, 'usage_csv',"
        " '2026-10-01', '2026-10-31', :mark, :mark, :mark, 'done', now(), now(), now()) RETURNING id)"
        " INSERT INTO export_parts SELECT id, 0, :organization, :content FROM made",
        organization=organization_id,
        mark=mark,
        content=zlib.compress(mark.encode()),
    )
    sql(
        "WITH made AS (INSERT INTO webhook_endpoints (public_id, organization_id, url, events, sealed_secret,"
        " created_at) VALUES (gen_random_uuid(), :organization, :url, '{invoice.paid}', '', now()) RETURNING id)"
        " INSERT INTO webhook_deliveries (public_id, organization_id, endpoint_id, event_id, dedupe_key, type, data,"
        " state, last_answer, last_error) SELECT gen_random_uuid(), :organization, id, gen_random_uuid(), '1',"
        " 'invoice.paid', '{}', 'failed', :mark, :mark FROM made",
        organization=organization_id,
        mark=mark,
        url=f"https://{mark.lower()}.example/",
    )
    sql(
        "INSERT INTO invitations (public_id, organization_id, email, role, invited_by_id, created_at, expires_at)"
        " SELECT gen_random_uuid(), :organization, :mark || '@example.com', 'viewer', min(user_id), now(), now()"
        " FROM memberships WHERE organization_id = :organization",
        organization=organization_id,
        mark=mark,
    )
    sql(
        "INSERT INTO passkeys (public_id, user_id, credential_id, public_key, sign_count, name, created_at)"
        " SELECT gen_random_uuid(), min(user_id), convert_to(:mark, 'UTF8'), '', 0, :mark, now()"
        " FROM memberships WHERE organization_id = :organization",
        organization=organization_id,
        mark=mark,
    )
    sql(
        "WITH own AS (INSERT INTO organization_providers (organization_id, issuer, client_id, sealed_secret,"
        " is_required, changed_at) VALUES (:organization, 'https://id.example.com/' || :mark, :mark, '', false, now())"
        " RETURNING organization_id)"
        " INSERT INTO organization_provider_links (organization_id, subject, user_id, created_at)"
        " SELECT own.organization_id, :mark, min(user_id), now() FROM own JOIN memberships"
        " ON memberships.organization_id = own.organization_id GROUP BY 1",
        organization=organization_id,
        mark=mark,
    )
    sql(
        "INSERT INTO provider_sign_ins (token_sha256, state_sha256, nonce, verifier, next_path, expires_at,"
        " organization_id) VALUES (convert_to(:mark, 'UTF8'), '', '', '', '/', now(), :organization)",
        organization=organization_id,
        mark=mark,
    )
    sql(
        "INSERT INTO approval_requests (public_id, subject_kind, subject_id, organization_id, fingerprint, facts,"
        " asked_by_id, asked_by, asked_at, expires_at)"
        " SELECT gen_random_uuid(), kind, id, :organization, '', facts, (SELECT min(id) FROM users), :mark, now(),"
        " now() + interval '1 day' FROM (SELECT 'own price', CAST(:organization AS bigint), CAST(:price AS jsonb)"
        " UNION ALL SELECT 'invoice', min(id), CAST(:invoice AS jsonb) FROM invoices"
        " WHERE organization_id = :organization AND state = 'draft') AS wished (kind, id, facts)",
        organization=organization_id,
        mark=mark,
        price=json.dumps(
            {
                **{"name": mark, "currency": "USD", "of": "meter:machine_seconds", "match": {"app": mark}},
                **{"terms": {"model": "per_unit", "unit_amount": "0.5"}, "valid_from": "2030-01-01"},
                **{"for_plan": None, "note": mark},
            }
        ),
        invoice=json.dumps({"month": "2026-10", "total": 1000, "currency": "USD"}),
    )
    sql(
        "INSERT INTO forecasts VALUES (:organization, :day, :day, 0, 0, now())",
        organization=organization_id,
        day=MONTH.first_day,
    )


def mark_texts(owner: psycopg.Connection, organization_id: int, mark: str) -> None:
    """Put the mark behind every text of an organization that has none yet.

    Rules of the tables (a state is one of …) refuse what is no free text; triggers that keep rows as they were are
    set aside for the moment, for it is reading that is tried here.
    """
    columns = owner.execute(
        "SELECT c.table_name, c.column_name FROM information_schema.columns c JOIN information_schema.columns o"
        " ON o.table_name = c.table_name AND o.table_schema = 'public' AND o.column_name = 'organization_id'"
        " JOIN pg_class t ON t.relname = c.table_name AND t.relkind IN ('r', 'p') AND NOT t.relispartition"
        " WHERE c.table_schema = 'public' AND c.data_type = 'text'"
        " UNION SELECT 'organizations', unnest(ARRAY['billing_email', 'purchase_order', 'stripe_customer_id'])"
    ).fetchall()
    for table, column in columns:
        if column in NOT_WORDS:
            continue
        key = "id" if table == "organizations" else "organization_id"
        with owner.transaction():
            names = {"table": composed.Identifier(table), "column": composed.Identifier(column)}
            owner.execute(composed.SQL("ALTER TABLE {table} DISABLE TRIGGER USER").format(**names))
            owner.execute(composed.SQL("ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY").format(**names))
            with suppress(psycopg.errors.IntegrityError, psycopg.errors.DataError), owner.transaction():
                owner.execute(
                    composed.SQL(
                        "UPDATE {table} SET {column} = coalesce({column} || ' ', '') || %s WHERE {key} = %s"
                        " AND coalesce(strpos({column}, %s) = 0, %s)"
                    ).format(**names, key=composed.Identifier(key)),
                    (mark, organization_id, mark, f"{table}.{column}" in FILLED),
                )
            owner.execute(composed.SQL("ALTER TABLE {table} FORCE ROW LEVEL SECURITY").format(**names))
            owner.execute(composed.SQL("ALTER TABLE {table} ENABLE TRIGGER USER").format(**names))


def _ids(app: Flask, organization_id: int) -> dict[str, list[str]]:
    """The public ids of an organization's rows, by table."""
    with acting(app):
        tables = sql(
            "SELECT p.table_name FROM information_schema.columns p JOIN information_schema.columns o"
            " USING (table_schema, table_name) WHERE p.table_schema = 'public' AND p.column_name = 'public_id'"
            " AND o.column_name = 'organization_id'"
        )
        found = {
            name: _texts(
                sql(f"SELECT public_id FROM {name} WHERE organization_id = :id ORDER BY id", id=organization_id)
            )
            for (name,) in tables
        }
        of_lines = "SELECT public_id FROM one_off_items WHERE invoice_id IN (SELECT id FROM invoices WHERE {} = :id)"
        found["one_off_items"] = _texts(sql(of_lines.format("organization_id"), id=organization_id))
        found["price_versions"] = _texts(sql(
            "SELECT public_id FROM price_versions WHERE price_id IN"
            " (SELECT id FROM prices WHERE organization_id = :id)", id=organization_id,
        ))  # fmt: skip
        of_members = "SELECT public_id FROM users WHERE id IN (SELECT user_id FROM memberships WHERE {} = :id)"
        found["users"] = _texts(sql(of_members.format("organization_id"), id=organization_id))
        of_devices = "SELECT public_id FROM passkeys WHERE user_id IN (SELECT user_id FROM memberships WHERE {} = :id)"
        found["passkeys"] = _texts(sql(of_devices.format("organization_id"), id=organization_id))
        found["organizations"] = _texts(sql("SELECT public_id FROM organizations WHERE id = :id", id=organization_id))
    return found


def _texts(rows: Iterable[tuple[object]]) -> list[str]:
    return [str(value) for (value,) in rows]


def fingerprint(owner: psycopg.Connection, *, organization_id: int | None = None) -> dict[str, tuple[int, int]]:
    """Rows and a sum over their contents, for every table, or for the rows of one organization."""
    belongs = "" if organization_id is None else " AND EXISTS (SELECT FROM pg_attribute a WHERE attrelid = c.oid"
    belongs += " AND attname = 'organization_id')" if belongs else ""
    names = owner.execute(
        "SELECT relname FROM pg_class c WHERE relkind IN ('r', 'p') AND NOT relispartition"
        f" AND relnamespace = 'public'::regnamespace AND has_table_privilege(%s, oid, 'SELECT'){belongs} ORDER BY 1",
        (SYSTEM_ROLE,),
    ).fetchall()
    query = "SELECT {name}, count(*), coalesce(sum(hashtextextended(t::text, 0)), 0) FROM {table} t"
    query += " WHERE organization_id = {id}" if belongs else ""
    queries = [
        composed.SQL(query).format(
            name=composed.Literal(name), table=composed.Identifier(name), id=composed.Literal(organization_id)
        )
        for (name,) in names
    ]
    with owner.transaction():
        owner.execute(composed.SQL("SET LOCAL ROLE {}").format(composed.Identifier(SYSTEM_ROLE)))
        found = owner.execute(composed.SQL(" UNION ALL ").join(queries)).fetchall()
    return {name: (rows, int(total)) for name, rows, total in found}
