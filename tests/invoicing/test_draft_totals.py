"""The totals of drafts in lists: computed by the clock in turn, with their age, and gone with the draft."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from flask import Flask

from portal.infra.db import transaction
from portal.invoicing import draft_totals
from portal.invoicing.draft_totals import AGE, draft_totals_in, draft_totals_of, refresh_by_clock
from tests.factories import MONTH, NOW, acting, add, finalize_now, make_draft, make_organization, reload, sql


@pytest.fixture
def books(app: Flask, clean_database: None) -> Iterator[Flask]:
    with acting(app):
        yield app


def totals_of(*invoices) -> list[int]:
    with transaction():
        found = draft_totals_of(invoices)
    return [found[each.id].total for each in invoices if each.id in found]


def test_a_total_is_computed_again_once_it_is_old(books):
    invoice = make_draft(make_organization())
    add(invoice, "10.00")
    assert refresh_by_clock(now=NOW) == 1
    add(invoice, "5.00")
    assert refresh_by_clock(now=NOW + AGE - timedelta(seconds=1)) == 0
    assert totals_of(invoice) == [1000]
    assert refresh_by_clock(now=NOW + AGE) == 1
    assert totals_of(invoice) == [1500]
    with transaction():
        [total] = draft_totals_in(MONTH, [invoice.organization_id]).values()
        assert total.computed_at == NOW + AGE
        assert draft_totals_in(MONTH.next, [invoice.organization_id]) == {}


def test_a_chunk_takes_those_without_a_total_first_and_then_the_oldest(books, monkeypatch):
    monkeypatch.setattr(draft_totals, "CHUNK", 2)
    invoices = [make_draft(make_organization(slug)) for slug in ("acme", "rival", "umbrella")]
    assert [refresh_by_clock(now=NOW), len(totals_of(*invoices))] == [2, 2]
    later = NOW + AGE * 2
    assert [refresh_by_clock(now=later), len(totals_of(*invoices))] == [2, 3]
    assert refresh_by_clock(now=later) == 1
    assert {row[0] for row in sql("SELECT computed_at FROM draft_totals")} == {later}


def test_what_is_no_draft_has_no_total(books):
    invoice = make_draft(make_organization())
    add(invoice, "10.00")
    refresh_by_clock(now=NOW)
    finalize_now(invoice)
    assert totals_of(reload(invoice)) == []
    assert refresh_by_clock(now=NOW) == 0
    assert sql("SELECT 1 FROM draft_totals") == []
