"""`flask catalog`: what is sold at which price, from files that can live in git."""

from datetime import UTC, date
from typing import BinaryIO, TextIO

import click
from flask.cli import AppGroup
from rich.console import Console
from rich.table import Table
from rich.text import Text

from portal.catalog.applying import apply_catalog
from portal.catalog.comparing import Change, terms_sentence
from portal.catalog.files import Catalog, PriceEntry, document_of
from portal.catalog.stored import stored_catalog
from portal.core.currencies import require_currency
from portal.core.errors import InvalidInput
from portal.infra import clock
from portal.infra.db import transaction
from portal.infra.formats import day
from portal.infra.yaml_text import read_yaml, write_yaml
from portal.invoicing.queries import open_from
from portal.operator import as_operator
from portal.operator_console import organization_named, print_table
from portal.usage.adopting import adopt_waiting
from portal.usage.queries import meters_used_since

_STYLES = {"+": "green", "~": "yellow", "−": "red"}
_KINDS = {"+": "new", "~": "changed", "−": "archived"}
console = Console()

catalog_group = AppGroup("catalog", help="What is sold at which price.")


@catalog_group.command("apply")
@click.argument("file", type=click.File("rb"))
@click.option("--dry-run", is_flag=True, help="Show what would change, store nothing.")
@as_operator
def apply_file(file: BinaryIO, dry_run: bool) -> None:
    """Bring products, meters, plans, prices and coupons to what FILE (YAML; - is standard input) says.

    Everything or nothing is stored. Nothing is deleted: what FILE does not name stays as it is. Safe to run twice.
    Usage that waited for one of these meters counts from then on.
    Exits with 1, naming all that is wrong, if anything does not fit.
    """
    document = read_yaml(_text_of(file))
    with transaction():
        applied = apply_catalog(
            document,
            open_from=lambda currency, organization_id: open_from(currency, organization_id=organization_id),
            used_meters=lambda: meters_used_since(date.min),
            now=clock.now(),
            dry_run=dry_run,
        )
    for change in applied.changes:
        console.print(Text(f"{change.sign} {change.text}", style=_STYLES[change.sign]), soft_wrap=True)
    if applied.staying:
        console.print(Text(applied.staying), soft_wrap=True)
    console.print(Text(_summary(applied.changes, dry_run)), soft_wrap=True)
    if not dry_run:
        _say_adopted(adopt_waiting(now=clock.now()))


def _say_adopted(events: int) -> None:
    if events:
        console.print(f"{events:,} event{'' if events == 1 else 's'} that waited for a meter count now.")


def _text_of(file: BinaryIO) -> str:
    try:
        return file.read().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInput("The file is not UTF-8 text.") from error


def _summary(changes: tuple[Change, ...], dry_run: bool) -> str:
    counts = [(sum(change.sign == sign for change in changes), kind) for sign, kind in _KINDS.items()]
    said = ", ".join(f"{count} {kind}" for count, kind in counts if count)
    total = f"{len(changes)} change{'' if len(changes) == 1 else 's'}: {said}." if changes else "Nothing to change."
    return f"{total} Nothing was stored." if dry_run else total


@catalog_group.command("export")
@click.argument("file", type=click.File("w", encoding="utf-8", lazy=True), default="-")
@as_operator
def export(file: TextIO) -> None:
    """Write the whole catalog as YAML into FILE, by default to standard output; `apply` takes it back."""
    with transaction():
        document = document_of(stored_catalog())
    file.write(write_yaml(document))


@catalog_group.command("show")
@click.option("--organization", help="Slug: its own prices too, in its currency only.")
@click.option("--currency", help="Only prices in this currency, like USD.")
@as_operator
def show(organization: str | None, currency: str | None) -> None:
    """The price list in sentences: what holds today and what has been announced."""
    wanted = require_currency(currency) if currency else None
    with transaction():
        catalog = stored_catalog()
        if organization:
            customer = organization_named(organization)
            organization, wanted = customer.slug, customer.currency
    today = clock.now().astimezone(UTC).date()
    table = Table("Price", "Of", "For", "Currency", "From", "What it costs")
    for price in catalog.prices.values():
        if price.archived or price.place.organization not in (None, organization):
            continue
        if wanted in (None, price.place.currency):
            for cells in _rows(price, catalog, today):
                table.add_row(*map(Text, cells))
    print_table(table)


def _rows(price: PriceEntry, catalog: Catalog, today: date) -> list[tuple[str, ...]]:
    """The version that holds today, and those that have been announced."""
    place = price.place
    begun = [version for version in price.versions if version.valid_from <= today]
    shown = [*begun[-1:], *(version for version in price.versions if version.valid_from > today)]
    of = ", ".join([place.meter or place.plan or "", *(f"{name}: {value}" for name, value in place.match)])
    whom = ", ".join(filter(None, [place.organization, place.for_plan and f"those with {place.for_plan}"]))
    return [
        (
            price.name,
            of,
            whom or "everybody",
            place.currency,
            day(version.valid_from),
            terms_sentence(price, version.terms, catalog),
        )
        for version in shown
    ]
