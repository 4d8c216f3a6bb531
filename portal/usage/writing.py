"""How batches are handed to PostgreSQL: as arrays in its own spelling, one for each column."""

from collections.abc import Iterable

# An event's: organization and 16 bytes.
Key = tuple[int, bytes]


def array(elements: Iterable[str]) -> str:
    """An array as PostgreSQL reads it, of elements that need no quotes: a list would pass through Python one by one."""
    return f"{{{','.join(elements)}}}"


def array_of_texts(texts: Iterable[str]) -> str:
    """The same of any storable texts: none of them has a NUL, so that may stand between them until all are escaped."""
    return "{" + quoted("\0".join(texts)).replace("\0", '","') + "}"


def quoted(value: str) -> str:
    """An element in quotes."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
