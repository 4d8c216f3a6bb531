"""The invariants of the books, checked on a live database. Every check returns what is broken; nothing is changed."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from sqlalchemy import select, text

from portal.infra.audit_seals import breaks, late_unsealed, links
from portal.infra.db import db
from portal.invoicing import credit_note_checks
from portal.invoicing.documents import is_intact
from portal.invoicing.models import Invoice
from portal.invoicing.queries import items_of
from portal.usage.recounting import recount_differences
from portal.usage.recounting_hours import hourly_differences

MOST_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found."""

    code: str
    rule: str
    broken: tuple[str, ...]


Check = Callable[[], Iterator[str]]
_CHECKS: list[tuple[str, str, Check]] = []


def _check(code: str, rule: str) -> Callable[[Check], Check]:
    def register(check: Check) -> Check:
        _CHECKS.append((code, rule, check))
        return check

    return register


def _by_query(code: str, rule: str, query: str) -> None:
    """A check that is one query: every row of it is a breach, its first column says where."""

    def check() -> Iterator[str]:
        for row in db.session.execute(text(query)):
            yield str(row[0])

    _CHECKS.append((code, rule, check))


def examine() -> list[Finding]:
    """Run all checks in the current transaction, as the system."""
    # What this session has read before may be out of date.
    db.session.expire_all()
    findings = []
    for code, rule, check in _CHECKS:
        broken = []
        for number, breach in enumerate(check()):
            if number == MOST_SHOWN:
                broken.append("…")
                break
            broken.append(breach)
        findings.append(Finding(code, rule, tuple(broken)))
    return findings


@_check("I1", "every rollup is what its events come to")
def _rollups_are_sums() -> Iterator[str]:
    for organization_id, day, series_id in recount_differences(MOST_SHOWN + 1):
        yield f"organization {organization_id}, {day}, series {series_id}"


@_check("I1", "every hour is, with what is still to be folded, what its events come to")
def _hours_are_sums() -> Iterator[str]:
    for organization_id, hour, series_id in hourly_differences(MOST_SHOWN + 1):
        yield f"organization {organization_id}, {hour:%Y-%m-%d %H:%M} UTC, series {series_id}"


_by_query(
    "I1",
    "no usage is billed beyond what was recorded, but in months marked as late, where it was taken back since",
    """
    SELECT 'organization ' || b.organization_id || ', ' || b.day || ', series ' || b.series_id
    FROM (SELECT billed.organization_id, billed.day, billed.series_id, sum(billed.events) AS events
          FROM billed_usage AS billed JOIN invoices AS i ON i.id = billed.invoice_id AND i.state <> 'void'
          GROUP BY 1, 2, 3) AS b
    LEFT JOIN (SELECT organization_id, day, series_id, sum(events) AS events FROM usage_daily GROUP BY 1, 2, 3) AS u
           USING (organization_id, day, series_id)
    WHERE (u.events IS NULL OR b.events > u.events)
      AND NOT EXISTS (SELECT FROM late_months AS l
                      WHERE l.organization_id = b.organization_id AND l.month = date_trunc('month', b.day))
    """,
)
_by_query(
    "I1",
    "no usage of a month that is final is left over, but where the month is marked as late",
    """
    SELECT DISTINCT 'organization ' || i.organization_id || ', ' || i.period_start
    FROM invoices AS i
    JOIN (SELECT organization_id, day, series_id, sum(quantity) AS quantity FROM usage_daily GROUP BY 1, 2, 3) AS u
      ON u.organization_id = i.organization_id AND u.day >= i.period_start AND u.day < i.period_end
    LEFT JOIN (SELECT b.organization_id, b.day, b.series_id, sum(b.quantity) AS quantity
               FROM billed_usage AS b JOIN invoices AS o ON o.id = b.invoice_id AND o.state <> 'void'
               GROUP BY 1, 2, 3) AS b
           ON b.organization_id = u.organization_id AND b.day = u.day AND b.series_id = u.series_id
    WHERE i.state IN ('scheduled', 'finalized') AND u.quantity <> coalesce(b.quantity, 0)
      AND NOT EXISTS (SELECT FROM late_months AS l
                      WHERE l.organization_id = i.organization_id AND l.month = i.period_start)
    """,
)
_by_query(
    "I2",
    "an invoice's total is the sum of its lines",
    """
    SELECT coalesce(i.number, i.public_id::text) FROM invoices AS i
    LEFT JOIN (SELECT invoice_id, sum(amount) AS amount FROM invoice_items GROUP BY invoice_id) AS l
           ON l.invoice_id = i.id
    WHERE i.state IN ('scheduled', 'finalized', 'void') AND i.total <> coalesce(l.amount, 0)
      AND NOT (i.state = 'void' AND i.finalized_at IS NULL)
    """,
)
_by_query(
    "I2",
    "an invoice's tax, and what credit it used, add up: by line, by rate and by grant",
    """
    SELECT coalesce(i.number, i.public_id::text) FROM invoices AS i
    LEFT JOIN (SELECT invoice_id, sum(tax) AS tax, -sum(amount) FILTER (WHERE kind = 'promotional') AS promotional
               FROM invoice_items GROUP BY invoice_id) AS l ON l.invoice_id = i.id
    LEFT JOIN (SELECT invoice_id, -sum(amount) AS amount FROM credit_entries GROUP BY invoice_id) AS c
           ON c.invoice_id = i.id
    WHERE i.state IN ('scheduled', 'finalized')
      AND (i.tax <> coalesce(l.tax, 0)
           OR i.tax <> coalesce((SELECT sum((rate->>'tax')::bigint)
                                 FROM jsonb_array_elements(i.tax_details->'rates') AS rate), 0)
           OR coalesce(c.amount, 0) <> coalesce(l.promotional, 0) + i.credits_applied)
    """,
)
_by_query(
    "I2",
    "no invoice has given back more than was paid: refunds, and credit notes that refunded",
    """
    SELECT i.number FROM invoices AS i
    LEFT JOIN (SELECT invoice_id, sum(amount) AS amount FROM refunds WHERE state IN ('pending', 'succeeded') GROUP BY 1)
           AS r ON r.invoice_id = i.id
    LEFT JOIN (SELECT invoice_id, sum(to_refund) AS amount FROM credit_notes GROUP BY 1) AS n ON n.invoice_id = i.id
    WHERE coalesce(r.amount, 0) + coalesce(n.amount, 0) > i.amount_paid
    """,
)
_by_query(
    "I2",
    "what has gone back of a payment is the sum of refunds, lost disputes and credit notes that refunded",
    """
    SELECT i.number FROM invoices AS i
    LEFT JOIN (SELECT invoice_id, sum(amount) AS amount FROM (
                   SELECT invoice_id, amount FROM refunds WHERE state = 'succeeded'
                   UNION ALL SELECT invoice_id, amount FROM disputes WHERE status = 'lost'
                   UNION ALL SELECT invoice_id, to_refund FROM credit_notes WHERE sync_state = 'synced') AS each
               GROUP BY 1) AS g ON g.invoice_id = i.id
    WHERE i.payment_state IN ('paid', 'refunded', 'disputed') AND i.amount_refunded <> coalesce(g.amount, 0)
    """,
)
_by_query(
    "I2",
    "no credit grant is used beyond what was granted, and no voided or open invoice holds any",
    """
    SELECT 'grant ' || g.public_id FROM credit_grants AS g
    LEFT JOIN (SELECT credit_grant_id, sum(amount) AS amount FROM credit_entries GROUP BY 1) AS c
           ON c.credit_grant_id = g.id
    WHERE coalesce(c.amount, -1) < 0 OR c.amount > g.amount
    UNION ALL
    SELECT 'invoice ' || i.public_id FROM credit_entries AS c JOIN invoices AS i ON i.id = c.invoice_id
    WHERE i.state IN ('void', 'draft') GROUP BY i.public_id HAVING sum(c.amount) <> 0
    """,
)
_by_query(
    "I2",
    "what is moved from linked organizations is on one invoice of their payer, to the last minor unit",
    """
    WITH sections AS (
        SELECT i.id AS payer_invoice_id, i.organization_id AS payer_id, i.period_start, section
        FROM invoices AS i, jsonb_array_elements(coalesce(i.sections, i.document->'sections')) AS section
        WHERE i.state IN ('scheduled', 'finalized')
          AND (i.moved > 0 OR i.id IN (SELECT payer_invoice_id FROM billed_parts))
    )
    SELECT 'invoice ' || i.public_id || ' and its sections' FROM invoices AS i
    WHERE i.state IN ('scheduled', 'finalized') AND i.moved > 0
      AND i.moved <> (SELECT coalesce(sum((section->>'amount')::bigint), 0) FROM sections
                      WHERE payer_invoice_id = i.id)
    UNION ALL
    SELECT 'section of ' || coalesce(s.section->>'name', '?') || ' on invoice ' || s.payer_invoice_id
    FROM sections AS s
    LEFT JOIN organizations AS o ON o.public_id::text = s.section->>'organization'
    LEFT JOIN invoices AS part ON part.organization_id = o.id AND part.period_start = s.period_start
              AND part.state = 'finalized'
    LEFT JOIN billed_parts AS b ON b.invoice_id = part.id AND b.payer_invoice_id = s.payer_invoice_id
    WHERE b.invoice_id IS NULL OR part.payer_organization_id IS DISTINCT FROM s.payer_id
          OR part.moved <> -(s.section->>'amount')::bigint OR part.number <> s.section->>'number'
    UNION ALL
    SELECT 'part ' || b.invoice_id FROM billed_parts AS b
    JOIN invoices AS part ON part.id = b.invoice_id JOIN invoices AS i ON i.id = b.payer_invoice_id
    WHERE part.state <> 'finalized' OR i.state NOT IN ('scheduled', 'finalized')
       OR part.organization_id <> b.organization_id OR b.number IS DISTINCT FROM i.number
       OR NOT EXISTS (SELECT FROM sections WHERE payer_invoice_id = i.id AND section->>'number' = part.number)
    UNION ALL
    SELECT 'invoice ' || part.number || ' is on no invoice of its payer' FROM invoices AS part
    JOIN invoices AS i ON i.organization_id = part.payer_organization_id AND i.period_start = part.period_start
         AND i.state IN ('scheduled', 'finalized')
    WHERE part.state = 'finalized' AND NOT EXISTS (SELECT FROM billed_parts AS b WHERE b.invoice_id = part.id)
    """,
)
_by_query(
    "I2",
    "the totals of months are the sums of their final invoices and credit notes, by organization and of the platform",
    """
    WITH documents AS (
        SELECT organization_id, period_start, currency, 1 AS invoices, tax, total, 0 AS credited, amount_due
        FROM invoices WHERE state = 'finalized'
        UNION ALL
        SELECT i.organization_id, i.period_start, i.currency, 0, 0, 0, n.total, 0
        FROM credit_notes AS n JOIN invoices AS i ON i.id = n.invoice_id
    ), expected AS (
        SELECT organization_id, date_trunc('month', period_start)::date AS month, currency, sum(invoices) AS invoices,
               sum(tax) AS tax, sum(total) AS total, sum(credited) AS credited, sum(amount_due) AS amount_due
        FROM documents GROUP BY 1, 2, 3
    ), platform AS (
        SELECT month, currency, organization_id % 8 AS slot, sum(invoices) AS invoices, sum(tax) AS tax,
               sum(total) AS total, sum(credited) AS credited, sum(amount_due) AS amount_due
        FROM expected GROUP BY 1, 2, 3
    )
    SELECT 'organization ' || organization_id || ', ' || month || ', ' || currency
    FROM expected AS e FULL JOIN invoice_months AS m USING (organization_id, month, currency)
    WHERE (coalesce(e.invoices, 0), coalesce(e.tax, 0), coalesce(e.total, 0), coalesce(e.credited, 0),
           coalesce(e.amount_due, 0))
       <> (coalesce(m.invoices, 0), coalesce(m.tax, 0), coalesce(m.total, 0), coalesce(m.credited, 0),
           coalesce(m.amount_due, 0))
    UNION ALL
    SELECT 'the platform, ' || month || ', ' || currency || ', slot ' || slot
    FROM platform AS e FULL JOIN platform_months AS m USING (month, currency, slot)
    WHERE (coalesce(e.invoices, 0), coalesce(e.tax, 0), coalesce(e.total, 0), coalesce(e.credited, 0),
           coalesce(e.amount_due, 0))
       <> (coalesce(m.invoices, 0), coalesce(m.tax, 0), coalesce(m.total, 0), coalesce(m.credited, 0),
           coalesce(m.amount_due, 0))
    """,
)
_by_query(
    "I3",
    "one invoice per organization, period and kind that is not void",
    """
    SELECT organization_id || ', ' || period_start FROM invoices WHERE state <> 'void'
    GROUP BY organization_id, period_start, kind HAVING count(*) > 1
    """,
)


@_check("I4", "finalized invoices are what they were (hash, lines, totals)")
def _finalized_are_intact() -> Iterator[str]:
    query = select(Invoice).where(Invoice.finalized_at.is_not(None)).order_by(Invoice.id)
    for invoice in db.session.scalars(query.execution_options(yield_per=200)):
        if not is_intact(invoice, items_of(invoice.id)):
            yield f"{invoice.number}"


_by_query(
    "I5",
    "one Stripe invoice per invoice: no step has two answered generations",
    """
    SELECT coalesce(i.number, c.invoice_id::text) FROM stripe_calls AS c LEFT JOIN invoices AS i ON i.id = c.invoice_id
    WHERE c.outcome IN ('ok', 'adopted') GROUP BY 1, c.subject, c.step HAVING count(*) > 1
    """,
)
_by_query(
    "I5",
    "a synced invoice has Stripe's id and Stripe's total was ours",
    """
    SELECT i.number FROM invoices AS i
    LEFT JOIN stripe_calls AS c
           ON c.invoice_id = i.id AND c.step = 'finalize' AND c.outcome IN ('ok', 'adopted')
    WHERE i.sync_state = 'synced'
      AND (i.stripe_id IS NULL OR c.answer ->> 'id' <> i.stripe_id
           -- Stripe counts ISK and UGX in hundredths, and MGA in whole units.
           OR (c.answer ->> 'total')::bigint * CASE i.currency WHEN 'MGA' THEN 100 ELSE 1 END
              <> i.amount_due * CASE WHEN i.currency IN ('ISK', 'UGX') THEN 100 ELSE 1 END)
    """,
)
_by_query(
    "I6",
    "numbers of invoices and of credit notes have no gaps",
    """
    SELECT s.series || ': ' || s.last_number || ' taken, ' || count(i.number) || ' used' FROM number_series AS s
    LEFT JOIN (SELECT number FROM invoices UNION ALL SELECT number FROM credit_notes) AS i
           ON i.number LIKE s.series || '-%'
    GROUP BY s.series, s.last_number
    HAVING s.last_number <> count(i.number) OR s.last_number <> max(right(i.number, 6)::bigint)
    """,
)
_by_query(
    "I7",
    "every finalized or void invoice has an audit entry that says so, with an actor",
    """
    SELECT coalesce(i.number, i.public_id::text) FROM invoices AS i
    WHERE (i.finalized_at IS NOT NULL AND NOT EXISTS (
             SELECT 1 FROM audit_entries AS a WHERE a.subject_kind = 'invoice' AND a.subject_id = i.id
             AND a.action = 'finalized' AND a.actor_name <> ''))
       OR (i.state = 'void' AND NOT EXISTS (
             SELECT 1 FROM audit_entries AS a WHERE a.subject_kind = 'invoice' AND a.subject_id = i.id
             AND a.action = 'voided' AND a.actor_name <> ''))
    """,
)
_by_query(
    "I8",
    "no work has been due for 15 minutes without anybody working on it",
    """
    SELECT kind || ' ' || id || ': ' || coalesce(last_error, 'never tried') FROM outbox
    WHERE finished_at IS NULL AND dead_at IS NULL AND run_after < clock_timestamp() - interval '15 minutes'
      AND (lease_until IS NULL OR lease_until < clock_timestamp())
    """,
)
_by_query(
    "I8",
    "no bill run is stuck: where something is left to do, somebody is asked to do it",
    """
    SELECT r.kind || ' run of ' || r.month || ', ' || r.state FROM bill_runs AS r
    WHERE EXISTS (SELECT FROM bill_run_items AS t
                  WHERE t.bill_run_id = r.id
                    AND (r.state IN ('generating', 'finalizing') AND t.state = 'waiting'
                         OR r.state = 'finalizing' AND t.state IN ('approved', 'scheduled')))
      AND NOT EXISTS (SELECT FROM outbox AS o
                      WHERE o.kind LIKE 'bill_run_%' AND o.arguments ->> 'run_id' = r.id::text
                        AND o.finished_at IS NULL AND o.dead_at IS NULL)
      AND (SELECT max(updated_at) FROM bill_run_items AS t WHERE t.bill_run_id = r.id)
          < clock_timestamp() - interval '15 minutes'
    """,
)
_by_query(
    "I8",
    "no invoice is forgotten in its hold window",
    """
    SELECT 'invoice ' || i.public_id FROM invoices AS i
    WHERE i.state = 'scheduled' AND i.finalize_at < clock_timestamp() - interval '15 minutes'
      AND NOT EXISTS (SELECT FROM outbox AS o
                      WHERE o.kind = 'finish_finalizing' AND o.dedupe_key = i.id::text AND o.finished_at IS NULL)
      AND NOT EXISTS (SELECT FROM bill_run_items AS t JOIN bill_runs AS r ON r.id = t.bill_run_id
                      WHERE t.invoice_id = i.id AND t.state IN ('scheduled', 'failed') AND r.state <> 'closed')
    """,
)
_by_query(
    "I8",
    "no event has been waiting for a meter that has been on sale for 15 minutes, but for a reason",
    """
    SELECT o.slug || ': ' || w.meter_code || ', ' || count(*) || ' events'
    FROM waiting_events AS w
    JOIN organizations AS o ON o.id = w.organization_id
    JOIN meters AS m ON m.code = w.meter_code AND m.archived_at IS NULL
    WHERE w.discarded_at IS NULL AND w.reason IS NULL
      AND greatest(w.recorded_at, m.created_at) < clock_timestamp() - interval '15 minutes'
      AND NOT EXISTS (
          SELECT FROM audit_entries AS a
          WHERE a.at > clock_timestamp() - interval '15 minutes'
            AND (a.action = 'restored meter' AND a.subject_id = m.id
                 OR a.action = 'took discarded usage back' AND a.organization_id = w.organization_id))
    GROUP BY o.slug, w.meter_code
    """,
)
_by_query(
    "I8",
    "no event has been both usage and waiting for 15 minutes",
    """
    SELECT o.slug || ': ' || w.event_id
    FROM waiting_events AS w
    JOIN organizations AS o ON o.id = w.organization_id
    JOIN usage_events AS e ON e.organization_id = w.organization_id AND e.event_key = w.event_key
    WHERE greatest(w.recorded_at, e.recorded_at) < clock_timestamp() - interval '15 minutes'
    """,
)
_by_query(
    "I1",
    "every event is either stored or archived, but while a month is on its way from one to the other",
    """
    WITH settled AS (
        SELECT sum(rows) FILTER (WHERE state = 'dropped') AS events FROM usage_archives
        HAVING count(*) FILTER (WHERE state IN ('verified', 'dropping', 'restoring')) = 0
    )
    SELECT 'event ' || e.event_id || ' is both'
    FROM settled, archived_events AS a
    JOIN usage_events AS e ON e.organization_id = a.organization_id AND e.event_key = a.event_key
    UNION ALL
    SELECT coalesce(settled.events, 0) || ' events are in files, ' || known.events || ' are known'
    FROM settled, (SELECT count(*) AS events FROM archived_events) AS known
    WHERE known.events <> coalesce(settled.events, 0)
    """,
)
_by_query(
    "I9",
    "no quantity is NaN or infinite, and none is negative but for corrections",
    """
    SELECT 'event ' || event_id FROM usage_events
    WHERE quantity = 'NaN' OR quantity IN ('Infinity', '-Infinity') OR (quantity < 0 AND NOT correction)
    """,
)
_by_query(
    "I10",
    "only legal states: a draft has no number, a final invoice has one, a sync goes with a final invoice",
    """
    SELECT coalesce(number, public_id::text) FROM invoices
    WHERE (state IN ('draft', 'scheduled') AND (number IS NOT NULL OR sync_state <> 'none' OR payment_state <> 'none'))
       OR (state = 'finalized' AND (number IS NULL OR payment_state = 'none'))
       OR (payment_state = 'paid' AND amount_paid <> amount_due)
    """,
)
_by_query(
    "I10",
    "what a bill run says of an invoice is so",
    """
    SELECT 'run of ' || r.month || ', organization ' || t.organization_id
    FROM bill_run_items AS t JOIN bill_runs AS r ON r.id = t.bill_run_id
    LEFT JOIN invoices AS i ON i.id = t.invoice_id
    WHERE r.kind = 'monthly'
      AND (t.state = 'finalized' AND (i.id IS NULL OR i.state NOT IN ('finalized', 'void') OR i.total <> t.total)
           OR t.state = 'scheduled' AND (i.id IS NULL OR i.state = 'void')
           OR i.period_start <> r.month)
    """,
)
_by_query(
    "I11",
    "no row points at another organization's row",
    """
    SELECT 'item ' || l.public_id FROM invoice_items AS l JOIN invoices AS i ON i.id = l.invoice_id
    WHERE l.organization_id <> i.organization_id
    UNION ALL
    SELECT 'one-off item ' || o.public_id FROM one_off_items AS o JOIN invoices AS i ON i.id = o.invoice_id
    WHERE o.organization_id <> i.organization_id
    UNION ALL
    SELECT 'billed usage of invoice ' || b.invoice_id FROM billed_usage AS b JOIN invoices AS i ON i.id = b.invoice_id
    WHERE b.organization_id <> i.organization_id
    UNION ALL
    SELECT 'call ' || c.id FROM stripe_calls AS c JOIN invoices AS i ON i.id = c.invoice_id
    WHERE c.organization_id <> i.organization_id
    UNION ALL
    SELECT 'bill run ' || t.bill_run_id || ', organization ' || t.organization_id
    FROM bill_run_items AS t JOIN invoices AS i ON i.id = t.invoice_id WHERE t.organization_id <> i.organization_id
    """,
)
_by_query(
    "I13",
    "no void invoice was paid at Stripe",
    "SELECT number FROM invoices WHERE state = 'void' AND stripe_status = 'paid'",
)
_by_query(
    "I13",
    "a paid invoice that Stripe has is paid there too",
    """
    SELECT number FROM invoices
    WHERE sync_state = 'synced' AND (payment_state = 'paid') <> (stripe_status = 'paid')
      AND payment_state NOT IN ('refunded', 'disputed')
    """,
)
for _code, _rule, _query in credit_note_checks.QUERIES:
    _by_query(_code, _rule, _query)
_CHECKS.extend(credit_note_checks.DOCUMENTS)


@_check("I16", "the audit log is what was sealed, and all of it is sealed")
def _audit_chain() -> Iterator[str]:
    yield from breaks(links())
    yield from late_unsealed()
