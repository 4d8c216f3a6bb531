"""Keyset pages by id: where the page before this one ended."""

from flask import request

from portal.organizations.queries import LONGEST_ID


def last_id() -> int | None:
    """The last row of the page before, as the link to this page names it; None for the first page, and for nonsense."""
    after = request.args.get("after", "")
    return int(after) if after.isdecimal() and after.isascii() and len(after) <= LONGEST_ID else None
