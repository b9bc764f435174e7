"""Golden sets of the tasks beyond classification: samples of the outputs, and the answers."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, JsonValue, ValidationError, model_validator

from edgewright.base.errors import UserError
from edgewright.base.files import new_folder, read_inside
from edgewright.base.schema import Part, parse_json, translate_errors
from edgewright.model.contract.preprocess import Floats
from edgewright.model.contract.task_base import TaskOutput
from edgewright.model.contract.task_cards import AnyCard, TaskCard, TensorCard
from edgewright.model.pack import rounding
from edgewright.model.pack.golden import EXPECTED, EXPECTED_BYTES
from edgewright.model.tasks.inference import Engine, Inference, task_of
from edgewright.model.tasks.task import Agreement, Task

MOST_SAMPLES = 256  # of an output: an error of arithmetic shows in any of them
# Of an output's largest value. One step of 255 is 0.4 %, and rounding may move a value by some.
OUTPUT_TOLERANCE = 0.02
MOST_TOLERANCE = 0.25  # likewise, of a network that magnifies rounding: more would show no error
MOST_CASES = 8


class Samples(Part):
    """Every `step`-th value of one output, the first first."""

    step: Annotated[int, Field(ge=1)]
    values: tuple[float, ...]


class TaskCase(Part):
    """An image, or a file for each input, and what the network says of it."""

    image: str | None = None
    tensors: tuple[str, ...] | None = None
    samples: tuple[Samples, ...]
    expected: dict[str, JsonValue]  # the task's answer

    @model_validator(mode="after")
    def _has_files(self) -> "TaskCase":
        if (self.image is None) == (self.tensors is None):
            raise ValueError("expected either image or tensors")
        return self

    @property
    def files(self) -> tuple[str, ...]:
        return self.tensors or (self.image or "",)


class TaskExpected(Part):
    """`golden/expected.json` of a task beyond classification."""

    schema_: Literal[2] = 2
    tolerance: Annotated[float, Field(ge=0, lt=1)]
    overlap: Annotated[float, Field(ge=0, lt=1)]
    output_tolerances: tuple[Annotated[float, Field(ge=0)], ...]  # in the order of the card
    cases: Annotated[tuple[TaskCase, ...], Field(min_length=1)]


Files = tuple[Path, ...]  # of one case: an image, or a `.npy` for each input


def write_task_golden(
    model: Path, card: TaskCard, cases: Sequence[Files], out: Path
) -> TaskExpected:
    """Write the folder `out`: the files of each case and `expected.json`.

    A case whose answer depends on how values round inside the network is left out. Raises UserError
    for files that do not fit the card, for outputs that are not finite, and if no case remains.
    """
    agreement = Agreement()
    with new_folder(out) as folder:
        names = [_copied(files, folder, number) for number, files in enumerate(cases)]
        paths = [[folder / name for name in files] for files in names]
        engine = Engine(model, card)
        results = [engine.infer(files) for files in paths]
        moved = _moved(model, card, paths, results)
        steady, facts = [], []
        for files, result, moves in zip(names, results, moved, strict=True):
            if reason := _unsteady(card, result, moves, agreement):
                facts.append(f"{', '.join(files)}: {reason}")
                for name in files:
                    (folder / name).unlink()
            else:
                steady.append((files, result, moves))
        if not steady:
            raise UserError(
                str(model),
                "every answer depends on how values round inside the network: a board's would"
                " differ",
                facts=facts[:3],
                next="take other files, a better network, or its FP32 form",
            )
        expected = TaskExpected(
            tolerance=agreement.tolerance,
            overlap=agreement.overlap,
            output_tolerances=tuple(
                _tolerance(
                    output,
                    [result.outputs[place] for _, result, _ in steady],
                    max(moves.outputs[place] for _, _, moves in steady),
                )
                for place, output in enumerate(card.outputs)
            ),
            cases=tuple(_case(card, files, result) for files, result, _ in steady),
        )
        content = expected.model_dump_json(indent=1, by_alias=True, exclude_none=True)
        (folder / EXPECTED).write_text(content + "\n")
    return expected


def read_task_expected(folder: Path) -> TaskExpected:
    """The golden set of a folder. Raises UserError if it is none, or has no case."""
    raw = read_inside(folder, EXPECTED, limit=EXPECTED_BYTES, next="invoke model.golden")
    return parse_json(TaskExpected, raw, str(folder / EXPECTED), "is not a golden set")


def require_task_golden(network: Path, card: TaskCard, folder: Path, model: Path) -> None:
    """Raise UserError if a golden set is not what the network itself answers to its files.

    `network` is the file that is run, `model` the user's that it was imported from.
    """
    expected = read_task_expected(folder)
    engine, task = Engine(network, card), task_of(card)
    agreement = Agreement(tolerance=expected.tolerance, overlap=expected.overlap)
    facts = []
    for case in expected.cases:
        result = engine.infer([folder / name for name in case.files])
        answer = _expected_answer(task, case, folder / EXPECTED)
        problems = task.problems(answer, result.answer, agreement)
        problems += _differences(card, expected, case, result)
        facts += [f"{', '.join(case.files)}: {problem}" for problem in problems]
    if facts:
        raise UserError(
            str(folder),
            f"is not what {model.name} answers",
            facts=facts[:5],
            next=f"invoke model.golden --model={model} --images=…",
        )


def _expected_answer(task: Task[Any, Any], case: TaskCase, path: Path) -> Part:
    try:
        answer: Part = task.answer_type.model_validate(case.expected)
    except ValidationError as invalid:
        raise UserError(
            str(path),
            "is not a golden set of the card's task",
            facts=translate_errors(invalid, task.answer_type),
            next="invoke model.golden",
        ) from invalid
    return answer


def find_cases(folder: Path, card: AnyCard) -> list[Files]:
    """The cases that a folder holds: its images, or its `.npy` files.

    A network with several inputs takes a folder for each case, with `0.npy`, `1.npy` and so on in
    the order of the card. Raises UserError if there is none.
    """
    if not folder.is_dir():
        raise UserError(str(folder), "is no folder")
    if isinstance(card, TensorCard) and len(card.inputs) > 1:
        names = [f"{number}.npy" for number in range(len(card.inputs))]
        inner = sorted(path for path in folder.iterdir() if path.is_dir())
        cases = [tuple(path / name for name in names) for path in inner]
        expected = f"a folder for each case, with {', '.join(names)} in it"
    else:
        suffixes = {".npy"} if isinstance(card, TensorCard) else IMAGE_SUFFIXES
        files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in suffixes)
        cases = [(path,) for path in files]
        expected = f"files that end in {', '.join(sorted(suffixes))}"
    if not cases:
        raise UserError(str(folder), "holds nothing to infer", facts=[f"expected: {expected}"])
    return cases


IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".pgm", ".ppm"}


def spread_cases(cases: Sequence[Files], count: int = MOST_CASES) -> list[Files]:
    """At most `count` of the cases, evenly spread."""
    places = np.linspace(0, len(cases) - 1, min(count, len(cases))).round().astype(int)
    return [cases[place] for place in places]


def _copied(files: Files, folder: Path, number: int) -> tuple[str, ...]:
    """The names of the copies; numbered, as files of two folders may have one name."""
    names = [f"{number}-{path.name}" for path in files]
    for path, name in zip(files, names, strict=True):
        shutil.copyfile(path, folder / name)
    return tuple(names)


def _case(card: TaskCard, files: tuple[str, ...], result: Inference) -> TaskCase:
    return TaskCase(
        image=None if isinstance(card, TensorCard) else files[0],
        tensors=files if isinstance(card, TensorCard) else None,
        samples=tuple(map(_samples, result.outputs)),
        expected=result.answer.model_dump(mode="json", by_alias=True),
    )


def _samples(output: Floats) -> Samples:
    step = max(1, -(-output.size // MOST_SAMPLES))
    values = output.reshape(-1)[::step]
    # Nine digits say a float32 exactly.
    return Samples(step=step, values=tuple(float(f"{value:.9g}") for value in values))


@dataclass(frozen=True, kw_only=True)
class _Moves:
    """What becomes of one case where values inside the network round otherwise."""

    outputs: tuple[float, ...]  # the largest difference in each
    answers: tuple[Part, ...]


def _moved(
    model: Path,
    card: TaskCard,
    cases: Sequence[Sequence[Path]],
    results: Sequence[Inference],
) -> list[_Moves]:
    engines = [Engine(network, card) for network in rounding.shifted(model)]
    moves = []
    for files, result in zip(cases, results, strict=True):
        others = [engine.infer(files) for engine in engines]
        outputs = tuple(
            max((_distance(output, result, other, place) for other in others), default=0.0)
            for place, output in enumerate(card.outputs)
        )
        moves.append(_Moves(outputs=outputs, answers=tuple(other.answer for other in others)))
    return moves


def _distance(output: TaskOutput, result: Inference, other: Inference, place: int) -> float:
    # Of an open size the task compares the answers alone; a class may flip at the border of two.
    if output.is_open or output.role == "classes":
        return 0.0
    return float(np.abs(result.outputs[place] - other.outputs[place]).max(initial=0))


def _unsteady(card: TaskCard, result: Inference, moves: _Moves, agreement: Agreement) -> str:
    """Why a case is none for a golden set; empty if it is one."""
    for answer in moves.answers:
        if problems := task_of(card).problems(result.answer, answer, agreement):
            return f"rounding inside the network changes its answer: {problems[0]}"
    for output, values, distance in zip(card.outputs, result.outputs, moves.outputs, strict=True):
        largest = float(np.abs(values).max(initial=0))
        if rounding.FACTOR * distance > MOST_TOLERANCE * largest:
            return (
                f"rounding inside the network moves {output.name} by {distance:.2g}, "
                f"its largest value is {largest:.2g}"
            )
    return ""


def _tolerance(output: TaskOutput, results: Sequence[Floats], moved: float) -> float:
    largest = max(float(np.abs(result).max(initial=0)) for result in results)
    # At the border of two labels a pixel may have either: their masks are compared.
    share = 1.0 if output.role == "classes" else OUTPUT_TOLERANCE
    return float(f"{max(share * largest, rounding.FACTOR * moved):.4g}")


def _differences(
    card: TaskCard, expected: TaskExpected, case: TaskCase, result: Inference
) -> list[str]:
    problems = []
    if not len(case.samples) == len(expected.output_tolerances) == len(card.outputs):
        return [f"expected samples of {len(card.outputs)} outputs"]
    for place, output in enumerate(card.outputs):
        samples, values = case.samples[place], result.outputs[place].reshape(-1)
        tolerance = expected.output_tolerances[place]
        if output.is_open:  # the task compares what may have another number of values
            continue
        sampled = values[:: samples.step]
        if len(sampled) != len(samples.values):
            problems.append(f"{output.name} has {len(values)} values")
        elif (worst := np.abs(sampled - samples.values).max(initial=0)) > tolerance:
            problems.append(f"{output.name} differs by {worst:.4g}, {tolerance:.4g} is allowed")
    return problems
