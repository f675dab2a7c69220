"""YAML with line numbers: every mapping remembers where its keys stand, so that an error can say where to look.

Called by `scenario.file`. Knows nothing of scenarios. May not import anything of natkeeper.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml


class BadScenario(ValueError):
    """The file does not follow the contract: the message names file and line, what is wrong, what is allowed."""

    def __init__(self, path: Path, line: int | None, problem: str) -> None:
        super().__init__(f"{path}{f':{line}' if line else ''}: {problem}")
        self.path, self.line, self.problem = path, line, problem


class Entry(dict[str, Any]):
    """A mapping of the file. `line` is where it begins, `lines` where each key stands."""

    def __init__(self, path: Path, line: int) -> None:
        super().__init__()
        self.path, self.line = path, line
        self.lines: dict[str, int] = {}

    def wrong(self, problem: str, key: str | None = None) -> BadScenario:
        """An error at this entry, or at one of its keys."""
        return BadScenario(self.path, self.lines.get(key or "", self.line), problem)

    def only(self, allowed: Iterable[str], what: str) -> None:
        """Raises BadScenario for the first key that is not allowed."""
        for key in self:
            if key not in set(allowed):
                raise self.wrong(f"unknown key {key!r} in {what}; {choices(key, allowed)}", key)


def choices(wrong: str, allowed: Iterable[str]) -> str:
    """`did you mean X? allowed are …`."""
    listed = list(allowed)
    near = get_close_matches(wrong, listed, 1)
    return (f"did you mean {near[0]!r}? " if near else "") + f"allowed: {', '.join(listed)}"


def read(path: Path) -> Entry:
    """The file's one mapping. BadScenario when there is no file, no YAML or no mapping in it."""
    try:
        node = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except OSError as error:
        raise BadScenario(path, None, f"cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise BadScenario(path, None, "is not UTF-8 text") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        raise BadScenario(path, mark.line + 1 if mark else None, f"is not YAML: {error.problem}") from None
    except yaml.YAMLError as error:
        raise BadScenario(path, None, f"is not YAML: {error}") from None
    try:
        found = _value(path, node) if node is not None else None
    except RecursionError:
        raise BadScenario(path, 1, "is nested without end: an alias (`*name`) stands inside what it names") from None
    if not isinstance(found, Entry):
        raise BadScenario(path, 1, "is empty or not a mapping; a scenario begins with `name:`")
    return found


def _value(path: Path, node: yaml.Node) -> Any:
    line = node.start_mark.line + 1
    if isinstance(node, yaml.SequenceNode):
        return [_value(path, each) for each in node.value]
    if not isinstance(node, yaml.MappingNode):
        return _scalar(path, node)
    entry = Entry(path, line)
    for key_node, value_node in node.value:
        key = key_node.value if isinstance(key_node, yaml.ScalarNode) else None
        at = key_node.start_mark.line + 1
        if key is None:
            raise BadScenario(path, at, "a key must be a plain word")
        if key in entry:
            raise BadScenario(path, at, f"key {key!r} is given twice")
        entry.lines[key] = at
        entry[key] = _value(path, value_node)
    return entry


def _scalar(path: Path, node: yaml.Node) -> Any:
    loader = yaml.SafeLoader("")
    try:
        return loader.construct_object(node, deep=True)
    except (yaml.YAMLError, ValueError) as error:
        raise BadScenario(path, node.start_mark.line + 1, f"cannot be read: {error}") from None
    finally:
        loader.dispose()
