"""Many rows are changed in one statement, exactly as their objects say."""

from datetime import UTC, date, datetime

from sqlalchemy import select

from portal.infra.db import among, db, transaction
from portal.infra.many_rows import save_together
from portal.invoicing.models import Invoice
from portal.organizations.models import Organization
from tests.factories import make_draft, make_organization, sql

NAMES = ("memo", "due_date", "finalize_at", "tax_details")
MOMENT = datetime(2026, 11, 5, 12, 0, 0, 123456, tzinfo=UTC)


def test_objects_are_saved_together_and_what_else_was_changed_by_the_flush(books):
    drafts = [make_draft(make_organization(f"org-{number}")) for number in range(3)]
    with transaction() as session:
        first, second, third = (session.get_one(Invoice, each.id) for each in drafts)
        first.memo, first.due_date = '„quoted“ "twice"\\\n😀 it\'s', date(2026, 12, 5)
        first.tax_details = {"b": [1, None], "a": "0.10"}
        first.finalize_at = MOMENT
        second.scheduled_by = "Ada"
        third.memo = "left alone"
        save_together([first, second], NAMES)
        assert db.session.is_modified(first) is False
        assert db.session.is_modified(second) is True
        session.expire(third)
    rows = sql(f"SELECT {', '.join(NAMES)}, scheduled_by FROM invoices ORDER BY id")
    assert [tuple(row) for row in rows] == [
        ('„quoted“ "twice"\\\n😀 it\'s', date(2026, 12, 5), MOMENT, {"b": [1, None], "a": "0.10"}, None),
        (None, None, None, None, "Ada"),
        (None, None, None, None, None),
    ]
    # A JSON null is not the same as nothing.
    assert sql("SELECT count(*) FROM invoices WHERE tax_details IS NULL") == [(2,)]


def test_nothing_is_saved_in_no_statement(books):
    with transaction():
        save_together([], NAMES)
    assert sql("SELECT count(*) FROM invoices") == [(0,)]


def test_among_many_values_and_none(books):
    ids = [make_organization(f"org-{number}").id for number in range(3)]
    with transaction() as session:
        for wanted, expected in [
            (among(Organization.id, ids[:2]), ids[:2]),
            (~among(Organization.id, ids[:2]), ids[2:]),
            (among(Organization.id, []), []),
        ]:
            assert session.scalars(select(Organization.id).where(wanted).order_by(Organization.id)).all() == expected
