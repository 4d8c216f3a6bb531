"""`flask audit`: the audit log as a file, and the check that nothing in such a file was changed.

`verify` needs neither settings nor a database: `python -m portal.audit_commands verify FILE`.
"""

import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

import click
from flask.cli import AppGroup
from rich.console import Console

from portal.infra.audit_seals import Link, breaks, links, seal_by_clock
from portal.infra.db import transaction
from portal.operator import as_operator

MOST_SHOWN = 20
console = Console()
audit_group = AppGroup("audit", help="Who did what: the log, sealed as a chain.")


@audit_group.command("export")
@click.option("--to", "file", type=click.File("w"), default="-", help="A file; without it, standard output.")
@as_operator
def export(file: IO[str]) -> None:
    """Write every sealed entry as a line of JSON, with its place in the chain and its seal."""
    while seal_by_clock():
        pass
    with transaction():
        for link in links():
            file.write(link.written() + "\n")


@audit_group.command("verify", with_appcontext=False)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--ends-with", metavar="SHA256", help="The last seal of an earlier export; it must be in the file.")
def verify_file(file: Path, ends_with: str | None) -> None:
    """Compute every seal of an export again; exits with 1 if one does not agree."""
    found: list[str] = []
    count, last, seen = 0, "", not ends_with

    def counted(chain: Iterable[Link]) -> Iterator[Link]:
        nonlocal count, last, seen
        for link in chain:
            count, last = count + 1, link.sha256.hex()
            seen = seen or last == ends_with
            yield link

    with file.open(encoding="utf-8") as lines:
        for sentence in breaks(counted(_read(lines))):
            found.append(sentence)
            if len(found) == MOST_SHOWN:
                break
    if not seen:
        found.append("The seal of the earlier export is not in the file: what it sealed was changed or taken out.")
    for sentence in found:
        console.print(sentence, markup=False, soft_wrap=True)
    what = "do not agree" if found else "agree"
    console.print(f"{count:,} entries {what}; the last seal is {last or 'none'}.", markup=False, soft_wrap=True)
    sys.exit(1 if found else 0)


def _read(lines: Iterable[str]) -> Iterator[Link]:
    for number, line in enumerate(lines, 1):
        try:
            document = json.loads(line)
            yield Link(int(document["position"]), dict(document["entry"]), bytes.fromhex(document["sha256"]))
        except (ValueError, KeyError, TypeError):
            raise click.ClickException(f"Line {number} is no line of an export.") from None


if __name__ == "__main__":
    audit_group()
