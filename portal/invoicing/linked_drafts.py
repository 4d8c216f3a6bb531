"""Drafts with what links add to them: who pays, and on the payer's draft a section for each that it pays for.

Only staff and the system compute them: they read the months of several organizations. What the payer's own people see
of a draft is the copy that `keep_what_links_add` leaves on it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from sqlalchemy import ColumnElement, select, update

from portal.core.keys import content_hash
from portal.core.lifecycle import InvoiceState
from portal.core.periods import Month
from portal.infra.db import among, db
from portal.invoicing.documents import buyer_of
from portal.invoicing.drafting import Draft, drafts_of
from portal.invoicing.linked_models import PayerLink
from portal.invoicing.linking import links_of
from portal.invoicing.models import Invoice
from portal.invoicing.sections import Payer, Section, final_facts, live_facts
from portal.organizations.models import Organization


def whole_draft_of(organization: Organization, month: Month) -> Draft:
    """One draft as it stands, with what its links add."""
    return whole_drafts_of([organization], month, frozen={})[organization.id]


def whole_drafts_of(
    organizations: Sequence[Organization], month: Month, *, frozen: Mapping[int, int]
) -> dict[int, Draft]:
    """The drafts of many organizations, by their ids, as `drafting.drafts_of` computes them, with their links.

    Without links that costs one query more, however many there are.
    """
    drafts = drafts_of(organizations, month, frozen=frozen)
    links = links_of(drafts, month)
    if not links:
        return drafts
    sections = _sections_of([link for link in links if link.payer_id in drafts], month)
    payers = {link.organization_id: _payer_of(link) for link in links}
    return {each: _with_links(draft, payers.get(each), sections.get(each, ())) for each, draft in drafts.items()}


def parts_of(organization_ids: Sequence[int], month: Month) -> list[int]:
    """The invoices that are not void of those that these organizations pay for in a month, by their inner ids."""
    parts = [link.organization_id for link in links_of(organization_ids, month) if link.payer_id in organization_ids]
    return list(db.session.scalars(select(Invoice.id).where(*_live(parts, month)))) if parts else []


def keep_what_links_add(invoice: Invoice, draft: Draft) -> None:
    """Leave on a draft what its own people may know of its links; it changes whenever somebody looks again."""
    sections = [section.facts for section in draft.sections] or None
    payer_id, name = (draft.payer.organization_id, draft.payer.name) if draft.payer else (None, None)
    if (invoice.sections, invoice.payer_organization_id, invoice.payer_name) != (sections, payer_id, name):
        db.session.execute(
            update(Invoice)
            .where(Invoice.id == invoice.id, Invoice.state == InvoiceState.DRAFT)
            .values(sections=sections, payer_organization_id=payer_id, payer_name=name)
        )


def _with_links(draft: Draft, payer: Payer | None, sections: Sequence[Section]) -> Draft:
    if payer is None and not sections:
        return draft
    facts = {
        "own": draft.fingerprint,
        "payer": str(payer.public_id) if payer else None,
        "sections": [[section.facts["organization"], section.fingerprint, section.amount] for section in sections],
    }
    return replace(draft, payer=payer, sections=tuple(sections), fingerprint=content_hash(facts))


def _payer_of(link: PayerLink) -> Payer:
    return Payer(link.payer_id, link.payer.public_id, buyer_of(link.payer)["name"])


def _sections_of(links: Sequence[PayerLink], month: Month) -> dict[int, list[Section]]:
    """By payer, a section for each link: of the final invoice, or live until there is one."""
    if not links:
        return {}
    invoices = _invoices_of([link.organization_id for link in links], month)
    final = {each: invoice for each, invoice in invoices.items() if invoice.state == InvoiceState.FINALIZED}
    live = [link.organization for link in links if link.organization_id not in final]
    frozen = {each: invoice.id for each, invoice in invoices.items() if invoice.state == InvoiceState.SCHEDULED}
    drafts = drafts_of(live, month, frozen=frozen) if live else {}
    found: dict[int, list[Section]] = {}
    for link in links:
        part = link.organization
        if part.id in final:
            section = _final_section(part, final[part.id])
        else:
            draft = _with_links(drafts[part.id], _payer_of(link), ())
            section = Section(part.id, draft.fingerprint, None, live_facts(part, draft.statement))
        found.setdefault(link.payer_id, []).append(section)
    return found


def _final_section(part: Organization, invoice: Invoice) -> Section:
    assert invoice.document is not None, invoice.id
    assert invoice.fingerprint is not None, invoice.id
    return Section(part.id, invoice.fingerprint, invoice.id, final_facts(part, invoice.document))


def _invoices_of(organization_ids: Sequence[int], month: Month) -> dict[int, Invoice]:
    query = select(Invoice).where(*_live(organization_ids, month)).execution_options(populate_existing=True)
    return {each.organization_id: each for each in db.session.scalars(query)}


def _live(organization_ids: Sequence[int], month: Month) -> tuple[ColumnElement[bool], ...]:
    return (
        among(Invoice.organization_id, organization_ids),
        Invoice.period_start == month.first_day,
        Invoice.kind == "monthly",
        Invoice.state != InvoiceState.VOID,
    )
