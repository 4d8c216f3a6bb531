"""`flask usage import`: usage from files."""

import csv
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Column, Table
from rich.text import Text

from portal import focus_import
from portal.core.errors import InvalidInput
from portal.core.exact import plain
from portal.core.keys import DEFAULT_SOURCE
from portal.core.money import to_major
from portal.focus_comparison import Compared, compare
from portal.infra import clock
from portal.infra.yaml_text import read_yaml
from portal.operator import as_operator
from portal.operator_console import print_table
from portal.usage.events import FUTURE_ALLOWED
from portal.usage.outcomes import Outcome
from portal.usage.sources.event_files import EventFile
from portal.usage.sources.files import FileUnusable, SourceFile
from portal.usage.sources.mapping import FileMapping, read_mapping
from portal.usage.sources.naming import RowLog
from portal.usage.sources.rejecting import CsvRejects, JsonRejects
from portal.usage.sources.storing import Tally
from portal.usage.sources.surveying import Survey, survey
from portal.usage.sources.treating import TOLERANCE, Kind

FOCUS, CSV, JSONL = "focus", "csv", "jsonl"
MOST_COMPARED = 30
MOST_COUNTED = 31
ROWS_PER_LOOK = 250
console = Console()


@click.command("import")
@click.argument("file")
@click.option(
    "--format", "kind", type=click.Choice([FOCUS, CSV, JSONL]), required=True, help="How the file is written."
)
@click.option(
    "--mapping", "mapping_file", type=click.File("rb"), help="csv, jsonl: a YAML file, which column is which field."
)
@click.option(
    "--source",
    help=f"Names the ids of the file; an id counts once per source. [what the mapping says; {FOCUS}: {FOCUS}, else"
    f" {DEFAULT_SOURCE}]",
)
@click.option("--dry-run", is_flag=True, help="Read and check everything, say what would happen, store nothing.")
@click.option(
    "--refuse-unknown",
    is_flag=True,
    help="csv, jsonl: reject rows of meters that do not exist instead of keeping them.",
)
@click.option("--rejects", help="Where to put rejected rows. [FILE.rejects.csv, FILE.rejects.jsonl]")
@click.option("--special", help="focus: where to name rows that are treated specially. [FILE.special.csv]")
@click.option("--comparison", help="focus: where to write the whole comparison with the drafts.")
@as_operator
def import_usage(
    file: str,
    kind: str,
    mapping_file: BinaryIO | None,
    source: str | None,
    dry_run: bool,
    refuse_unknown: bool,
    rejects: str | None,
    special: str | None,
    comparison: str | None,
) -> None:
    """Import usage from FILE (gzip is unpacked; - is standard input). Running it again stores nothing twice.

    csv and jsonl: id, organization, meter, quantity, time, source and correction are fields, all else is a property;
    or as the mapping file says (docs/usage_sources.md). An interrupted import goes on where it was. Rejected rows
    stand, with the reason, in a file that can be mended and imported in the same way. Events of a meter that does not
    exist are kept and wait for it (flask usage waiting).
    focus: a cloud bill; its accounts, SKUs and list prices become organizations, meters and prices.
    Exits with 1 if any row was rejected, with 2 if the file cannot be used.
    """
    read = SourceFile(file)
    if kind == FOCUS and (read.is_standard_input or mapping_file is not None):
        what = "is read twice, so it cannot come from standard input" if read.is_standard_input else "needs no mapping"
        raise click.UsageError(f"A FOCUS file {what}.")
    mapping = _mapping(mapping_file)
    rejects = rejects or _beside(read, "rejects", JSONL if kind == JSONL else CSV)
    special = special or _beside(read, "special", CSV)
    _check_places(file, [rejects, special, comparison] if kind == FOCUS else [rejects])
    refused: JsonRejects | CsvRejects = (JsonRejects if kind == JSONL else CsvRejects)(rejects, "field")
    try:
        with refused:
            if kind == FOCUS and isinstance(refused, CsvRejects):
                with RowLog(special, "treated as") as specials:
                    _import_focus(read, source or FOCUS, dry_run, refused, specials, comparison)
            else:
                _import_events(EventFile(read, mapping, source, refused, refuse_unknown=refuse_unknown), dry_run)
    except FileUnusable as error:
        raise click.UsageError(error.sentence) from error
    if refused.total:
        _name("Rejected", refused)
        console.print(f"{refused.total:,} rows were rejected; mend them there and import that file.", soft_wrap=True)
        sys.exit(1)


def _mapping(file: BinaryIO | None) -> FileMapping | None:
    """The mapping of a YAML file. Raises a usage error that says what does not fit."""
    if file is None:
        return None
    try:
        return read_mapping(read_yaml(file.read().decode("utf-8-sig")))
    except UnicodeDecodeError:
        raise click.UsageError(f"{file.name} is not UTF-8 text.") from None
    except InvalidInput as error:
        raise click.UsageError(f"{file.name}: {error.sentence}") from error


def _beside(read: SourceFile, what: str, ending: str) -> str:
    """Beside the file; in the current folder if the file's own takes no more files."""
    path = Path(f"{read.name}.{what}.{ending}")
    return str(path) if os.access(path.parent, os.W_OK) else path.name


def _check_places(file: str, places: list[str | None]) -> None:
    """Refuse, before anything is read, to write where it cannot be done or over what is read."""
    taken = {Path(file).resolve()}
    for place in filter(None, places):
        path = Path(place).resolve()
        if path in taken:
            raise click.UsageError("The file and what is written beside it need different names.")
        if not os.access(path if path.exists() else path.parent, os.W_OK) or path.is_dir():
            raise click.UsageError(
                f"{place} cannot be written; name another file with --rejects, --special, --comparison."
            )
        taken.add(path)


def _import_events(file: EventFile, dry_run: bool) -> None:
    if dry_run:
        tally = Tally()
        with _progress(file.read, "Checking") as reached:
            counts = file.rehearse(tally, reached)
        _say_tally(tally)
        there = f", {counts[Outcome.DUPLICATE]:,} are there already" if counts[Outcome.DUPLICATE] else ""
        console.print(f"{counts[Outcome.ACCEPTED]:,} events can be stored{there}. Nothing was.")
        _say_waiting(counts, "Would wait")
        return
    done = file.done()
    if done.events:
        console.print(f"Going on after row {done.place.number:,}: all before it is stored.")
    with _progress(file.read, "Storing", done.place.number) as reached:
        counts = file.store(done, reached)
    console.print(_said("events", counts + Counter({Outcome.DUPLICATE: done.events})))
    _say_waiting(counts, "Waiting")


def _say_waiting(counts: Counter[Outcome], how: str) -> None:
    if counts[Outcome.WAITING]:
        console.print(f"{how} for meters that do not exist: {counts[Outcome.WAITING]:,} more (flask usage waiting).")


def _say_tally(tally: Tally) -> None:
    """What a file would add: by meter, by organization and by day, the largest organizations first."""
    meters = Table("Meter", Column("Events", justify="right"), Column("Quantity", justify="right"))
    for code, (events, quantity) in sorted(tally.meters.items()):
        meters.add_row(Text(code), f"{events:,}", plain(quantity))
    organizations = Table("Organization", Column("Events", justify="right"))
    for slug, events in tally.organizations.most_common(MOST_COUNTED):
        organizations.add_row(Text(slug), f"{events:,}")
    days = Table("Day", Column("Events", justify="right"))
    for day, events in sorted(tally.days.items())[:MOST_COUNTED]:
        days.add_row(day.isoformat(), f"{events:,}")
    waiting = Table("Meter that does not exist", Column("Events", justify="right"))
    for code, count in tally.waiting.most_common(MOST_COUNTED):
        waiting.add_row(Text(code), f"{count:,}")
    for table, counted in (
        (meters, tally.meters),
        (organizations, tally.organizations),
        (days, tally.days),
        (waiting, tally.waiting),
    ):
        if counted:
            print_table(table)
        if len(counted) > table.row_count:
            console.print(f"… and {len(counted) - table.row_count:,} more.")


def _import_focus(
    read: SourceFile, source: str, dry_run: bool, refused: CsvRejects, specials: RowLog, comparison: str | None
) -> None:
    now = clock.now()
    latest = now + FUTURE_ALLOWED
    with _progress(read, "Reading") as reached, read.lines() as lines:
        found = survey(lines, latest=latest, specials=specials, rejects=refused, reached=reached)
    _say_survey(found)
    _name("Treated specially", specials)
    if dry_run:
        console.print("Nothing was stored.")
        return
    compared = _store_focus(read, found, source, now, latest, refused)
    _say_comparison(compared)
    if comparison:
        _write_comparison(comparison, compared)


def _store_focus(
    read: SourceFile, found: Survey, source: str, now: datetime, latest: datetime, refused: CsvRejects
) -> list[Compared]:
    with console.status("Organizations, meters, prices and drafts"):
        groundwork = focus_import.lay_groundwork(found)
    with _progress(read, "Storing") as reached:
        stored = focus_import.store_rows(
            read, groundwork, source=source, latest=latest, now=now, rejects=refused, reached=reached
        )
    console.print(_said("events", stored.events))
    console.print(_said("one-off items", stored.items))
    with console.status("Pricing the drafts"):
        return compare(stored.expected, groundwork.organizations)


def _said(what: str, counts: dict[Outcome, int]) -> str:
    return f"{counts[Outcome.ACCEPTED]:,} {what} stored, {counts[Outcome.DUPLICATE]:,} were there already."


def _say_survey(found: Survey) -> None:
    rows = found.kinds.total() + found.rejected
    counts = ", ".join(f"{count:,} as {kind}" for kind, count in found.kinds.items())
    console.print(
        f"{rows:,} rows: {counts}, {found.rejected:,} rejected. {len(found.accounts):,} sub accounts,"
        f" {len(found.meters):,} meters, {len(found.prices):,} prices,"
        f" months {', '.join(sorted({str(month) for _, month in found.months}))}.",
        soft_wrap=True,
    )


def _name(title: str, log: RowLog) -> None:
    """The named rows on the screen, and where all of them are."""
    if not log.total:
        return
    table = Table("Row", "Id", log.about, "Why", title=f"{title}: {log.total:,} rows", title_justify="left")
    for each in log.shown:
        table.add_row(str(each.number), Text(each.row_id), Text(each.about), Text(each.sentence))
    print_table(table)
    shown = "" if log.total == len(log.shown) else f"The first {len(log.shown):,} are shown. "
    console.print(f"{shown}All {log.total:,} are named in {log.path}.", soft_wrap=True)


def _say_comparison(compared: list[Compared]) -> None:
    if not compared:
        console.print("The file has no usage to compare with drafts.")
        return
    shown = compared[:MOST_COMPARED]
    title = "Draft invoices beside the file"
    if len(compared) > len(shown):
        title += f": the {len(shown)} largest differences of {len(compared):,}"
    table = Table(title=title, title_justify="left")
    for name in ("Organization", "Month", "SKU"):
        table.add_column(name, overflow="fold")
    for name in (
        "Rows",
        "Quantity",
        "Draft, unrounded",
        "ListCost",
        "Difference",
        "Draft, rounded",
        "ListCost, rounded",
    ):
        table.add_column(name, justify="right", overflow="fold")
    for each in shown:
        table.add_row(*_cells(each), style="" if each.agrees else "red")
    print_table(table)
    for kind in (Kind.USAGE, Kind.CONSUMED):
        of_kind = [each for each in compared if each.kind is kind]
        if of_kind:
            console.print(_summary(kind, of_kind), soft_wrap=True)


def _summary(kind: Kind, compared: list[Compared]) -> str:
    """The one sentence that says whether the drafts reproduce the bill."""
    before = sum(each.agrees_unrounded for each in compared)
    within = sum(each.within_rounding for each in compared)
    after = sum(each.amount == each.list_amount for each in compared)
    rows = sum(each.rows for each in compared)
    largest = max(abs(each.difference) for each in compared)
    months = ", ".join(sorted({str(each.month) for each in compared}))
    counted = "PricingQuantity" if kind is Kind.USAGE else "ConsumedQuantity"
    verdict = "reproduce" if all(each.agrees for each in compared) else "[red]do not all reproduce[/]"
    more = f" and {within - before:,} more within the file's own rounding of its rows" if within > before else ""
    return (
        f"{rows:,} usage rows priced by {counted}: the draft invoices of {months} {verdict} ListCost per organization"
        f" and SKU: before rounding {before:,} of {len(compared):,} agree within {TOLERANCE:.0e}{more} (largest"
        f" difference {plain(largest)}), after rounding {after:,} of {len(compared):,} agree to the cent."
    )


def _cells(each: Compared) -> list[str]:
    return [
        each.organization,
        str(each.month),
        each.sku,
        f"{each.rows:,}",
        plain(each.quantity),
        plain(each.unrounded),
        plain(each.list_cost),
        plain(each.difference),
        f"{to_major(each.amount, each.currency)} {each.currency}",
        f"{to_major(each.list_amount, each.currency)} {each.currency}",
    ]


def _write_comparison(path: str, compared: list[Compared]) -> None:
    with open(path, "w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(
            ["organization", "month", "sku", "rows", "quantity", "draft_unrounded", "list_cost", "difference"]
            + ["draft_rounded", "list_cost_rounded", "sub_account", "priced_by", "draft_quantity", "agrees"]
        )
        for each in compared:
            agrees = "yes" if each.agrees else "no"
            writer.writerow([*_cells(each), each.account, each.kind, plain(each.billed_quantity), agrees])
    console.print(f"All {len(compared):,} comparisons are in {path}.", soft_wrap=True)


class _RowsColumn(ProgressColumn):
    """How many rows so far, and how many a second."""

    def render(self, task: Task) -> Text:
        rows, seconds = task.fields["rows"], task.elapsed or 0
        rate = f" · {(rows - task.fields['passed']) / seconds:,.0f}/s" if seconds else ""
        return Text(f"{rows:,} rows{rate}")


@contextmanager
def _progress(read: SourceFile, doing: str, passed: int = 0) -> Iterator[Callable[[int], None]]:
    """A bar by bytes read, with rows, rate and time left; call what it gives with the number of the last row.

    Rows that an earlier run `passed` are no part of the rate.
    """
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), _RowsColumn(), TimeRemainingColumn())
    with ExitStack() as stack:
        bar = stack.enter_context(Progress(*columns, console=Console(stderr=True), transient=True))
        task = bar.add_task(doing, total=None, rows=passed, passed=passed)

        def reached(number: int) -> None:
            if number >= bar.tasks[task].fields["rows"] + ROWS_PER_LOOK:
                bar.update(task, completed=read.position, total=read.size, rows=number)

        yield reached
