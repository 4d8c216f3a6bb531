"""The description of the API, docs/openapi.yaml: as it is for programs, and laid out for people to read."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

_FILE = Path(__file__).parents[1] / "docs" / "openapi.yaml"
_METHODS = ("get", "put", "post", "delete", "patch")
_DEEPEST = 4
_WEBHOOKS = "webhooks"
_OTHER = "description"
_SCHEMAS = "#/components/schemas/"


@dataclass(frozen=True, slots=True)
class Field:
    """A parameter, or a field of a body: `items[].id` stands inside of a list. `place` is where a parameter goes."""

    name: str
    kind: str
    required: bool
    description: str
    place: str = ""


@dataclass(frozen=True, slots=True)
class Shape:
    """The fields of one object. `title` names it where there are several to choose from.

    It has no fields if it is one of `shared_objects`, which are laid out by themselves.
    """

    title: str
    fields: tuple[Field, ...]


@dataclass(frozen=True, slots=True)
class Content:
    """A body of one media type: its shapes, and examples by what they show."""

    media_type: str
    shapes: tuple[Shape, ...]
    examples: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """What comes back with a status. `is_shared`: it is the same wherever it may come."""

    status: str
    description: str
    contents: tuple[Content, ...]
    is_shared: bool


@dataclass(frozen=True, slots=True)
class Operation:
    """One address and method, whole. `id` is unique, and its anchor."""

    id: str
    method: str
    path: str
    summary: str
    description: str
    parameters: tuple[Field, ...]
    bodies: tuple[Content, ...]
    answers: tuple[Answer, ...]


@cache
def document() -> dict[str, Any]:
    """The file as it is."""
    described: dict[str, Any] = yaml.safe_load(_FILE.read_text())
    return described


@cache
def operations_by_tag() -> dict[str, tuple[Operation, ...]]:
    """All operations, in the file's order of tags; what has none comes last, but for webhooks."""
    described = document()
    groups: dict[str, list[Operation]] = {tag["name"]: [] for tag in described["tags"]}
    for path, methods in described["paths"].items():
        for method in _METHODS:
            if method in methods:
                [tag] = methods[method].get("tags", [_OTHER])
                groups.setdefault(tag, []).append(_operation(method, path, methods[method]))
    groups[_WEBHOOKS] = [_operation("post", "your address", each["post"]) for each in described[_WEBHOOKS].values()]
    return {tag: tuple(found) for tag, found in groups.items()}


def shared_answers() -> list[Answer]:
    """The answers that are the same wherever they may come, by status."""
    operations = (operation for group in operations_by_tag().values() for operation in group)
    found = {(each.status, each.description): each for one in operations for each in one.answers if each.is_shared}
    return [found[key] for key in sorted(found)]


@cache
def shared_objects() -> dict[str, Shape]:
    """The named objects that the description refers to in several places, by name."""
    named = document()["components"]["schemas"]
    return {name: Shape(name, tuple(_fields(named[name]))) for name in sorted(_shared_names())}


@cache
def _shared_names() -> frozenset[str]:
    written = json.dumps(document())
    named = document()["components"]["schemas"]
    objects = (name for name, schema in named.items() if schema.get("type") == "object")
    return frozenset(name for name in objects if written.count(f'"{_SCHEMAS}{name}"') > 1)


def _name_of(schema: Mapping[str, Any]) -> str:
    """The name that a reference leads to; "" for what is no reference."""
    name: str = schema.get("$ref", "").removeprefix(_SCHEMAS)
    return name


def _operation(method: str, path: str, given: Mapping[str, Any]) -> Operation:
    body = given.get("requestBody", {})
    return Operation(
        id=given["operationId"],
        method=method.upper(),
        path=path,
        summary=given["summary"],
        description=given.get("description", ""),
        parameters=tuple(_parameter(each) for each in given.get("parameters", ())),
        bodies=tuple(_contents(body)),
        answers=tuple(_answer(status, each) for status, each in given["responses"].items()),
    )


def _parameter(given: Mapping[str, Any]) -> Field:
    given = _followed(given)
    required = given.get("required", False)
    return Field(given["name"], _kind(given["schema"]), required, _sentence(given), place=given["in"])


def _answer(status: str, given: Mapping[str, Any]) -> Answer:
    followed = _followed(given)
    # What a refusal looks like is said once, above all.
    contents = (each for each in _contents(followed) if not each.media_type.startswith("application/problem"))
    return Answer(status, followed["description"], tuple(contents), is_shared="$ref" in given)


def _contents(given: Mapping[str, Any]) -> Iterator[Content]:
    shown: list[tuple[Shape, ...]] = []
    for media_type, each in given.get("content", {}).items():
        shapes = tuple(_shapes(each.get("schema", {})))
        # The same body in another form is not described again.
        yield Content(media_type, () if shapes in shown else shapes, tuple(_examples(each)))
        shown.append(shapes)


def _examples(given: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if "example" in given:
        yield "", _text(given["example"])
    for each in given.get("examples", {}).values():
        yield each.get("summary", ""), _text(each["value"])


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)


def _shapes(schema: Mapping[str, Any]) -> Iterator[Shape]:
    """The objects that a body can be, each once; a list of them is the same object many times."""
    seen = set()
    for title, each in _alternatives(schema):
        if title not in seen:
            seen.add(title)
            if title in _shared_names():
                yield Shape(title, ())
            elif fields := tuple(_fields(each)):
                yield Shape(title, fields)


def _alternatives(schema: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    followed = _followed(schema)
    if "oneOf" in followed:
        for each in followed["oneOf"]:
            yield from _alternatives(each)
    elif followed.get("type") == "array":
        yield from _alternatives(followed["items"])
    else:
        yield _name_of(schema), followed


def _fields(schema: Mapping[str, Any], prefix: str = "", depth: int = 0) -> Iterator[Field]:
    required = schema.get("required", ())
    for name, given in schema.get("properties", {}).items():
        each = _followed(given)
        yield Field(prefix + name, _kind(given), name in required, _sentence(given) or _sentence(each))
        inner, mark = (each["items"], "[].") if "items" in each else (given, ".")
        if depth < _DEEPEST and _name_of(inner) not in _shared_names():
            yield from _fields(_followed(inner), prefix + name + mark, depth + 1)


def _kind(schema: Mapping[str, Any]) -> str:
    """What a value is, in a few words."""
    if _name_of(schema) in _shared_names():
        return _name_of(schema)
    schema = _followed(schema)
    if "const" in schema:
        return _text(schema["const"])
    if "enum" in schema:
        return "one of " + ", ".join(map(str, schema["enum"]))
    if "oneOf" in schema or "anyOf" in schema:
        return " or ".join(dict.fromkeys(_kind(each) for each in schema.get("oneOf", schema.get("anyOf"))))
    kinds = schema.get("type", "anything")
    words = " or ".join(kinds) if isinstance(kinds, list) else kinds
    if words == "array":
        return f"list of {_kind(schema['items'])}"
    return f"{words} ({schema['format']})" if "format" in schema else words


def _sentence(given: Mapping[str, Any]) -> str:
    said: str = given.get("description", "")
    examples = given.get("schema", given).get("examples", [])
    return f"{said} For example {', '.join(map(str, examples))}.".strip() if examples else said


def _followed(given: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a reference leads to."""
    while "$ref" in given:
        found: Any = document()
        for part in given["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        given = found
    return given
