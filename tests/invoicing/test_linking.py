"""Who pays for whom: what is agreed, what is refused, and what all of them come to in a month."""

import pytest

from portal.core.errors import InvalidInput, NotFound
from portal.infra.db import transaction
from portal.invoicing.linked_figures import file_rows, shares_of
from portal.invoicing.linking import end_link, link_to_payer, links_of
from tests.factories import MONTH, acting, add, make_draft, make_final, make_organization, sql


def link(organization, payer, month=MONTH):
    with transaction():
        return link_to_payer(organization.id, payer.id, first_month=month)


def end(organization, month):
    with transaction():
        return end_link(organization.id, end_month=month)


def linked_in(month, *organizations):
    links = links_of([each.id for each in organizations], month)
    return [(each.organization.slug, each.payer.slug) for each in links]


@pytest.fixture
def three(books):
    return [make_organization(slug) for slug in ("holding", "north", "south")]


def test_a_link_holds_by_whole_months_and_is_audited_once(three):
    holding, north, south = three
    link(north, holding)
    link(north, holding)
    end(north, MONTH.plus(2))
    end(north, MONTH.plus(2))
    link(north, south, MONTH.plus(2))
    assert linked_in(MONTH.previous, *three) == []
    assert linked_in(MONTH, *three) == linked_in(MONTH.next, *three) == [("north", "holding")]
    assert linked_in(MONTH.plus(2), *three) == [("north", "south")]
    actions = sql("SELECT action FROM audit_entries WHERE action LIKE '%payer%' ORDER BY id")
    assert actions == [("linked to a payer",), ("unlinked from its payer",), ("linked to a payer",)]


def test_a_link_that_ended_before_it_held_never_held(three):
    holding, north, _ = three
    link(north, holding, MONTH.next)
    end(north, MONTH.next)
    assert linked_in(MONTH.next, *three) == []
    link(holding, north, MONTH)
    assert linked_in(MONTH.next, *three) == [("holding", "north")]


def test_what_cannot_be_is_refused_in_a_sentence(three):
    holding, north, south = three
    euros = make_organization("euros", currency="EUR")
    link(north, holding, MONTH.next)
    refusals = [
        (holding, holding, MONTH, "pays for itself"),
        (euros, holding, MONTH, "a payer has the same currency"),
        (north, south, MONTH, "North has a payer in that month or later: Holding."),
        (south, north, MONTH, "North has a payer itself"),
        (holding, south, MONTH, "Holding pays for others"),
    ]
    for organization, payer, month, sentence in refusals:
        with pytest.raises(InvalidInput, match=sentence):
            link(organization, payer, month)
    with pytest.raises(InvalidInput, match="has no payer"):
        end(south, MONTH)
    with pytest.raises(InvalidInput, match="The link begins in"):
        end(north, MONTH)
    with pytest.raises(NotFound), transaction():
        link_to_payer(north.id + 1_000_000, holding.id, first_month=MONTH)
    assert linked_in(MONTH.next, *three) == [("north", "holding")]


@pytest.mark.parametrize("final", ["holding", "north"])
def test_no_link_begins_or_ends_in_a_month_that_is_final_for_either(three, final):
    holding, north, south = three
    link(south, holding, MONTH.previous)
    link(north, holding, MONTH.previous)
    # A payer's invoice comes after those that it pays for.
    for each in (south, north, holding) if final == "holding" else (north,):
        make_final(each, "10.00")
    with pytest.raises(InvalidInput, match="are final for one of the two"):
        end(north, MONTH)
    end(north, MONTH.next)
    with pytest.raises(InvalidInput, match="are final for one of the two|has a payer"):
        link(north, holding)
    link(north, holding, MONTH.next)
    assert linked_in(MONTH.next, *three) == [("south", "holding"), ("north", "holding")]


def test_the_sum_of_a_payers_month_is_of_final_invoices_and_live_drafts(three):
    holding, north, south = three
    for each in (north, south):
        link(each, holding)
    make_final(north, "10.01")
    add(make_draft(holding), "0.02")
    assert list(file_rows(shares_of(holding, MONTH), MONTH)) == [
        ("holding", "Holding", "2026-10", "draft", "USD", "0.02", "0.02"),
        ("north", "North", "2026-10", "finalized", "USD", "10.01", "10.01"),
        ("south", "South", "2026-10", "none", "USD", "0.00", "0.00"),
        ("", "Sum", "2026-10", "", "USD", "10.03", "10.03"),
    ]
    assert [each.organization.slug for each in shares_of(holding, MONTH.previous)] == ["holding"]


def test_commands_link_and_unlink(app, clean_database):
    with acting(app):
        for slug in ("holding", "north"):
            make_organization(slug)
    run = app.test_cli_runner().invoke
    made = run(args=["organizations", "link", "north", "holding", "--from", "2026-11"])
    assert made.output == "holding pays for north from 2026-11 on.\n"
    assert "has a payer itself" in run(args=["organizations", "link", "holding", "north", "--from", "2026-11"]).output
    ended = run(args=["organizations", "unlink", "north", "--from", "2026-12"])
    assert ended.output == "north pays for itself from 2026-12 on.\n"
    with acting(app):
        assert sql("SELECT first_day::text, end_day::text FROM payer_links") == [("2026-11-01", "2026-12-01")]
