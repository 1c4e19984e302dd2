"""Reading YAML that a person wrote: bounded, duplicate keys refused, and every value's line remembered."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

MAX_BYTES = 1 << 20
MAX_DEPTH = 32
MAX_NODES = 50_000

Path_ = tuple[str | int, ...]


class YamlProblem(Exception):
    """The text is not YAML that we accept."""

    def __init__(self, problem: str, fix: str, line: int | None = None, at: Path_ = ()) -> None:
        """Keep the parts."""
        super().__init__(problem)
        self.problem = problem
        self.fix = fix
        self.line = line
        self.at = at


class Document:
    """Parsed YAML: `data`, and the line of each part of it."""

    def __init__(self, data: Any, lines: dict[Path_, int]) -> None:
        """Keep both."""
        self.data = data
        self._lines = lines

    def line(self, at: Path_) -> int | None:
        """The line, from 1, of the value at a path, or of the closest part around it that is there."""
        for length in range(len(at), -1, -1):
            if (line := self._lines.get(at[:length])) is not None:
                return line
        return None


class _Loader(yaml.SafeLoader):
    """Safe loading in which a key that stands twice is an error, not a silent last-one-wins."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: dict[Any, int] = {}
        for key_node, _ in node.value:
            key = key_node.value if isinstance(key_node, yaml.ScalarNode) else id(key_node)
            line = key_node.start_mark.line + 1
            if key in seen and key_node.tag != "tag:yaml.org,2002:merge":
                raise YamlProblem(
                    f"the key {key!r} stands twice, also in line {seen[key]}", "keep one of the two", line
                )
            seen[key] = line
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> Document:
    """Read one YAML document.

    Raises:
        YamlProblem: It is too large, not UTF-8, not YAML, nested too deep, or has a key twice.
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise YamlProblem(f"the file is larger than {MAX_BYTES} bytes", "check that this is the right file")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise YamlProblem("the file is not UTF-8 text", "save it as UTF-8", line) from None
    return parse_yaml(text)


def parse_yaml(text: str) -> Document:
    """Parse one YAML document; raises `YamlProblem` as `read_yaml`."""
    try:
        loader = _Loader(text)
    except yaml.YAMLError as error:
        raise _told(error) from None
    try:
        node = loader.get_single_node()
        if node is None:
            return Document(None, {(): 1})
        lines: dict[Path_, int] = {}
        _walk(node, (), lines, [0])
        return Document(loader.construct_document(node), lines)
    except yaml.YAMLError as error:
        raise _told(error) from None
    except RecursionError:
        raise YamlProblem(
            f"nested deeper than {MAX_DEPTH} levels", "a contract is flat: check the file"
        ) from None
    except (ValueError, OverflowError) as error:  # a date such as 2026-02-30, an endless number
        raise YamlProblem(
            f"a value cannot be read: {error}", "correct it, or put it in quotes if it is text"
        ) from None
    finally:
        loader.dispose()


def _walk(node: yaml.Node, at: Path_, lines: dict[Path_, int], count: list[int]) -> None:
    """Note each value's line; count what aliases unfold to, so that a small file cannot become a huge one."""
    count[0] += 1
    line = node.start_mark.line + 1
    if len(at) > MAX_DEPTH:
        raise YamlProblem(
            f"nested deeper than {MAX_DEPTH} levels", "a contract is flat: check the file", line
        )
    if count[0] > MAX_NODES:
        raise YamlProblem(f"more than {MAX_NODES} values", "check that this is the right file", line)
    lines[at] = line
    if isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            _walk(item, (*at, number), lines, count)
    elif isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            _walk(value, (*at, str(key.value)), lines, count)
            lines[(*at, str(key.value))] = key.start_mark.line + 1


def _told(error: yaml.YAMLError) -> YamlProblem:
    line = None
    problem = "the file is not YAML"
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        line = None if mark is None else mark.line + 1
        problem = f"the file is not YAML: {error.problem or error.context}"
    elif isinstance(error, yaml.reader.ReaderError):
        problem = f"the file holds a character that YAML does not allow: #x{ord(str(error.character)[:1] or '?'):04x}"
    return YamlProblem(problem, "check indentation, colons and quotes around there", line)
