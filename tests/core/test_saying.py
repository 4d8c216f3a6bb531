"""Texts that are said without knowing the reader: English for programs, with all that a translation needs."""

import copy
import pickle

from portal.core.errors import InvalidInput
from portal.core.saying import Said


def test_it_is_the_english_text_and_knows_what_it_was_made_of():
    said = Said("At most %(most)s characters.", most=40)
    assert said == "At most 40 characters."
    assert isinstance(said, str)
    assert (said.message, said.values) == ("At most %(most)s characters.", {"most": 40})


def test_without_values_a_percent_sign_is_only_that():
    assert Said("Warns at (%)") == "Warns at (%)"
    assert Said("100%% of %(amount)s", amount=5) == "100% of 5"


def test_what_is_said_is_not_said_again():
    said = Said("At most %(most)s characters.", most=40)
    assert Said(said) is said


def test_a_copy_knows_it_too():
    said = Said("At most %(most)s characters.", most=40)
    for other in (copy.deepcopy(said), pickle.loads(pickle.dumps(said))):
        assert (other, other.message, other.values) == (said, said.message, said.values)


def test_the_sentence_of_a_refusal_is_said():
    assert InvalidInput("Enter the code.").sentence.message == "Enter the code."
    assert InvalidInput(Said("At most %(most)s.", most=3)).sentence.values == {"most": 3}
    assert str(InvalidInput(Said("At most %(most)s.", most=3))) == "At most 3."
