"""Who sees what of an invoice that one organization pays for another."""

from portal.infra.db import transaction
from portal.invoicing.draft_totals import refresh_by_clock
from portal.invoicing.linking import link_to_payer
from portal.invoicing.queries import invoice_of
from tests.factories import MONTH, NOW, acting, finalize_now, reload
from tests.web.conftest import assert_flawless


def link(part, payer) -> None:
    with transaction():
        link_to_payer(part.organization_id, payer.organization_id, first_month=MONTH)


def test_the_payers_people_see_the_sections_on_the_draft_and_on_the_invoice(app, world, owner):
    with acting(app):
        payer, part = invoice_of(world.draft), invoice_of(world.foreign)
        link(part, payer)
        refresh_by_clock(now=NOW)
    draft = owner.get("/invoices/draft?month=2026-10")
    assert_flawless(draft)
    assert 'data-section="Rival" data-amount-minor="7"' in draft.text
    assert 'id="draft-total" class="panel kpi" data-total-minor="257"' in draft.text
    assert ",Rival" in owner.get("/invoices/draft.csv?month=2026-10").text
    with acting(app):
        finalize_now(reload(part))
        finalize_now(reload(payer))
    final = owner.get(f"/invoices/{world.draft}")
    assert_flawless(final)
    assert 'data-section="Rival" data-amount-minor="7"' in final.text
    assert "$2.57 due" in final.text
    assert owner.get(f"/invoices/{world.foreign}").status_code == 404


def test_the_others_see_their_own_invoice_and_who_is_billed_for_it(app, world, owner, as_person):
    with acting(app):
        part, payer = invoice_of(world.draft), invoice_of(world.foreign)
        link(part, payer)
        refresh_by_clock(now=NOW)
    draft = owner.get("/invoices/draft?month=2026-10").text
    assert "Billed to Rival" in draft
    assert 'id="draft-total" class="panel kpi" data-total-minor="0"' in draft
    staff = as_person("staff@example.com")
    waiting = staff.get(f"/admin/invoices/{world.foreign}")
    assert_flawless(waiting)
    assert "The invoice of Acme for 2026-10 is not final, and this one pays for it." in waiting.text
    assert "It can be finalized once what it pays for is final." in waiting.text
    assert 'data-section="Acme" data-amount-minor="250"' in waiting.text
    with acting(app):
        finalize_now(reload(part))
    page = staff.get(f"/admin/invoices/{world.draft}").text
    assert "Rival is billed for it once that organization’s own invoice is finalized." in page
    assert "not final" not in staff.get(f"/admin/invoices/{world.foreign}").text
    assert ",USD,Acme" in staff.get(f"/admin/invoices/{world.foreign}/lines.csv").text
    with acting(app):
        number = finalize_now(reload(payer)).number
    final = owner.get(f"/invoices/{world.draft}")
    assert_flawless(final)
    assert f"Billed to Rival on invoice {number}." in final.text
    assert "There is nothing to pay here: Rival is billed for it." in final.text
    assert "secret-app" not in final.text
    assert "0.07" not in final.text
    assert owner.get(f"/invoices/{world.foreign}").status_code == 404
    assert f"Rival is billed for it on invoice {number}." in staff.get(f"/admin/invoices/{world.draft}").text
