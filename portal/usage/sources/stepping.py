"""From the samples of a series to what each step of it used. Pure and exact.

A step is [start, end). A counter's step is the sum of its increases, from the sample at the start to that at the end;
a sample below the one before it is a reset, which counts from zero. A gauge's step is made of the samples from its
start to before its end: their average, or their sum times the seconds that each of them stands for. Nothing is
invented: a sample that is missing or not a number adds nothing and is counted as missing.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal, localcontext
from typing import NamedTuple

from portal.core.exact import EXACT, ZERO, exactly
from portal.usage.sources.mapping import rounded
from portal.usage.sources.pull_files import Kind, PullQuery

Samples = Mapping[int, Decimal | None]


@dataclass(frozen=True, slots=True)
class Span:
    """Whole steps to pull: seconds of the epoch, half open."""

    start: int
    end: int


class Used(NamedTuple):
    """What a series used in the step that begins at a second of the epoch."""

    start: int
    quantity: Decimal


def present(query: PullQuery, samples: Samples, span: Span) -> tuple[int, int]:
    """How many samples of a span there are, and how many there should be."""
    wanted = _moments(query, span)
    return sum(samples.get(moment) is not None for moment in wanted), len(wanted)


def _moments(query: PullQuery, span: Span) -> range:
    """A counter needs the samples that end its parts, a gauge those that begin them."""
    shift = query.resolution if query.kind is Kind.COUNTER else 0
    return range(span.start + shift, span.end + shift, query.resolution)


@exactly
def steps_of(query: PullQuery, samples: Samples, span: Span, base: Decimal | None) -> list[Used]:
    """What each step used, times the query's factor, rounded to the decimals that are stored.

    `base` is a counter's last value at or before the start; None if nobody knows one, and then its first sample is
    where counting begins. A counter that stood still gives no step.
    """
    is_counter = query.kind is Kind.COUNTER
    found = _increases(query, samples, span, base) if is_counter else _gauge(query, samples, span)
    return [Used(start, rounded(quantity * query.factor)) for start, quantity in found]


def _increases(query: PullQuery, samples: Samples, span: Span, base: Decimal | None) -> Iterator[tuple[int, Decimal]]:
    last = base
    for start in range(span.start, span.end, query.step):
        increase = ZERO
        for moment in _moments(query, Span(start, start + query.step)):
            value = samples.get(moment)
            if value is None:
                continue
            if last is not None:
                increase += value if value < last else value - last
            last = value
        if increase:
            yield start, increase


def _gauge(query: PullQuery, samples: Samples, span: Span) -> Iterator[tuple[int, Decimal]]:
    for start in range(span.start, span.end, query.step):
        moments = _moments(query, Span(start, start + query.step))
        values = [value for moment in moments if (value := samples.get(moment)) is not None]
        if not values:
            continue
        total = sum(values, ZERO)
        yield start, total * query.resolution if query.kind is Kind.GAUGE_INTEGRAL else _average(total, len(values))


def _average(total: Decimal, count: int) -> Decimal:
    """A quotient may have no end; sixty digits are far beyond what is stored."""
    with localcontext(EXACT) as context:
        context.prec = 60
        context.clear_traps()
        return total / count
