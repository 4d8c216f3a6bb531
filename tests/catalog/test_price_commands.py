"""`flask price evaluate`: the sentence, the steps and the amount of a file's price, without a database."""

import json
from pathlib import Path

import pytest
from click.testing import Result

from devkit.testservers import TEST_SETTINGS
from portal import create_app
from portal.config import settings_from_env

NOWHERE = {"DATABASE_URL": "postgresql://127.0.0.1:9/none_test", "REDIS_URL": "redis://127.0.0.1:9/0"}
YAML = """\
currency: USD
unit: GB
price:
  model: graduated
  free_quantity: 10
  tiers:
    - {up_to: 100, unit_amount: 0.0800000000000000000001}
    - {up_to: null, unit_amount: 0.05}
quantity: 123.5
"""
JSON = json.dumps(
    {
        "currency": "USD",
        "unit": "GB",
        "price": {
            "model": "graduated",
            "free_quantity": "10",
            "tiers": [
                {"up_to": "100", "unit_amount": "0.0800000000000000000001"},
                {"up_to": None, "unit_amount": "0.05"},
            ],
        },
        "quantity": "123.5",
    }
)
UNROUNDED = "8.67500000000000000001"  # 100 × 0.0800000000000000000001 and 13.5 × 0.05


@pytest.fixture(scope="module")
def app():
    """On servers that nobody calls."""
    return create_app(settings_from_env(TEST_SETTINGS | NOWHERE))


def evaluate(app, *words: str, piped: str | bytes | None = None) -> Result:
    return app.test_cli_runner().invoke(args=["price", "evaluate", *words], input=piped)


def test_a_file_is_priced_with_its_sentence_its_steps_and_the_one_rounding(app, tmp_path: Path):
    (tmp_path / "price.yaml").write_text(YAML)
    result = evaluate(app, str(tmp_path / "price.yaml"))
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert lines[0] == (
        "first 10 GB free, then USD 0.0800000000000000000001 per GB up to 100 GB, USD 0.05 per GB above 100 GB"
    )
    assert [line.split()[1::2] for line in lines if line.startswith("│")] == [
        ["Usage", "100", "0.0800000000000000000001", "0", "8.00000000000000000001"],
        ["Usage", "13.5", "0.05", "0", "0.675"],
    ]
    assert lines[-1] == f"USD {UNROUNDED}, rounded once, is USD 8.68"


@pytest.mark.parametrize("text", [YAML, JSON, "\ufeff" + JSON], ids=["YAML", "JSON", "with a mark"])
def test_json_and_yaml_give_the_same_answer_to_the_last_digit(app, text):
    result = evaluate(app, "-", "--json", piped=text.encode())
    assert result.exit_code == 0, result.output
    answer = json.loads(result.output)
    assert answer["amount"] == {"minor": 868, "major": "8.68"}
    assert answer["unrounded"] == UNROUNDED
    assert answer["derivation"]["terms"]["tiers"][0]["unit_amount"] == "0.0800000000000000000001"


def test_numbers_of_json_keep_their_digits_too(app):
    text = '{"currency": "JPY", "quantity": 3, "price": {"model": "per_unit", "unit_amount": 0.10000000000000000001}}'
    answer = json.loads(evaluate(app, "-", "--json", piped=text).output)
    assert answer["unrounded"] == "0.30000000000000000003"
    assert answer["amount"] == {"minor": 0, "major": "0"}


def test_several_items_are_added_up(app):
    items = "currency: USD\nitems:\n" + "- {quantity: 1, price: {model: per_unit, unit_amount: 0.005}}\n" * 2
    result = evaluate(app, "-", piped=items)
    assert result.exit_code == 0, result.output
    assert "Item 2: USD 0.005 per unit" in result.output
    assert result.output.endswith("2 items together: USD 0.02\n")


def test_a_unit_is_no_markup(app):
    result = evaluate(app, "-", piped=YAML.replace("unit: GB", "unit: '[red]GB[/]'"))
    assert "first 10 [red]GB[/] free" in result.output


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (YAML + "quantity: 2\n", "Line 10, column 1: the name “quantity” stands twice in one mapping."),
        (YAML.replace("123.5", ".nan"), "quantity: quantity is a number of zero or more"),
        (YAML.replace("up_to: 100", "up_to: 0"), "price.tiers[0].up_to: Each tier ends above the one before it."),
        (YAML.replace("USD", "Dollar"), "currency: “Dollar” is not a currency"),
        ("[1, 2", "Line 1, column 6: expected ',' or ']'"),
        ('{"currency": NaN}', "currency: currency is the code of a currency"),
        ("", "An estimate is an object"),
        (b"\xff\xfe", "- is not text in UTF-8."),
    ],
)
def test_what_does_not_fit_is_one_sentence_and_exit_code_1(app, text, says):
    result = evaluate(app, "-", piped=text)
    assert result.exit_code == 1
    assert result.output.startswith(f"Error: {says}")
    assert result.output.count("\n") == 1


def test_a_file_that_is_not_there_is_one_sentence_too(app, tmp_path: Path):
    result = evaluate(app, str(tmp_path / "none.yaml"))
    assert (result.exit_code, result.output.count("\n")) == (1, 1)
    assert "cannot be read: No such file or directory." in result.output
