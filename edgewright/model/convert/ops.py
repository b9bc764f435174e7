"""Operators of ONNX, and op configs, ONNX Runtime's list of them: `domain;opset;Op{types},Op`."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from edgewright.base.errors import UserError


class Operator(NamedTuple):
    """An operator of one domain at one opset."""

    domain: str
    opset: int
    name: str

    def __str__(self) -> str:
        return f"{self.domain}:{self.name} (opset {self.opset})"


@dataclass(frozen=True, kw_only=True)
class OpConfig:
    """Operators with the types that each is restricted to; `{}` is no restriction.

    A restriction maps `inputs` or `outputs` to index → C++ type names, e.g.
    `{"inputs": {"0": ["uint8_t"]}}`, or `custom` to a list.
    """

    operators: Mapping[Operator, Mapping[str, Any]]

    def text(self) -> str:
        """The canonical text: the same operators and types always give the same bytes."""
        # The runtime's package id holds the hash of this text.
        groups: dict[tuple[str, int], list[str]] = {}
        for operator, types in self.operators.items():
            suffix = json.dumps(types, sort_keys=True) if types else ""
            groups.setdefault((operator.domain, operator.opset), []).append(operator.name + suffix)
        lines = [
            f"{domain};{opset};{','.join(sorted(names))}"
            for (domain, opset), names in sorted(groups.items())
        ]
        return "\n".join(lines) + "\n"


def union(configs: Iterable[OpConfig]) -> OpConfig:
    """What a runtime needs that serves the models of all configs."""
    types_of: dict[tuple[str, str], Mapping[str, Any]] = {}
    operators: set[Operator] = set()
    for config in configs:
        for operator, types in config.operators.items():
            operators.add(operator)
            # ONNX Runtime keeps one list of types for all opsets of an operator: of lines that
            # differ the last one counts, and a model of an earlier opset would lack its types.
            key = operator.domain, operator.name
            recorded = types_of.get(key)
            types_of[key] = types if recorded is None else _union_of_types(recorded, types)
    return OpConfig(
        operators={operator: types_of[operator.domain, operator.name] for operator in operators}
    )


def _union_of_types(first: Mapping[str, Any], second: Mapping[str, Any]) -> Mapping[str, Any]:
    if not (first and second):  # one of them asks for every type
        return {}
    types: dict[str, Any] = {}
    for kind in sorted({*first, *second}):
        mine, others = first.get(kind), second.get(kind)
        if isinstance(mine, Mapping) and isinstance(others, Mapping):
            places = sorted({*mine, *others})
            types[kind] = {
                place: sorted({*mine.get(place, ()), *others.get(place, ())}) for place in places
            }
        elif mine is None or others is None:
            types[kind] = mine or others
        else:
            types[kind] = [*mine, *(entry for entry in others if entry not in mine)]
    return types


@dataclass(frozen=True, kw_only=True)
class Gap:
    """One operator, or one type of it, that a runtime lacks."""

    operator: Operator
    type: str | None

    def __str__(self) -> str:
        return f"{self.operator}{f' for {self.type}' if self.type else ''}"


def parse_config(text: str, subject: str) -> OpConfig:
    """Parse an op config. Raises UserError naming the line that is no `domain;opset;ops`."""
    operators: dict[Operator, Mapping[str, Any]] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        try:
            operators.update(_parse_line(line))
        except ValueError as broken:
            raise UserError(subject, f"line {number} is not an op config line: {broken}") from None
    return OpConfig(operators=operators)


def _parse_line(line: str) -> Iterator[tuple[Operator, Mapping[str, Any]]]:
    fields = line.split(";", 2)
    if len(fields) != 3:
        raise ValueError("expected domain;opset;operators")
    domain, opsets, names = fields
    for opset in opsets.split(","):  # a line may be of several op sets
        for name, types in _parse_operators(names):
            yield Operator(domain, int(opset), name), types


def _parse_operators(text: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    # Types are JSON with commas and braces of its own, so the text cannot be split at commas.
    decoder = json.JSONDecoder()
    position = 0
    while position < len(text):
        places = (text.find(mark, position) for mark in ",{")
        end = min((place for place in places if place >= 0), default=len(text))
        name = text[position:end].strip()
        position = end
        types: Mapping[str, Any] = {}
        if position < len(text) and text[position] == "{":
            types, position = decoder.raw_decode(text, position)
        if not name.isidentifier():
            raise ValueError(f"operator name {name!r}")
        yield name, types
        position += 1


def gaps(required: OpConfig, built: OpConfig) -> list[Gap]:
    """The operators and types of `required` that `built` lacks, in order."""
    missing = []
    for operator, types in sorted(required.operators.items(), key=lambda item: item[0]):
        if operator not in built.operators:
            missing.append(Gap(operator=operator, type=None))
            continue
        allowed = built.operators[operator]
        missing += [Gap(operator=operator, type=t) for t in _missing_types(types, allowed)]
    return missing


def _missing_types(required: Mapping[str, Any], allowed: Mapping[str, Any]) -> list[str]:
    if not allowed:  # no restriction: the operator was built for every type
        return []
    missing = []
    for slot, names in _slots(required):
        built = dict(_slots(allowed)).get(slot, [])
        missing += [f"{slot} {name}" for name in names if name not in built]
    return missing or ([] if required else ["every type"])


def _slots(types: Mapping[str, Any]) -> Iterator[tuple[str, list[str]]]:
    """`{"inputs": {"0": [...]}}` → `("input 0", [...])`; a `custom` list keeps its name."""
    for kind, value in types.items():
        if isinstance(value, Mapping):
            for index, names in value.items():
                yield f"{kind.removesuffix('s')} {index}", list(names)
        else:
            yield kind, [json.dumps(entry, sort_keys=True) for entry in value]
