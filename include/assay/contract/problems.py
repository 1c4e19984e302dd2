"""From pydantic's errors to what a person needs: the field, the value, what is wrong, and what to write instead."""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from pydantic import BaseModel, ValidationError

from assay.contract.base import Complaint
from assay.contract.yamlfile import Document, YamlProblem
from assay.errors import Terminal


class Problem(TypedDict):
    """One thing that is wrong with a contract."""

    field: str
    value: str
    problem: str
    fix: str
    line: NotRequired[int]
    file: NotRequired[str]


class ContractError(Terminal):
    """A contract cannot be used.

    Attributes:
        problems: Everything that is wrong with it, in the order of the file.
    """

    exit_code = 2

    def __init__(self, path: Path | str, problems: Sequence[Problem]) -> None:
        """Name the file and all problems."""
        count = f"{len(problems)} problem{'' if len(problems) == 1 else 's'}"
        super().__init__(
            f"{path} is not a valid contract: {count}",
            state="nothing was changed",
            next_step="correct the file; `assay contract schema` prints what may stand in it",
        )
        self.path = Path(path)
        self.problems = list(problems)

    def __str__(self) -> str:
        """The message, then each problem with its line and its fix."""
        lines = [self.message]
        for each in self.problems:
            where = f"line {each['line']}: " if "line" in each else ""
            where = f"{each['file']} {where}" if "file" in each else where
            shown = f" = {each['value']}" if each["value"] else ""
            lines.append(f"  {where}{each['field'] or 'the file'}{shown}: {each['problem']}")
            lines.append(f"    fix: {each['fix']}")
        if self.next_step:
            lines.append(f"  next: {self.next_step}")
        return "\n".join(lines)


def of_yaml(problem: YamlProblem) -> Problem:
    """A YAML problem as one of a contract."""
    made = Problem(field=field_name(problem.at), value="", problem=problem.problem, fix=problem.fix)
    if problem.line is not None:
        made["line"] = problem.line
    return made


def of_validation(error: ValidationError, model: type[BaseModel], document: Document) -> list[Problem]:
    """All problems in a validation error, in the order of the file, one for each place."""
    found: dict[tuple[str, str], tuple[int, Problem]] = {}
    for each in error.errors(include_url=False):
        at = _real_path(tuple(each["loc"]), document.data, each["type"])
        cause = each.get("ctx", {}).get("error")
        value: Any = each["input"]
        if isinstance(cause, Complaint):
            at = (*at, *cause.at)
            problem, fix, value = cause.problem, cause.fix, _value_at(document.data, at)
        else:
            problem, fix = _explain(each, at, model)
        made = Problem(field=field_name(at), value=_shown(value, each["type"]), problem=problem, fix=fix)
        if (line := document.line(at)) is not None:
            made["line"] = line
        found.setdefault((made["field"], "" if _is_branch(each["loc"], at) else problem), (line or 0, made))
    return [problem for _, problem in sorted(found.values(), key=lambda pair: pair[0])]


def field_name(at: Sequence[str | int]) -> str:
    """A path as people write it: `sources[0].uri`."""
    text = ""
    for part in at:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def redacted(text: str) -> str:
    """The text without passwords in addresses and without secret keys."""
    text = re.sub(r"://[^/@\s]+@", "://***@", text)
    return re.sub(r"RWRTY0[A-Za-z0-9+/=]{20,}", "***", text)


def _is_branch(loc: Sequence[str | int], at: Sequence[str | int]) -> bool:
    """Whether the error is one of several for the alternatives of a union; the first one is enough."""
    return len(loc) > len(at)


def _real_path(loc: tuple[str | int, ...], data: Any, kind: str) -> tuple[str | int, ...]:
    """A location without the parts that pydantic adds for the branches of a union."""
    at: list[str | int] = []
    for number, part in enumerate(loc):
        data_before = data
        if _has(data, part):
            data = data[part]
        elif number != len(loc) - 1 or kind != "missing":
            continue
        at.append(part if isinstance(data_before, list | tuple) else str(part))
    return tuple(at)


def _has(data: Any, part: str | int) -> bool:
    if isinstance(data, Mapping):
        return part in data
    return isinstance(data, list | tuple) and isinstance(part, int) and part < len(data)


def _value_at(data: Any, at: Sequence[str | int]) -> Any:
    for part in at:
        try:
            data = data[part]
        except (KeyError, IndexError, TypeError):
            return None
    return data


def _shown(value: Any, kind: str) -> str:
    if kind == "missing" or value is None or isinstance(value, Mapping | list | tuple):
        return ""
    text = redacted(str(value).lower() if isinstance(value, bool) else repr(value))
    return text if len(text) <= 80 else text[:77] + "..."


def _explain(error: Any, at: tuple[str | int, ...], model: type[BaseModel]) -> tuple[str, str]:
    kind, context = error["type"], error.get("ctx", {})
    name = str(at[-1]) if at else "the file"
    if kind == "missing":
        return "is missing", f"add `{name}:`{_description(at, model)}"
    if kind == "extra_forbidden":
        known = _fields(_annotation(at[:-1], model))
        near = get_close_matches(name, known, 1, cutoff=0.6)
        listed = ", ".join(known) if len(known) <= 24 else ""
        return "is not a key that may stand here", (
            f"did you mean `{near[0]}`?"
            if near
            else f"take it out{f'; known here: {listed}' if listed else ''}"
        )
    if kind == "literal_error":
        options = re.findall(r"'([^']*)'|(?<![\w'])(\d+)", context["expected"])
        choices = [text or number for text, number in options]
        near = get_close_matches(str(error["input"]), choices, 1, cutoff=0.6)
        if name == "on_timeout":
            return (
                f"must be {context['expected']}",
                "silence may reject or go on waiting, but it never approves",
            )
        return f"must be {context['expected']}", f"did you mean `{near[0]}`?" if near else "use one of these"
    if kind == "string_pattern_mismatch" and context["pattern"].startswith("^[a-z][a-z0-9_-]"):
        return (
            "is not a usable name",
            "start with a lower-case letter, then lower-case letters, digits, _ or -, at most 63 characters",
        )
    if kind == "string_pattern_mismatch" and context["pattern"].startswith("^expect_"):
        return (
            "is not the name of an expectation",
            "write its snake_case name, such as expect_column_mean_to_be_between",
        )
    if kind in {"model_type", "model_attributes_type", "dict_type"}:
        return (
            "must hold keys of its own",
            f"write `{name}:` with indented keys below it{_description(at, model)}",
        )
    if kind == "layer_kind":
        kinds = error["msg"].rpartition(": ")[2].split(", ")
        named = [str(key) for key in error["input"]] if isinstance(error["input"], Mapping) else []
        near = [
            match
            for key in named
            for match in get_close_matches(key, kinds, 1, cutoff=0.7)
            if key not in kinds
        ]
        return error[
            "msg"
        ], f"did you mean `{near[0]}`?" if near else "write one mapping per layer, such as {dense: 64}"
    if kind == "tuple_type":
        return "must be a list", "write [a, b], or one `- item` per line"
    if kind == "invalid_key" or (kind == "string_type" and "[key]" in [str(part) for part in error["loc"]]):
        return "a name that YAML does not read as text", "put the name in quotes"
    if kind == "string_type":
        return "must be text", f'put it in quotes: "{error["input"]}"'
    if kind == "value_error":
        return str(context.get("error", error["msg"])), "correct the value"
    return _lower(error["msg"]), f"correct the value{_description(at, model)}"


def _lower(text: str) -> str:
    text = text.removeprefix("Input ")
    return text[:1].lower() + text[1:]


def _description(at: tuple[str | int, ...], model: type[BaseModel]) -> str:
    owner = _annotation(at[:-1], model)
    if owner is None or not at:
        return ""
    for name, field in owner.model_fields.items():
        if (field.alias or name) == at[-1] and field.description:
            return f" ({field.description.rstrip('.')})"
    return ""


def _fields(model: type[BaseModel] | None) -> list[str]:
    return [] if model is None else [field.alias or name for name, field in model.model_fields.items()]


def _annotation(at: Sequence[str | int], model: type[BaseModel]) -> type[BaseModel] | None:
    """The model that describes what stands at a path."""
    current: Any = model
    for part in at:
        current = _strip(current)
        if isinstance(current, type) and issubclass(current, BaseModel):
            fields = {field.alias or name: field for name, field in current.model_fields.items()}
            if part not in fields:
                return None
            current = fields[str(part)].annotation
        else:
            arguments = typing.get_args(current)
            if not arguments:
                return None
            current = arguments[1] if typing.get_origin(current) is dict else arguments[0]
    current = _strip(current)
    return current if isinstance(current, type) and issubclass(current, BaseModel) else None


def _strip(annotation: Any) -> Any:
    """Without Annotated and without the `| None`."""
    if typing.get_origin(annotation) is typing.Annotated:
        return _strip(typing.get_args(annotation)[0])
    if typing.get_origin(annotation) in {typing.Union, types.UnionType}:
        others = [each for each in typing.get_args(annotation) if each is not type(None)]
        return _strip(others[0]) if len(others) == 1 else annotation
    return annotation
