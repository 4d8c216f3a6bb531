"""The audit log: who did what to which record, searched and as a file."""

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any
from uuid import UUID

from flask import Response, render_template, request

from portal.admin.paging import last_id
from portal.admin.staff import staff_blueprint
from portal.core.keys import canonical_json
from portal.infra.audit import AuditEntry
from portal.infra.audit_reading import Wanted, all_entries_wanted, entries_wanted
from portal.infra.pages import csv_streamed, policy
from portal.organizations.models import Organization
from portal.organizations.queries import names_by_id, organization_of

PER_PAGE, LONGEST_WORDS = 50, 100
HEAD = (
    *("at", "organization", "actor_kind", "actor", "action", "subject", "subject_id", "reason", "before", "after"),
    *("request_id", "address"),
)
bp = staff_blueprint("admin_audit")


@bp.get("/audit")
@policy("view organizations")
def index() -> str:
    """One page of entries, newest first, of one organization, person or action if asked for."""
    organization = _organization()
    wanted = _wanted(organization)
    found = entries_wanted(wanted, before=last_id(), limit=PER_PAGE + 1)
    shown = found[:PER_PAGE]
    return render_template(
        "admin/audit/index.html",
        entries=shown,
        organization=organization,
        wanted=wanted,
        names=_names(shown),
        more=shown[-1].id if len(found) > PER_PAGE else None,
        paged="after" in request.args,
    )


@bp.get("/audit.csv")
@policy("view organizations")
def as_csv() -> Response:
    """All entries that the same filter finds."""
    return csv_streamed("audit", HEAD, chain.from_iterable(map(_rows, all_entries_wanted(_wanted(_organization())))))


def _rows(entries: Sequence[AuditEntry]) -> Iterator[tuple[Any, ...]]:
    names = _names(entries)
    for each in entries:
        yield (
            each.at.isoformat(),
            names.get(each.organization_id or 0),
            each.actor_kind,
            each.actor_name,
            each.action,
            each.subject_kind,
            each.subject_id,
            each.reason,
            canonical_json(each.before) if each.before else None,
            canonical_json(each.after) if each.after else None,
            each.request_id,
            each.address,
        )


def _names(entries: Sequence[AuditEntry]) -> dict[int, str]:
    return names_by_id({each.organization_id for each in entries if each.organization_id is not None})


def _wanted(organization: Organization | None) -> Wanted:
    words = (request.args.get(name, "").strip()[:LONGEST_WORDS] for name in ("who", "action", "request"))
    return Wanted(organization.id if organization else None, *words)


def _organization() -> Organization | None:
    """Whose entries are asked for. Raises NotFound."""
    named = request.args.get("organization", type=UUID)
    return organization_of(named) if named else None
