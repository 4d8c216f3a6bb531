"""Storing blocks of a CSV file: column by column where all rows of a block are plain, else row by row."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence

from portal.core.keys import DEFAULT_SOURCE
from portal.infra import clock
from portal.usage.fields import storable
from portal.usage.known import known_labels, known_organizations
from portal.usage.labels import MOST_REMEMBERED, Kind
from portal.usage.outcomes import REASONS, Outcome
from portal.usage.plain_events import PlainBatch, Sent, read_plain
from portal.usage.sources.documents import NEEDED
from portal.usage.sources.rows import Block
from portal.usage.sources.storing import ReadRow, Storing, store_batch
from portal.usage.storing_plain import store_plain

ROWS_A_BLOCK = 10_000
_UNUSUAL = ("correction", "amends", "cancels")


class PlainTable:
    """Reads blocks of rows that stand under a header; `source` is that of rows which have none."""

    def __init__(self, header: Sequence[str], source: str = DEFAULT_SOURCE) -> None:
        self._place = {name: place for place, name in enumerate(header)}
        self._others = [name for name in header if name not in (*NEEDED, "source", *_UNUSUAL)]
        self._source = source
        self._kinds: dict[tuple[str, ...], Kind] = {}

    def read(self, values: Sequence[Sequence[str]]) -> PlainBatch | None:
        """The events of rows that have a value for each column; None if any of them is not plain."""
        columns = list(zip(*values, strict=True))
        if any(any(columns[self._place[name]]) for name in _UNUSUAL if name in self._place):
            return None
        sources = set(columns[self._place["source"]]) if "source" in self._place else {""}
        if len(sources) != 1:
            return None
        ids, organizations, meters, quantities, moments = (columns[self._place[name]] for name in NEEDED)
        kinds = zip(meters, *(columns[self._place[name]] for name in self._others), strict=True)
        return read_plain(
            Sent(
                sources.pop() or self._source,
                ids,
                organizations,
                [self._kinds.get(cells) or self._kind(cells) for cells in kinds],
                ",".join(quantities),
                moments,
            ),
            known_labels(),
            now=clock.now(),
            organization_id=None,
            organizations=known_organizations({name for name in set(organizations) if storable(name)}),
        )

    def _kind(self, cells: tuple[str, ...]) -> Kind:
        """An empty cell is a property left out."""
        properties = zip(self._others, cells[1:], strict=True)
        kind: Kind = (cells[0], *((name, value) for name, value in properties if value))
        if len(self._kinds) >= MOST_REMEMBERED:
            self._kinds.clear()
        self._kinds[cells] = kind
        return kind


def store_blocks(
    blocks: Iterable[Block], table: PlainTable, rows_of: Callable[[Block], Iterator[ReadRow]], how: Storing
) -> Counter[Outcome]:
    """What `store_events` does with the rows of these blocks (`rows_of`), each block in a transaction of its own."""
    counts: Counter[Outcome] = Counter()
    for block in blocks:
        batch = table.read(block.values) if block.values is not None else None
        if batch is not None:
            _store_plain(block, batch, how, counts)
        elif rows := list(rows_of(block)):
            store_batch(rows, how, counts)
    return counts


def _store_plain(block: Block, batch: PlainBatch, how: Storing, counts: Counter[Outcome]) -> None:
    last = block.number + len(block.lines)

    def hold(outcomes: list[Outcome]) -> list[Outcome]:
        if REASONS.keys().isdisjoint(outcomes):
            how.good(last, counts.total() + len(outcomes))
        return outcomes

    outcomes = store_plain(batch, now=clock.now(), and_then=hold)
    counts.update(outcomes)
    for number, outcome, event_id, line in zip(
        range(block.number + 1, last + 1), outcomes, batch.event_ids, block.lines, strict=True
    ):
        if outcome in REASONS:
            how.rejects.add(number, event_id, "id", REASONS[outcome], line.rstrip("\r\n"))
    how.reached(last)
