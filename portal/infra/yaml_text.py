"""YAML as text that people edit: numbers stay text, so that no digit is lost, and nothing means more than it says.

Of all plain words only `null` (or `~`, or nothing), `true` and `false` are more than text: `0.08`, `2026-11-01`, `1e3`
and `no` stay as they are written.
"""

import re
from typing import Any, ClassVar

import yaml

from portal.core.errors import InvalidInput

_WIDTH = 120
_NULL, _BOOL, _TEXT, _LIST, _MAPPING = (f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "str", "seq", "map"))
_MEANINGS: dict[tuple[str, str], bool | None] = {
    **{(_NULL, word): None for word in ("", "~", "null", "Null", "NULL")},
    **{(_BOOL, word): True for word in ("true", "True", "TRUE")},
    **{(_BOOL, word): False for word in ("false", "False", "FALSE")},
}


def read_yaml(text: str) -> Any:
    """The one document of a text in lists, dicts, texts, true, false and None; None for an empty text.

    Raises InvalidInput, with line and column, for bad YAML, a name twice in one mapping, a name that is not text, an
    alias (`*name`: a short text could stand for an endless one) and a tag (`!!float`).
    """
    try:
        parser = _Parser(text)
        node = parser.get_single_node()
        return None if node is None else _value(node)
    except yaml.reader.ReaderError as error:
        line_start = text.rfind("\n", 0, error.position) + 1
        line = text.count("\n", 0, line_start) + 1
        raise _refused(line, error.position - line_start + 1, "a character that is not printable") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        assert mark is not None, "PyYAML says where every problem is"
        raise _refused(mark.line + 1, mark.column + 1, error.problem or "this is not YAML") from None
    except ValueError:  # "\U00110000" is the number of no character
        raise _refused(parser.line + 1, parser.column + 1, "an escape that stands for no character") from None
    except RecursionError:
        raise InvalidInput("The YAML is nested too deeply.") from None


def write_yaml(document: Any) -> str:
    """Lists, dicts, texts, whole numbers, true, false and None as YAML; names keep their order.

    The same document gives the same text, and `read_yaml` reads it back (whole numbers as text). A text is quoted
    wherever some reader could take it for something else.
    """
    text: str = yaml.dump(document, Dumper=_Writer, sort_keys=False, allow_unicode=True, width=_WIDTH)
    return text


class _Parser(yaml.SafeLoader):
    """Finds the meaning of far fewer plain words than YAML 1.1 does."""

    yaml_implicit_resolvers: dict[str, list[Any]] = {}

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            problem = "an alias stands here; write out what it stands for"
            where = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=where)
        return super().compose_node(parent, index)


for _tag in (_NULL, _BOOL):
    _words = [word for tag, word in _MEANINGS if tag == _tag]
    _pattern = re.compile("|".join(f"{re.escape(word)}$" for word in _words))
    _Parser.add_implicit_resolver(_tag, _pattern, sorted({word[:1] for word in _words}))


def _value(node: Any) -> Any:
    if isinstance(node, yaml.MappingNode) and node.tag == _MAPPING:
        return _mapping(node)
    if isinstance(node, yaml.SequenceNode) and node.tag == _LIST:
        return [_value(each) for each in node.value]
    if isinstance(node, yaml.ScalarNode):
        if node.tag == _TEXT:
            return node.value
        if (node.tag, node.value) in _MEANINGS:
            return _MEANINGS[node.tag, node.value]
    raise _refused_at(node, "a tag stands here; only texts, numbers as text, lists and mappings are read")


def _mapping(node: Any) -> dict[str, Any]:
    mapping: dict[str, Any] = {}
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode) or key.tag != _TEXT:
            raise _refused_at(key, "a name that is not text; quote it")
        if key.value in mapping:
            raise _refused_at(key, f"the name “{key.value[:60]}” stands twice in one mapping")
        mapping[key.value] = _value(value)
    return mapping


def _refused_at(node: Any, problem: str) -> InvalidInput:
    return _refused(node.start_mark.line + 1, node.start_mark.column + 1, problem)


def _refused(line: int, column: int, problem: str) -> InvalidInput:
    return InvalidInput(f"Line {line}, column {column}: {problem}.")


_REPRESENTERS: dict[Any, Any] = yaml.SafeDumper.yaml_representers


class _Writer(yaml.SafeDumper):
    """Writes out repeated parts instead of naming them, and refuses what is not plain: a float, a date, a Decimal."""

    yaml_representers: ClassVar[dict[Any, Any]] = {
        kind: _REPRESENTERS[kind] for kind in (int, bool, type(None), list, tuple, dict, None)
    }

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def text(self, data: str) -> Any:
        # Some line ends would come back as others from any other style.
        has_line_ends = data != "" and data.splitlines() != [data]
        return self.represent_scalar(_TEXT, data, style='"' if has_line_ends else None)


_Writer.add_representer(str, _Writer.text)
