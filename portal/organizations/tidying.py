"""What the clock clears away of signing in."""

from datetime import datetime

from portal.infra.db import transaction
from portal.organizations.attempts import forget_old_attempts
from portal.organizations.letters import forget_old_letters


def forget_by_clock(*, now: datetime) -> None:
    """Drop limits that are full again and letters of long ago. Idempotent."""
    with transaction():
        forget_old_attempts(now=now)
        forget_old_letters(now=now)
