"""What every refusal owes its reader: a whole sentence."""

from portal.core.errors import PortalError


def assert_sentence(error: PortalError) -> None:
    """A capital letter, a quotation or the name of its field begins it, a full stop ends it, and nobody shouts."""
    sentence, field = str(error.sentence), error.field or ""
    first = sentence.split()[0]
    assert first[0] == "“" or first[0].isupper() or field.endswith(first), sentence
    assert sentence.endswith("."), sentence
    assert sentence != sentence.upper(), sentence
