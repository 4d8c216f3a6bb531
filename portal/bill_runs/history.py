"""What flagging compares drafts with: earlier totals, meters and dues of many organizations, in a few statements."""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from sqlalchemy import func, select, text

from portal.bill_runs.flagging import MONTHS_LOOKED_AT, Before
from portal.catalog.models import PriceVersion
from portal.core.lifecycle import InvoiceState, PaymentState
from portal.core.periods import Month
from portal.infra.db import db
from portal.invoicing.models import Invoice
from portal.organizations.models import Organization
from portal.payments.method_models import PaymentMethod

_UNPAID = (PaymentState.OPEN, PaymentState.ACTION_REQUIRED, PaymentState.FAILED)
_METERS = text("""
    SELECT DISTINCT item.organization_id, meter.code
    FROM invoices AS invoice
    JOIN invoice_items AS item ON item.invoice_id = invoice.id
    JOIN price_versions AS version ON version.id = item.price_version_id
    JOIN prices AS price ON price.id = version.price_id
    JOIN meters AS meter ON meter.id = price.meter_id
    WHERE invoice.organization_id = ANY(:organizations) AND invoice.period_start >= :since
      AND invoice.period_start < :month AND invoice.state IN ('finalized', 'scheduled') AND item.kind = 'usage'
""")


def histories(month: Month, organizations: Mapping[int, Organization], *, today: date) -> dict[int, Before]:
    """What is known of each organization besides its draft of a month."""
    ids = list(organizations)
    since = month.plus(-MONTHS_LOOKED_AT).first_day
    totals, first = _totals(month, since, ids), _first_months(month, ids)
    meters, overdue = _meters(month, since, ids), _overdue(month, ids, today)
    changed, with_method = _changed_prices(month), _with_method(organizations.values())
    return {
        each.id: Before(
            total=totals.get(each.id, {}).get(month.previous.first_day),
            is_first=each.id not in first,
            totals=tuple(total for _, total in sorted(totals.get(each.id, {}).items(), reverse=True)),
            meters=frozenset(meters.get(each.id, ())),
            changed_prices=changed,
            overdue=tuple(overdue.get(each.id, ())),
            has_tax_id=each.tax_treatment != "reverse_charge" or bool(each.tax_id),
            has_payment_method=each.collection_method != "charge_automatically" or each.id in with_method,
        )
        for each in organizations.values()
    }


def _totals(month: Month, since: date, ids: Sequence[int]) -> dict[int, dict[date, int]]:
    rows = db.session.execute(
        select(Invoice.organization_id, Invoice.period_start, func.sum(Invoice.total))
        .where(*_final(ids), Invoice.period_start >= since, Invoice.period_start < month.first_day)
        .group_by(Invoice.organization_id, Invoice.period_start)
    )
    found: dict[int, dict[date, int]] = {}
    for organization_id, start, total in rows:
        found.setdefault(organization_id, {})[start] = int(total)
    return found


def _first_months(month: Month, ids: Sequence[int]) -> set[int]:
    """Those who have had a final invoice at all."""
    query = select(Invoice.organization_id).where(*_final(ids), Invoice.period_start < month.first_day).distinct()
    return set(db.session.scalars(query))


def _meters(month: Month, since: date, ids: Sequence[int]) -> dict[int, list[str]]:
    rows = db.session.execute(_METERS, {"organizations": list(ids), "since": since, "month": month.first_day})
    found: dict[int, list[str]] = {}
    for organization_id, code in rows:
        found.setdefault(organization_id, []).append(code)
    return found


def _overdue(month: Month, ids: Sequence[int], today: date) -> dict[int, list[str]]:
    rows = db.session.execute(
        select(Invoice.organization_id, Invoice.number)
        .where(
            Invoice.organization_id.in_(ids),
            Invoice.period_start < month.first_day,
            Invoice.state == InvoiceState.FINALIZED,
            Invoice.payment_state.in_(_UNPAID),
            Invoice.due_date < today,
        )
        .order_by(Invoice.period_start)
    )
    found: dict[int, list[str]] = {}
    for organization_id, number in rows:
        found.setdefault(organization_id, []).append(number or "")
    return found


def _changed_prices(month: Month) -> frozenset[int]:
    """Versions of prices that began after the month's first day."""
    query = select(PriceVersion.id).where(
        PriceVersion.valid_from > month.first_day, PriceVersion.valid_from <= month.last_day
    )
    return frozenset(db.session.scalars(query))


def _with_method(organizations: Any) -> set[int]:
    automatic = [each.id for each in organizations if each.collection_method == "charge_automatically"]
    if not automatic:
        return set()
    query = select(PaymentMethod.organization_id).where(
        PaymentMethod.organization_id.in_(automatic), PaymentMethod.stripe_id.is_not(None)
    )
    return set(db.session.scalars(query))


def _final(ids: Sequence[int]) -> tuple[Any, ...]:
    return (
        Invoice.organization_id.in_(ids),
        Invoice.state.in_((InvoiceState.FINALIZED, InvoiceState.SCHEDULED)),
    )
