"""Characters that nobody sees but that turn, hide or join what stands around them; shown by their number instead.

Source: Unicode 16, UAX 9 (directional controls) and UTS 39 (invisible characters); joiners that Indic scripts, Arabic
and emoji need (U+200C, U+200D) are let be, like marks of direction (U+200E, U+200F), which turn nothing by themselves.
"""

import re

_HIDING = re.compile("[\u202a-\u202e\u2066-\u2069\u200b\u2060-\u2064\ufeff\u00ad\u061c\U000e0000-\U000e007f]")


def hides_something(text: str) -> bool:
    """Whether a text holds a character that makes it read otherwise than it is."""
    return not text.isascii() and _HIDING.search(text) is not None


def visible(text: str) -> str:
    """The same text with each such character written out: “[U+202E]”."""
    if text.isascii():
        return text
    return _HIDING.sub(lambda found: f"[U+{ord(found[0]):04X}]", text)
