"""Limits on guessing: how many tries at a password, or wishes for a mail, somebody has, counted in PostgreSQL.

A try is counted before anything is looked at, and given back if it was right: tries at the same moment cannot share
one, and what cannot be counted is not tried, so that without the database nobody signs in. Each counter holds some
tries and regains one at a time; nothing is locked for ever. Whether an account exists makes no difference here.
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import IPv6Address, ip_address, ip_network

from sqlalchemy import delete, exists, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert

from portal.infra import audit
from portal.infra.db import db
from portal.organizations.models import AttemptCounter, User, UserSession

# What a provider gives to one customer: a whole network of addresses.
_IPV6_NETWORK_BITS = 64
FORGET_AT_ONCE = 10_000


@dataclass(frozen=True, slots=True)
class Limit:
    """So many tries at once, and one more after each `regained_every`."""

    tries: int
    regained_every: timedelta


# By what is counted: one account from one address, one account from everywhere, one address at all accounts.
PASSWORDS = {
    "account at address": Limit(5, timedelta(minutes=5)),
    "account": Limit(20, timedelta(minutes=10)),
    "address": Limit(30, timedelta(minutes=2)),
}
# Codes of a second factor; only somebody with the password comes to try them.
CODES = {
    "codes at address": Limit(5, timedelta(minutes=5)),
    "codes": Limit(20, timedelta(minutes=10)),
}
# Whoever begins at the provider has shown nothing yet: this only keeps strangers from filling a table.
PROVIDER = Limit(30, timedelta(minutes=1))
MAILS = {
    "mails to account": Limit(3, timedelta(minutes=20)),
    "mails from address": Limit(10, timedelta(minutes=5)),
}


def count_password_try(email: str, address: str | None, *, now: datetime) -> timedelta | None:
    """Count a try at a password; how long to wait if there is none left, and then nothing was counted.

    Where somebody is signed in to the account already, strangers' tries elsewhere do not keep them out.
    """
    names = _password_counters(email, address)
    if _is_familiar(email, address):
        del names[_name("account", _account(email))]
    return _take(names, email, "sign-in blocked", now=now)


def give_password_try_back(email: str, address: str | None, *, now: datetime) -> None:
    """The password was right: the account's counters are full again, the address' as they were before."""
    for name, limit in _password_counters(email, address).items():
        if name.startswith("address:"):
            db.session.execute(
                update(AttemptCounter)
                .where(AttemptCounter.name == name, AttemptCounter.full_at > now)
                .values(full_at=AttemptCounter.full_at - limit.regained_every)
            )
        else:
            db.session.execute(delete(AttemptCounter).where(AttemptCounter.name == name))


def count_code_try(email: str, address: str | None, *, now: datetime) -> timedelta | None:
    """Count a try at a code of an account; how long to wait if there is none left, and then nothing was counted."""
    return _take(_code_counters(email, address), email, "code blocked", now=now)


def give_code_try_back(email: str, address: str | None) -> None:
    """The code was right: the account's counters of codes are full again."""
    db.session.execute(delete(AttemptCounter).where(AttemptCounter.name.in_(_code_counters(email, address))))


def count_provider_try(address: str | None, *, now: datetime) -> timedelta | None:
    """Count a sign-in that begins at the provider; how long to wait if there is none left."""
    return _take({_name("provider", _network(address)): PROVIDER}, "", "sign-in by provider blocked", now=now)


def forgive_account(email: str) -> None:
    """Whoever reads the account's mail has set a new password: tries at the old one count no more."""
    account = _account(email)
    everywhere = AttemptCounter.name.startswith(_name("account at address", account))
    db.session.execute(delete(AttemptCounter).where(or_(AttemptCounter.name == _name("account", account), everywhere)))


def count_mail_wish(email: str, address: str | None, *, now: datetime) -> timedelta | None:
    """Count a wish for a mail to an account; how long to wait if there is none left."""
    names = {
        _name("mails to account", _account(email)): MAILS["mails to account"],
        _name("mails from address", _network(address)): MAILS["mails from address"],
    }
    return _take(names, email, "mail to account blocked", now=now)


def forget_old_attempts(*, now: datetime) -> None:
    """Drop counters that are full again, some at a time; run by the clock."""
    old = select(AttemptCounter.name).where(AttemptCounter.full_at <= now).limit(FORGET_AT_ONCE)
    db.session.execute(delete(AttemptCounter).where(AttemptCounter.name.in_(old)))


def note_refused_sign_in(email: str) -> None:
    """Write down a wrong password, or an account that is none; never what was typed, it may be a password."""
    _note("sign-in failed", email)


def _take(names: dict[str, Limit], email: str, blocked: str, *, now: datetime) -> timedelta | None:
    db.session.execute(
        insert(AttemptCounter)
        .values([{"name": name, "full_at": now} for name in sorted(names)])
        .on_conflict_do_nothing()
    )
    counters = db.session.scalars(
        select(AttemptCounter)
        .where(AttemptCounter.name.in_(names))
        .order_by(AttemptCounter.name)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).all()
    after = {each.name: max(each.full_at, now) + names[each.name].regained_every for each in counters}
    waits = [
        (after[each.name] - now - names[each.name].tries * names[each.name].regained_every, each) for each in counters
    ]
    longest, counter = max(waits, key=lambda wait: wait[0])
    if longest > timedelta():
        if counter.noted_until is None or counter.noted_until <= now:
            # Once a wait: whoever keeps on trying must not fill the audit log.
            counter.noted_until = now + longest
            _note(blocked, email, limit=counter.name.partition(":")[0])
        return longest
    for each in counters:
        each.full_at = after[each.name]
    return None


def _password_counters(email: str, address: str | None) -> dict[str, Limit]:
    account, network = _account(email), _network(address)
    named = {"account at address": f"{account} {network}", "account": account, "address": network}
    return {_name(kind, whose): PASSWORDS[kind] for kind, whose in named.items()}


def _code_counters(email: str, address: str | None) -> dict[str, Limit]:
    account = _account(email)
    named = {"codes at address": f"{account} {_network(address)}", "codes": account}
    return {_name(kind, whose): CODES[kind] for kind, whose in named.items()}


def _name(kind: str, whose: str) -> str:
    return f"{kind}:{whose}"


def _account(email: str) -> str:
    """A hash, because people type passwords into the wrong field."""
    return hashlib.sha256(email.strip().lower().encode()).hexdigest()


def _network(address: str | None) -> str:
    """The address, or its network in IPv6; everybody whose address is not known shares one."""
    try:
        parsed = ip_address(address or "")
    except ValueError:
        return "unknown"
    if isinstance(parsed, IPv6Address):
        return str(ip_network((parsed, _IPV6_NETWORK_BITS), strict=False))
    return str(parsed)


def _is_familiar(email: str, address: str | None) -> bool:
    signed_in = (
        exists()
        .where(UserSession.user_id == User.id, UserSession.address == address)
        .where(func.lower(User.email) == email.strip().lower())
    )
    return bool(db.session.scalar(select(signed_in)))


def _note(action: str, email: str, **facts: str) -> None:
    user_id = db.session.scalar(select(User.id).where(func.lower(User.email) == email.strip().lower()))
    audit.record(action, subject="user", subject_id=user_id, organization_id=None, after=facts or None)
