"""The sandbox's own clock: the wall clock, moved by hand when a test needs tomorrow."""

import time


class Clock:
    """Seconds since the epoch, plus whatever it was moved by; it never stands still."""

    def __init__(self, offset: int = 0) -> None:
        self.offset = offset

    def now(self) -> int:
        """The current moment in whole seconds."""
        return int(time.time()) + self.offset

    def advance(self, seconds: int) -> None:
        """Move forward, or back when negative."""
        self.offset += seconds

    def set(self, moment: int) -> None:
        """Make it this moment now."""
        self.offset = moment - int(time.time())
