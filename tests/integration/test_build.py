"""The main job on real parts: build, its caches, its faults, and the board's answers."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import onnx
import pytest

from edgewright.base.errors import UserError
from edgewright.base.progress import Stages
from edgewright.base.workspace import Workspace
from edgewright.board.catalogue import load_board
from edgewright.board.elf import read_elf
from edgewright.board.profile import Arch, BoardProfile, ServiceCommand
from edgewright.build import packages, pipeline
from edgewright.build.container import DockerBuilder, docker_builder
from edgewright.build.pipeline import BuildReport
from edgewright.cli.build_screens import BuildDocument
from edgewright.client import Status
from edgewright.deploy import service, smoke
from edgewright.deploy.documents import deploy_report
from edgewright.deploy.install import Installed
from edgewright.deploy.remote import Board, connect
from edgewright.deploy.report import SmokeReport
from edgewright.lab.emulate import EmulatedBoard
from edgewright.model.contract.card import ModelFile, read_card, write_card
from edgewright.model.pack.golden import EXPECTED, expect
from edgewright.observe.estimate.board_time import TimeEstimate, estimate_release
from edgewright.release import evidence, latest
from edgewright.release.manifest import load_release
from edgewright.release.provenance import read_statement
from tests import signing
from tests.checkout import checkout, workspace_at
from tests.integration import tiny_tasks
from tests.integration.conftest import Silent, alone, request, run_as, runs_on_its_core, wait_until
from tests.schemas import require_valid

pytestmark = pytest.mark.docker

REPO = checkout()
PROGRAM = [sys.executable, "-m", "invoke"]
PROBABILITY_TOLERANCE = 0.01


def built_stages(report: BuildReport) -> set[str]:
    return {stage.name for stage in report.stages if stage.origin == "built"}


@pytest.fixture
def clone(tmp_path: Path) -> Iterator[Workspace]:
    """A copy of what a build reads, to be changed by a test."""
    root = tmp_path / "clone"
    for name in ("board_profiles", "docker", "models", "recipes", "runtime_cpp", "toolchains"):
        shutil.copytree(REPO.root / name, root / name)
    shutil.copytree(REPO.build("a53-som").root, root / "build" / "a53-som")
    yield workspace_at(root)
    shutil.rmtree(root)


def test_a_release_holds_what_a_board_needs(built: BuildReport) -> None:
    release = load_release(built.folder)

    paths = {file.path for file in release.manifest.files}
    assert {"bin/edge-infer", "model/model.ort", "model/card.json", "model/labels.txt"} <= paths
    assert any(path.startswith("model/golden/") for path in paths)
    assert release.archive.is_file()


def test_the_bill_of_a_release_names_what_was_linked_and_its_licences(built: BuildReport) -> None:
    behind = evidence.beside(load_release(built.folder))
    _, bill = evidence.read_bill(behind)
    parts = {part.ref: part.licence for part in bill.components}

    evidence.require_licences(bill, "bill", behind.kind)
    assert len(evidence.read_texts(behind, bill)) >= len(parts)
    assert parts["onnxruntime-minimal"] == "MIT"
    assert parts["libc.a"] == "LGPL-2.1-or-later"
    assert parts["model"] == "CC-BY-NC-SA-4.0"
    # Of the libraries inside ONNX Runtime, abseil's objects are linked and re2's are not.
    assert "abseil" in parts
    assert "re2" not in parts


def test_the_provenance_of_a_release_has_every_input_by_hash(built: BuildReport) -> None:
    behind = evidence.beside(load_release(built.folder))
    statement = read_statement(behind.statement.read_bytes(), "provenance")

    image = statement.dependency("builder")
    assert image is not None
    assert len(image.digest["sha256"]) == 64
    sources = [item for item in statement.predicate.build.dependencies if ".orig." in item.name]
    assert len(sources) > 10
    assert all(len(source.digest["sha256"]) == 64 for source in sources)


def test_the_program_is_one_static_file_within_budget(built: BuildReport) -> None:
    facts = read_elf(built.folder / "bin" / "edge-infer")

    assert facts.needed == ()
    assert facts.interpreter is None
    assert facts.bytes <= 1_750_000
    assert facts.arm is not None
    assert facts.arm.vfp_args == "VFP registers"


def test_the_program_runs_on_its_board_s_core(built: BuildReport) -> None:
    runs_on_its_core(built.folder, load_board("a53-som", REPO.boards))


def test_a_core_without_the_instructions_is_told_what_it_lacks(built: BuildReport) -> None:
    """A Cortex-A7, for a program for ARMv8: one that other boards get by mistake."""
    model = str(built.folder / "model" / "model.ort")
    ended = run_as("cortex-a7", built.folder, Arch.ARMHF, "selftest", "--model", model)

    error = json.loads(ended.stdout)["error"]
    assert (ended.returncode, error["code"]) == (7, "cpu_unfit")
    assert error["detail"].endswith("; built for neon vfpv4 idiv armv8; this CPU lacks armv8")
    assert "next: build it for the board's own profile: invoke boards\n" in ended.stderr


def test_no_path_of_the_machine_that_built_it_is_in_the_program(built: BuildReport) -> None:
    content = (built.folder / "bin" / "edge-infer").read_bytes()

    for place in (b"/cache/", b"/edgewright/", b"/tmp/edgewright", str(REPO.root).encode()):
        # ONNX Runtime names its own files by paths below its sources.
        assert not re.search(rb"(?<![\w.-])" + re.escape(place), content), place


@pytest.mark.parametrize("program", ["edge-infer", "edgectl"])
def test_a_build_id_does_not_depend_on_where_it_was_built(built: BuildReport, program: str) -> None:
    """It is a hash of the symbols too, so a path in them would change the program."""
    build_id = read_elf(built.folder / "bin" / program).build_id
    assert build_id
    symbols = REPO.build("a53-som").symbols / ".build-id" / build_id[:2] / f"{build_id[2:]}.debug"

    for place in (b"/cache/", b"/tmp/", str(REPO.root).encode()):
        assert place not in symbols.read_bytes()


def test_the_model_is_within_budget(built: BuildReport) -> None:
    assert built.sizes["model/model.ort"] <= 6_200_000


def test_symbols_are_kept_by_build_id(built: BuildReport) -> None:
    build_id = read_elf(built.folder / "bin" / "edge-infer").build_id
    assert build_id

    symbols = REPO.build("a53-som").symbols / ".build-id" / build_id[:2] / f"{build_id[2:]}.debug"

    assert read_elf(symbols).build_id == build_id


def test_a_second_build_comes_from_the_cache(built: BuildReport) -> None:
    with alone():
        again = pipeline.build(request(REPO), Silent())

    assert built_stages(again) == set()
    assert again.release == built.release


def test_the_latency_budget_is_judged_before_a_board_is_at_hand(built: BuildReport) -> None:
    profile, stages = load_board("a53-som", REPO.boards), Stages(Silent())
    estimate = estimate_release(built.folder, profile, REPO, stages)
    assert estimate

    assert estimate.budget_ms == profile.budgets.latency_ms
    assert 0 < estimate.ms.low < estimate.ms.high
    assert estimate.judgement == "within"
    assert [stage.name for stage in stages.reports] == ["estimate"]


def test_a_release_is_counted_once_for_its_estimate(built: BuildReport) -> None:
    profile, stages = load_board("a53-som", REPO.boards), Stages(Silent())
    first = estimate_release(built.folder, profile, REPO, Stages(Silent()))

    again = estimate_release(built.folder, profile, REPO, stages)

    assert again == first
    assert [stage.origin for stage in stages.reports] == ["cache"]
    written = REPO.build("a53-som").estimate.read_text()
    assert TimeEstimate.model_validate_json(written) == first


def test_other_weights_keep_the_runtime(built: BuildReport, clone: Workspace) -> None:
    model = onnx.load(str(clone.default_model))
    scale = next(t for t in model.graph.initializer if t.data_type == onnx.TensorProto.FLOAT)
    changed = onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(scale) * 1.0001, scale.name)
    scale.CopyFrom(changed)
    onnx.save(model, str(clone.default_model))
    path = clone.default_model.parent / "card.json"
    card = read_card(path)
    write_card(card.model_copy(update={"file": ModelFile.of(clone.default_model)}), path)

    report = pipeline.build(request(clone), Silent())

    assert built_stages(report) <= {"model", "coverage", "release", "evidence"}
    assert report.release != built.release


def test_other_operators_ask_for_another_runtime(
    built: BuildReport, builder: DockerBuilder, clone: Workspace
) -> None:
    out = clone.build("a53-som")
    inputs = packages.PackageInputs(
        resources=clone.resources,
        builder=builder,
        conan_profile=out.conan_profile,
        toolchain=out.toolchain,
        ops_config=out.ops_config,
        linkage="static",
        kernels="neon",
        jobs=1,
        logs=out.logs,
    )
    before = {step.name: dict(step.options) for step in packages.steps(inputs)}
    out.ops_config.write_text(out.ops_config.read_text() + "ai.onnx;13;Erf\n")

    after = {step.name: dict(step.options) for step in packages.steps(inputs)}

    assert before["onnxruntime-minimal"] != after["onnxruntime-minimal"]
    assert before["edge-infer"] != after["edge-infer"]
    assert before["zlib"] == after["zlib"]


def test_a_cut_off_model_is_refused(clone: Workspace) -> None:
    model = clone.default_model
    model.write_bytes(model.read_bytes()[:100_000])

    with pytest.raises(UserError, match=r"not a valid ONNX model\n  size: 100000 bytes"):
        pipeline.build(request(clone), Silent())


def test_a_broken_builder_image_shows_the_step_and_the_log(clone: Workspace) -> None:
    dockerfile = clone.resources.docker / "builder" / "Dockerfile"
    text = dockerfile.read_text()
    broken = text.replace("ARG BASE\nFROM ${BASE}\n", "ARG BASE\nFROM ${BASE}\nRUN no-such-tool\n")
    assert broken != text
    dockerfile.write_text(broken)

    with pytest.raises(UserError) as fault:
        pipeline.build(request(clone), Silent())

    message = str(fault.value)
    assert "no-such-tool: not found" in message
    assert f"log: {clone.build('a53-som').logs / 'builder.log'}" in message
    assert "mend docker/builder/" in message


def invoke(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PROGRAM, *arguments],
        cwd=REPO.root,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_without_a_docker_daemon_both_fixes_are_told() -> None:
    unreachable = {"DOCKER_HOST": "unix:///nonexistent/docker.sock"}

    for builder in ("docker", "auto"):
        with alone():
            ended = invoke("build", "--board=a53-som", f"--builder={builder}", **unreachable)

        assert ended.returncode == 2
        assert "builder: no place to build in" in ended.stderr
        assert "invoke setup --yes" in ended.stderr
        assert "--builder=local" in ended.stderr
        assert "Traceback" not in ended.stderr


def test_an_unknown_board_is_told_with_the_near_miss() -> None:
    ended = invoke("build", "--board=a53-sm")

    assert ended.returncode == 2
    assert "did you mean 'a53-som'?" in ended.stderr


def test_the_command_line_writes_one_json_document(built: BuildReport) -> None:
    with alone():
        ended = invoke("build", "--board=a53-som", "--json")

    assert ended.returncode == 0, ended.stderr
    require_valid("build", ended.stdout)
    document = BuildDocument.model_validate_json(ended.stdout)
    assert document.release == built.release
    # The estimate is counted where this program never was.
    stages = [stage for stage in document.stages if stage.name != "estimate"]
    assert {stage.origin for stage in stages} == {"cache"}
    assert document.estimate is not None


def test_ctrl_c_while_compiling_leaves_the_former_release(
    built: BuildReport, clone: Workspace
) -> None:
    """A terminal sends the signal to all that the command has started in its group."""
    shutil.copytree(REPO.root / "edgewright", clone.root / "edgewright")
    shutil.copy(REPO.root / "edgewright.toml", clone.root)
    source = clone.resources.runtime_cpp / "common" / "document.hpp"
    source.write_text(source.read_text() + f"\n// {time.time_ns()}\n")
    command = [sys.executable, "-m", "edgewright.cli", "build", "--board=a53-som", "--no-estimate"]
    command += ["--json"]
    start = partial(
        subprocess.Popen[str],
        command,
        cwd=clone.root,
        env=os.environ | {"PYTHONPATH": str(clone.root)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    child = start()
    # It may have to wait for another test's build first.
    wait_until(lambda: compiles(clone.root), seconds=300)
    os.killpg(child.pid, signal.SIGINT)
    _, errors = child.communicate(timeout=60)

    assert child.returncode == 130
    assert errors.endswith("\ninterrupted: what was there before is unchanged\n")
    assert containers(clone.root) == []
    assert latest.release_of(clone.build("a53-som")).id == built.release
    again = start()
    output, errors = again.communicate(timeout=600)
    assert again.returncode == 0, errors
    stages = built_stages(BuildDocument.model_validate_json(output))
    assert stages >= {"edge-infer", "edgectl"}  # both include the header
    assert stages <= {"edge-infer", "edgectl", "audit", "release", "evidence"}


def test_the_container_of_a_killed_build_is_ended_by_the_next_one(
    builder: DockerBuilder, tmp_path: Path
) -> None:
    """Nothing of a process runs on SIGKILL; the container does not know of it."""
    script = (
        "import sys; from pathlib import Path; from edgewright.build.container import *;"
        "image, cache, folder = sys.argv[1], *map(Path, sys.argv[2:]);"
        "builder = DockerBuilder(image=image, workspace=folder, cache=cache, resources=folder);"
        "builder.run(['sleep', '600'], folder / 'log')"
    )
    folders, cache = (tmp_path / "killed", tmp_path / "alive"), tmp_path / "cache"
    for folder in (*folders, cache):
        folder.mkdir()
    argv = [sys.executable, "-c", script, builder.image, str(cache)]
    killed, alive = (subprocess.Popen([*argv, str(folder)]) for folder in folders)
    try:
        wait_until(lambda: all(containers(folder) for folder in folders), seconds=60)
        killed.kill()
        killed.wait()
        assert len(containers(folders[0])) == 1

        docker_builder(REPO, tmp_path / "builder.log", cache=cache)

        assert [len(containers(folder)) for folder in folders] == [0, 1]
    finally:
        alive.terminate()
        alive.wait()
        for folder in folders:
            docker("rm", "--force", *containers(folder))


def compiles(workspace: Path) -> bool:
    return any("cc1plus" in docker("top", name) for name in containers(workspace))


def containers(workspace: Path) -> list[str]:
    """Names of those that a build in this workspace has, whether they run or not."""
    mounted = f"volume={workspace}"
    return docker("ps", "--all", "--filter", mounted, "--format", "{{.Names}}").split()


def docker(*arguments: str) -> str:
    ended = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
    return ended.stdout


@dataclass(frozen=True, kw_only=True)
class Deployed:
    """The demo release on an emulated board: its smoke report, and what a second deploy did."""

    report: SmokeReport
    first: Installed
    second: Installed


@pytest.fixture(scope="module")
def deployed(
    built: BuildReport, emulated: EmulatedBoard, tmp_path_factory: pytest.TempPathFactory
) -> Deployed:
    release = load_release(built.folder)
    gate = smoke.Gate(release.manifest)
    with pytest.MonkeyPatch.context() as patch, connect(emulated.target) as board:
        patch.setenv("EDGEWRIGHT_CONFIG", str(tmp_path_factory.mktemp("config")))
        order = signing.sign(release)
        first = signing.install(board, release, order, gate=gate)
        second = signing.install(board, release, order, gate=gate)
    assert gate.report is not None
    return Deployed(report=gate.report, first=first, second=second)


@pytest.mark.board
def test_the_demo_release_passes_its_smoke_test_on_the_board(deployed: Deployed) -> None:
    require_valid("smoke", deployed.report.to_json())
    require_valid(
        "deploy", deploy_report(deployed.first, deployed.report, deployed.report.target).to_json()
    )
    assert deployed.report.passed
    assert deployed.report.emulated
    assert not deployed.first.unchanged


@pytest.mark.board
def test_the_same_release_again_sends_nothing(deployed: Deployed) -> None:
    assert deployed.second.unchanged
    assert deployed.second.bytes_sent == 0


KILL = r"""kill -KILL "$(sed 's/.*"pid":\([0-9]*\).*/\1/' /run/edgewright/heartbeat)" """


@pytest.mark.board
def test_the_demo_release_runs_as_a_service(
    built: BuildReport, deployed: Deployed, emulated: EmulatedBoard
) -> None:
    profile = load_board("a53-som", REPO.boards)
    golden = json.loads((built.folder / "model" / "golden" / EXPECTED).read_text())["cases"][0]
    with connect(emulated.target) as board:
        try:
            assert service.install(board, profile)
            assert not service.install(board, profile)
            result = classified(board, profile, built.folder / "model" / "golden" / golden["image"])
            assert result["class"] == golden["class"]
            settled(lambda: service.status(board, profile), lambda state: state.images == 1)
            board.script(KILL)
            ended = settled(
                lambda: service.status(board, profile), lambda state: state.restarts == 1
            )
            assert "ended with exit code 137" in ended.log[-1]
            settled(lambda: service.status(board, profile), lambda state: state.healthy)
        finally:
            service.remove(board, profile)
        assert not service.status(board, profile).installed


@pytest.mark.nightly
@pytest.mark.board
def test_the_demo_release_serves_programs_in_c_and_python(
    built: BuildReport,
    builder: DockerBuilder,
    deployed: Deployed,
    emulated: EmulatedBoard,
    scratch: Path,
) -> None:
    profile = load_board("a53-som", REPO.boards)
    # On a busy machine an emulated board takes more than a minute until it beats.
    changes = {"command": ServiceCommand.SERVE, "watchdog_s": 900}
    serve = profile.service.model_copy(update=changes)
    profile = profile.model_copy(update={"service": serve})
    golden = json.loads((built.folder / "model" / "golden" / EXPECTED).read_text())["cases"][0]
    with connect(emulated.target) as board:
        camera = put_client(board, builder, EXAMPLES / "camera.c", scratch)
        far_frame = put_client(board, builder, FAR_FRAME, scratch)
        try:
            assert service.install(board, profile)
            settled(lambda: board.run(["ls", SOCKET]), lambda ran: ran.returncode == 0)
            answers = board.check([camera, SOCKET, "300", "300", "2"]).stdout.splitlines()
            refused = board.check([far_frame, SOCKET]).stdout
            image = built.folder / "model" / "golden" / golden["image"]
            judged = camera_in_python(emulated, scratch, image)
            settled(lambda: service.status(board, profile), lambda state: state.images == 4)
        finally:
            service.remove(board, profile)

    assert [line.split(" ")[:2] for line in answers] == [["0", "done"], ["1", "done"]]
    for line in answers:
        require_valid("edge-infer-serve", line.split(" ", 2)[2])
    assert judged == f"{image} {golden['class']}\n"
    assert refused.startswith(f"{Status.ERROR} ")
    assert "reaches beyond 4 GiB" in refused  # which 32 bits cannot map


SOCKET = f"{service.SOCKETS}/infer.sock"
EXAMPLES = REPO.resources.runtime_cpp / "examples"
FAR_FRAME = Path(__file__).parent / "serve" / "far_frame.c"


def put_client(board: Board, builder: DockerBuilder, source: Path, folder: Path) -> str:
    """A client in C, compiled for the board; its path there."""
    program, path = folder / source.stem, f"/tmp/{source.stem}"
    include = builder.path(REPO.resources.runtime_cpp / "include")
    argv = ["arm-linux-gnueabihf-gcc", "-std=c99", "-O2", "-Wall", "-Wextra", "-Wconversion"]
    argv += ["-Werror", "-static", "-I", str(include), str(builder.path(source))]
    builder.run([*argv, "-o", str(builder.path(program))], folder / f"{source.stem}.log")
    with program.open("rb") as file:
        board.put(file, path)
    board.check(["chmod", "755", path])
    return path


def camera_in_python(emulated: EmulatedBoard, folder: Path, image: Path) -> str:
    """What the example in Python prints of an image, on this machine, by a socket of the board."""
    local = folder / "board.sock"
    options = ["-N", "-o", "BatchMode=yes", "-o", "ExitOnForwardFailure=yes"]
    forward = [*shlex.split(emulated.ssh_command), *options, "-L", f"{local}:{SOCKET}"]
    with subprocess.Popen(forward) as line:
        try:
            wait_until(local.exists)
            argv = [sys.executable, str(EXAMPLES / "camera.py"), str(local), str(image)]
            return subprocess.run(argv, capture_output=True, text=True, check=True).stdout
        finally:
            line.terminate()


def classified(board: Board, profile: BoardProfile, image: Path) -> dict[str, Any]:
    """What the service says of an image that is moved into its folder."""
    aside, into = f"{profile.service.input}/.{image.name}", f"{profile.service.input}/{image.name}"
    settled(lambda: board.run(["ls", profile.service.input]), lambda ran: ran.returncode == 0)
    with image.open("rb") as source:
        board.put(source, aside)
    board.check(["mv", aside, into])
    show = ["cat", f"{profile.service.output}/{image.name}.json"]
    result: dict[str, Any] = json.loads(
        settled(lambda: board.run(show), lambda ran: ran.returncode == 0).stdout
    )
    return result


T = TypeVar("T")


def settled(look: Callable[[], T], true: Callable[[T], bool]) -> T:
    """What is seen once it is so; an emulated board takes its time."""
    deadline = time.monotonic() + 180
    while not true(state := look()):
        assert time.monotonic() < deadline
        time.sleep(0.5)
    return state


@pytest.mark.board
def test_board_and_host_agree_on_every_golden_image(built: BuildReport, deployed: Deployed) -> None:
    """The board's answers against this machine's, not only against those in the release."""
    golden = built.folder / "model" / "golden"
    expected = {
        case["image"]: case for case in json.loads((golden / EXPECTED).read_text())["cases"]
    }
    by_host = {case["image"]: case for case in host_answers(golden)}

    assert len(deployed.report.images) == len(by_host) >= 8
    for image in deployed.report.images:
        answer, promised = by_host[image.image], expected[image.image]
        pairs = zip(answer["probabilities"], promised["probabilities"], strict=True)
        drift = max(abs(p - q) for p, q in pairs)
        assert image.found == answer["class"]
        assert image.max_abs_diff is not None
        assert image.max_abs_diff + drift <= PROBABILITY_TOLERANCE


def host_answers(golden: Path) -> list[dict[str, Any]]:
    """What ONNX Runtime on this machine says about the golden images."""
    model = REPO.default_model
    images = sorted(path for path in golden.iterdir() if path.name != EXPECTED)
    expected = expect(model, read_card(model.parent / "card.json"), images)
    return [case.model_dump(by_alias=True) for case in expected.cases]


@pytest.fixture
def shared(clone: Workspace) -> BuildReport:
    """The same board with libonnxruntime.so beside the program."""
    board = clone.boards / "a53-som.toml"
    text = board.read_text().replace("[runtime]\n", '[runtime]\nlinkage = "shared"\n')
    board.write_text(f'{text}\n[libc]\nfloor = "2.41"\n')
    return pipeline.build(request(clone), Silent())


def test_shared_linkage_shares_the_static_builds_runtime(
    built: BuildReport, shared: BuildReport
) -> None:
    facts = read_elf(shared.folder / "bin" / "edge-infer")

    assert "libonnxruntime.so.1" in facts.needed
    assert facts.runpath == "$ORIGIN"
    assert (shared.folder / "bin" / "libonnxruntime.so.1").is_file()
    assert "onnxruntime-minimal" not in built_stages(shared)


@pytest.mark.board
def test_shared_linkage_runs_on_a_board_with_its_libc(
    built: BuildReport, shared: BuildReport, board: Board, root: str
) -> None:
    folder = f"{root}/shared"
    board.check(["mkdir", "-p", folder])
    for name in ("edge-infer", "libonnxruntime.so.1"):
        with (shared.folder / "bin" / name).open("rb") as content:
            board.put(content, f"{folder}/{name}")
    board.check(["chmod", "755", f"{folder}/edge-infer"])

    info = json.loads(board.check([f"{folder}/edge-infer", "info"]).stdout)

    assert info["runtime"]["version"] == "1.21.0"
    assert info["runtime"]["linkage"] == "shared"


@pytest.mark.board
def test_a_detector_a_segmentation_and_an_anomaly_model_work_on_the_board(
    built: BuildReport,
    clone: Workspace,
    emulated: EmulatedBoard,
    root: str,
    own_keys: None,
    tmp_path: Path,
) -> None:
    """One after the other in place of the former; the board compares boxes, masks and maps."""
    profile = load_board("a53-som", REPO.boards)
    deploy_settings = profile.deploy.model_copy(update={"root": root})
    budgets = profile.budgets.model_copy(update={"binary_bytes": 2_500_000})  # float is larger
    profile = profile.model_copy(update={"deploy": deploy_settings, "budgets": budgets})
    for make_model in (
        tiny_tasks.detector,
        tiny_tasks.thing_masks,
        tiny_tasks.segmentation,
        tiny_tasks.anomaly,
    ):
        model = make_model(tmp_path / make_model.__name__)
        report = pipeline.build(replace(request(clone, model), profile=profile), Silent())
        release = load_release(report.folder)
        gate = smoke.Gate(release.manifest)
        with connect(emulated.target) as board:
            installed = signing.install(board, release, gate=gate)
        assert not installed.unchanged
        assert gate.report is not None
        require_valid("smoke", gate.report.to_json())
        assert gate.report.passed, make_model.__name__
