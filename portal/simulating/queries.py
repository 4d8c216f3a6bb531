"""Reads of simulations: how far one is, and what it says. Amounts are in minor units of its price's currency."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import pairwise
from typing import Any
from uuid import UUID

from sqlalchemy import func, select, text
from sqlalchemy.orm import joinedload

from portal.catalog.models import Price
from portal.core.errors import NotFound
from portal.infra.db import db
from portal.organizations.models import Organization
from portal.simulating.models import PriceSimulation, PriceSimulationResult

# Where the steps of the distribution end, in percent of what an organization has paid.
_STEPS = (-50, -25, -10, 10, 25, 50)
_BY_ORGANIZATION = """
    WITH each AS (
        SELECT organization_id, sum(old) AS old, sum(new) AS new, sum(new) - sum(old) AS difference
        FROM price_simulation_results WHERE simulation_id = :id GROUP BY organization_id
    )
"""
_SUMMARY = text(f"""
    {_BY_ORGANIZATION}
    SELECT count(*) AS organizations, coalesce(sum(old), 0) AS old, coalesce(sum(new), 0) AS new,
           count(*) FILTER (WHERE difference > 0) AS more, count(*) FILTER (WHERE difference < 0) AS less,
           coalesce(sum(difference) FILTER (WHERE difference > 0), 0) AS rise,
           coalesce(-sum(difference) FILTER (WHERE difference < 0), 0) AS fall,
           (SELECT count(*) FROM price_simulation_results WHERE simulation_id = :id) AS rows
    FROM each
""")
# Whole numbers only: difference / old in percent against the steps. What was nothing (or a credit) has no percentage.
_DISTRIBUTION = text(f"""
    {_BY_ORGANIZATION}
    SELECT CASE WHEN difference = 0 THEN 'same'
                WHEN old <= 0 THEN 'none'
                WHEN difference < 0 THEN (SELECT count(*) FROM unnest(CAST(:falls AS int[])) AS step
                                          WHERE difference * 100 > step * old)::text
                ELSE (:places + (SELECT count(*) FROM unnest(CAST(:rises AS int[])) AS step
                                 WHERE difference * 100 > step * old))::text END AS place, count(*) AS organizations
    FROM each GROUP BY 1
""")


@dataclass(frozen=True, slots=True)
class Summary:
    """All organizations together; `rise` and `fall` are what those who pay more or less would pay more or less."""

    organizations: int
    rows: int
    old: int
    new: int
    more: int
    less: int
    rise: int
    fall: int

    @property
    def difference(self) -> int:
        """By how much all together would pay more; negative for less."""
        return self.new - self.old

    @property
    def same(self) -> int:
        """How many would pay the same."""
        return self.organizations - self.more - self.less


@dataclass(frozen=True, slots=True)
class Place:
    """One step of the distribution: how many organizations' sums change so; `rises` is None for neither."""

    label: str
    short: str
    organizations: int
    rises: bool | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """One organization over all months."""

    organization: Organization
    old: int
    new: int

    @property
    def difference(self) -> int:
        """By how much it would pay more; negative for less."""
        return self.new - self.old


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a simulation is, in invoices; the time left is None while nothing can be said."""

    done: int
    whole: int | None
    a_minute: int
    seconds_left: int | None


def simulation_of(public_id: UUID) -> PriceSimulation:
    """The simulation with this public id, fresh from the database. Raises NotFound."""
    query = select(PriceSimulation).where(PriceSimulation.public_id == public_id)
    found: PriceSimulation | None = db.session.scalar(
        query.options(joinedload(PriceSimulation.price)).execution_options(populate_existing=True)
    )
    if found is None:
        raise NotFound("There is no such simulation.")
    return found


def simulations_of(price: Price, *, limit: int) -> list[PriceSimulation]:
    """The latest simulations of a price, newest first."""
    query = select(PriceSimulation).where(PriceSimulation.price_id == price.id)
    return list(db.session.scalars(query.order_by(PriceSimulation.id.desc()).limit(limit)))


def progress_of(simulation: PriceSimulation, *, now: datetime) -> Progress:
    """How far it is, how many invoices a minute since it was asked for, and how long it will take at that rate."""
    done, whole, second = simulation.done, simulation.whole, timedelta(seconds=1)
    seconds = max((simulation.ended_at or now) - simulation.as_of, second) // second
    left = None if whole is None or not done else max(whole - done, 0) * seconds // done
    return Progress(done, whole, done * 60 // seconds, left)


def summary_of(simulation: PriceSimulation) -> Summary:
    """What all organizations come to, and how many pay more and less."""
    row = db.session.execute(_SUMMARY, {"id": simulation.id}).one()
    return Summary(**{name: int(value) for name, value in row._mapping.items()})


def months_of(simulation: PriceSimulation) -> list[tuple[date, int, int, int]]:
    """Of each month that has results: how many organizations, and the old and the new sum."""
    result = PriceSimulationResult
    query = (
        select(result.month, func.count(), func.sum(result.old), func.sum(result.new))
        .where(result.simulation_id == simulation.id)
        .group_by(result.month)
        .order_by(result.month)
    )
    return [(row[0], row[1], int(row[2]), int(row[3])) for row in db.session.execute(query)]


def largest_of(simulation: PriceSimulation, *, rises: bool, limit: int) -> list[Change]:
    """The organizations that would pay the most more (or less) over all months, the largest change first."""
    result = PriceSimulationResult
    change: Any = func.sum(result.difference)
    query = (
        select(result.organization_id, func.sum(result.old), func.sum(result.new))
        .where(result.simulation_id == simulation.id)
        .group_by(result.organization_id)
        .having(change > 0 if rises else change < 0)
        .order_by(change.desc() if rises else change, result.organization_id)
        .limit(limit)
    )
    rows = db.session.execute(query).all()
    organizations = {
        each.id: each
        for each in db.session.scalars(select(Organization).where(Organization.id.in_([row[0] for row in rows])))
    }
    return [Change(organizations[row[0]], int(row[1]), int(row[2])) for row in rows]


def distribution_of(simulation: PriceSimulation) -> list[Place]:
    """How many organizations' sums change by how many percent, from the largest falls to the largest rises."""
    falls, rises = [step for step in _STEPS if step < 0], [step for step in _STEPS if step > 0]
    values = {"id": simulation.id, "falls": falls, "rises": rises, "places": len(falls) + 1}
    counts = {row.place: row.organizations for row in db.session.execute(_DISTRIBUTION, values)}
    places = [Place(*words, counts.get(str(index), 0), index > len(falls)) for index, words in enumerate(_words())]
    same = Place("the same", "0", counts.get("same", 0))
    from_nothing = Place("from nothing", "new", counts.get("none", 0))
    return [*places[: len(falls) + 1], same, *places[len(falls) + 1 :], from_nothing]


def _words() -> list[tuple[str, str]]:
    """The steps in words and in short, in percent: each includes its upper end."""
    falls, rises = [f"−{-step}" for step in _STEPS if step < 0], [f"+{step}" for step in _STEPS if step > 0]
    return [
        (f"{falls[0]} or less", f"≤{falls[0]}"),
        *((f"{low} to {high}", f"≤{high}") for low, high in pairwise(falls)),
        (f"{falls[-1]} to 0", "<0"),
        *((f"{low} to {high}", f"≤{high}") for low, high in pairwise(["0", *rises])),
        (f"above {rises[-1]}", f">{rises[-1]}"),
    ]


def results_of(simulation: PriceSimulation) -> Sequence[tuple[str, UUID, date, int, int, int]]:
    """All rows for a file: slug, public id, month, old, new and difference, by organization and month."""
    result = PriceSimulationResult
    query = (
        select(Organization.slug, Organization.public_id, result.month, result.old, result.new, result.difference)
        .join(Organization, Organization.id == result.organization_id)
        .where(result.simulation_id == simulation.id)
        .order_by(result.organization_id, result.month)
    )
    return db.session.execute(query).all()
