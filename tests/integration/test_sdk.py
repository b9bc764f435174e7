"""An SDK in others' hands: programs and scripts that use it answer as the host does."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection
from onnx import helper, numpy_helper

from edgewright.base import debs
from edgewright.base.errors import UserError
from edgewright.base.layout import BoardBuild, user_cache
from edgewright.base.progress import Progress
from edgewright.board.catalogue import load_board
from edgewright.board.profile import Arch, BoardProfile
from edgewright.build import pipeline
from edgewright.build import sdk as sdks
from edgewright.build.container import DockerBuilder
from edgewright.build.packages import OLDEST_SDK_LIBC, RUNTIME, Package
from edgewright.build.pipeline import BuildReport
from edgewright.build.sdk import SdkReport, SdkRequest
from edgewright.build.wheel import add_to_index, build_wheel
from edgewright.model.contract.preprocess import load_input
from edgewright.model.contract.session import open_session
from edgewright.model.contract.task_cards import read_any_card
from edgewright.model.convert.ops import Operator, parse_config
from edgewright.observe import sdk_cost
from edgewright.observe.count.counts import EMULATORS, Guest, count
from edgewright.observe.count.instructions import program_of_release
from edgewright.observe.peers.peers import sysroot
from edgewright.release.evidence import read_bill, read_texts
from edgewright.release.sdk import OperatorChoice, enclosed_evidence, load_sdk, sdk_evidence
from tests.checkout import checkout
from tests.conftest import CheckGolden
from tests.integration.conftest import alone, request

pytestmark = pytest.mark.docker

REPO = checkout()
PROFILE = load_board("a53-som", REPO.boards)
# Library → the file that it is, and its soname.
LIBRARIES = {
    "onnxruntime": ("lib/libonnxruntime.so.1.21.0", "libonnxruntime.so.1"),
    "edge": ("lib/libedge.so.0.1.0", "libedge.so.0"),
}
each_library = pytest.mark.parametrize("library", LIBRARIES)
# Of the demo model's output, which is quantized: kernels of this machine may round one to another.
STEP = 0.025
GOLDEN = REPO.root / "tests" / "data" / "sdk"
LINKED = {"libc.so.6", "libm.so.6", "libpthread.so.0", "libdl.so.2", "ld-linux-armhf.so.3"}
# The Makefile, and a project outside of the SDK's tree that finds it by CMake.
BUILD = """
cp -r "$SDK/examples" "$OUT/make" && cp -r "$SDK/examples" "$OUT/project"
make -C "$OUT/make" SDK="$SDK" CC="$CC" CXX="$CXX"
cmake -G Ninja -S "$OUT/project" -B "$OUT/cmake" -DCMAKE_PREFIX_PATH="$SDK" $CMAKE_OPTIONS
cmake --build "$OUT/cmake"
"""
# A script as it is written for `onnxruntime`, but for one line.
SCRIPT = """
import json, sys
import numpy as np
import edgewright_runtime as onnxruntime
from edgewright_runtime.capi.onnxruntime_pybind11_state import InvalidArgument
model, values, onnx_model = sys.argv[1:]
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
image = session.get_inputs()[0]
x = np.fromfile(values, np.float32).reshape(image.shape)
answers = session.run(None, {image.name: x})[0]
binding = session.io_binding()
binding.bind_cpu_input(image.name, x)
binding.bind_output(session.get_outputs()[0].name)
session.run_with_iobinding(binding)
try:
    onnxruntime.InferenceSession(onnx_model)
except InvalidArgument as refused:
    told = str(refused)
bound = binding.copy_outputs_to_cpu()[0].ravel().tolist()
print(json.dumps({"answer": answers.ravel().tolist(), "bound": bound, "told": told}))
"""
INSTALL = (
    "apt-get update && apt-get install --yes --no-install-recommends g++-12-arm-linux-gnueabihf"
)


OLDEST_LIBC = OLDEST_SDK_LIBC[Arch.ARMHF]
OLDEST = PROFILE.model_copy(
    update={"libc": PROFILE.libc.model_copy(update={"floor": ".".join(map(str, OLDEST_LIBC))})}
)


def build(
    *models: Path, profile: BoardProfile = PROFILE, operators: OperatorChoice = "models"
) -> SdkReport:
    """Of the demo model, unless others or all operators are named."""
    wanted = SdkRequest(
        profile=profile,
        models=models or ((REPO.default_model,) if operators == "models" else ()),
        operators=operators,
        workspace=REPO,
        builder="docker",
        jobs=os.cpu_count() or 1,
    )
    with alone():
        return sdks.build_sdk(wanted, Progress())


@pytest.fixture(scope="module")
def sdk(built: BuildReport) -> SdkReport:
    """Of the demo model, whose runtime was built for its release."""
    return build()


@dataclass(frozen=True, kw_only=True)
class Case:
    """An input of the demo model, and what this machine's ONNX Runtime answers."""

    model: Path
    values: Path
    answer: Any
    tolerance: float = 1e-4

    def matches(self, values: list[float]) -> None:
        assert np.allclose(values, self.answer, rtol=0, atol=self.tolerance), values

    def is_answered_by(self, program: Path, libraries: Path, sdk: SdkReport) -> None:
        ended = emulated(program, self.model, self.values, libraries=libraries, sdk=sdk)
        assert ended.returncode == 0, ended.stderr
        self.matches([float(line) for line in ended.stdout.split()])


def emulated(
    program: Path,
    *arguments: Path | str,
    libraries: Path | None = None,
    sdk: SdkReport | None = None,
    profile: BoardProfile = PROFILE,
) -> subprocess.CompletedProcess[str]:
    argv = [EMULATORS[profile.abi.arch], "-cpu", profile.qemu_cpu]
    if libraries:
        argv += ["-L", str(libraries)]
    if sdk:
        argv += ["-E", f"LD_LIBRARY_PATH={sdk.folder / 'lib'}"]
    argv += [str(program), *map(str, arguments)]
    return subprocess.run(argv, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def case(built: BuildReport, tmp_path_factory: pytest.TempPathFactory) -> Case:
    folder = REPO.default_model.parent
    card = read_any_card(folder / "card.json")
    values = load_input(min((folder / "golden").glob("*.png")), card)  # type: ignore[arg-type]
    path = tmp_path_factory.mktemp("case") / "input.f32"
    path.write_bytes(values.tobytes())
    session = open_session(REPO.default_model, 1)
    answer = session.run(None, {session.get_inputs()[0].name: values})[0].ravel()
    model = built.folder / "model" / "model.ort"
    return Case(model=model, values=path, answer=answer, tolerance=STEP)


def symbols_of(path: Path, table: str) -> tuple[set[str], set[str]]:
    """Names that an ELF file defines for others, and those that it asks of others."""
    with path.open("rb") as stream:
        section = ELFFile(stream).get_section_by_name(table)
        assert isinstance(section, SymbolTableSection)
        symbols = list(section.iter_symbols())
    missing = {symbol.name for symbol in symbols if symbol["st_shndx"] == "SHN_UNDEF"}
    shown = {symbol.name for symbol in symbols if symbol["st_info"]["bind"] != "STB_LOCAL"}
    return shown - missing, missing


def exports(library: str) -> Path:
    """The golden file of what a library shows."""
    return GOLDEN / f"exports-{library}.txt"


@each_library
def test_a_library_shows_its_c_api_alone(
    sdk: SdkReport, check_golden: CheckGolden, library: str
) -> None:
    shown, _ = symbols_of(sdk.folder / LIBRARIES[library][0], ".dynsym")

    check_golden(exports(library), "".join(f"{name}\n" for name in sorted(shown)))


@each_library
def test_a_library_needs_the_c_library_of_the_floor_alone(sdk: SdkReport, library: str) -> None:
    path, soname = LIBRARIES[library]
    [facts] = [file.facts for file in sdk.audit.files if file.path == path]
    newest = facts.highest("GLIBC")

    assert set(facts.needed) <= LINKED
    assert facts.soname == soname
    assert newest
    assert newest.number <= (2, 31)
    assert facts.bytes <= sdk_cost.MOST_BYTES[f"lib{library}"]


@pytest.fixture(scope="module")
def sdk_of_oldest(built: BuildReport) -> SdkReport:
    return build(profile=OLDEST)


def test_libraries_for_the_oldest_glibc_need_no_newer_one(sdk_of_oldest: SdkReport) -> None:
    facts = [file.facts for file in sdk_of_oldest.audit.files]

    assert len(facts) == len(LIBRARIES)
    for file in facts:
        newest = file.highest("GLIBC")
        assert newest
        assert newest.number <= OLDEST_LIBC
        assert set(file.needed) <= LINKED


def test_a_program_with_libraries_for_the_oldest_glibc_answers_as_the_host_does(
    builder: DockerBuilder, sdk_of_oldest: SdkReport, out: Path, case: Case
) -> None:
    folder = builder.path(sdk_of_oldest.folder)
    argv = [f"{PROFILE.abi.triplet}-gcc", f"{folder}/examples/run.c"]
    argv += [f"-I{folder}/include/onnxruntime", f"-L{folder}/lib", "-lonnxruntime"]

    builder.run([*argv, "-o", str(builder.path(out / "run"))], out / "log")

    case.is_answered_by(out / "run", out, sdk_of_oldest)


@pytest.mark.parametrize("flags", ["-O1", "-O1 -static"])
def test_programs_with_archives_for_the_oldest_glibc_link_with_the_builder_s(
    builder: DockerBuilder,
    sdk_of_oldest: SdkReport,
    out: Path,
    case: Case,
    pictures: dict[Path, str],
    flags: str,
) -> None:
    script = """
    cp -r "$SDK/examples" "$OUT/make"
    make -C "$OUT/make" SDK="$SDK" CXX="$CXX" CXXFLAGS="$FLAGS" run_cpp infer
    """
    compiler = f"{PROFILE.abi.triplet}-g++"

    run_script(builder, sdk_of_oldest, out, script, CXX=compiler, FLAGS=flags)

    case.is_answered_by(out / "make" / "run_cpp", out, sdk_of_oldest)
    answers_as_edge_infer(out / "make" / "infer", out, case.model, sdk_of_oldest, pictures)


@pytest.mark.parametrize(("which", "end"), [("sdk", "gone"), ("sdk_of_oldest", "stays")])
def test_a_plugin_with_the_archive_may_be_closed_before_its_thread_ends(
    builder: DockerBuilder,
    out: Path,
    case: Case,
    request: pytest.FixtureRequest,
    which: str,
    end: str,
) -> None:
    """Where glibc does not count a plugin's objects in threads, it stays in memory."""
    sdk: SdkReport = request.getfixturevalue(which)
    shutil.copy(GOLDEN / "plugin_user.cpp", out)
    # Symbols that glibc has once in a process would keep any plugin in memory.
    script = """
    cd "$OUT"
    export PKG_CONFIG_PATH="$SDK/lib/pkgconfig"
    $CXX -std=c++17 -O1 -fPIC -shared -fno-gnu-unique -Dmain=plugin_main "$SDK/examples/run.cpp" \
        $(pkg-config --cflags --libs libonnxruntime-static) -o plugin.so
    $CXX -O1 plugin_user.cpp -o plugin_user
    """

    run_script(builder, sdk, out, script, CXX=f"{PROFILE.abi.triplet}-g++")

    files = (out / "plugin.so", case.model, case.values)
    ended = emulated(out / "plugin_user", *files, libraries=out)
    assert (ended.returncode, ended.stderr) == (0, f"{end}\n")
    case.matches([float(line) for line in ended.stdout.split()])


def with_stand_ins(builder: DockerBuilder, out: Path, source: str, floor: int) -> Path:
    """A program with the functions that stand in for those of glibc 2.`floor` and later."""
    for path in (REPO.resources.recipes / "sdk-library" / "compat.c", GOLDEN / source):
        shutil.copy(path, out)
    program = Path(source).stem
    script = f"""
    cd "$1"
    $0-gcc -std=c11 -O1 -Wall -Wextra -Werror -fvisibility=hidden -DGLIBC_FLOOR={floor} -c compat.c
    $0-gcc -O1 -Wall -c {source}
    $0-g++ -static-libstdc++ compat.o {program}.o -o {program}
    """
    argv = ["sh", "-euxc", script, PROFILE.abi.triplet, str(builder.path(out))]
    builder.run(argv, out / "log")
    return out / program


def test_objects_of_a_thread_are_destroyed_where_glibc_does_not(
    builder: DockerBuilder, out: Path
) -> None:
    program = with_stand_ins(builder, out, "thread_objects.cpp", 17)
    _, missing = symbols_of(program, ".dynsym")

    assert "__cxa_thread_atexit_impl" not in missing
    lines = emulated(program, libraries=out).stdout.split()
    assert lines == ["second", "first", "late", "joined", "end", "final", "late"]


def test_what_the_kernel_told_is_answered_where_glibc_does_not(
    builder: DockerBuilder, out: Path
) -> None:
    program = with_stand_ins(builder, out, "kernel_values.c", 13)
    _, missing = symbols_of(program, ".dynsym")

    assert not {"getauxval", "secure_getenv", "__secure_getenv"} & missing
    argv = [EMULATORS[Arch.ARMHF], "-L", str(out), "-E", "EDGE_TEST=value", str(program)]
    assert subprocess.check_output(argv, text=True) == "same value\n"


@each_library
def test_an_archive_shows_its_c_api_alone(sdk: SdkReport, tmp_path: Path, library: str) -> None:
    subprocess.run(["ar", "x", sdk.folder / "lib" / f"lib{library}.a"], cwd=tmp_path, check=True)
    shown, missing = symbols_of(tmp_path / f"{library}.o", ".symtab")
    # The second is the final link's, where that has one.
    assert shown == {*exports(library).read_text().split(), "__dso_handle"}
    # Of no C++ runtime is anything missing, and of glibc nothing that came with 64-bit times.
    assert not [name for name in missing if name.startswith(("_ZN", "__isoc23_"))]
    assert not [name for name in missing if name.startswith("__") and name.endswith("64")]


def test_no_path_of_the_machine_that_built_it_is_in_an_sdk(sdk: SdkReport) -> None:
    for path in (sdk.folder / "lib").glob("lib*.*"):
        content = path.read_bytes()
        for place in (b"/cache/", b"/tmp/edgewright", str(REPO.root).encode()):
            assert place not in content, path


def test_a_second_build_is_the_same_from_cache(sdk: SdkReport) -> None:
    archive = sdk.archive.read_bytes()
    sdk.archive.unlink()

    again = build()

    assert again.sdk == sdk.sdk
    assert again.archive.read_bytes() == archive
    assert {s.name for s in again.stages if s.origin == "built"} <= {"audit"}


def test_a_model_that_is_not_there_is_told() -> None:
    with pytest.raises(UserError, match=r"nonsense\.onnx: no such model"):
        build(Path("nonsense.onnx"))


def test_an_sdk_is_for_its_board_and_is_what_its_manifest_says(sdk: SdkReport) -> None:
    manifest = load_sdk(sdk.folder).manifest

    assert (manifest.board, manifest.compatible) == ("a53-som", "edgewright,a53-som")
    assert "QLinearConv" in (sdk.folder / "operators.txt").read_text()
    paths = {file.path for file in manifest.files}
    assert {
        "toolchain.cmake",
        "licenses/onnxruntime-minimal/LICENSE",
        "include/onnxruntime/onnxruntime_c_api.h",
        "include/edge/edge.h",
        "include/edge/edge.hpp",
        "licenses/libjpeg-turbo/LICENSE.md",
    } < paths


def test_an_sdk_has_its_bill_and_the_licence_texts_of_all_that_is_in_it(sdk: SdkReport) -> None:
    inside = enclosed_evidence(load_sdk(sdk.folder))
    _, bill = read_bill(inside)
    texts = read_texts(inside, bill)

    parts = {part.ref: part for part in bill.components}
    assert {"onnxruntime-minimal", "flatbuffers", "libgcc.a", "libstdc++.a"} <= parts.keys()
    assert {"libedge", "libjpeg-turbo", "libspng", "yyjson", "zlib"} <= parts.keys()
    assert not {"libc.a", "edge-infer", "model"} & parts.keys()
    assert bill.unlicensed == ()
    assert {name.split("/")[1] for name in texts} == parts.keys()
    library = (sdk.folder / "lib" / "libonnxruntime.so.1").read_bytes()
    assert bill.metadata.component is not None
    assert bill.metadata.component.sha256 == hashlib.sha256(library).hexdigest()


@pytest.fixture
def out(scratch: Path, builder: DockerBuilder) -> Path:
    return folder_for_programs(scratch, builder)


def folder_for_programs(
    scratch: Path, builder: DockerBuilder, profile: BoardProfile = PROFILE
) -> Path:
    """A folder with what a program of the board needs to start, for the emulator."""
    folder = Path(tempfile.mkdtemp(dir=scratch))
    copy = ["cp", "-rL", f"/usr/{profile.abi.triplet}/lib", str(builder.path(folder))]
    builder.run(copy, folder / "copy.log")
    return folder


def build_programs(
    builder: DockerBuilder, sdk: SdkReport, out: Path, script: str, **settings: str
) -> None:
    """Build the examples in the builder, after `script`, which may install packages."""
    run_script(builder, sdk, out, f"{script}\n{BUILD}", network=bool(script), **settings)


def run_script(
    builder: DockerBuilder,
    sdk: SdkReport,
    out: Path,
    script: str,
    *,
    network: bool = False,
    **settings: str,
) -> None:
    """In the builder, where SDK and OUT are the two folders."""
    env = {**settings, "OUT": str(builder.path(out)), "SDK": str(builder.path(sdk.folder))}
    builder.run(["sh", "-exc", script], out / "build.log", env=env, network=network)


@pytest.fixture(scope="module")
def pictures(built: BuildReport) -> dict[Path, str]:
    return answers_of_edge_infer(built)


def answers_of_edge_infer(built: BuildReport, profile: BoardProfile = PROFILE) -> dict[Path, str]:
    """Two golden images, and what edge-infer's document says of each: its part of the text."""
    golden = sorted((REPO.default_model.parent / "golden").glob("*.png"))[:2]
    program, release = built.folder / "bin/edge-infer", f"--release={built.folder}"
    ended = emulated(program, "run", release, *golden, profile=profile)
    assert ended.returncode == 0, ended.stderr
    results = re.findall(r'\{"image":"[^"]+",(.*?),"ms":', ended.stdout)
    assert len(results) == 2, ended.stdout
    return {path: f"{{{text}}}" for path, text in zip(golden, results, strict=True)}


def all_answer(out: Path, case: Case, sdk: SdkReport, pictures: dict[Path, str]) -> None:
    for folder in ("make", "cmake"):
        for name in ("run_c", "run_cpp"):
            case.is_answered_by(out / folder / name, out, sdk)
        for name in ("classify", "infer"):
            answers_as_edge_infer(out / folder / name, out, case.model, sdk, pictures)


def answers_as_edge_infer(
    program: Path,
    libraries: Path,
    model: Path,
    sdk: SdkReport,
    pictures: dict[Path, str],
    profile: BoardProfile = PROFILE,
) -> None:
    """To the byte; `classify` takes one image."""
    images = [*pictures] if program.name == "infer" else [next(iter(pictures))]
    card = REPO.default_model.parent / "card.json"
    files = (model, card, *images)
    ended = emulated(program, *files, libraries=libraries, sdk=sdk, profile=profile)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines() == [pictures[path] for path in images]


def test_programs_by_make_and_cmake_answer_as_the_host_does(
    builder: DockerBuilder, sdk: SdkReport, out: Path, case: Case, pictures: dict[Path, str]
) -> None:
    build_programs(builder, sdk, out, "", **own_compiler(builder, sdk))

    all_answer(out, case, sdk, pictures)
    refuses(out / "make" / "classify", out, sdk, next(iter(pictures)))


@pytest.mark.nightly
def test_one_runtime_serves_two_models(
    builder: DockerBuilder, built: BuildReport, out: Path, tmp_path: Path
) -> None:
    second = REPO.root / "models" / "mobilevit-xxs-elpv" / "model.onnx"
    sdk = build(REPO.default_model, second)
    assert sdk.models == ("mobilevit-s-elpv", "mobilevit-xxs-elpv")
    place = BoardBuild(root=tmp_path / "converted")
    converted, _ = pipeline.converted_model(second, place, user_cache(), xnnpack=False)
    files = [tmp_path / "model.ort", tmp_path / "card.json"]
    shutil.copy(converted.ort, files[0])
    shutil.copy(second.parent / "card.json", files[1])
    image = min((second.parent / "golden").glob("*.png"))
    edge_infer = built.folder / "bin" / "edge-infer"
    expected = json.loads(emulated(edge_infer, "run", "--model", files[0], image).stdout)

    build_programs(builder, sdk, out, "", **own_compiler(builder, sdk))

    ended = emulated(out / "make" / "infer", *files, image, libraries=out, sdk=sdk)
    answer = json.loads(ended.stdout)
    assert answer == {key: expected["results"][0][key] for key in answer}


def own_compiler(
    builder: DockerBuilder, sdk: SdkReport, profile: BoardProfile = PROFILE
) -> dict[str, str]:
    """The builder's, for make and for CMake."""
    tool, place = profile.abi.triplet, builder.path(sdk.folder)
    toolchain = f"-DCMAKE_TOOLCHAIN_FILE={place}/toolchain.cmake"
    return {"CC": f"{tool}-gcc", "CXX": f"{tool}-g++", "CMAKE_OPTIONS": toolchain}


def refuses(program: Path, out: Path, sdk: SdkReport, image: Path) -> None:
    """A program of libedge is told what is wrong with an image or a card, before any model is."""
    card = json.loads((REPO.default_model.parent / "card.json").read_text())
    good, newer, cut = out / "good.json", out / "newer.json", out / "cut.png"
    good.write_text(json.dumps(card))
    newer.write_text(json.dumps(card | {"schema": 9}))
    cut.write_bytes(image.read_bytes()[:-20])
    for card_file, picture, code, message in (
        (good, cut, 3, f"{cut}: is truncated (the PNG data ends early)\nnext: "),
        # The card's temperature is a key of schema 2 alone.
        (newer, image, 5, f"{newer}: 2 defects\n  schema: expected 1 to 2, found 9\n  output."),
    ):
        model = out / "no-model.ort"
        ended = emulated(program, model, card_file, picture, libraries=out, sdk=sdk)
        assert (ended.returncode, ended.stderr[: len(message)]) == (code, message)


@pytest.mark.nightly
def test_programs_of_a_64_bit_board_answer_as_its_edge_infer(
    builder: DockerBuilder, scratch: Path
) -> None:
    profile = load_board("a53-som-arm64", REPO.boards)
    with alone():
        built = pipeline.build(request(REPO, board=profile.name), Progress())
    sdk, out = build(profile=profile), folder_for_programs(scratch, builder, profile)
    answers = answers_of_edge_infer(built, profile)

    build_programs(builder, sdk, out, "", **own_compiler(builder, sdk, profile))

    model = built.folder / "model" / "model.ort"
    for folder in ("make", "cmake"):
        for name in ("classify", "infer"):
            answers_as_edge_infer(out / folder / name, out, model, sdk, answers, profile)


@pytest.mark.nightly
def test_an_sdk_costs_no_more_than_it_may(
    builder: DockerBuilder, built: BuildReport, sdk: SdkReport
) -> None:
    program = program_of_release(built.folder, PROFILE, REPO.build(PROFILE.name))

    cost = sdk_cost.measure(load_sdk(sdk.folder), program, PROFILE, builder, REPO.resources)

    sdk_cost.require_goals(cost)
    assert cost.example > cost.edge_infer * 0.9
    assert [library.bytes > 0 for library in cost.libraries] == [True, True]


@pytest.mark.nightly
def test_programs_of_an_older_gcc_answer_as_the_host_does(
    builder: DockerBuilder, sdk: SdkReport, out: Path, case: Case, pictures: dict[Path, str]
) -> None:
    compilers = {"CC": "arm-linux-gnueabihf-gcc-12", "CXX": "arm-linux-gnueabihf-g++-12"}
    system = "-DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=armv7l"  # CC and CXX say the rest

    build_programs(builder, sdk, out, INSTALL, **compilers, CMAKE_OPTIONS=system)

    all_answer(out, case, sdk, pictures)


def examples(shared: list[str], static: list[str]) -> list[tuple[str, str, list[str]]]:
    """The examples of an SDK: the compiler of each, its source, and the flags that link it."""
    return [
        ("cc", "run.c", shared),
        ("c++", "run.cpp", static),
        ("cc", "classify.c", shared),
        ("c++", "infer.cpp", static),
    ]


@pytest.mark.nightly
def test_programs_of_clang_with_libcxx_answer_on_the_floor_s_glibc(
    sdk: SdkReport, case: Case, tmp_path: Path, pictures: dict[Path, str]
) -> None:
    """zig's: another compiler, linker and C++ library. Debian bullseye has glibc 2.31."""
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(tmp_path / "zig")]
    subprocess.run([*pip, "ziglang==0.17.1"], check=True)
    debs.unpack("libc6", "armhf", "bullseye", tmp_path / "board", tmp_path / "debs.log")
    env = os.environ | {"PYTHONPATH": str(tmp_path / "zig")}
    flags = ["-target", "arm-linux-gnueabihf.2.31", "-mcpu=cortex_a53", "-O2"]
    flags += [f"-I{sdk.folder / 'include'}", f"-I{sdk.folder / 'include' / 'onnxruntime'}"]
    lib = sdk.folder / "lib"
    shared = [f"-L{lib}", "-ledge", "-lonnxruntime"]
    static = ["-std=c++17", *(str(lib / f"lib{name}.a") for name in LIBRARIES), "-ldl", "-lm"]
    for command, source, linked in examples(shared, static):
        program = tmp_path / source / Path(source).stem
        program.parent.mkdir()
        argv = [sys.executable, "-m", "ziglang", command, *flags, *linked, "-o", str(program)]
        subprocess.run([*argv, str(sdk.folder / "examples" / source)], check=True, env=env)
        if source.startswith("run"):
            case.is_answered_by(program, tmp_path / "board", sdk)
        else:
            answers_as_edge_infer(program, tmp_path / "board", case.model, sdk, pictures)


def outsider(folder: Path) -> tuple[Path, Any]:
    """A model of operators that the demo's runtime lacks, and an input of it."""
    rng = np.random.default_rng(3)

    def weight(name: str, *shape: int) -> onnx.TensorProto:
        return numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), name)

    then = helper.make_graph(
        [helper.make_node("CumSum", ["e", "axis"], ["then"])],
        "then",
        [],
        [helper.make_tensor_value_info("then", onnx.TensorProto.FLOAT, None)],
    )
    other = helper.make_graph(
        [helper.make_node("Elu", ["e"], ["other"])],
        "other",
        [],
        [helper.make_tensor_value_info("other", onnx.TensorProto.FLOAT, None)],
    )
    nodes = [
        helper.make_node("LSTM", ["x", "w", "r"], ["y", "h"], hidden_size=4),
        helper.make_node("Einsum", ["h", "m"], ["p"], equation="dbh,hk->bk"),
        helper.make_node("Erf", ["p"], ["e"]),
        helper.make_node("ReduceMax", ["e"], ["max"], keepdims=0),
        helper.make_node("Greater", ["max", "zero"], ["positive"]),
        helper.make_node("If", ["positive"], ["c"], then_branch=then, else_branch=other),
        helper.make_node("TopK", ["c", "k"], ["top", "places"]),
    ]
    constants = [
        *(weight("w", 1, 16, 3), weight("r", 1, 16, 4), weight("m", 4, 6)),
        numpy_helper.from_array(np.array(1, np.int64), "axis"),
        numpy_helper.from_array(np.array(0, np.float32), "zero"),
        numpy_helper.from_array(np.array([3], np.int64), "k"),
    ]
    graph = helper.make_graph(
        nodes,
        "outsider",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [5, 2, 3])],
        [helper.make_tensor_value_info("top", onnx.TensorProto.FLOAT, [2, 3])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, str(folder / "outsider.onnx"))
    return folder / "outsider.onnx", rng.standard_normal((5, 2, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def sdk_of_all(built: BuildReport) -> SdkReport:
    return build(operators="all")


def runtime_of(sdk: SdkReport) -> Package:
    """The package of ONNX Runtime that its provenance names."""
    statement = json.loads(sdk_evidence(load_sdk(sdk.folder)).statement.read_text())
    sources = statement["predicate"]["buildDefinition"]["resolvedDependencies"]
    [recipe] = [source for source in sources if source.get("name") == f"recipe {RUNTIME}"]
    records = user_cache().glob(f"conan/*/edgewright/{RUNTIME}-*.json")
    runtimes = [Package.model_validate_json(path.read_bytes()) for path in records]
    return next(
        package
        for package in runtimes
        if package.package_id == recipe["annotations"]["package"]
        and package.ref.endswith(f"#{recipe['annotations']['revision']}")
    )


KERNEL = re.compile(r"kCpuExecutionProvider_([A-Za-z0-9]+)_k(Onnx|MS)Domain_ver(\d+)(?:_(\d+))?")
DOMAINS = {"Onnx": "ai.onnx", "MS": "com.microsoft"}


@pytest.mark.nightly
def test_an_sdk_of_all_operators_has_a_kernel_for_each_that_it_promises(
    sdk_of_all: SdkReport,
) -> None:
    """By the names of what makes kernels in the runtime that it is linked from."""
    config = sdk_of_all.folder / "operators.config"
    folder = user_cache() / runtime_of(sdk_of_all).folder
    with (folder / LIBRARIES["onnxruntime"][0]).open("rb") as stream:
        table = ELFFile(stream).get_section_by_name(".symtab")
        assert isinstance(table, SymbolTableSection)
        names = "\n".join(symbol.name for symbol in table.iter_symbols())
    kernels = {
        (DOMAINS[domain], name, int(first), int(last or first))
        for name, domain, first, last in KERNEL.findall(names)
    }
    promised = parse_config(config.read_text(), "SDK").operators

    def has_kernel(operator: Operator) -> bool:
        same = (k for k in kernels if k[:2] == (operator.domain, operator.name))
        return any(first <= operator.opset <= last for *_, first, last in same)

    assert len(promised) > 500
    assert [str(operator) for operator in promised if not has_kernel(operator)] == []


@pytest.mark.nightly
def test_an_sdk_of_all_operators_runs_a_model_that_the_demo_s_refuses(
    builder: DockerBuilder, sdk: SdkReport, sdk_of_all: SdkReport, case: Case, out: Path
) -> None:
    network, values = outsider(out)
    (out / "input.f32").write_bytes(values.tobytes())
    place = BoardBuild(root=out / "converted")
    model = pipeline.converted_model(network, place, user_cache(), xnnpack=False)[0].ort
    answer = open_session(network, 1).run(None, {"x": values})[0].ravel()
    build_programs(builder, sdk_of_all, out, "", **own_compiler(builder, sdk_of_all))
    theirs = Case(model=model, values=out / "input.f32", answer=answer)

    for name in ("run_c", "run_cpp"):
        theirs.is_answered_by(out / "make" / name, out, sdk_of_all)
        case.is_answered_by(out / "make" / name, out, sdk_of_all)
    with pytest.raises(UserError, match=r"LSTM \(opset 14\)[^!]*--operators=all$"):
        sdks.check_model(load_sdk(sdk.folder), network, user_cache(), out / "check")
    covered = sdks.check_model(load_sdk(sdk_of_all.folder), network, user_cache(), out / "all")
    assert {"ai.onnx:If (opset 16)", "ai.onnx:Einsum (opset 12)"} <= set(covered.required)
    for file, built_sdk, reason in (
        (model, sdk, "Could not find an implementation for LSTM(14)"),
        (network, sdk_of_all, "ONNX format model is not supported in this build"),
    ):
        values_file = out / "input.f32"
        ended = emulated(out / "make" / "run_c", file, values_file, libraries=out, sdk=built_sdk)
        assert (ended.returncode, reason in ended.stderr) == (1, True), ended.stderr


@dataclass(frozen=True, kw_only=True)
class BoardPython:
    """Debian's Python and numpy for armhf, with the wheel, in the emulator."""

    root: Path
    wheel: Path  # unpacked

    def argv(self, *arguments: str) -> list[str]:
        """For the emulator."""
        lib, python = self.root / "usr/lib/arm-linux-gnueabihf", self.root / "usr/bin/python3"
        path = f"{self.wheel}:{self.root / 'usr/lib/python3/dist-packages'}"
        # Debian's numpy finds these two by links of its alternatives, which nobody has made here.
        argv = ["-L", str(self.root), "-E", f"LD_LIBRARY_PATH={lib / 'blas'}:{lib / 'lapack'}"]
        argv += ["-E", f"PYTHONHOME={self.root / 'usr'}", "-E", f"PYTHONPATH={path}"]
        # Compiled once, as on a board, whatever the environment of the tests says.
        argv += ["-E", "PYTHONDONTWRITEBYTECODE="]
        return [*argv, str(python.resolve()), *arguments]

    def run(self, *arguments: str, cpu: str = PROFILE.qemu_cpu) -> subprocess.CompletedProcess[str]:
        argv = [EMULATORS[PROFILE.abi.arch], "-cpu", cpu, *self.argv(*arguments)]
        return subprocess.run(argv, capture_output=True, text=True, check=False)

    def instructions(self, *arguments: str) -> int:
        guest = Guest(arch=PROFILE.abi.arch, argv=self.argv(*arguments), cpu=PROFILE.qemu_cpu)
        return count(guest, REPO.resources).total(0)

    def answers(self, case: Case) -> None:
        """Run the script; it must answer as the host does, and refuse what it cannot run."""
        files = (case.model, case.values, REPO.default_model)
        ended = self.run("-c", SCRIPT, *map(str, files))
        assert ended.returncode == 0, ended.stderr
        document = json.loads(ended.stdout)
        for values in (document["answer"], document["bound"]):
            case.matches(values)
        assert "model.onnx is no model in ORT format" in document["told"]


def installed(sdk: SdkReport, out: Path) -> Path:
    """The folder of an SDK's wheel, as pip takes it from the index for a board of this glibc."""
    code = REPO.resources.runtime_py
    built_wheel = build_wheel(load_sdk(sdk.folder), PROFILE, code, out / "out")
    add_to_index(built_wheel, out / "index")
    assert built_wheel.platform == "manylinux_2_31_armv7l"
    index = f"--index-url={(out / 'index' / 'simple').as_uri()}"
    pip_install(out / "site", index, f"--platform={built_wheel.platform}", "edgewright-runtime")
    return out / "site"


def pip_install(site: Path, *arguments: str) -> None:
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(site)]
    pip += ["--only-binary=:all:", "--python-version=3.9"]
    subprocess.run([*pip, *arguments], check=True)


@pytest.fixture(scope="module")
def wheel(sdk: SdkReport, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return installed(sdk, tmp_path_factory.mktemp("wheel"))


def test_a_wheel_answers_in_the_board_s_python_as_the_host_does(
    wheel: Path, case: Case, tmp_path: Path
) -> None:
    root = sysroot("trixie", ("python3-numpy",), Arch.ARMHF, tmp_path / "log")

    BoardPython(root=root, wheel=wheel).answers(case)

    older = BoardPython(root=root, wheel=wheel).run("-c", SCRIPT, cpu="cortex-a7")
    assert "with a cortex-a53; this processor (v7l) lacks ARMv8" in older.stderr


@pytest.mark.nightly
def test_a_wheel_answers_in_an_older_python_on_the_floor_s_glibc(
    wheel: Path, case: Case, tmp_path: Path
) -> None:
    """Debian bullseye has Python 3.9, numpy 1.19 and glibc 2.31."""
    root = sysroot("bullseye", ("python3-numpy",), Arch.ARMHF, tmp_path / "log")

    BoardPython(root=root, wheel=wheel).answers(case)


# Imports a runtime, and loads and runs a model; prints the peak of the process's memory in KiB.
# Not by getrusage, whose peak begins with that of the process which started this one.
LOAD = """
import sys
import numpy as np
import {runtime} as onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(sys.argv[1], options)
[image] = session.get_inputs()
session.run(None, {{image.name: np.fromfile(sys.argv[2], np.float32).reshape(image.shape)}})
with open("/proc/self/status") as status:
    print(next(line.split()[1] for line in status if line.startswith("VmHWM")))
"""


@pytest.mark.nightly
def test_a_wheel_costs_less_than_debian_s_package(wheel: Path, case: Case, tmp_path: Path) -> None:
    root = sysroot("trixie", ("python3-onnxruntime",), Arch.ARMHF, tmp_path / "log")
    board = BoardPython(root=root, wheel=wheel)
    place = BoardBuild(root=tmp_path / "converted")
    # A release's weights are packed, which Debian's runtime does not read.
    plain = pipeline.converted_model(REPO.default_model, place, user_cache())[0].ort

    def memory(runtime: str, model: Path) -> int:
        ended = board.run("-c", LOAD.format(runtime=runtime), str(model), str(case.values))
        assert ended.returncode == 0, ended.stderr
        return int(ended.stdout)

    kib = memory("edgewright_runtime", case.model), memory("onnxruntime", plain)
    # Modules are compiled by now. What numpy takes, both take.
    numpy = board.instructions("-c", "import numpy")
    ours, debian = (
        board.instructions("-c", f"import numpy, {runtime}") - numpy
        for runtime in ("edgewright_runtime", "onnxruntime")
    )

    assert (ours < debian / 3, kib[0] < kib[1]) == (True, True), (numpy, ours, debian, kib)


# Others' program that tells what a file is, by a network: a package of Python code and a model.
TOOL = ("magika==0.5.1", "python-dotenv==1.0.1", "tqdm==4.66.2")
TOOL_SCRIPT = """
import json, sys
from pathlib import Path
from magika import Magika
tool = Magika()
# One after the other: the converted model takes one input at a time.
answers = [tool.identify_path(Path(name)) for name in sys.argv[1:]]
print(json.dumps([(answer.dl.ct_label, float(answer.dl.score)) for answer in answers]))
"""
TOLD_APART = ("README.md", "setup.py", "bench/plugin/counts.c", "docs/schemas/wheel.json")


@pytest.mark.nightly
def test_a_tool_of_others_runs_with_the_wheel(tmp_path: Path) -> None:
    """One line of it is changed, and its model has been converted."""
    tool = tmp_path / "tool"
    pip_install(tool, *TOOL)
    files = [str(REPO.root / name) for name in TOLD_APART]
    env = os.environ | {"PYTHONPATH": str(tool)}
    host = [sys.executable, "-c", TOOL_SCRIPT, *files]
    expected = json.loads(subprocess.run(host, env=env, capture_output=True, check=True).stdout)
    model, code = tool / "magika/models/standard_v1/model.onnx", tool / "magika/magika.py"
    site = installed(build(model), tmp_path)
    place = BoardBuild(root=tmp_path / "converted")
    converted, _ = pipeline.converted_model(model, place, user_cache(), xnnpack=False)
    shutil.copy(converted.ort, model)
    ours = code.read_text().replace("import onnxruntime as", "import edgewright_runtime as")
    code.write_text(ours)
    shutil.copytree(tool, site, dirs_exist_ok=True)
    root = sysroot("trixie", ("python3-numpy",), Arch.ARMHF, tmp_path / "log")

    ended = BoardPython(root=root, wheel=site).run("-c", TOOL_SCRIPT, *files)

    assert ended.returncode == 0, ended.stderr
    answers = json.loads(ended.stdout)
    assert [label for label, _ in answers] == ["markdown", "python", "c", "json"]
    assert np.allclose([s for _, s in answers], [s for _, s in expected], rtol=0, atol=1e-4)
