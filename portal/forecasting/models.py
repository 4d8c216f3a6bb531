"""Forecasts as they were made, one a day: the latest of them is shown, the earlier ones tell how wrong they were."""

from datetime import date, datetime

from sqlalchemy import CheckConstraint, ForeignKey, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.types import BigInteger, Date

from portal.infra.db import Model


class Forecast(Model):
    """What a month was expected to come to on one of its days, in minor units; made again until the day is over.

    `silent` are the sources from which nothing came for unusually long: `source`, and `since` as a text.
    """

    __tablename__ = "forecasts"
    __table_args__ = (
        CheckConstraint("extract(day FROM month) = 1", name="month_is_its_first_day"),
        CheckConstraint("day >= month AND day < month + interval '1 month'", name="day_lies_in_its_month"),
    )

    organization_id: Mapped[int] = mapped_column(
        BigInteger, ForeignKey("organizations.id"), primary_key=True, autoincrement=False
    )
    month: Mapped[date] = mapped_column(Date, primary_key=True)
    day: Mapped[date] = mapped_column(Date, primary_key=True)
    so_far: Mapped[int]
    expected: Mapped[int]
    made_at: Mapped[datetime]
    silent: Mapped[list[dict[str, str]]] = mapped_column(JSONB, server_default=text("'[]'"))
