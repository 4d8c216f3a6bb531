"""Keys: the same in every process and for ever, so their values are written down here."""

import os
import subprocess
import sys
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.core.keys import (
    canonical_json,
    content_hash,
    event_key,
    is_key_text,
    key_text,
    secret_hash,
    series_key,
    stripe_key,
    subject_key,
)

SOME_UUID = "0190f3a4-7c1d-7abc-8def-0123456789ab"
SOME_ULID = "01ARZ3NDEKTSV4RRFFQ69G5FAV"
ROOT = Path(__file__).parents[2]


def test_a_uuid_from_the_default_source_is_its_own_key():
    assert event_key(SOME_UUID, "api") == UUID(SOME_UUID)


def test_a_ulid_from_the_default_source_is_taken_byte_by_byte():
    # Source: the example of the ULID specification.
    assert event_key(SOME_ULID, "api") == UUID("01563e3a-b5d3-d676-4c61-efb99302bd5b")


@pytest.mark.parametrize("event_id", [SOME_UUID, SOME_ULID])
def test_from_another_source_the_time_stays_and_the_rest_is_hashed(event_id):
    ours, theirs = event_key(event_id, "api"), event_key(event_id, "file:october.csv")
    assert theirs.bytes[:6] == ours.bytes[:6]
    assert theirs.bytes[6:] != ours.bytes[6:]
    assert event_key(event_id, "file:november.csv") != theirs


@pytest.mark.parametrize(
    "event_id",
    [
        "42",
        SOME_UUID.upper(),  # another spelling is another id, so it must not fall on the same key
        SOME_UUID.replace("-", ""),
        "{" + SOME_UUID[1:-1] + "}",
        SOME_ULID.lower(),
        "8" + SOME_ULID[1:],  # a ULID's first character is at most 7: this one would not fit in 16 bytes
        "X" + SOME_ULID[1:],
        SOME_ULID[:-1] + "U",  # no letter of a ULID
        "é" * 26,
        "x" * 255,
    ],
)
def test_any_other_id_is_hashed_together_with_its_source(event_id):
    key = event_key(event_id, "api")
    assert key != event_key(event_id, "other")
    assert key not in (UUID(SOME_UUID), event_key(SOME_ULID, "api"))


IDS = st.text(min_size=1, max_size=40)


@given(IDS, IDS, IDS, IDS)
def test_different_events_have_different_keys(id_one, source_one, id_other, source_other):
    same = (id_one, source_one) == (id_other, source_other)
    if "\0" not in id_one + source_one + id_other + source_other:  # PostgreSQL refuses NUL before a key is made
        assert (event_key(id_one, source_one) == event_key(id_other, source_other)) is same


def test_a_series_is_a_meter_and_its_dimensions_in_any_order():
    one = series_key(7, {"region": "ams", "app": "web"})
    assert one == series_key(7, {"app": "web", "region": "ams"})
    assert one != series_key(8, {"app": "web", "region": "ams"})
    assert one != series_key(7, {"app": "ams", "region": "web"})
    assert one != series_key(7, {"app": "web"})
    assert -(2**63) <= one < 2**63


def test_canonical_json_has_one_spelling():
    assert canonical_json({"b": 1, "a": [None, True, "é"]}) == '{"a":[null,true,"é"],"b":1}'
    with pytest.raises(ValueError):
        canonical_json(float("nan"))


def test_the_values_of_keys_are_fixed():
    """Stored keys must be found again by later releases: whoever changes one of these loses exactly-once."""
    assert str(event_key("42", "api")) == "755ffda4-3363-0515-0545-9601933e1403"
    assert str(event_key(SOME_UUID, "file")) == "0190f3a4-7c1d-6084-009d-8892f59675ed"
    assert series_key(7, {"region": "ams"}) == -1128345360598147326
    assert content_hash({"total": 5}) == "02411c8580becc96ce51076945bc40c2619c7b41b89dd4589e52122dbee45b96"
    assert stripe_key("create", UUID(SOME_UUID), 2) == f"portal:create:{SOME_UUID}:g2"
    assert secret_hash("x").hex() == "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"
    assert subject_key("x").hex() == "2d711642b726b04401627ca9fbac32f5"


SECRET = "A-z_012345678900133" + 24 * "k"
SOME_KEY = f"blk_live_{SECRET}004ef646"  # a CRC-32 with a leading zero


def test_a_key_ends_with_its_checksum_of_eight_digits():
    assert key_text("live", SECRET) == SOME_KEY
    assert is_key_text(SOME_KEY)
    assert is_key_text(key_text("test", 64 * "s"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        SOME_KEY.replace("A", "B"),
        SOME_KEY[:-1] + "0",
        SOME_KEY[:-8],
        SOME_KEY + "\n",
        key_text("demo", SECRET),
        key_text("live", SECRET[1:]),
        key_text("live", 65 * "s"),
        key_text("live", SECRET[:-1] + "."),
    ],
)
def test_what_is_mistyped_is_no_key(text):
    assert not is_key_text(text)


# The core alone, without what `import portal` brings along: three interpreters start in no time.
PRINT_KEYS = """
import sys
from types import ModuleType
sys.modules["portal"] = ModuleType("portal")
sys.modules["portal"].__path__ = [sys.argv[1]]
from datetime import date
from decimal import Decimal
from portal.core.keys import canonical_json, content_hash, event_key, series_key
from portal.core.statement import Line, LineKind, compose
names = {"region", "app", "zone", "cpu", "size", "kind"}
line = Line(LineKind.USAGE, "Machines", Decimal("1.50"), "s", None, Decimal(1), 100, date(2026, 1, 1),
            date(2026, 1, 31), derivation={name: name for name in names})
print(event_key("42", "api"), series_key(7, {name: name for name in names}),
      content_hash({name: [name] for name in names}), canonical_json({name: 1 for name in names}),
      compose([line], currency="USD").fingerprint())
"""


def test_another_process_with_another_hash_seed_makes_the_same_keys_and_the_same_invoice():
    answers = {
        subprocess.run(
            [sys.executable, "-S", "-c", PRINT_KEYS, str(ROOT / "portal")],
            env={**os.environ, "PYTHONHASHSEED": seed, "TZ": zone},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for seed, zone in [("0", "UTC"), ("1", "Pacific/Auckland"), ("424242", "America/Los_Angeles")]
    }
    assert len(answers) == 1
    assert len(answers.pop().split()) == 5
