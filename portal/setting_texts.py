"""Reading one setting from its text, each kind by a function. Each raises ValueError, which says what is wanted."""

import re
from decimal import Decimal
from email.utils import parseaddr
from urllib.parse import urlsplit


def text(value: str) -> str:
    """Something, without spaces around it."""
    if not value.strip():
        raise ValueError("it is empty")
    return value.strip()


LARGEST_COUNT = 100_000
LARGEST_LIMIT = 1_000_000_000
LARGEST_RATE = 10_000
LARGEST_REMINDER = 365
_HERE = ("localhost", "127.0.0.1", "::1")


def count(value: str) -> int:
    """A whole number that is not large."""
    if not value.isdecimal() or int(value) > LARGEST_COUNT:
        raise ValueError(f"it is a whole number from 0 to {LARGEST_COUNT:,}")
    return int(value)


def limit(value: str) -> int:
    """A whole number that may be large."""
    if not (value.isdecimal() and value.isascii()) or int(value) > LARGEST_LIMIT:
        raise ValueError(f"it is a whole number from 0 to {LARGEST_LIMIT:,}")
    return int(value)


def rate(value: str) -> int:
    """A whole number from 1 on."""
    if not (value.isdecimal() and value.isascii()) or not 1 <= int(value) <= LARGEST_RATE:
        raise ValueError(f"it is a whole number from 1 to {LARGEST_RATE:,}")
    return int(value)


def log_level(value: str) -> str:
    """A level of the standard library."""
    if value not in ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"):
        raise ValueError("it is DEBUG, INFO, WARNING, ERROR or CRITICAL")
    return value


def between_commas(value: str) -> tuple[str, ...]:
    """What stands between commas."""
    return tuple(part.strip() for part in value.split(",") if part.strip())


def country(value: str) -> str:
    """Two capital letters, or none."""
    if value and not re.fullmatch("[A-Z]{2}", value):
        raise ValueError("it is the two capital letters of a country")
    return value


def secrets(value: str) -> tuple[str, ...]:
    """At least one, with commas."""
    found = between_commas(value)
    if not found:
        raise ValueError("it is empty")
    return found


def environment(value: str) -> str:
    """Where it runs."""
    if value not in ("development", "demo", "testing", "production"):
        raise ValueError("it is development, demo, testing or production")
    return value


def database(value: str) -> str:
    """An address of PostgreSQL, as SQLAlchemy takes it."""
    for scheme in ("postgres://", "postgresql://"):
        if value.startswith(scheme):
            return "postgresql+psycopg://" + value.removeprefix(scheme)
    if value.startswith("postgresql+psycopg://"):
        return value
    raise ValueError("it starts with postgresql://")


def redis(value: str) -> str:
    """An address of Redis."""
    if not value.startswith(("redis://", "rediss://", "unix://")):
        raise ValueError("it starts with redis://")
    return value


def url(value: str) -> str:
    """An address, without a slash at its end."""
    if not value.startswith(("http://", "https://")):
        raise ValueError("it starts with http:// or https://")
    return value.rstrip("/")


def optional_url(value: str) -> str | None:
    """The same, or none."""
    return url(value) if value else None


def issuer(value: str) -> str | None:
    """Kept to the letter, a slash at its end too: tokens must name exactly this."""
    parts = urlsplit(value)
    is_private = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _HERE)
    if value and not (is_private and parts.hostname and not parts.query and not parts.fragment and "@" not in value):
        raise ValueError("it starts with https:// and has no user, query or fragment")
    return value or None


def domains(value: str) -> tuple[str, ...]:
    """Names after the @ of addresses."""
    found = tuple(part.lower() for part in between_commas(value))
    if not all(re.fullmatch(r"[a-z0-9-]+(\.[a-z0-9-]+)+", part) for part in found):
        raise ValueError("it is a list of domains such as example.com, with commas")
    return found


def optional_text(value: str) -> str | None:
    """Something or nothing."""
    return value.strip() or None


def smtp_url(value: str) -> str | None:
    """An address of a mail server, or none."""
    if not value:
        return None
    try:
        parts = urlsplit(value)
        known = parts.scheme in ("smtp", "smtps") and parts.hostname and parts.port != 0
    except ValueError:
        known = False
    if not known:
        raise ValueError("it starts with smtp:// or smtps:// and names a host, and a port if it is not the usual one")
    is_private = parts.scheme == "smtps" or "starttls=1" in parts.query.split("&")
    if parts.password and not (is_private or parts.hostname in _HERE):
        raise ValueError("its password would be sent in the clear; add ?starttls=1 or use smtps://")
    return value


def mail_address(value: str) -> str | None:
    """Whom mails are from, or nobody."""
    name, address = parseaddr(value)
    local, _, domain = address.rpartition("@")
    if value and not (local and domain and address.isascii() and value.isprintable() and " " not in address):
        raise ValueError("it is an address, or a name with an address in <>")
    return value.strip() or None


def yes_or_no(value: str) -> bool:
    """A choice."""
    if value not in ("yes", "no"):
        raise ValueError("it is yes or no")
    return value == "yes"


def days(value: str) -> tuple[int, ...]:
    """Days before (negative) and after, in their order."""
    parts = between_commas(value)
    if not all(re.fullmatch(r"-?[0-9]{1,3}", part) and abs(int(part)) <= LARGEST_REMINDER for part in parts):
        raise ValueError(f"it is a list of whole days from -{LARGEST_REMINDER} to {LARGEST_REMINDER}, with commas")
    return tuple(sorted({int(part) for part in parts}))


def optional_amount(value: str) -> Decimal | None:
    """An amount of money, or none."""
    if value and not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,3})?", value):
        raise ValueError("it is an amount such as 10000 or 2500.50, without a currency")
    return Decimal(value) if value else None


def amounts(value: str) -> dict[str | None, Decimal]:
    """Amounts by currency; the one under None is of all others."""
    found: dict[str | None, Decimal] = {}
    for part in between_commas(value):
        said = re.fullmatch(r"(?:([A-Z]{3}) )?([0-9]{1,9}(?:\.[0-9]{1,3})?)", part)
        if said is None or said[1] in found:
            raise ValueError("it is a list of amounts, each currency once, such as USD 25000, JPY 3000000, 20000")
        found[said[1]] = Decimal(said[2])
    return found


def stripe_key(value: str) -> str:
    """One of Stripe's secret keys."""
    if not value.startswith(("sk_test_", "sk_live_", "rk_test_", "rk_live_")):
        raise ValueError("it starts with sk_test_ or sk_live_")
    return value
