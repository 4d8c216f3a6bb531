"""Tables of the ways in: how far each of them has come. Only the system sees them."""

from datetime import datetime

from sqlalchemy import BigInteger, CheckConstraint
from sqlalchemy.orm import Mapped, mapped_column

from portal.infra.db import Model


class UsagePull(Model):
    """How far one query of Prometheus has been pulled: everything before the watermark is stored."""

    __tablename__ = "usage_pulls"

    name: Mapped[str] = mapped_column(primary_key=True)
    watermark: Mapped[datetime | None]
    last_run_at: Mapped[datetime]
    last_error: Mapped[str | None]
    last_count: Mapped[int]
    last_note: Mapped[str | None]


class UsageImport(Model):
    """How far a file has been imported: its first lines, known by their digest, are stored to the last row."""

    __tablename__ = "usage_imports"
    __table_args__ = (CheckConstraint("lines >= 0 AND rows >= 0 AND events >= 0", name="counts_not_negative"),)

    name: Mapped[str] = mapped_column(primary_key=True)
    path: Mapped[str]
    lines: Mapped[int] = mapped_column(BigInteger)
    rows: Mapped[int] = mapped_column(BigInteger)
    events: Mapped[int] = mapped_column(BigInteger)
    digest: Mapped[str]
    updated_at: Mapped[datetime]
