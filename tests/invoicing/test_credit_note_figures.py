"""Whatever is credited, in whatever order: never more than was billed, by line, by rate and in all; then nothing."""

from datetime import date
from decimal import Decimal
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portal.core.errors import InvalidInput
from portal.core.statement import Line, LineKind, Reduction, Statement, compose, tax_facts
from portal.core.taxes import Taxed, TaxRate, TaxRounding, TaxTerms, total_of
from portal.invoicing.credit_note_figures import (
    NOTHING,
    Billed,
    Chosen,
    Given,
    all_of,
    amount_of,
    billed_lines,
    by_rate,
    left_of,
    lines_of,
    with_credit,
)

FIRST, LAST = date(2026, 10, 1), date(2026, 10, 31)
PERCENTS = {"a": "0", "b": "7", "c": "19", "d": "8.875"}
TAX = tuple(TaxRate(Decimal(percent), product=product) for product, percent in PERCENTS.items())


def line(amount: int, product: str, quantity: int = 1) -> Line:
    kind = LineKind.CREDIT if amount < 0 else LineKind.USAGE
    return Line(
        kind, f"{product} {amount}", Decimal(quantity), "hour", None, Decimal(amount), amount, FIRST, LAST,
        product=product,
    )  # fmt: skip


def billed(statement: Statement) -> list[Billed]:
    """The lines as they are read from what an invoice stores."""
    items = [
        SimpleNamespace(
            kind=each.kind.value, description=each.description, quantity=each.quantity, unit=each.unit,
            unit_amount=each.unit_amount, amount=each.amount, discount=each.discount, credited=each.credited,
            tax=each.tax, derivation=each.kept(),
        )
        for each in statement.lines
    ]  # fmt: skip
    return billed_lines(items, total=statement.total, tax=tax_facts(statement))


@st.composite
def statements(draw, *, credits: bool = True) -> Statement:
    smallest = -2_000 if credits else 1
    lines = draw(
        st.lists(
            st.builds(line, st.integers(smallest, 30_000), st.sampled_from(list(PERCENTS)), st.integers(1, 7)),
            min_size=1,
            max_size=8,
        )
    )
    reductions = [
        Reduction(LineKind.COUPON, "Coupon", percent=draw(st.sampled_from([Decimal(10), Decimal("33.3")]))),
        Reduction(LineKind.PROMOTIONAL, "Gift", fixed=draw(st.integers(1, 999)), references={"credit_grant_id": 1}),
    ]
    return compose(
        lines,
        currency="USD",
        reductions=reductions[: draw(st.integers(0, 2))],
        tax=TaxTerms(
            rates=TAX,
            rounding=draw(st.sampled_from(TaxRounding)),
            inclusive=draw(st.booleans()),
        ),
    )


class Books:
    """Keeps what was given back, and looks after every note that nothing was exceeded."""

    def __init__(self, lines: list[Billed]) -> None:
        self.lines = lines
        self.whole = total_of([each.billed for each in lines])
        self.rates = dict(by_rate((each.percent, each.billed) for each in lines))

    def take(self, given: list[Given]) -> Taxed:
        total = total_of([each.part for each in given])
        before = {each.number: (each.credited, each.credited_quantity) for each in self.lines}
        after = {
            each.line.number: (
                Taxed(before[each.line.number][0].net + each.part.net, before[each.line.number][0].tax + each.part.tax),
                before[each.line.number][1] + (each.quantity or 0),
            )
            for each in given
        }
        self.lines = with_credit(self.lines, {**before, **after})
        for each in given:
            within(each.part, each.line.left)
        for percent, credited in by_rate((each.percent, each.credited) for each in self.lines):
            within(credited, self.rates[percent])
        assert total_of([each.credited for each in self.lines]).gross <= self.whole.gross
        return total

    @property
    def left(self) -> int:
        return left_of(self.lines).gross


def within(part: Taxed, whole: Taxed) -> None:
    for one, other in ((part.net, whole.net), (part.tax, whole.tax)):
        assert min(0, other) <= one <= max(0, other)


@given(statements())
def test_the_lines_of_any_invoice_are_read_back_with_its_taxes_and_its_total(statement):
    lines = billed(statement)
    assert total_of([each.billed for each in lines]).gross == statement.total
    rates = {percent: (part.net, part.tax) for percent, part in by_rate((e.percent, e.billed) for e in lines)}
    assert {row.percent: (row.net, row.tax) for row in statement.taxes}.items() <= rates.items()


@settings(max_examples=300, deadline=None)
@given(statements(), st.lists(st.integers(1, 1_000), max_size=6))
def test_any_amounts_add_up_to_at_most_the_invoice_and_the_last_note_leaves_nothing(statement, shares):
    books = Books(billed(statement))
    if books.whole.gross <= 0:
        with pytest.raises(InvalidInput, match="nothing left"):
            all_of(books.lines)
        return
    for share in shares:
        amount = books.left * share // 1_000
        if amount:
            assert books.take(amount_of(books.lines, amount)).gross == amount
    left = books.left
    if left:
        assert books.take(all_of(books.lines)).gross == left
    assert {each.left for each in books.lines} <= {NOTHING}
    with pytest.raises(InvalidInput, match="nothing left"):
        all_of(books.lines)


@settings(max_examples=300, deadline=None)
@given(statements(), st.booleans(), st.data())
def test_chosen_lines_and_amounts_in_any_order_never_exceed_what_was_billed(statement, included, data):
    books, refusals = Books(billed(statement)), []
    for _ in range(data.draw(st.integers(0, 8))):
        if books.left <= 0:
            break
        numbers = [each.number for each in books.lines if each.can_be_chosen]
        chosen = {}
        for number in data.draw(st.lists(st.sampled_from(numbers), max_size=3, unique=True)) if numbers else []:
            of = next(each for each in books.lines if each.number == number)
            most = of.left.gross if included else of.left.net
            if data.draw(st.booleans()) and of.quantity_left > 0:
                part = data.draw(st.integers(1, 4))
                chosen[number] = Chosen(quantity=of.quantity_left * part / 4)
            elif most > 0:
                chosen[number] = Chosen(amount=data.draw(st.integers(1, most)))
        try:
            if chosen:
                books.take(lines_of(books.lines, chosen, included=included))
            else:
                books.take(amount_of(books.lines, data.draw(st.integers(1, books.left))))
        except InvalidInput as refusal:
            refusals.append(refusal.sentence)
    # Only lines that are credits stand against the chosen ones; and a sliver of a quantity can be nothing.
    if all(each.billed.net >= 0 for each in books.lines):
        assert all("more than nothing" in sentence for sentence in refusals)
    assert books.left >= min(0, books.whole.gross)
    if books.left > 0:
        books.take(all_of(books.lines))
        assert {each.left for each in books.lines} <= {NOTHING}


@settings(max_examples=200, deadline=None)
@given(statements(credits=False))
def test_the_units_of_a_line_one_after_the_other_give_back_all_of_it(statement):
    books = Books(billed(statement))
    for number, quantity in [(each.number, each.quantity) for each in books.lines if each.can_be_chosen]:
        worth_something = next(each for each in books.lines if each.number == number).billed.net >= quantity
        for _ in range(int(quantity) if worth_something else 0):
            books.take(lines_of(books.lines, {number: Chosen(quantity=Decimal(1))}, included=False))
        if worth_something:
            assert next(each for each in books.lines if each.number == number).left == NOTHING


def test_lines_that_are_not_of_their_invoice_are_not_credited():
    statement = compose([line(10_000, "c")], currency="USD", tax=TaxTerms(rates=TAX))
    with pytest.raises(AssertionError, match="do not give the taxes and the total"):
        billed_lines([], total=statement.total, tax=tax_facts(statement))


@pytest.mark.parametrize(
    ("number", "chosen", "words"),
    [
        (9, Chosen(amount=1), "Line 9 has nothing left to credit"),
        (1, Chosen(quantity=Decimal(4)), "at most 3, which is left"),
        (1, Chosen(quantity=Decimal(0)), "at most 3, which is left"),
        (1, Chosen(amount=301), "at most what is left of the line"),
        (1, Chosen(amount=0), "at most what is left of the line"),
    ],
)
def test_more_than_a_line_has_is_refused_at_the_line(number, chosen, words):
    lines = billed(compose([line(300, "a", 3)], currency="USD"))
    with pytest.raises(InvalidInput, match=words) as refused:
        lines_of(lines, {number: chosen}, included=False)
    assert refused.value.field == str(number)
