"""Brings together what is known of a release: its files, its records, and what a board said."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgewright.base.errors import UserError
from edgewright.base.schema import read_record
from edgewright.board.elf import read_elf
from edgewright.board.symbol_store import debug_path
from edgewright.build.pipeline import BuildReport
from edgewright.deploy.report import Check, SmokeReport
from edgewright.deploy.smoke import PROGRAM
from edgewright.observe.bench.report import BoardBench
from edgewright.observe.report.composition import (
    Composition,
    composition,
    network_composition,
    runtime_folders,
)
from edgewright.observe.report.document import (
    Evaluation,
    Former,
    Ingredient,
    Metric,
    ReleasedFile,
    ReleaseReport,
)
from edgewright.release.evidence import beside, read_bill
from edgewright.release.manifest import Manifest, Release
from edgewright.release.run_file import MODEL

RUNTIME_LIBRARY = "bin/libonnxruntime.so.1"  # of shared linkage
MOST_METRICS, MOST, NAME = 60, 1e15, 120  # a card may tell anything, at any length


@dataclass(frozen=True, kw_only=True)
class ReportInputs:
    """What a report is made of; None: it is not there."""

    manifest: Manifest
    release: Release | None  # on this machine
    target: str | None
    former: Manifest | None
    former_reason: str | None
    reports: Path  # folder of the board's last build and smoke test
    stores: Sequence[Path]  # of symbols by build id
    links: Path  # ONNX Runtime's sources, with their folders
    bench: BoardBench | None
    evaluation: Evaluation | None


def collect(inputs: ReportInputs) -> ReleaseReport:
    """The document of the page. Raises UserError for a measurement of another release."""
    manifest, bench, former = inputs.manifest, inputs.bench, inputs.former
    if bench and bench.release != manifest.id:
        raise UserError(
            "--bench",
            "is of another release",
            facts=[f"expected: {manifest.id}", f"found: {bench.release}"],
            next="invoke bench.board measures this one",
        )
    smoke = read_record(SmokeReport, inputs.reports / "smoke.json")
    programs, programs_reason = _programs(inputs)
    network, network_reason = _network(inputs.release)
    ingredients, ingredients_reason = _ingredients(inputs.release)
    smoke = smoke if smoke and smoke.release == manifest.id else None
    metrics, metrics_source = _metrics(inputs)
    return ReleaseReport(
        board=manifest.board,
        target=inputs.target or (bench.target if bench else None),
        release=manifest.id,
        model=manifest.model.name,
        runtime=_runtime(manifest),
        revision=manifest.source.revision,
        dirty=manifest.source.dirty,
        threads=manifest.runtime.threads,
        linkage=manifest.runtime.linkage,
        latency_budget_ms=manifest.budgets.latency_ms,
        peak_rss_budget_mb=manifest.budgets.peak_rss_mb,
        bytes=manifest.total_bytes,
        files=tuple(_files(manifest, former)),
        operators=_operators(inputs),
        programs=programs,
        programs_reason=programs_reason,
        network=network,
        network_reason=network_reason,
        metrics=metrics,
        metrics_source=metrics_source,
        checks=_checks(smoke, bench),
        bench=bench,
        smoke=smoke,
        former=_former(former) if former else None,
        former_reason=inputs.former_reason,
        ingredients=ingredients,
        ingredients_reason=ingredients_reason,
    )


def _operators(inputs: ReportInputs) -> tuple[str, ...] | None:
    """By the record of the build that made the release."""
    build = read_record(BuildReport, inputs.reports / "build.json")
    is_its = build is not None and build.release == inputs.manifest.id
    return tuple(build.coverage.required) if build and is_its else None


def _runtime(manifest: Manifest) -> str:
    return f"{manifest.runtime.name} {manifest.runtime.version}"


def _former(manifest: Manifest) -> Former:
    return Former(
        release=manifest.id,
        model=manifest.model.name,
        runtime=_runtime(manifest),
        bytes=manifest.total_bytes,
    )


def _files(manifest: Manifest, former: Manifest | None) -> Iterator[ReleasedFile]:
    """Of both releases, the largest first."""
    sizes = {file.path: file.bytes for file in manifest.files}
    before = {file.path: file.bytes for file in former.files} if former else {}
    budgets = {PROGRAM: manifest.budgets.binary_bytes, MODEL: manifest.budgets.model_bytes}
    for path in sorted({*sizes, *before}, key=lambda path: (-sizes.get(path, 0), path)):
        yield ReleasedFile(
            path=path,
            bytes=sizes.get(path),
            budget=budgets.get(path),
            former_bytes=before.get(path),
        )


def _programs(inputs: ReportInputs) -> tuple[tuple[Composition, ...], str | None]:
    if inputs.release is None:
        return (), "the release is not on this machine"
    folders, programs = runtime_folders(inputs.links), list[Composition]()
    for path in (PROGRAM, RUNTIME_LIBRARY):
        program = inputs.release.folder / path
        if not program.is_file():
            continue
        build_id = read_elf(program).build_id or ""
        places = (debug_path(store, build_id) for store in inputs.stores)
        symbols = next((place for place in places if build_id and place.is_file()), None)
        if symbols is None:
            return (), f"the symbols of build {build_id or 'unknown'} are not on this machine"
        programs.append(composition(path, program, symbols, folders))
    return tuple(programs), None


def _network(release: Release | None) -> tuple[Composition | None, str | None]:
    if release is None:
        return None, "the release is not on this machine"
    try:
        return network_composition(MODEL, release.folder / MODEL), None
    except UserError as fault:
        return None, f"{MODEL} {fault.problem}"


def _ingredients(release: Release | None) -> tuple[tuple[Ingredient, ...], str | None]:
    if release is None:
        return (), "the release is not on this machine"
    evidence = beside(release)
    if not evidence.sbom.is_file():
        return (), "no bill of materials lies beside the release"
    _, sbom = read_bill(evidence)
    rows = (
        Ingredient(
            name=item.name,
            version=item.version,
            kind=item.type,
            licence=item.licence,
            purl=item.purl,
            sha256=item.sha256,
        )
        for item in sbom.components
    )
    return tuple(rows), None


def _checks(smoke: SmokeReport | None, bench: BoardBench | None) -> tuple[Check, ...]:
    """A measurement's own judgement of memory and time stands before that of the smoke test."""
    measured = bench.budgets if bench else ()
    names = {check.name.partition(",")[0] for check in measured}
    return (*(c for c in (smoke.checks if smoke else ()) if c.name not in names), *measured)


def _metrics(inputs: ReportInputs) -> tuple[tuple[Metric, ...], str | None]:
    """Those of an evaluation, else of the card."""
    if (evaluation := inputs.evaluation) is not None:
        figures = {name: getattr(evaluation, name) for name in ("accuracy", "auc", "defect_recall")}
        rows = tuple(
            Metric(
                name=name.replace("_", " "), value=figure.value, low=figure.low, high=figure.high
            )
            for name, figure in figures.items()
        )
        return rows, f"evaluation on {evaluation.count:,} images, {evaluation.images}"
    rows = tuple(card_metrics(inputs.manifest.model.card))
    before = inputs.former.model.card if inputs.former else {}
    values = {metric.name: metric.value for metric in card_metrics(before)}
    rows = tuple(row.model_copy(update={"former": values.get(row.name)}) for row in rows)
    return rows[:MOST_METRICS], "the model's card" if rows else None


def card_metrics(card: Mapping[str, Any]) -> Iterator[Metric]:
    """All numbers that a card tells under `metrics`, by the names that lead to them."""
    yield from _numbers(card.get("metrics"), ())


def _numbers(value: Any, names: tuple[str, ...]) -> Iterator[Metric]:
    if isinstance(value, Mapping):
        ends = {name: value.get(name) for name in ("value", "low", "high")}
        if all(map(_is_number, ends.values())):
            yield Metric(name=_name(names), **ends)
            return
        for name, item in value.items():
            yield from _numbers(item, (*names, str(name)))
    elif _is_number(value):
        yield Metric(name=_name(names), value=float(value))


def _name(names: Sequence[str]) -> str:
    return ", ".join(names).replace("_", " ")[:NAME]


def _is_number(value: Any) -> bool:
    # A card's number may have any length; one that is none is no less than anything.
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < MOST
