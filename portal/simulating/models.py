"""Tables of simulations. Amounts are in minor units of the price's currency."""

from datetime import date, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column, relationship
from sqlalchemy.types import Date, Integer, Text

from portal.catalog.models import Price
from portal.infra.db import Model, Public


class SimulationState(StrEnum):
    """How far a simulation is. `failed`: an error that trying again would meet again; the reason says which."""

    RUNNING = "running"
    DONE = "done"
    CANCELLED = "cancelled"
    FAILED = "failed"


class PriceSimulation(Public, Model):
    """One question: these terms of a price, over the final invoices of some months.

    `organization_ids` None stands for all. `whole` is how many invoices there are, None until they were counted, and
    `done` how many were rated; `last_invoice_id` is where the next chunk goes on.
    """

    __tablename__ = "price_simulations"
    __table_args__ = (
        Index("ix_price_simulations_price_id", "price_id"),
        CheckConstraint("state IN ('running', 'done', 'cancelled', 'failed')", name="state_known"),
        CheckConstraint("(state = 'running') = (ended_at IS NULL)", name="ended_unless_running"),
        CheckConstraint("state <> 'failed' OR reason IS NOT NULL", name="failed_with_a_reason"),
        CheckConstraint("cardinality(months) > 0", name="has_months"),
    )

    price_id: Mapped[int] = mapped_column(ForeignKey("prices.id"))
    terms: Mapped[dict[str, Any]] = mapped_column(JSONB)
    valid_from: Mapped[date] = mapped_column(Date)
    note: Mapped[str | None]
    months: Mapped[list[date]] = mapped_column(ARRAY(Date))
    organization_ids: Mapped[list[int] | None] = mapped_column(ARRAY(BigInteger))
    state: Mapped[SimulationState] = mapped_column(Text, server_default="running")
    reason: Mapped[str | None]
    whole: Mapped[int | None] = mapped_column(Integer)
    done: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    last_invoice_id: Mapped[int] = mapped_column(server_default=text("0"))
    started_by: Mapped[str]
    as_of: Mapped[datetime]
    ended_at: Mapped[datetime | None]

    price: Mapped[Price] = relationship(viewonly=True)


class PriceSimulationResult(Model):
    """What one organization was billed in one month by the price, and what the draft would have billed instead."""

    __tablename__ = "price_simulation_results"
    __table_args__ = (Index("ix_price_simulation_results_organization_id", "organization_id"),)

    simulation_id: Mapped[int] = mapped_column(
        ForeignKey("price_simulations.id"), primary_key=True, autoincrement=False
    )
    organization_id: Mapped[int] = mapped_column(ForeignKey("organizations.id"), primary_key=True, autoincrement=False)
    month: Mapped[date] = mapped_column(Date, primary_key=True)
    old: Mapped[int]
    new: Mapped[int]
    difference: Mapped[int]
