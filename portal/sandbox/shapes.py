"""What a route accepts: the names of its parameters and how each is read.

A shape is a mapping from a name to a reader, to another shape, or to a one-item list of either.
Reading is validation: it happens before anything is executed, as at Stripe.
"""

from collections.abc import Callable, Mapping
from typing import Any

from .errors import StripeError, missing_parameter, unknown_parameter

Shape = Mapping[str, Any]
Reader = Callable[[Any, str], Any]

METADATA_KEYS = 50
METADATA_NAME_LENGTH = 40
METADATA_VALUE_LENGTH = 500


def read(params: Mapping[str, Any], shape: Shape, required: tuple[str, ...] = ()) -> dict[str, Any]:
    """Check the parameters against the shape and return them with their proper types."""
    values = _read_all(params, shape, "")
    for name in required:
        if values.get(name) in (None, ""):
            raise missing_parameter(name)
    return values


def text(value: Any, name: str) -> str:
    """A plain string."""
    if not isinstance(value, str):
        raise StripeError(f"Invalid string: {value!r}", param=name)
    return value


def integer(value: Any, name: str) -> int:
    """A whole number; Stripe refuses `1.0` and `1e3` as well."""
    try:
        return int(text(value, name))
    except ValueError:
        raise StripeError(f"Invalid integer: {value}", code="parameter_invalid_integer", param=name) from None


def boolean(value: Any, name: str) -> bool:
    """`true` or `false`."""
    if value not in ("true", "false"):
        raise StripeError(f"Invalid boolean: {value}", param=name)
    return bool(value == "true")


def one_of(*choices: str) -> Reader:
    """One word of a fixed set."""

    def reader(value: Any, name: str) -> str:
        if value not in choices:
            raise StripeError(f"Invalid {name}: must be one of {', '.join(choices)}", param=name)
        return str(value)

    return reader


def metadata(value: Any, name: str) -> dict[str, str]:
    """The caller's own names and values, inside Stripe's limits; an empty value unsets a name."""
    if value == "":
        return {}
    if not isinstance(value, dict):
        raise StripeError("Invalid object", param=name)
    if len(value) > METADATA_KEYS:
        raise StripeError(f"You can only specify up to {METADATA_KEYS} keys in metadata.", param=name)
    for key, item in value.items():
        if len(key) > METADATA_NAME_LENGTH:
            raise StripeError(f"Metadata keys can have up to {METADATA_NAME_LENGTH} characters.", param=name)
        if len(text(item, f"{name}[{key}]")) > METADATA_VALUE_LENGTH:
            raise StripeError(
                f"Metadata values can have up to {METADATA_VALUE_LENGTH} characters, but you passed in "
                f"a value that is {len(item)} characters.",
                param=f"{name}[{key}]",
            )
    return value


def words(value: Any, name: str) -> dict[str, str]:
    """The caller's own names and values, without limits."""
    if not isinstance(value, dict):
        raise StripeError("Invalid object", param=name)
    return {key: text(item, f"{name}[{key}]") for key, item in value.items()}


def moments(value: Any, name: str) -> dict[str, int]:
    """A time filter: one moment, or bounds."""
    if not isinstance(value, dict):
        moment = integer(value, name)
        return {"gte": moment, "lte": moment}
    return _read_all(value, {"gt": integer, "gte": integer, "lt": integer, "lte": integer}, name)


def not_expandable(value: Any, name: str) -> str:
    """What somebody wants expanded of an object of which the sandbox expands nothing: said aloud."""
    raise StripeError(f"This property cannot be expanded ({text(value, name)}).", param="expand")


def unsupported(value: Any, name: str) -> Any:
    """A parameter that Stripe has and the sandbox does not imitate: said aloud, never swallowed."""
    raise StripeError(f"The sandbox does not imitate the parameter {name}.", param=name)


def not_imitated(*names: str) -> dict[str, Reader]:
    """The part of a shape that is Stripe's but not the sandbox's."""
    return dict.fromkeys(names, unsupported)


def _read_all(params: Mapping[str, Any], shape: Shape, prefix: str) -> dict[str, Any]:
    values = {}
    for name, value in params.items():
        full = f"{prefix}[{name}]" if prefix else name
        if name not in shape:
            raise unknown_parameter(full)
        values[name] = _read_one(value, shape[name], full)
    return values


def _read_one(value: Any, spec: Any, name: str) -> Any:
    if callable(spec):
        return spec(value, name)
    if value == "":
        # An empty string is Stripe's way to unset a value.
        return None
    if isinstance(spec, list):
        if not isinstance(value, list):
            raise StripeError("Invalid array", param=name)
        return [_read_one(item, spec[0], f"{name}[{index}]") for index, item in enumerate(value)]
    if not isinstance(value, dict):
        raise StripeError("Invalid object", param=name)
    return _read_all(value, spec, name)


ADDRESS: Shape = dict.fromkeys(("city", "country", "line1", "line2", "postal_code", "state"), text)
EXPAND: Shape = {"expand": [text]}
NO_EXPAND: Shape = {"expand": [not_expandable]}
PAGE: Shape = {"limit": integer, "starting_after": text, "ending_before": text, **EXPAND}
