"""A file of events, CSV or JSON lines, read as it is or by a mapping: rehearsed, stored, and gone on with."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from portal.core.errors import InvalidInput
from portal.core.keys import DEFAULT_SOURCE
from portal.infra import clock
from portal.usage.outcomes import Outcome
from portal.usage.sources import storing_blocks
from portal.usage.sources.documents import NEEDED, document_of_csv, document_of_json
from portal.usage.sources.files import SourceFile
from portal.usage.sources.mapping import FileMapping
from portal.usage.sources.naming import RowLog
from portal.usage.sources.rejecting import CsvRejects
from portal.usage.sources.resuming import Done, Mark
from portal.usage.sources.rows import START, CsvTable, Place, Row, Trace, jsonl_rows
from portal.usage.sources.storing import ReadRow, Storing, Tally, store_events
from portal.usage.sources.storing_blocks import PlainTable, store_blocks


class EventFile:
    """A file, how to read it, and where its rejected rows go: CsvRejects for a CSV file, JsonRejects for JSON lines.

    Events of meters that do not exist are kept until they do, or rejected (`refuse_unknown`).
    """

    def __init__(
        self,
        read: SourceFile,
        mapping: FileMapping | None,
        source: str | None,
        rejects: RowLog,
        *,
        refuse_unknown: bool = False,
    ) -> None:
        self.read = read
        self._mapping = mapping
        self._source = source or (mapping and mapping.source) or DEFAULT_SOURCE
        self._rejects = rejects
        self._keep_unknown = not refuse_unknown
        way = (type(rejects).__name__, self._source, repr(mapping))
        self._mark = None if read.is_standard_input else Mark(read, way)

    def done(self) -> Done:
        """What an earlier run has stored of the file; nothing of standard input."""
        return Done() if self._mark is None else self._mark.done(self.read)

    def rehearse(self, tally: Tally, reached: Callable[[int], None]) -> Counter[Outcome]:
        """Read and check all of the file and count what storing it would do. Stores nothing. Raises FileUnusable."""
        with self.read.lines() as lines:
            how = Storing(rejects=self._rejects, reached=reached, tally=tally, keep_unknown=self._keep_unknown)
            return store_events(self._rows(lines, START), how)

    def store(self, done: Done, reached: Callable[[int], None]) -> Counter[Outcome]:
        """Store what is not done yet and count it. Idempotent. Raises FileUnusable."""
        trace = Trace()

        def keep(last: int, events: int) -> None:
            if self._mark is not None:
                here = Done(Place(trace.lines, last), done.events + events)
                self._mark.move(trace, here, now=clock.now())

        with self.read.lines() as lines:
            how = Storing(rejects=self._rejects, reached=reached, keep=keep, keep_unknown=self._keep_unknown)
            watched = trace.watch(lines)
            if isinstance(self._rejects, CsvRejects) and self._mapping is None:
                table = self._table(watched, self._rejects)
                blocks = table.blocks(storing_blocks.ROWS_A_BLOCK, done.place)
                plain = PlainTable(table.header, self._source)
                return store_blocks(blocks, plain, lambda block: self._read(table.rows_of(block)), how)
            return store_events(self._rows(watched, done.place), how)

    def _rows(self, lines: Iterable[str], start: Place) -> Iterator[ReadRow]:
        if not isinstance(self._rejects, CsvRejects):
            return self._read(jsonl_rows(lines, start))
        return self._read(self._table(lines, self._rejects).rows(start))

    def _read(self, rows: Iterable[Row]) -> Iterator[ReadRow]:
        for row in rows:
            yield ReadRow(row.number, row.raw, self._documents(row.content))

    def _table(self, lines: Iterable[str], rejects: CsvRejects) -> CsvTable:
        needed = NEEDED if self._mapping is None else self._mapping.columns
        delimiter = "," if self._mapping is None else self._mapping.delimiter
        table = CsvTable(lines, needed, delimiter=delimiter)
        rejects.header, rejects.delimiter = table.header, delimiter
        return table

    def _documents(self, content: Any) -> list[Any]:
        try:
            if isinstance(content, InvalidInput):
                return [content]
            if not isinstance(content, dict):
                raise InvalidInput("An event is a JSON object.")
            if self._mapping is not None:
                return list(self._mapping.documents(content, self._source))
            is_csv = isinstance(self._rejects, CsvRejects)
            return [(document_of_csv if is_csv else document_of_json)(content, self._source)]
        except InvalidInput as error:
            return [error]
