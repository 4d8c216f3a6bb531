"""Usage that waits keeps the invoice of its month from being final, until somebody has decided; nobody forgets it."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskCliRunner

from portal import doctor
from portal.clock import RECURRING
from portal.core.errors import NotReady
from portal.infra import clock
from portal.infra.db import tenant, transaction
from portal.invoicing.drafting import draft_of
from portal.usage.adopting import adopt_waiting
from portal.usage.batches import store_documents
from portal.usage.discarding import discard_waiting, take_back_discarded
from portal.usage.waiting_queries import count_waiting
from tests.factories import (
    MONTH,
    NOW,
    acting,
    finalize_now,
    make_draft,
    make_meter,
    make_organization,
    make_price,
    reload,
    sql,
    use,
)

pytestmark = pytest.mark.usefixtures("books")
DURING = datetime(2026, 10, 20, tzinfo=UTC)
CATALOG = """
products: [Network]
meters:
  egress_gb: {name: Egress, product: Network, unit: GB}
prices:
  - name: Egress
    meter: egress_gb
    currency: USD
    versions: [{valid_from: 2026-01-01, terms: {model: per_unit, unit_amount: 0.02}}]
"""


@pytest.fixture
def acme() -> Any:
    organization = make_organization()
    meter = make_meter("disk")
    make_price(meter, "1.00")
    use(organization, meter, 5)
    return organization


def send(organization: Any, event_id: str, meter: str, at: datetime = DURING, quantity: str = "10") -> str:
    document = {"id": event_id, "meter": meter, "quantity": quantity, "time": at.isoformat()}
    stored = store_documents([document], organization_id=organization.id, now=NOW, and_then=lambda _: None)
    status: str = stored.results[0]["status"]
    return status


def broken() -> list[str]:
    """What the doctor finds, each with the first words of its rule."""
    with transaction():
        return [f"{each.code} {', '.join(each.broken)}" for each in doctor.examine() if each.broken]


def test_the_invoice_of_the_month_cannot_be_final_until_somebody_has_decided(acme: Any):
    draft = make_draft(acme)
    for number in range(12):
        assert send(acme, f"e{number}", "egres_gb") == "waiting"
    sentence = "Usage of meters that do not exist waits: “egres_gb” (12 events)."
    with transaction():
        found = draft_of(acme, MONTH)
        assert found.blockers == (sentence,)
        assert found.statement.total == 500
        assert draft_of(acme, MONTH.next).blockers == ()
    with pytest.raises(NotReady, match="12 events"):
        finalize_now(draft)
    with transaction():
        discard_waiting(acme.id, "egres_gb", reason="a typo", by="Ada", now=NOW)
    assert finalize_now(reload(draft)).state == "finalized"


def test_what_was_adopted_is_billed(acme: Any):
    draft = make_draft(acme)
    send(acme, "e", "egress_gb")
    meter = make_meter("egress_gb")
    make_price(meter, "0.02")
    adopt_waiting(now=NOW)
    invoice = finalize_now(draft)
    assert (invoice.state, invoice.total) == ("finalized", 520)
    assert broken() == []


def test_what_waits_for_a_month_that_is_final_goes_onto_the_next_invoice_once_it_is_adopted(acme: Any):
    finalize_now(make_draft(acme))
    assert send(acme, "late", "egress_gb") == "waiting"
    with transaction():
        assert draft_of(acme, MONTH.next).blockers == ()
        assert draft_of(acme, MONTH.next).statement.total == 0
    make_price(make_meter("egress_gb"), "0.02")
    adopt_waiting(now=NOW)
    with transaction():
        assert draft_of(acme, MONTH.next).statement.total == 20
    assert broken() == []


def test_a_customer_may_see_the_draft_that_waits(app: Flask, acme: Any):
    send(acme, "e", "egres_gb")
    with acting(app, tenant(acme.id)), transaction():
        assert len(draft_of(acme, MONTH).blockers) == 1


def test_the_doctor_finds_what_nobody_adopts(acme: Any):
    send(acme, "a", "tape")
    send(acme, "b", "other")
    make_meter("tape")
    long_ago = clock.now() - timedelta(minutes=16)
    sql("UPDATE waiting_events SET recorded_at = :at", at=long_ago)
    assert broken() == []  # the meter is new
    sql("UPDATE meters SET created_at = :at", at=long_ago)
    assert broken() == ["I8 acme: tape, 1 events"]
    with transaction():
        discard_waiting(acme.id, "tape", reason="a test", by="Ada", now=NOW)
    assert broken() == []
    with transaction():
        take_back_discarded(acme.id, "tape")
    assert broken() == []  # it waits again since a moment ago
    [job] = [each for each in RECURRING if each.name == "count waiting usage"]
    job.work()
    assert count_waiting() == 1
    assert broken() == []


def test_the_doctor_finds_what_is_usage_and_waits_as_well(acme: Any):
    def found() -> tuple[str, ...]:
        with transaction():
            [of_both] = [each.broken for each in doctor.examine() if each.rule.startswith("no event has been both")]
        return of_both

    send(acme, "a", "dsik")
    assert send(acme, "a", "disk") == "accepted"
    sql("UPDATE waiting_events SET recorded_at = :at", at=clock.now() - timedelta(hours=1))
    sql("UPDATE usage_events SET recorded_at = :at", at=clock.now())
    assert found() == ()
    sql("UPDATE usage_events SET recorded_at = :at", at=clock.now() - timedelta(minutes=16))
    assert found() == ("acme: a",)
    adopt_waiting(now=NOW)
    assert found() == ()


def test_applying_a_catalog_counts_what_waited(runner: FlaskCliRunner, acme: Any):
    send(acme, "a", "egress_gb")
    send(acme, "b", "egress_gb")
    result = runner.invoke(args=["catalog", "apply", "-", "--dry-run"], input=CATALOG)
    assert "waited" not in result.output
    assert count_waiting() == 2
    result = runner.invoke(args=["catalog", "apply", "-"], input=CATALOG)
    assert result.exit_code == 0, result.output
    assert "2 events that waited for a meter count now." in result.output
    assert count_waiting() == 0
    with transaction():
        assert draft_of(acme, MONTH).statement.total == 540
    assert "waited" not in runner.invoke(args=["catalog", "apply", "-"], input=CATALOG).output


def test_the_command_line_lists_and_discards(runner: FlaskCliRunner, acme: Any):
    assert "No event waits for a meter." in runner.invoke(args=["usage", "waiting"]).output
    send(acme, "a", "egres_gb", quantity="1.5")
    send(acme, "b", "egres_gb")
    listed = runner.invoke(args=["usage", "waiting"]).output
    for words in ("acme", "egres_gb", "11.5", "There is no such meter.", "2 events wait for a meter."):
        assert words in listed
    discard = ["usage", "discard", "--organization", "acme", "--meter", "egres_gb", "--reason"]
    assert runner.invoke(args=[*discard, " "]).exit_code == 1
    assert "2 events of acme for “egres_gb” are discarded." in runner.invoke(args=[*discard, "a typo"]).output
    again = runner.invoke(args=[*discard, "a typo"])
    assert (again.exit_code, "No event waits for the meter “egres_gb” any more." in again.output) == (1, True)
    [(reason, by)] = sql("SELECT reason, actor_kind FROM audit_entries WHERE action = 'discarded waiting usage'")
    assert (reason, by) == ("a typo", "operator")
