"""What the clock clears away of signing in."""

from datetime import datetime

from portal.infra.db import transaction
from portal.organizations.attempts import forget_old_attempts
from portal.organizations.passkeys import forget_old_challenges
from portal.organizations.provider_sign_ins import forget_old_provider_sign_ins
from portal.organizations.second_steps import forget_old_half_sign_ins
from portal.organizations.sessions import forget_ended_sessions


def forget_by_clock(*, now: datetime) -> None:
    """Drop limits that are full again, unfinished sign-ins and ended sessions. Idempotent."""
    with transaction():
        forget_old_attempts(now=now)
        forget_old_half_sign_ins(now=now)
        forget_old_provider_sign_ins(now=now)
        forget_old_challenges(now=now)
        forget_ended_sessions(now=now)
