"""How many items a page of a list holds."""

from flask import request

from portal.core.errors import InvalidInput


def page_size(*, default: int, largest: int) -> int:
    """What the caller asks for (?limit=50). Raises InvalidInput."""
    asked = request.args.get("limit", str(default))
    if not (asked.isdecimal() and asked.isascii() and len(asked) <= 3 and 1 <= int(asked) <= largest):
        raise InvalidInput(f"limit is a whole number from 1 to {largest}.", field="limit")
    return int(asked)
