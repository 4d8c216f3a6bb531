"""Texts that are written where no reader is known: in English, and ready to be said in the reader's language."""

from typing import Any


class Said(str):
    """An English text that knows the message that it was made of, and the values in it.

    For programs, logs and the database it is that text. A page says it in the reader's language when it writes it:
    Said("Choose a day up to %(latest)s.", latest=latest). Without values a percent sign is only that.
    """

    message: str
    values: dict[str, Any]

    def __new__(cls, message: str, /, **values: Any) -> "Said":
        """The text; a message that is Said already stays what it is."""
        if isinstance(message, Said):
            return message
        text = super().__new__(cls, message % values if values else message)
        text.message, text.values = message, values
        return text

    def __getnewargs_ex__(self) -> tuple[tuple[str], dict[str, Any]]:
        """What a copy is made of."""
        return (self.message,), self.values
