"""The collector rests within a block, and only there."""

import gc

import pytest

from portal.infra.memory import collector_resting


def test_the_collector_rests_within_a_block_and_works_again_after_it():
    assert gc.isenabled()
    with pytest.raises(ZeroDivisionError), collector_resting():  # noqa: PT012
        assert not gc.isenabled()
        with collector_resting():
            assert not gc.isenabled()
        assert not gc.isenabled()
        raise ZeroDivisionError
    assert gc.isenabled()
