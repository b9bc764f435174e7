"""Which package is built when: keys change with what goes in, and with nothing else."""

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

import pytest

from edgewright.base.files import locked
from edgewright.base.layout import user_cache
from edgewright.base.progress import LineSink, Progress, Stages
from edgewright.base.workspace import SharedStores
from edgewright.board.catalogue import board_names, load_board
from edgewright.board.toolchain import compiler_flags
from edgewright.build import packages, pipeline
from edgewright.build.container import ExternalToolchain, Sandbox
from edgewright.build.packages import Package, PackageInputs
from tests.boards import EndedByNote, NotedError
from tests.checkout import checkout, workspace_at


@dataclass(kw_only=True)
class Recorder:
    """A builder that answers like Conan and remembers what it was asked for."""

    id: str = "builder-1"
    digest: str | None = None
    toolchain: ExternalToolchain | None = None
    binary: str = "Build"
    shared: SharedStores = field(default_factory=SharedStores)
    has_sandbox: bool = False
    ran: list[str] = field(default_factory=list)
    asked_network: list[str] = field(default_factory=list)  # Conan's commands

    @property
    def cache(self) -> Path:
        return user_cache()

    def path(self, host: Path) -> PurePosixPath:
        return PurePosixPath(host.as_posix())

    def run(
        self,
        argv: Sequence[str],
        log: Path,
        *,
        env: Mapping[str, str] | None = None,
        on_line: LineSink | None = None,
        network: bool = False,
        sandbox: Sandbox | None = None,
    ) -> None:
        if network:
            self.asked_network.append(next(word for word in argv if word in ("install", "upload")))
            return
        result = Path(argv[4])
        name = result.stem
        self.ran.append(name)
        folder = user_cache() / "conan" / self.id / "p" / name
        folder.mkdir(parents=True, exist_ok=True)
        node = {
            "name": name,
            "ref": f"{name}/1#abc",
            "context": "host",
            "binary": self.binary,
            "package_id": "0" * 40,
            "package_folder": str(folder),
        }
        result.parent.mkdir(parents=True, exist_ok=True)
        result.write_text(json.dumps({"graph": {"nodes": {"1": node}}}))


@pytest.fixture
def builder() -> Recorder:
    return Recorder()


@pytest.fixture
def inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, builder: Recorder) -> PackageInputs:
    monkeypatch.setenv("EDGEWRIGHT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("EDGEWRIGHT_DEBIAN_MIRROR", "http://mirror.test/debian")
    resources = workspace_at(tmp_path).resources
    for name in (*packages.RECIPES, *packages.SHARED_RECIPES):
        (resources.recipes / name).mkdir(parents=True)
        (resources.recipes / name / "conanfile.py").write_text(f"# {name}\n")
    programs = ("cli", "cmake", "common", "include", "library", "src", "tests")
    for part in (*programs, "edgectl", "edgectl/cmake", "edgectl/fuzz", "edgectl/tests"):
        (resources.runtime_cpp / part).mkdir(parents=True)
        (resources.runtime_cpp / part / "file.cpp").write_text(part)
    (resources.runtime_cpp / "CMakeLists.txt").write_text("project(edge)\n")
    resources.toolchains.mkdir()
    (resources.toolchains / "build.profile").write_text("[settings]\n")
    files = {name: tmp_path / name for name in ("conan.profile", "toolchain.cmake", "ops.config")}
    for name, path in files.items():
        path.write_text(name)
    return PackageInputs(
        resources=resources,
        builder=builder,
        conan_profile=files["conan.profile"],
        toolchain=files["toolchain.cmake"],
        ops_config=files["ops.config"],
        linkage="static",
        kernels="neon",
        xnnpack_core="cortex-a53",
        jobs=2,
        logs=tmp_path / "logs",
    )


def make_all(inputs: PackageInputs) -> set[str]:
    """Make every package; the names of those that were not there."""
    obtained: dict[str, Package] = {}
    built = set()
    for step in packages.steps(inputs):
        result = packages.obtain(step, inputs, obtained)
        obtained[step.name] = result.package
        if not result.cached:
            built.add(step.name)
    return built


EVERYTHING = {*packages.RECIPES} - {packages.SDK, packages.LIBEDGE, packages.CXX_LIBRARY}


def test_the_first_time_everything_is_built_the_second_nothing(
    inputs: PackageInputs, builder: Recorder
) -> None:
    assert make_all(inputs) == EVERYTHING
    builder.ran.clear()

    assert make_all(inputs) == set()
    assert builder.ran == []


def test_a_night_of_all_boards_and_two_models_compiles_once_what_they_share(
    inputs: PackageInputs, builder: Recorder, tmp_path: Path
) -> None:
    boards = [load_board(name, checkout().boards) for name in board_names(checkout().boards)]
    compilers = set[str]()
    for board in boards:
        texts = pipeline.rendered(board, checkout(), builder)
        compilers.add(repr((compiler_flags(board), board.machine, board.runtime.kernels)))
        profile, toolchain = tmp_path / f"{board.name}.profile", tmp_path / f"{board.name}.cmake"
        profile.write_text(texts.conan)
        toolchain.write_text(texts.cmake)
        of_board = replace(inputs, conan_profile=profile, toolchain=toolchain)
        for model in ("one", "two"):
            ops = tmp_path / f"{model}.config"
            ops.write_text(model)
            make_all(replace(of_board, ops_config=ops))

    assert len(boards) >= 24
    assert len(compilers) < len(boards) / 2
    assert builder.ran.count("zlib") == builder.ran.count(packages.EDGECTL) == len(compilers)
    assert builder.ran.count(packages.RUNTIME) == 2 * len(compilers)
    assert builder.ran.count(packages.PROGRAM) == 2 * len(compilers)


def test_a_build_from_cache_does_not_wait_for_another_boards_compiler(
    inputs: PackageInputs,
) -> None:
    pipeline.build_packages(inputs, packages.steps(inputs), Stages(Progress()))
    stages = Stages(Progress())

    with locked(pipeline._conan_lock(inputs.builder)), ThreadPoolExecutor() as pool:
        build = pool.submit(pipeline.build_packages, inputs, packages.steps(inputs), stages)
        built = build.result(timeout=30)

    assert set(built) == EVERYTHING
    assert {report.origin for report in stages.reports} == {"cache"}


def test_a_wait_for_another_build_is_told_also_by_the_proofs(
    inputs: PackageInputs, builder: Recorder, tmp_path: Path
) -> None:
    with (
        locked(pipeline._conan_lock(inputs.builder)),
        pytest.raises(NotedError, match="another build uses the Conan cache: waiting for it"),
    ):
        pipeline.native_edgectl(workspace_at(tmp_path), builder, jobs=1, progress=EndedByNote())


def change(inputs: PackageInputs, what: str) -> None:
    path = inputs.resources.root / what
    path.write_text(path.read_text() + "changed\n")


@pytest.mark.parametrize(
    ("changed", "rebuilt"),
    [
        ("runtime_cpp/src/file.cpp", {"edge-infer"}),
        ("runtime_cpp/common/file.cpp", {"edge-infer", "edgectl"}),
        ("runtime_cpp/edgectl/file.cpp", {"edgectl"}),
        ("runtime_cpp/library/file.cpp", set()),
        ("runtime_cpp/edgectl/fuzz/file.cpp", set()),
        ("runtime_cpp/edgectl/tests/file.cpp", set()),
        ("runtime_cpp/tests/file.cpp", set()),
        ("ops.config", {"onnxruntime-minimal", "edge-infer"}),
        ("recipes/zlib/conanfile.py", {"zlib", "libspng", "edge-infer"}),
        ("recipes/xnnpack/conanfile.py", {"xnnpack", "onnxruntime-minimal", "edge-infer"}),
        ("recipes/debian-source/conanfile.py", EVERYTHING),
        ("toolchain.cmake", EVERYTHING),
        ("conan.profile", EVERYTHING),
    ],
)
def test_a_change_rebuilds_what_it_goes_into(
    inputs: PackageInputs, changed: str, rebuilt: set[str]
) -> None:
    make_all(inputs)

    change(inputs, changed)

    assert make_all(inputs) == rebuilt


def test_xnnpack_is_built_for_boards_that_ask_for_it(inputs: PackageInputs) -> None:
    assert make_all(replace(inputs, xnnpack_core=None)) == EVERYTHING - {"xnnpack"}

    assert make_all(inputs) == {"xnnpack", "onnxruntime-minimal", "edge-infer"}
    assert make_all(replace(inputs, xnnpack_core="cortex-a72")) == {
        "xnnpack",
        "onnxruntime-minimal",
        "edge-infer",
    }


def test_debians_cxx_library_goes_into_the_program_and_into_nothing_else(
    inputs: PackageInputs,
) -> None:
    make_all(inputs)

    assert make_all(replace(inputs, cxx_library="debian")) == {"libstdc++", "edge-infer"}
    change(inputs, "recipes/libstdc++/conanfile.py")
    assert make_all(replace(inputs, cxx_library="debian")) == {"libstdc++", "edge-infer"}
    assert make_all(inputs) == set()


def test_an_sdk_is_linked_from_the_runtime_of_the_release(
    inputs: PackageInputs, builder: Recorder
) -> None:
    make_all(inputs)
    builder.ran.clear()

    pipeline.build_packages(inputs, packages.sdk_steps(inputs, "2.31"), Stages(Progress()))

    # Into a shared library goes other code than into a program.
    assert builder.ran == ["onnxruntime-sdk", *packages.LIBRARIES, "libedge"]


@pytest.mark.parametrize(
    ("changed", "rebuilt"),
    [
        ("ops.config", ["onnxruntime-minimal", "onnxruntime-sdk"]),
        ("runtime_cpp/library/file.cpp", ["libedge"]),
        ("runtime_cpp/src/file.cpp", ["libedge"]),
        ("runtime_cpp/cli/file.cpp", []),
        ("recipes/sdk-library/conanfile.py", ["onnxruntime-sdk", "libedge"]),
    ],
)
def test_a_change_rebuilds_the_library_that_it_goes_into(
    inputs: PackageInputs, builder: Recorder, changed: str, rebuilt: list[str]
) -> None:
    pipeline.build_packages(inputs, packages.sdk_steps(inputs, "2.31"), Stages(Progress()))
    builder.ran.clear()

    change(inputs, changed)
    pipeline.build_packages(inputs, packages.sdk_steps(inputs, "2.31"), Stages(Progress()))

    assert builder.ran == rebuilt


def test_an_sdk_for_an_older_libc_is_another_one(inputs: PackageInputs, builder: Recorder) -> None:
    for floor in ("2.31", "2.28"):
        pipeline.build_packages(inputs, packages.sdk_steps(inputs, floor), Stages(Progress()))

    assert builder.ran.count("onnxruntime-sdk") == builder.ran.count("libedge") == 2
    assert builder.ran.count("onnxruntime-minimal") == 1


@pytest.mark.parametrize("login", ["", "demo"])
def test_a_shared_remote_is_asked_first_and_gets_what_was_built(
    login: str, inputs: PackageInputs, builder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What compiles has no network; who has no login there leaves nothing."""
    monkeypatch.setenv("CONAN_LOGIN_USERNAME", login)
    builder.shared = SharedStores(conan="http://192.0.2.1:9300")
    write_version(inputs, "zlib")
    step = packages.library("zlib", inputs.resources.recipes)

    packages.obtain(step, inputs, {})
    packages.obtain(step, inputs, {})

    assert builder.ran == ["zlib"]
    assert builder.asked_network == (["install", "upload"] if login else ["install"])


def test_what_the_shared_remote_had_is_not_sent_back(
    inputs: PackageInputs, builder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONAN_LOGIN_USERNAME", "demo")
    builder.shared, builder.binary = SharedStores(conan="http://192.0.2.1:9300"), "Cache"
    write_version(inputs, "zlib")

    obtained = packages.obtain(packages.library("zlib", inputs.resources.recipes), inputs, {})

    assert obtained.cached
    assert builder.asked_network == ["install"]


def write_version(inputs: PackageInputs, name: str) -> None:
    (inputs.resources.recipes / name / "conanfile.py").write_text('    version = "1.3"\n')


def test_another_builder_builds_anew(inputs: PackageInputs, builder: Recorder) -> None:
    make_all(inputs)

    builder.id = "builder-2"

    assert make_all(inputs) == EVERYTHING


def test_a_package_that_was_removed_is_made_again(inputs: PackageInputs) -> None:
    make_all(inputs)

    (user_cache() / "conan" / "builder-1" / "p" / "yyjson").rmdir()

    assert make_all(inputs) == {"yyjson"}


def test_a_cache_that_lies_elsewhere_for_another_user_is_used(
    inputs: PackageInputs, builder: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_all(inputs)
    (tmp_path / "cache").rename(tmp_path / "shared")
    monkeypatch.setenv("EDGEWRIGHT_CACHE", str(tmp_path / "shared"))
    builder.ran.clear()

    assert make_all(inputs) == set()
    assert builder.ran == []


def test_what_conan_had_is_told_as_cached(inputs: PackageInputs, builder: Recorder) -> None:
    builder.binary = "Cache"

    assert make_all(inputs) == set()
