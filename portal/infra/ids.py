"""Public ids: UUIDv7, time-ordered so that indexes stay small, random enough not to be guessed."""

import os
import time
from uuid import UUID


def uuid7() -> UUID:
    """A new UUIDv7. Source: RFC 9562, section 5.7."""
    milliseconds = time.time_ns() // 1_000_000
    value = int.from_bytes(milliseconds.to_bytes(6, "big") + os.urandom(10), "big")
    value = value & ~(0xF << 76) | (7 << 76)
    value = value & ~(0b11 << 62) | (0b10 << 62)
    return UUID(int=value)
