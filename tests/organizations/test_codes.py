"""Codes of a second factor and sealed secrets, without a database."""

from datetime import UTC, datetime, timedelta

import pytest

from portal.infra.sealing import seal, unseal
from portal.organizations.codes import RECOVERY_CODES, new_recovery_codes, squeezed, step_of

# RFC 6238, appendix B: the secret "12345678901234567890", the last six of its eight digits.
RFC_SECRET = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"


@pytest.mark.parametrize(
    ("second", "code"),
    [(1111111109, "081804"), (1111111111, "050471"), (1234567890, "005924"), (2000000000, "279037")],
)
def test_codes_are_those_of_the_standard(second: int, code: str):
    now = datetime.fromtimestamp(second, UTC)
    step = second // 30
    assert step_of(RFC_SECRET, code, now=now) == step
    assert step_of(RFC_SECRET, f"{code[:3]} {code[3:]}", now=now) == step
    assert [step_of(RFC_SECRET, code, now=now + timedelta(seconds=30 * away)) for away in (-2, -1, 1, 2)] == [
        None, step, step, None,
    ]  # fmt: skip


@pytest.mark.parametrize("code", ["", "1", "00000a", "２８７０８２", "28708", "2870822"])
def test_what_is_no_code_is_of_no_step(code: str):
    assert step_of(RFC_SECRET, code, now=datetime.fromtimestamp(59, UTC)) is None


def test_recovery_codes_are_all_different_and_read_however_they_are_typed():
    codes = new_recovery_codes() + new_recovery_codes()
    assert len({squeezed(code) for code in codes}) == 2 * RECOVERY_CODES
    assert {len(squeezed(code)) for code in codes} == {16}
    assert squeezed(f" {codes[0].upper()} ".replace("-", " ")) == squeezed(codes[0])


def test_what_is_sealed_opens_with_its_key_or_a_fallback_and_for_its_purpose_only():
    sealed = seal("secret", keys=("old key",), purpose=b"one")
    assert b"secret" not in sealed
    assert unseal(sealed, keys=("new key", "old key"), purpose=b"one") == "secret"
    assert unseal(sealed, keys=("new key",), purpose=b"one") is None
    assert unseal(sealed, keys=("old key",), purpose=b"other") is None
    assert unseal(sealed[:-1] + b"x", keys=("old key",), purpose=b"one") is None
