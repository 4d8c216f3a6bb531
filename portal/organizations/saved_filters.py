"""Filters of lists that a person comes back to: a page's, under a name of their own."""

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert

from portal.core.errors import InvalidInput
from portal.infra.db import db
from portal.organizations.models import SavedFilter

LONGEST_NAME, LONGEST_QUERY, MOST_A_PAGE = 60, 500, 20


def save_filter(user_id: int, page: str, name: str, query: str) -> None:
    """Keep a filter; one of the same name takes its place. Idempotent.

    Raises InvalidInput (field "name") without a name, for too long a one or too long a filter, and beyond 20 of a page.
    """
    name = " ".join(name.split())
    if not 0 < len(name) <= LONGEST_NAME:
        raise InvalidInput(f"Give the filter a name of up to {LONGEST_NAME} characters.", field="name")
    if not query:
        raise InvalidInput("Choose something first: without a filter there is nothing to keep.", field="name")
    if len(query) > LONGEST_QUERY:
        raise InvalidInput("The filter is too long to be kept.", field="name")
    there = select(func.count()).where(SavedFilter.user_id == user_id, SavedFilter.page == page)
    if (db.session.scalar(there.where(SavedFilter.name != name)) or 0) >= MOST_A_PAGE:
        raise InvalidInput(f"There are {MOST_A_PAGE} already. Remove one first.", field="name")
    values = {"user_id": user_id, "page": page, "name": name, "query": query}
    written = insert(SavedFilter).values(**values)
    db.session.execute(written.on_conflict_do_update(index_elements=["user_id", "page", "name"], set_={"query": query}))


def remove_filter(user_id: int, page: str, name: str) -> None:
    """Forget a filter. Idempotent."""
    db.session.execute(
        delete(SavedFilter).where(SavedFilter.user_id == user_id, SavedFilter.page == page, SavedFilter.name == name)
    )


def filters_of(user_id: int, page: str) -> list[SavedFilter]:
    """A person's filters of a page, by name."""
    query = select(SavedFilter).where(SavedFilter.user_id == user_id, SavedFilter.page == page)
    return list(db.session.scalars(query.order_by(func.lower(SavedFilter.name), SavedFilter.name)))
