"""Programs of a user's in releases: built, held to the audit, deployed and rolled back as one."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from edgewright.base.errors import TargetError, UserError
from edgewright.base.progress import Progress, Stages
from edgewright.base.workspace import OwnProgram, Settings, Workspace, add_program, create_workspace
from edgewright.board.catalogue import load_board
from edgewright.build import packages, pipeline
from edgewright.build.container import DockerBuilder
from edgewright.build.packages import Package
from edgewright.build.pipeline import BuildReport
from edgewright.build.programs import BuiltPrograms, ProgramInputs, build_programs
from edgewright.build.supply import Network
from edgewright.deploy import install as deploy
from edgewright.deploy import one_board, smoke
from edgewright.deploy.edge_infer import Heartbeat
from edgewright.deploy.edgectl import RefusedError
from edgewright.deploy.remote import Board
from edgewright.lab.emulate import EmulatedBoard
from edgewright.release.manifest import Release, load_release
from edgewright.release.programs import DEFAULT_PROGRAM, DEFAULT_PROGRAMS
from tests import signing
from tests.boards import rebuilt
from tests.checkout import checkout
from tests.integration.conftest import alone, run_edgewright, shell
from tests.signing import sign_anew

REPO = checkout()
PROFILE = load_board("a53-som", REPO.boards)
Build = Callable[..., BuiltPrograms]
Make = Callable[..., Release]

# A program that is at its end before an emulated board has loaded a network.
CMAKE = """
cmake_minimum_required(VERSION 3.16)
project(probe C)
find_package(edge REQUIRED)
add_executable(probe probe.c)
target_link_libraries(probe PRIVATE edge::edge_static)
install(TARGETS probe RUNTIME DESTINATION bin)
"""
SOURCE = """
#include <edge/edge.h>
#include <edge/service.h>
int main(int argc, char** argv) {
  struct edge_service service;
  if (argc != 2 || edge_service_start(&service) != 0) return 2;
  edge_service_beat(&service, 7, 2);
  fprintf(stderr, "uid %d\\n", (int)geteuid());
  printf("%s\\n", ANSWER);
  return CODE;
}
"""
MESON = """
project('probe', 'c')
edge = dependency('libedge-static')
executable('probe', 'probe.c', dependencies: edge, install: true)
"""
MESON_BY_CMAKE = MESON.replace(
    "'libedge-static'", "'edge', method: 'cmake', modules: ['edge::edge_static']"
)
PASSED = {"version": 1, "command": "selftest", "passed": True}
CASE = {"name": "a part", "passed": True}
MAKEFILE = """
probe: probe.c
\t$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $< $$(pkg-config --cflags --libs libedge-static)
install: probe
\tinstall -D probe $(DESTDIR)$(PREFIX)/bin/probe
"""


def source(answer: Mapping[str, object] = PASSED | {"cases": [CASE]}, code: int = 0) -> str:
    """A program whose self-test answers so."""
    text = json.dumps(json.dumps(answer)) if answer else '""'
    return SOURCE.replace("ANSWER", text).replace("CODE", str(code))


@pytest.fixture(scope="module")
def sdk(builder: DockerBuilder, built: BuildReport) -> Mapping[str, Package]:
    """What programs are linked with: of the demo model, whose runtime was built for its release."""
    with alone():
        inputs = pipeline.package_inputs(
            PROFILE, REPO, builder, ops_config=REPO.build(PROFILE.name).ops_config, jobs=2
        )
        steps = packages.sdk_steps(inputs, PROFILE.libc.floor)
        return pipeline.build_packages(inputs, steps, Stages(Progress()))


@pytest.fixture
def build(builder: DockerBuilder, sdk: Mapping[str, Package], tmp_path: Path) -> Build:
    """Builds a program `probe` of these files, in a workspace of its own."""

    def build_probe(files: Mapping[str, str], **settings: object) -> BuiltPrograms:
        table = {"source": "src", "selftest": ("selftest",)} | settings
        workspace = Workspace(
            root=tmp_path / "workspace",
            resources=REPO.resources,
            settings=Settings(name="a", programs={"probe": OwnProgram.model_validate(table)}),
        )
        for name, text in files.items():
            path = workspace.root / "src" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        inside = replace(builder, workspace=workspace.root)
        pipeline.render(PROFILE, workspace, inside)
        inputs = ProgramInputs(
            profile=PROFILE,
            workspace=workspace,
            builder=inside,
            packages=sdk,
            supply=Network(),
            jobs=2,
        )
        return build_programs(inputs, Stages(Progress()))

    return build_probe


@pytest.mark.docker
def test_a_makefile_and_its_golden_data_make_the_same_program_twice(
    build: Build, tmp_path: Path
) -> None:
    second_binary = "\tcp probe $(DESTDIR)$(PREFIX)/bin/calibrate\n"
    files = {"Makefile": MAKEFILE + second_binary, "probe.c": source(), "golden/part.txt": "7"}
    first = build(files, golden="src/golden", service=["watch", "a b"])
    assert [program.name for program in first.programs] == ["probe"]
    # The bill of materials names each with the licence that lies there.
    src = tmp_path / "workspace" / "src"
    assert first.sources == {"bin/calibrate": src, "bin/probe": src}
    assert first.files.keys() == {"share/probe/golden/part.txt", "bin/service"}
    assert first.files["bin/service"].read_text().splitlines()[-1] == "exec bin/probe watch 'a b'"
    binary = first.binaries["bin/probe"].read_bytes()
    assert b"workspace/src" not in binary
    (tmp_path / "workspace" / "build" / PROFILE.name / "programs" / "probe" / "key").unlink()
    again = build(files, golden="src/golden", service=["watch", "a b"])
    assert again.binaries["bin/probe"].read_bytes() == binary


@pytest.mark.docker
@pytest.mark.parametrize("project", [MESON, MESON_BY_CMAKE], ids=["pkg-config", "CMake"])
def test_a_meson_project_is_linked_with_the_libraries_of_the_board(
    build: Build, project: str, tmp_path: Path
) -> None:
    """Its binary fits the board, or it would be refused; it has no path of this machine."""
    own = build({"meson.build": project, "probe.c": source()})
    assert own.files == {}
    [binary] = own.binaries.values()
    assert str(tmp_path).encode() not in binary.read_bytes()
    assert b"workspace/src" not in binary.read_bytes()


BAD = {
    "newer than the floor": (
        {"CMakeLists.txt": CMAKE, "probe.c": source()},
        {"linkage": "shared"},
        [
            "needs GLIBC_2.34, board 'a53-som' has glibc 2.31",
            'next: set programs.probe.linkage = "static", or raise libc.floor',
        ],
    ),
    "another ABI": (
        {
            "Makefile": MAKEFILE.replace("$(CC) $(CFLAGS)", "gcc"),
            "probe.c": "int main() {}",
        },
        {},
        ["is not for board 'a53-som'", "expected: ARM, 32-bit", "found: X86_64, 64-bit"],
    ),
    "the source folder": (
        {
            "Makefile": f"{MAKEFILE}\ttouch $(SRC)/x\n",
            "probe.c": source(),
        },
        {},
        ["program 'probe': writes outside of its folder", "found: touch: cannot touch"],
    ),
    "the system": (
        {"Makefile": MAKEFILE.replace("$(DESTDIR)$(PREFIX)", "/usr"), "probe.c": source()},
        {},
        ["program 'probe': writes outside of its folder", "Read-only file system"],
    ),
    "the install prefix": (
        {"Makefile": MAKEFILE.replace("$(PREFIX)/bin", "/etc"), "probe.c": source()},
        {},
        ["program 'probe': writes outside of its folder", "found: /etc/probe"],
    ),
    "a folder of the release": (
        {"Makefile": MAKEFILE.replace("/bin/probe", "/model/probe"), "probe.c": source()},
        {},
        ["program 'probe': writes outside of its folder", "found: model/probe"],
    ),
    "beside its sources": (
        {"Makefile": MAKEFILE, "probe.c": f'#include "../common/x.h"\n{source()}'},
        {},
        ["program-probe.log", "../common/x.h: No such file or directory"],
    ),
    "a library of the builder's own system": (
        {"meson.build": MESON.replace("libedge-static", "spng"), "probe.c": source()},
        {},
        ["program-probe.log", 'Dependency "spng" not found'],
    ),
    "a FIFO": (
        {"Makefile": f"{MAKEFILE}\tmkfifo $(DESTDIR)$(PREFIX)/bin/x\n", "probe.c": source()},
        {},
        ["installs what a release cannot take", "no regular file: /release/bin/x"],
    ),
    "a link in place of a folder": (
        {
            "Makefile": f"{MAKEFILE}\trm -r $(DESTDIR)\n\tln -s /etc $(DESTDIR)\n",
            "probe.c": source(),
        },
        {},
        ["installs what a release cannot take", "link: /."],
    ),
    "a library of edgewright's": (
        {
            "Makefile": f"{MAKEFILE}\ttouch $(DESTDIR)$(PREFIX)/bin/libonnxruntime.so.1\n",
            "probe.c": source(),
        },
        {},
        ["edgewright's own: bin/libonnxruntime.so.1"],
    ),
    "edgewright's own": (
        {"Makefile": MAKEFILE.replace("/bin/probe", "/bin/edgectl"), "probe.c": source()},
        {},
        ["program 'probe': installs what a release cannot take", "edgewright's own: bin/edgectl"],
    ),
    "no program": (
        {"Makefile": MAKEFILE.replace("/bin/probe", "/bin/other"), "probe.c": source()},
        {},
        ["program 'probe': installs no bin/probe"],
    ),
    "no project": ({"probe.c": source()}, {}, ["is no project of program 'probe'"]),
    "golden data": (
        {"Makefile": MAKEFILE, "probe.c": source()},
        {"golden": "src/golden"},
        ["no such folder, the golden data of program 'probe'"],
    ),
}


@pytest.mark.docker
@pytest.mark.parametrize(("files", "settings", "problems"), BAD.values(), ids=BAD)
def test_an_unfit_program_is_refused_before_it_is_in_a_release(
    files: Mapping[str, str],
    settings: Mapping[str, object],
    problems: list[str],
    build: Build,
) -> None:
    files = {name: text.replace("$(SRC)", "/edgewright/src") for name, text in files.items()}
    with pytest.raises(UserError) as refused:
        build(files, **settings)
    for problem in problems:
        assert problem in str(refused.value)
    assert refused.value.exit_code == 2


@pytest.mark.docker
def test_nothing_that_a_link_leads_to_is_built_or_released(build: Build, tmp_path: Path) -> None:
    files = {"Makefile": MAKEFILE, "probe.c": source()}
    secret, root = tmp_path / "secret", tmp_path / "workspace"
    secret.mkdir()
    (secret / "key").write_text("of this user")
    (root / "src").mkdir(parents=True)
    (root / "golden").symlink_to(secret)
    with pytest.raises(UserError, match="golden: is a link, expected a folder of the workspace"):
        build(files, golden="golden")
    (root / "golden").unlink()
    (root / "golden").mkdir()
    (root / "golden" / "part").symlink_to(secret / "key")
    with pytest.raises(UserError, match="golden/part: is a link or behind one"):
        build(files, golden="golden")
    (root / "src" / "common").symlink_to(secret)
    with pytest.raises(UserError, match="src/common: is a link that leads out of the sources"):
        build(files)


@pytest.mark.docker
def test_a_build_leaves_nothing_to_the_next_one_and_to_this_host(
    build: Build, tmp_path: Path
) -> None:
    """A link among its symbols, which are copied, and a folder that nobody may write to."""
    left = (
        "\tmkdir -p ../symbols/.build-id $(DESTDIR)$(PREFIX)/share/probe/old\n"
        "\tln -s /etc ../symbols/.build-id/ab\n"
        "\ttouch $(DESTDIR)$(PREFIX)/share/probe/old/file\n"
        "\tchmod 555 $(DESTDIR)$(PREFIX)/share/probe/old\n"
    )
    first = build({"Makefile": MAKEFILE + left, "probe.c": source()})
    assert first.files.keys() == {"share/probe/old/file"}
    assert not [path for path in first.symbols[0].rglob("*") if path.is_symlink()]
    second = build({"Makefile": MAKEFILE, "probe.c": source()})
    assert second.files == {}


@pytest.fixture
def released(build: Build, make: Make, tmp_path: Path) -> Callable[..., Release]:
    """A release with a program of this source, beside the default one or in place of it."""
    cmake = {"CMakeLists.txt": CMAKE}

    def release_of(
        name: str, text: str, *, project: Mapping[str, str] = cmake, default: bool = True
    ) -> Release:
        own = build({**project, "probe.c": text})
        base = make(name)
        binaries = [base.folder / "bin" / "edgectl", *own.binaries.values()]
        return rebuilt(
            base,
            tmp_path / "released",
            binaries=(*binaries, *([base.folder / DEFAULT_PROGRAM.path] if default else [])),
            programs=(*(DEFAULT_PROGRAMS if default else ()), *own.programs),
            program_files=own.files,
        )

    return release_of


def install(board: Board, release: Release) -> smoke.Gate:
    gate = smoke.Gate(release.manifest)
    signing.install(board, release, reserve_bytes=1 << 20, gate=gate)
    return gate


@pytest.mark.board
def test_a_program_is_deployed_smoked_updated_and_rolled_back_with_its_release(
    board: Board, emulated: EmulatedBoard, released: Callable[..., Release], root: str
) -> None:
    first = released("one", source())
    both_pass = source(PASSED | {"cases": [CASE, CASE]})
    second = released("two", both_pass, project={"meson.build": MESON}, default=False)
    gate = install(board, first)
    assert gate.report is not None
    assert [check.name for check in gate.report.checks][-1] == "selftest of probe"
    assert gate.report.passed
    assert len(gate.report.images) == 2  # the default program's

    gate = install(board, second)
    assert gate.report is not None
    assert [check.name for check in gate.report.checks] == ["selftest of probe"]
    assert gate.report.checks[0].found == "2 of 2 cases passed"
    assert shell(emulated, f"ls {root}/current/bin").split() == ["edgectl", "probe"]
    report = one_board.smoke_current(board, root, deploy.this_user())
    assert (report.passed, report.release) == (True, second.id)
    with (
        pytest.raises(TargetError, match="has no edge-infer\n  programs: probe\n"),
        one_board.current_release(board, root, deploy.this_user()),
    ):
        pass

    assert deploy.rollback(board, root, sign_anew) == (second.id, first.id)
    beats_as_a_service(emulated, f"{root}/current")
    state = deploy.status(board, root)
    assert state.manifest is not None
    assert state.manifest.programs == first.manifest.programs


def beats_as_a_service(emulated: EmulatedBoard, folder: str) -> None:
    """By `edge/service.h`, in an environment as the board's service has it."""
    state = "/tmp/heartbeat-of-probe"
    environment = f"EDGEWRIGHT_USER=nobody EDGEWRIGHT_HEARTBEAT={state} EDGECTL_READY_FD=9"
    run = f"cd {folder} && {environment} bin/probe selftest 2>&1 >/dev/null 9>{state}-ready"
    assert shell(emulated, run) == f"uid {shell(emulated, 'id -u nobody')}"
    assert shell(emulated, f"cat {state}-ready") == "ready"
    beat = Heartbeat.model_validate_json(shell(emulated, f"cat {state}"))
    assert (beat.command, beat.images, beat.failed) == ("service", 7, 2)
    assert beat.uptime_s > 0


@pytest.mark.board
def test_a_release_whose_program_does_not_prove_itself_never_becomes_current(
    board: Board, released: Callable[..., Release], root: str
) -> None:
    first = released("one", source())
    install(board, first)

    wrong = PASSED | {"passed": False, "cases": [CASE | {"passed": False, "problem": "blurred"}]}
    with pytest.raises(RefusedError) as refused:
        install(board, released("exits", source(wrong, 3)))
    assert "the self-test of probe ended with exit code 3" in str(refused.value)
    assert "a part: blurred" in str(refused.value)
    for name, text, fact in (
        ("silent", source({}), "expected: one JSON document"),
        ("empty", source(PASSED | {"cases": []}), "found: 0 of 0 cases passed"),
        ("lies", source(wrong), "a part: blurred"),
    ):
        with pytest.raises(TargetError) as failed:
            install(board, released(name, text))
        assert "selftest of probe:" in str(failed.value)
        assert fact in str(failed.value)
    state = deploy.status(board, root)
    assert state.manifest is not None
    assert state.manifest.id == first.id


@pytest.mark.board
@pytest.mark.nightly
def test_the_example_answers_on_the_board_as_the_default_program_does(
    board: Board,
    emulated: EmulatedBoard,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    own_keys: None,
    root: str,
) -> None:
    """What `init --program` wrote: from a file, from standard input, and a frame."""
    create_workspace(tmp_path, REPO.resources, board="a53-som")
    add_program(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert run_edgewright("build", "--no-estimate") == 0
    out = tmp_path / "build" / "a53-som"
    built = load_release(out / "release" / (out / "release.id").read_text().strip())
    assert [program.name for program in built.manifest.programs] == ["edge-infer", "inspect"]
    put = f"mkdir -p {root} && tar -xzf - -C {root}"
    board.run(["sh", "-c", put], input=built.archive.read_bytes())
    folder = f"{root}/{built.id}"

    assert json.loads(shell(emulated, f"cd {folder} && bin/inspect selftest"))["passed"]
    image = "model/golden/cell0387.png"
    [expected] = json.loads(
        shell(emulated, f"cd {folder} && bin/edge-infer run --release . {image}")
    )["results"]
    for command in (f"image {image}", f"image - < {image}"):
        answer = json.loads(shell(emulated, f"cd {folder} && bin/inspect {command}"))
        assert answer == {key: expected[key] for key in answer}
    gray = "head -c 131072 /dev/zero"
    answer = json.loads(shell(emulated, f"cd {folder} && {gray} | bin/inspect frame 256 256"))
    assert answer["class"] in ("ok", "defective")
    absent = shell(emulated, f"cd {folder} && bin/inspect watch /dev/video0 640 480 2>&1")
    assert absent == "/dev/video0: cannot be opened: No such file or directory"
