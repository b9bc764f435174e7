"""What an inference costs, counted under an emulator and estimated for the board."""

import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from invoke.context import Context
from rich.table import Table

from edgewright.base import digest
from edgewright.base.errors import UserError
from edgewright.base.files import make_folder
from edgewright.base.layout import user_cache
from edgewright.base.schema import Document
from edgewright.board.catalogue import board_names
from edgewright.board.profile import BoardProfile
from edgewright.build import container, packages, pipeline
from edgewright.build import sdk as sdks
from edgewright.build.external_toolchain import with_external_toolchain
from edgewright.build.wheel import LIBRARY
from edgewright.cli import build_screens, screens
from edgewright.cli.build import BuildOptions, ModelPath, build_release
from edgewright.cli.common import (
    ERR,
    OUT,
    BoardName,
    Json,
    Reach,
    board_folders,
    checkout,
    heavy,
    model_path,
    profile_of,
    say,
    task,
    task_named,
    workspace,
    write_document,
)
from edgewright.cli.documents import written_files
from edgewright.cli.keys import signing_policy
from edgewright.observe import frame_cost, goal_report, sdk_cost
from edgewright.observe import startup as start_up
from edgewright.observe import transfer_rate as transfer_bench
from edgewright.observe.build_cost import CostVerdict, build_cost, judged_cpus, parse_cpus
from edgewright.observe.build_time import BuildTimes, Compilation, compilation
from edgewright.observe.count import baseline
from edgewright.observe.count.instructions import (
    Cost,
    InstructionReport,
    Program,
    measure,
    program_of_release,
)
from edgewright.observe.estimate import board_time as estimates
from edgewright.observe.peers import compare, peers
from edgewright.release import latest
from edgewright.release.sdk import Sdk, load_sdk


@dataclass(frozen=True, kw_only=True)
class Counted:
    """The program whose instructions are counted, and the model that it runs."""

    board: BoardName
    model: ModelPath = ""
    program: Annotated[
        str, "an edge-infer with its symbols, instead of the one that invoke build makes"
    ] = ""


@task
def instructions(
    c: Context,
    counted: Counted,
    vs: Annotated[
        str, f"to count on the same model and input: {', '.join(peers.NAMES)}, other boards"
    ] = "",
    plot: Annotated[str, "with --vs: an SVG file to draw the table into"] = "",
    top: Annotated[int, "how many functions and operators to list"] = 20,
    json: Json = False,
) -> None:
    """Count guest instructions per inference. Example: invoke bench.instructions --board=a53-som"""
    names, boards = peers.parse_peers(vs, board_names(*board_folders()))
    program = _counted_program(counted)
    report = program.report
    head = f"{report.board}: guest instructions on {report.cpu}, 1 thread, batch 1"
    if names or boards:
        others = [_counted_program(Counted(board=other, model=counted.model)) for other in boards]
        comparison = compare.compare(_contest(program, others, counted.model), names)
        if plot:
            heavy("peers.plot", "observe").draw(comparison, Path(plot))
        if json:
            write_document(comparison)
        else:
            OUT.print(head, markup=False)
            OUT.print(_peer_table(comparison.rows))
            for row in comparison.rows:
                if row.nodes is not None:
                    say(f"{row.runtime} {row.precision}: {row.nodes} nodes, the rest is the CPU's")
        return
    if json:
        write_document(report)
        return
    OUT.print(head, markup=False)
    OUT.print(f"inference    {report.inference / 1e6:10,.1f} M")
    OUT.print(f"session load {report.load / 1e6:10,.1f} M")
    OUT.print(_cost_table("operator", report.operators[:top]))
    OUT.print(_cost_table("function", report.functions[:top]))


@task
def check(c: Context, board: BoardName, model: ModelPath = "", json: Json = False) -> None:
    """Fail where an inference or a file grew by 2 %. Example: invoke bench.check --board=a53-som"""
    read = baseline.read_baseline(workspace().baseline)
    cost = _cost(board, model, judged_cpus(profile_of(board), _accepted(read, board, model)))
    verdict = CostVerdict.of(cost, baseline.require_no_growth(cost, read))
    for core in verdict.cores:
        say(f"{board}: {core.sentence}")
    if json:
        write_document(verdict)


@task
def accept(
    c: Context,
    board: BoardName,
    model: ModelPath = "",
    cpus: Annotated[
        str, "QEMU's models of cores to count on, besides the board's and those accepted before"
    ] = "",
    json: Json = False,
) -> None:
    """Accept what an inference costs now. Example: invoke bench.accept --board=a53-som"""
    before, profile = baseline.read_baseline(workspace().own_baseline), profile_of(board)
    added = parse_cpus(cpus, profile)
    cost = _cost(board, model, judged_cpus(profile, _accepted(before, board, model), added))
    baseline.write_baseline(
        workspace().own_baseline, before.accepting(board, cost.model, cost.accepted())
    )
    for core in CostVerdict.of(cost, cost.accepted()).cores:
        say(f"{workspace().own_baseline}: {board}: {core.sentence}")
    if json:
        write_document(written_files([workspace().own_baseline]))


@task
def time(c: Context, counted: Counted, json: Json = False) -> None:
    """Estimate, with a range, the board's time. Example: invoke bench.time --board=a53-som"""
    profile = profile_of(counted.board)
    estimates.require_modelled(profile)
    program = _program(counted)
    with screens.waiting(ERR, f"count instructions and caches, {counted.board}"):
        estimate = estimates.estimate(program, profile, workspace().resources)
    if json:
        write_document(estimate)
        return
    modelled = estimate.modelled
    for line in (
        f"{estimate.board}: an estimate, not a measurement, at {estimate.mhz} MHz",
        f"model        {modelled.instructions:,.0f} M instructions, {modelled.compute:,.0f} M "
        f"cycles, {modelled.memory:,.0f} M more for the caches",
        f"calibration  within {estimate.error:.0%} of published times of Cortex-A53 boards",
        f"1 thread     {build_screens.range_text(estimate.one_thread_ms)}",
        f"{estimate.threads} threads    {build_screens.range_text(estimate.ms)}",
        f"budget       {estimate.budget_ms:,.0f} ms: {estimate.judgement}",
    ):
        OUT.print(line, markup=False)


@task
def build(
    c: Context,
    board: BoardName,
    second: Annotated[
        str, "another board, built after it with the compiler's cache that the first left"
    ] = "",
    everything: Annotated[bool, "compile all sources too, first; --no-everything skips it"] = True,
    json: Json = False,
) -> None:
    """Time cold builds of the runtime. Example: invoke bench.build --board=a53-som"""
    profiles = tuple(profile_of(name) for name in (board, second) if name)
    with tempfile.TemporaryDirectory(prefix="edgewright-timed-") as scratch:
        builds = _cold_builds(profiles, Path(scratch), everything)
        times = BuildTimes(builds=tuple(builds))
    if json:
        write_document(times)
        return
    table = Table("board", "compiled", box=None, pad_edge=False)
    for column in ("steps", "s", "core s", "whole s", "of the first"):
        table.add_column(column, justify="right")
    for timed in times.builds:
        ratio = timed.whole_seconds / times.builds[0].whole_seconds
        figures = (f"{timed.steps}", f"{timed.seconds:.0f}", f"{timed.core_seconds:.0f}")
        table.add_row(
            timed.board, timed.what, *figures, f"{timed.whole_seconds:.0f}", f"{ratio:.3f}"
        )
    OUT.print(table)
    if everything:
        say("the program is the same" if times.identical else "the programs differ")


@task
def growth(
    c: Context,
    board: BoardName,
    model: ModelPath = "",
    boards: Annotated[int, "to build for, with one model"] = 24,
    models: Annotated[int, "to build, for one board"] = 20,
    json: Json = False,
) -> None:
    """Cost of more boards, more models of one kind. Example: invoke bench.growth --board=a53-som"""
    for option, count in (("boards", boards), ("models", models)):
        if count < 1:
            raise UserError(f"--{option}={count}", "expected 1 or more", next="leave it out")
    with screens.progress(ERR) as progress:
        curve = heavy("build_growth", "observe").measure(
            workspace(),
            profile_of(board),
            model_path(model),
            boards=boards,
            models=models,
            jobs=os.cpu_count() or 1,
            progress=progress,
        )
    if json:
        write_document(curve)
        return
    for kind, points in (("boards", curve.boards), ("models", curve.models)):
        table = Table(box=None, pad_edge=False)
        for column in (kind, "s", "s each", "MB in build/", "MB in the cache", "peak MiB"):
            table.add_column(column, justify="right", no_wrap=True)
        for point in points:
            sizes = (point.workspace_bytes, point.cache_bytes)
            table.add_row(
                f"{point.count}",
                f"{point.seconds:.0f}",
                f"{point.seconds / point.count:.1f}",
                *(f"{size / 1e6:,.1f}" for size in sizes),
                f"{point.peak_mib:.0f}",
            )
        OUT.print(table)


def _cold_builds(
    profiles: Sequence[BoardProfile], scratch: Path, everything: bool
) -> Iterator[Compilation]:
    """Builds in a workspace of their own: none of them is a release that a deploy would take."""
    first = pipeline.BuildRequest(
        profile=profiles[0],
        model=model_path(""),
        workspace=workspace().for_measuring(scratch),
        jobs=os.cpu_count() or 1,
    )
    # Before anything is compiled: not every model can be changed.
    changed = heavy("build_growth", "observe").changed_model(first.model, scratch / "model", 1)
    if everything:
        with _cold_cache() as cache:
            yield _timed_build("everything", replace(first, cache=cache, all_sources=True))
    with _cold_cache() as cache:
        linked = replace(first, cache=cache)
        yield _timed_build("what is linked", linked)
        yield _timed_build("a changed model", replace(linked, model=changed))
        for profile in profiles[1:]:
            step = "what is linked, after the first board"
            yield _timed_build(step, replace(linked, profile=profile))


@contextmanager
def _cold_cache() -> Iterator[Path]:
    """A cache that holds the downloaded sources alone, for as long as the builds take."""
    cache = user_cache()
    make_folder(cache)
    # Inside the user's cache, because hard links do not reach another file system.
    with tempfile.TemporaryDirectory(prefix="edgewright-cold-", dir=cache) as folder:
        if (cache / "sources").is_dir():
            shutil.copytree(cache / "sources", Path(folder) / "sources", copy_function=os.link)
        yield Path(folder)


def _timed_build(step: str, request: pipeline.BuildRequest) -> Compilation:
    with screens.progress(ERR) as progress:
        report = pipeline.build(request, progress)
    runtime = next(stage for stage in report.stages if stage.name == packages.RUNTIME)
    log = request.out.logs / f"{packages.RUNTIME}.log"
    program = digest.file_sha256(report.folder / "bin" / "edge-infer")
    # The log of a package from the cache is that of an earlier build.
    lines = log.read_text().splitlines() if runtime.origin == "built" else []
    return compilation(
        report.board, step, runtime.seconds, lines, program, whole_seconds=report.seconds
    )


@task
def startup(
    c: Context,
    rounds: Annotated[int, "how often each is started; the least time counts"] = 7,
    release: Annotated[str, "verify the release in this .tar.gz too; exit 4 above 2 s"] = "",
    json: Json = False,
) -> None:
    """Time the start of the command line; exit 4 if slow. Example: edgewright bench.startup"""
    report = start_up.measure(workspace().root, rounds, Path(release) if release else None)
    if json:
        write_document(report)
    else:
        table = Table("command", box=None, pad_edge=False)
        table.add_column("processor s", justify="right")
        table.add_column("times import invoke", justify="right")
        table.add_row("python -c 'import invoke'", f"{report.reference_seconds:.3f}", "1.00")
        for start in report.starts:
            table.add_row(start.command, f"{start.seconds:.3f}", f"{start.ratio:.2f}")
        OUT.print(table)
    start_up.require_quick(report)  # after the table: a slow start is to be seen in it


@task
def serve(
    c: Context,
    counted: Counted,
    requests: Annotated[int, "how many are asked while memory is looked at"] = 100_000,
    json: Json = False,
) -> None:
    """Cost and memory of edge-infer serve. Example: invoke bench.serve --board=a53-som"""
    serve_cost = heavy("serve_cost", "observe")
    if requests < serve_cost.LEAST_REQUESTS:
        expected = f"expected {serve_cost.LEAST_REQUESTS} and more"
        raise UserError(f"--requests={requests}", expected, next="leave it out")
    program = _program(counted)
    with screens.waiting(ERR, f"ask edge-infer serve {requests:,} times, {counted.board}"):
        cost = serve_cost.measure(program, counted.board, workspace().resources, requests)
    if json:
        write_document(cost)
    else:
        OUT.print(f"{cost.board}: edge-infer serve, without the network", markup=False)
        for part in cost.own:
            OUT.print(f"{part.kind:<6} {part.instructions:8,} instructions a request")
        added = cost.observing
        share = f"{added.share:.2%} of {added.inference:,}"
        OUT.print(f"governor   {added.governor:8,} instructions an inference")
        OUT.print(f"histograms {added.histograms:8,}, both {share}")
        for memory in cost.memory:
            count = f"{memory.requests:8,} requests: {memory.resident_kb:,} KiB resident"
            OUT.print(f"after  {count}, {memory.descriptors} descriptors")
    serve_cost.require_bounds(cost)  # after the figures, which say why


@task
def frames(c: Context, counted: Counted, json: Json = False) -> None:
    """Cost of a camera's frames before the network. Example: invoke bench.frames --board=a53-som"""
    program = _program(counted)
    with screens.waiting(ERR, f"decode frames, {counted.board}"):
        costs = frame_cost.measure(program, counted.board, workspace().resources)
    head = f"{costs.board}: from the file to the network's input, on {costs.cpu}, 1 thread"
    _show(costs, head, [_frame_table(costs)], json=json)
    frame_cost.require_goals(costs)  # after the table, which says by how much


@task_named("all")
def all_figures(c: Context, board: BoardName, model: ModelPath = "", json: Json = False) -> None:
    """All figures that have goals; exit 4 above one. Example: invoke bench.all --board=a53-som"""
    accepted = _accepted(baseline.read_baseline(workspace().baseline), board, model)
    cost = _cost(board, model, judged_cpus(profile_of(board), accepted))
    program = _latest_program(board)
    with screens.waiting(ERR, f"decode frames, {board}"):
        costs = frame_cost.measure(program, board, workspace().resources)
    peak = goal_report.held_at_inference(program)
    report = goal_report.report(cost, costs, peak, profile_of(board))
    parts = dict.fromkeys(figure.table for figure in report.figures)
    head = f"{report.board}, {report.model}: 1 thread, batch 1"
    _show(report, head, [_goal_table(part, report) for part in parts], json=json)
    goal_report.require_goals(report)  # after the table, which says by how much


def _show(document: Document, head: str, tables: Sequence[Table], *, json: bool) -> None:
    if json:
        write_document(document)
        return
    OUT.print(head, markup=False)
    for table in tables:
        OUT.print(table)


def _goal_table(part: str, report: goal_report.GoalReport) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column(part, no_wrap=True)
    table.add_column("on", no_wrap=True)
    for column in ("value", "goal"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("")
    for figure in report.figures:
        if figure.table == part:
            goal = "" if figure.goal is None else f"{figure.goal:,}"
            cells = (f"{figure.name}, {figure.unit}", figure.cpu or "", f"{figure.value:,}", goal)
            table.add_row(*cells, "above" if figure.is_above else "")
    return table


def _frame_table(costs: frame_cost.FrameCosts) -> Table:
    table = Table("frame", box=None, pad_edge=False)
    for column in ("kB", "M instructions", "goal", "peak MiB", "goal"):
        table.add_column(column, justify="right")
    for cost in costs.frames:
        table.add_row(
            cost.frame,
            f"{cost.file_bytes / 1e3:,.0f}",
            f"{cost.instructions / 1e6:,.1f}",
            "" if cost.goal is None else f"{cost.goal / 1e6:,.0f}",
            "" if cost.peak_kb is None else f"{cost.peak_kb / 1024:.1f}",
            "" if cost.peak_goal_kb is None else f"{cost.peak_goal_kb / 1024:.0f}",
        )
    return table


@task
def sdk(
    c: Context,
    counted: Counted,
    vs: Annotated[
        str, f"libraries to count on the same model: {', '.join(sdk_cost.LIBRARIES)}"
    ] = "",
    json: Json = False,
) -> None:
    """What an SDK costs your program. Example: invoke bench.sdk --board=a53-som"""
    names = sdk_cost.parse_libraries(vs)
    program, profile = _program(counted), profile_of(counted.board)
    log = workspace().build(counted.board).logs / "bench-sdk.log"
    request = sdks.SdkRequest(
        profile=profile,
        models=(model_path(counted.model),),
        workspace=workspace(),
        jobs=os.cpu_count() or 1,
    )
    with screens.progress(ERR) as progress:
        built = load_sdk(sdks.build_sdk(request, progress).folder)
    builder = with_external_toolchain(container.choose("auto", workspace(), log), profile, log)
    with screens.waiting(ERR, f"count the SDK's example, {counted.board}"):
        cost = sdk_cost.measure(built, program, profile, builder, workspace().resources)
    tables = [_sdk_table(cost)]
    if names:
        rows = _library_rows(counted, request, built, names)
        cost = cost.model_copy(update={"runtimes": rows})
        tables.append(_peer_table(rows))
    head = f"{cost.board}: SDK {cost.sdk}, on {cost.cpu}, 1 thread"
    _show(cost, head, tables, json=json)
    sdk_cost.require_goals(cost)  # after the table, which says by how much


def _library_rows(
    counted: Counted, request: sdks.SdkRequest, built: Sdk, names: Sequence[str]
) -> tuple[compare.Row, ...]:
    """An SDK's library beside others, by the driver that calls each alike."""
    libraries = {"SDK": built.folder / "lib" / LIBRARY}
    if sdk_cost.ALL in names:
        all_operators = replace(request, models=(), operators="all")
        with screens.progress(ERR) as progress:
            folder = sdks.build_sdk(all_operators, progress).folder
        libraries["SDK, all operators"] = folder / "lib" / LIBRARY
    contest = _contest(_counted_program(counted), (), counted.model)
    others = [name for name in names if name != sdk_cost.ALL]
    with screens.waiting(ERR, f"count the libraries, {counted.board}"):
        return compare.compare_libraries(contest, libraries, others).rows


def _sdk_table(cost: sdk_cost.SdkCost) -> Table:
    table = Table("of the SDK", box=None, pad_edge=False)
    for column in ("cost", "goal", ""):
        table.add_column(column, justify="right")
    for library in cost.libraries:
        goal = "" if library.goal is None else f"{library.goal:,}"
        table.add_row(library.file, f"{library.bytes:,}", goal, "bytes")
    unit = "instructions an image"
    table.add_row("edge-infer", f"{cost.edge_infer:,}", "", unit)
    table.add_row(sdk_cost.EXAMPLE, f"{cost.example:,}", f"{cost.goal:,}", unit)
    table.add_row("more than edge-infer", f"{cost.share:.3%}", f"{sdk_cost.MOST_SHARE:.1%}", "")
    return table


@task
def calibrate(c: Context, json: Json = False) -> None:
    """Model published networks anew. Example: invoke bench.calibrate"""
    log = checkout().root / "build" / "calibrate.log"
    with tempfile.TemporaryDirectory(prefix="edgewright-calibrate-") as scratch:
        calibration = estimates.calibrate(workspace().resources, Path(scratch), log)
    workspace().resources.calibration.write_text(calibration.model_dump_json(indent=2) + "\n")
    table = Table("board", "network", box=None, pad_edge=False)
    for column in ("published ms", "estimate ms", "differs"):
        table.add_column(column, justify="right")
    for published, ms in estimates.residuals(calibration):
        table.add_row(
            published.board,
            published.network,
            f"{published.ms:.0f}",
            f"{ms:.0f}",
            f"{ms / published.ms - 1:+.0%}",
        )
    OUT.print(table)
    file = workspace().resources.calibration
    say(f"{file}: scale {calibration.scale:.2f}, error {calibration.error:.0%}")
    if json:
        write_document(calibration)


def _program(counted: Counted) -> Program:
    # A program that the user brings runs the model of the last release, and nothing is built;
    # but a model that is named must first become a release.
    if not counted.program or counted.model:
        build_release(BuildOptions(board=counted.board, model=counted.model, estimate=False))
    return _latest_program(
        counted.board, Path(counted.program).resolve() if counted.program else None
    )


def _latest_program(board: str, binary: Path | None = None) -> Program:
    out = workspace().build(board)
    folder = latest.release_of(out).folder
    return program_of_release(folder, profile_of(board), out, binary)


def _count(program: Program, board: str) -> InstructionReport:
    with screens.waiting(ERR, f"count the instructions of an inference, {board}"):
        return measure(program, board, workspace().resources)


def _cost(board: str, model: str, cpus: Sequence[str]) -> baseline.BuildCost:
    program, profile = _program(Counted(board=board, model=model)), profile_of(board)
    manifest = latest.release_of(workspace().build(board)).manifest
    name = model_path(model).parent.name
    with screens.waiting(ERR, f"count the instructions of an inference, {board}"):
        return build_cost(program, profile, manifest, name, cpus, workspace().resources)


def _accepted(read: baseline.Baseline, board: str, model: str) -> baseline.AcceptedBuild | None:
    return read.of(board, model_path(model).parent.name)


def _counted_program(counted: Counted) -> compare.CountedProgram:
    program = _program(counted)
    return compare.CountedProgram(
        program=program,
        report=_count(program, counted.board),
        precision="S8S8" if profile_of(counted.board).runtime.xnnpack else "INT8",
    )


def _contest(
    program: compare.CountedProgram, others: Sequence[compare.CountedProgram], model: str
) -> compare.Contest:
    return compare.Contest(
        workspace=workspace(),
        program=program,
        other_boards=others,
        onnx=model_path(model),
        log=workspace().build(program.report.board).logs / "peers.log",
    )


def _peer_table(rows: Sequence[compare.Row]) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in ("runtime", ""):
        table.add_column(column, no_wrap=True)
    for column in ("M each", "ratio", "M load", "kB", "needs kB", "MiB", "differs"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(
            row.runtime,
            row.precision,
            f"{row.inference / 1e6:,.0f}",
            f"{row.inference / rows[0].inference:.2f}",
            f"{row.load / 1e6:,.0f}",
            f"{row.bytes / 1e3:,.0f}",
            f"{row.dependency_bytes / 1e3:,.0f}",
            f"{row.peak_kb / 1024:.1f}",
            f"{row.difference:.4f}",
        )
    return table


def _cost_table(kind: str, costs: Sequence[Cost]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column(kind, no_wrap=True, max_width=52)
    for column in ("nodes", "M instructions", "share") if kind == "operator" else ("M", "share"):
        table.add_column(column, justify="right")
    for cost in costs:
        nodes = [str(cost.calls)] if kind == "operator" else []
        # Nearly all functions lie in these namespaces; without them the names fit a line.
        name = re.sub(r"\b(onnxruntime|contrib|concurrency)::", "", cost.name)
        table.add_row(name, *nodes, f"{cost.instructions / 1e6:,.1f}", f"{cost.share:.1%}")
    return table


@task
def transfer(
    c: Context,
    reach: Reach,
    megabytes: Annotated[int, "of the model that is sent"] = 8,
    rounds: Annotated[int, "how often; the median counts"] = 3,
    json: Json = False,
) -> None:
    """Compare deploys with plain SSH. Example: invoke bench.transfer --board=rpi2 --emulated"""
    release = latest.release_of(workspace().build(reach.board))
    with reach.connect() as board:
        signer = signing_policy().signer(emulated=board.target.emulated)
        report = transfer_bench.run(board, release, signer, megabytes=megabytes, rounds=rounds)
    if json:
        write_document(report)
        return
    ratios = ", ".join(f"{ratio:.2f}" for ratio in report.rate_ratios)
    say(f"{report.target}: {report.model_bytes:,} bytes, {rounds} rounds")
    say(f"rate: {report.rate_ratio:.2f} of ssh host 'cat > file' ({ratios})")
    say(
        f"model update: {report.sent_bytes:,} bytes sent for {report.changed_bytes:,} changed, "
        f"{report.update_ratio:.3f} times"
    )
    say(f"nothing to do: {report.noop_round_trips} round trip(s) after the login")
