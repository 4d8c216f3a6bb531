"""The geometry of a waterfall: bars that stand where the one before has ended, ready to be drawn by a template."""

from dataclasses import dataclass
from decimal import Decimal

from portal.bill_runs.waterfall import Waterfall
from portal.infra.formats import money

WIDTH, HEIGHT = 960, 240
TOP, BOTTOM = 24, 26
GAP = 16
LEAST = Decimal(1)
_TENTH = Decimal("0.1")


@dataclass(frozen=True, slots=True)
class Bar:
    """One rectangle with its name below and its value above; `look` is a total, a rise or a fall."""

    name: str
    value: str
    look: str
    x: Decimal
    y: Decimal
    height: Decimal
    middle: Decimal


@dataclass(frozen=True, slots=True)
class Picture:
    """Everything that the template draws."""

    bars: tuple[Bar, ...]
    bar_width: Decimal
    baseline: Decimal
    width: int = WIDTH
    height: int = HEIGHT


def picture_of(found: Waterfall, names: tuple[str, str], currency: str) -> Picture:
    """Draw a waterfall between two totals, which are named; amounts below zero hang from the baseline."""
    spans = [(names[0], found.before, "total", 0, found.before)]
    reached = found.before
    for step in found.steps:
        spans.append((step.name, step.change, "rise" if step.change > 0 else "fall", reached, reached + step.change))
        reached += step.change
    spans.append((names[1], found.after, "total", 0, found.after))
    ends = [0, *(end for *_, first, last in spans for end in (first, last))]
    highest, lowest = max(ends), min(ends)
    scale = Decimal(HEIGHT - TOP - BOTTOM) / max(highest - lowest, 1)
    place = Decimal(WIDTH) / len(spans)
    width = place - GAP
    bars = tuple(
        Bar(
            name=name,
            value=("+" if look == "rise" else "") + money(value, currency),
            look=look,
            x=(place * index + GAP // 2).quantize(_TENTH),
            y=(TOP + (highest - max(first, last)) * scale).quantize(_TENTH),
            height=max(abs(last - first) * scale, LEAST).quantize(_TENTH),
            middle=(place * index + place / 2).quantize(_TENTH),
        )
        for index, (name, value, look, first, last) in enumerate(spans)
    )
    return Picture(bars, width.quantize(_TENTH), (TOP + highest * scale).quantize(_TENTH))
