"""What a change would do, before it is done: the change is made, looked at, and undone."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from portal.core.lifecycle import InvoiceState
from portal.core.periods import Month
from portal.infra.db import transaction
from portal.infra.formats import money
from portal.invoicing.drafting import draft_of
from portal.invoicing.queries import invoice_for_month
from portal.organizations.locking import lock_organization
from portal.organizations.models import Organization


class _Undo(Exception):
    """Ends a rehearsal."""


@contextmanager
def rehearsal() -> Iterator[None]:
    """A transaction that is always rolled back; what was read before it is read anew afterwards."""
    try:
        with transaction():
            yield
            raise _Undo
    except _Undo:
        pass


@dataclass(frozen=True, slots=True)
class Figures:
    """What a month's draft comes to, in minor units, and why it could not be finalized so."""

    total: int
    due: int
    blockers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Effect:
    """A draft before and after a change; `name` is "This month’s draft"."""

    name: str
    currency: str
    before: Figures
    after: Figures

    @property
    def sentences(self) -> tuple[str, ...]:
        """How its total moves, and the amount due if that moves otherwise."""
        said = [f"{self.name} {self._moves(self.before.total, self.after.total)}."]
        if self.after.due - self.before.due != self.after.total - self.before.total:
            said.append(f"After credit, the amount due {self._moves(self.before.due, self.after.due)}.")
        new = [each for each in self.after.blockers if each not in self.before.blockers]
        return (*said, *(f"It could not be finalized so: {each}" for each in new))

    def _moves(self, before: int, after: int) -> str:
        if before == after:
            return f"stays at {money(before, self.currency)}"
        return f"goes from {money(before, self.currency)} to {money(after, self.currency)}"


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """What a change says of itself, what it does to the drafts, and the agreement from which it sets out."""

    sentence: str
    effects: tuple[Effect, ...]
    fingerprint: str


def rehearse(
    organization_id: int,
    act: Callable[[Organization], str],
    *,
    fingerprint_of: Callable[[Organization], str],
    now: datetime,
) -> Rehearsed:
    """Make a change of one organization's agreement and undo it. Raises whatever the change refuses with."""
    with rehearsal():
        organization = lock_organization(organization_id)
        fingerprint = fingerprint_of(organization)
        months = _open_months(organization, now)
        before = [_figures(organization, month) for month in months.values()]
        sentence = act(organization)
        after = [_figures(organization, month) for month in months.values()]
        effects = tuple(
            Effect(name, organization.currency, *figures)
            for name, *figures in zip(months, before, after, strict=True)
            if name == _THIS or figures[0] != figures[1]
        )
    return Rehearsed(sentence, effects, fingerprint)


_THIS = "This month’s draft"


def _open_months(organization: Organization, now: datetime) -> dict[str, Month]:
    """The drafts that a change can reach: last month's while it is open, this month's and the next."""
    month = Month.of(now)
    last = invoice_for_month(organization.id, month.previous)
    is_open = last is not None and last.state == InvoiceState.DRAFT
    months = {"Last month’s draft": month.previous} if is_open else {}
    return months | {_THIS: month, "Next month’s draft": month.next}


def _figures(organization: Organization, month: Month) -> Figures:
    draft = draft_of(organization, month)
    return Figures(draft.statement.total, draft.statement.amount_due, draft.blockers)
