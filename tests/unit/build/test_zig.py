"""zig as the external toolchain: found, asked, put behind the names of the builder's GCC."""

import os
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from edgewright.base.errors import UserError
from edgewright.base.process import ChildFailed
from edgewright.base.progress import Progress
from edgewright.base.workspace import OwnProgram, Settings
from edgewright.board.catalogue import load_board
from edgewright.board.cores import KNOWN_CORES
from edgewright.board.profile import BoardProfile, Libc, LibcFamily, Toolchain
from edgewright.build import bill, container, pipeline, zig
from edgewright.build.container import LocalBuilder
from edgewright.build.external_toolchain import compiler_facts, with_external_toolchain
from tests.checkout import checkout
from tests.unit.build.local_host import Host

CHECKOUT = checkout()
TRIPLET = "arm-linux-gnueabihf"


@dataclass(frozen=True, kw_only=True)
class Zig:
    """A program that answers as zig does; its libraries are empty files."""

    version: str = "echo 0.17.1"
    links: str = "true"
    libraries: str = "trial.o crt1.o libc++.a libc.so"

    def install(self, root: Path) -> Path:
        text = f"""#!/bin/sh
echo "$@" >> {root}/requests
[ "$1" != version ] || {{ {self.version}; exit; }}
case " $* " in
*" -dM "*) echo '#define __clang_major__ 21'; exit ;;
*" -c "*) exit ;;
esac
{self.links} || exit 1
objects=$ZIG_LOCAL_CACHE_DIR/o/0123456789abcdef
mkdir -p $objects
for name in {self.libraries}; do touch $objects/$name; done
echo ld.lld -o trial {" ".join(f"cache/o/0123456789abcdef/{x}" for x in self.libraries.split())}
"""
        (root / zig.STANDARD_LIBRARY).mkdir(parents=True)
        program = root / "zig"
        program.write_text(text)
        program.chmod(0o755)
        for library in zig.LIBRARIES.values():
            licence = root / library.text
            licence.parent.mkdir(parents=True, exist_ok=True)
            licence.write_text(f"licence of {library.name}")
        return root


@pytest.fixture
def builder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalBuilder:
    """With a linker that makes an empty file."""
    monkeypatch.setattr(container, "missing_tools", list)
    tools = tmp_path / "tools"
    tools.mkdir()
    linker = tools / f"{TRIPLET}-ld"
    linker.write_text("#!/bin/sh\n")
    linker.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    return Host(workspace=tmp_path, cache=tmp_path / "cache")


def board(external: Path, name: str = "a53-som", libc: Libc | None = None) -> BoardProfile:
    profile = load_board(name, CHECKOUT.boards)
    return profile.model_copy(
        update={
            "toolchain": Toolchain(external=str(external)),
            "libc": libc or Libc(family=LibcFamily.MUSL, floor="1.2"),
        }
    )


def with_core(profile: BoardProfile, core: str) -> BoardProfile:
    return profile.model_copy(update={"cpu": profile.cpu.model_copy(update={"core": core})})


def refusal(builder: LocalBuilder, profile: BoardProfile, tmp_path: Path) -> str:
    with pytest.raises(UserError) as refused:
        with_external_toolchain(builder, profile, tmp_path / "log")
    assert not [*(tmp_path / "cache").glob("toolchains/*")]
    return str(refused.value)


def test_recipes_reach_zig_by_the_names_and_with_the_options_of_gcc(
    builder: LocalBuilder, tmp_path: Path
) -> None:
    root = Zig().install(tmp_path / "zig")
    external = with_external_toolchain(builder, board(root), tmp_path / "log")

    options = ["-mcpu=cortex-a53", "-mfpu=neon-fp-armv8", "-mtune=cortex-a72", "-Werror", "-c"]
    external.run([f"{TRIPLET}-g++", *options, "a.cpp"], tmp_path / "log")

    call = (root / "requests").read_text().splitlines()[-1]
    assert call.startswith("c++ -target arm-linux-musleabihf -mcpu=cortex_a53-aes-sha2 -Os ")
    assert " -mcpu=cortex_a53-aes-sha2 -Werror -c a.cpp " in call
    assert call.endswith(" -Wno-error")  # Clang warns of more than GCC


def test_its_libraries_are_where_recipes_look_for_gcc_s(
    builder: LocalBuilder, tmp_path: Path
) -> None:
    profile = board(Zig().install(tmp_path / "zig"))
    external = with_external_toolchain(builder, profile, tmp_path / "log")
    external.run([f"{TRIPLET}-gcc", "-print-file-name=libc++.a"], tmp_path / "answer")

    assert Path((tmp_path / "answer").read_text().splitlines()[-1]).is_file()
    assert (
        "compiler=clang\ncompiler.version=21\n"
        in pipeline.rendered(profile, CHECKOUT, external).conan
    )


@pytest.mark.parametrize(
    ("core", "expected"),
    [
        ("cortex-a9", "cortex_a9"),
        ("cortex-a76", "cortex_a53"),  # GCC compiles older code for it
        ("cortex-a15.cortex-a7", "cortex_a7"),
        ("cortex-a72.cortex-a53", "cortex_a53"),
    ],
)
def test_a_core_has_zig_s_name(core: str, expected: str, tmp_path: Path) -> None:
    assert zig.core(with_core(board(tmp_path), core)) == f"{expected}-aes-sha2"


@pytest.mark.parametrize("core", sorted(KNOWN_CORES))
def test_every_core_is_one_of_zig_s_or_refused_by_name(
    builder: LocalBuilder, tmp_path: Path, core: str
) -> None:
    """Of what `zig cc -target arm-linux-musleabihf` 0.17.1 knows, Cortex-A and X."""
    of_zig = {5, 7, 8, 9, 12, 15, 17, 32, 35, 53, 55, 57, 72, 73, 75, 76, 77, 78, 510, 710}
    names = {*(f"a{number}" for number in of_zig), "a76ae", "a78ae", "a78c", "x1"}
    profile = with_core(board(Zig().install(tmp_path / "zig")), core)

    if zig.is_core_unknown(profile):
        assert f"does not know the core {core}" in refusal(builder, profile, tmp_path)
    else:
        assert zig.core(profile) in {f"cortex_{name}-aes-sha2" for name in names}


def test_a_board_with_a_pair_of_cores_is_compiled_for_by_the_smaller_one(
    builder: LocalBuilder, tmp_path: Path
) -> None:
    root = Zig().install(tmp_path / "zig")
    profile = with_core(board(root), "cortex-a72.cortex-a53")
    external = with_external_toolchain(builder, profile, tmp_path / "log")

    for core in ("cortex-a72.cortex-a53", "cortex-a7"):
        external.run([f"{TRIPLET}-gcc", f"-mcpu={core}", "-c", "a.c"], tmp_path / "log")

    own, shared = (root / "requests").read_text().splitlines()[-2:]
    assert own.count("-mcpu=") == 2
    assert own.count("-mcpu=cortex_a53-aes-sha2") == 2
    assert " -mcpu=cortex_a7-aes-sha2 -c a.c" in shared


def test_zig_s_cache_is_nobody_else_s_and_ends_with_the_call(
    builder: LocalBuilder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    root = Zig().install(tmp_path / "zig")
    external = with_external_toolchain(builder, board(root), tmp_path / "log")
    program = root / "zig"
    program.write_text(
        "#!/bin/sh\n"
        f'stat -c %a "$ZIG_LOCAL_CACHE_DIR" > {tmp_path}/mode\n'
        f'echo "$ZIG_LOCAL_CACHE_DIR" "$ZIG_GLOBAL_CACHE_DIR" > {tmp_path}/used\n'
        "exit 3\n"
    )

    with pytest.raises(ChildFailed, match="3"):
        external.run([f"{TRIPLET}-gcc", "-c", "a.c"], tmp_path / "log")

    local, global_ = (tmp_path / "used").read_text().split()
    assert Path(local).parent == temporary
    assert global_ == local
    assert (tmp_path / "mode").read_text() == "700\n"
    assert not [*temporary.iterdir()]


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        (Zig(version="echo 0.13.0"), ["is too old", "zig 0.17 or newer", "found: 0.13.0", "pip"]),
        (Zig(version="echo not for here >&2; exit 126"), ["does not run", "found: not for here"]),
        (
            Zig(links="echo unable to find zig installation directory"),
            ["cannot link a program", "unable to find zig installation directory"],
        ),
        (
            Zig(libraries="crt1.o libc++.a libnew.a libc.so"),
            ["cannot link a program", "zig links libnew.a: its licence is not known"],
        ),
        (Zig(libraries="trial.o"), ["cannot link a program", "zig tells no libc++.a"]),
    ],
    ids=["old", "foreign", "half", "unknown-library", "silent"],
)
def test_a_zig_that_cannot_build_for_the_board_is_refused(
    builder: LocalBuilder, tmp_path: Path, program: Zig, expected: list[str]
) -> None:
    if program.links != "true":
        program = Zig(links=f"{{ {program.links}; false; }}")
    message = refusal(builder, board(program.install(tmp_path / "zig")), tmp_path)

    assert message.startswith(f"board 'a53-som': toolchain {tmp_path}/zig: ")
    assert [text for text in expected if text not in message] == []


def test_a_board_that_zig_was_not_tried_for_is_refused(
    builder: LocalBuilder, tmp_path: Path
) -> None:
    root = Zig().install(tmp_path / "zig")

    assert "was not tried for arm64" in refusal(builder, board(root, "a53-som-arm64"), tmp_path)
    glibc = refusal(builder, board(root, libc=Libc(floor="2.31")), tmp_path)
    assert "was not tried for glibc" in glibc
    assert "the builder's GCC serves glibc from 2.13" in glibc


def test_a_program_without_its_libraries_beside_it_is_refused(
    builder: LocalBuilder, tmp_path: Path
) -> None:
    """/usr/bin/zig of a system, whose folder would be mounted over the builder's own."""
    program = Zig().install(tmp_path / "bin") / "zig"
    (tmp_path / "bin" / "lib").rename(tmp_path / "lib")

    message = refusal(builder, board(program), tmp_path)

    assert "is not the whole of zig" in message
    assert f"expected: {tmp_path}/bin/lib/std, beside the program" in message


def test_a_link_to_zig_stands_for_the_folder_that_it_leads_to(
    builder: LocalBuilder, tmp_path: Path
) -> None:
    root = Zig().install(tmp_path / "zig-0.17.1")
    link = tmp_path / "bin" / "zig"
    link.parent.mkdir()
    link.symlink_to(root / "zig")

    toolchain = with_external_toolchain(builder, board(link), tmp_path / "log").toolchain

    assert toolchain
    assert toolchain.root == root


def test_of_what_zig_says_of_its_version_the_first_line_counts(
    builder: LocalBuilder, tmp_path: Path
) -> None:
    root = Zig(version="echo 0.17.1; echo warning: 1.0").install(tmp_path / "zig")
    external = with_external_toolchain(builder, board(root), tmp_path / "log")

    assert external.toolchain
    assert compiler_facts(external.toolchain).version == "0.17.1"


def test_a_folder_without_zig_is_refused(builder: LocalBuilder, tmp_path: Path) -> None:
    message = refusal(builder, board(tmp_path / "absent"), tmp_path)

    assert "has no GCC for this board, and no zig" in message


def test_a_release_is_the_builder_s_own_gcc_s(tmp_path: Path) -> None:
    profile = board(Zig().install(tmp_path / "zig"))
    request = pipeline.BuildRequest(
        profile=profile, model=CHECKOUT.default_model, workspace=CHECKOUT, jobs=1
    )

    assert pipeline._without_zig(request).profile.toolchain.external is None


def test_programs_of_the_user_s_in_a_release_are_refused_with_what_does_it(
    tmp_path: Path,
) -> None:
    programs = {"camera": OwnProgram(source="camera", selftest=("camera", "--selftest"))}
    workspace = replace(CHECKOUT, root=tmp_path, settings=Settings(name="w", programs=programs))
    request = pipeline.BuildRequest(
        profile=board(Zig().install(tmp_path / "zig")),
        model=CHECKOUT.default_model,
        workspace=workspace,
        jobs=1,
    )

    with pytest.raises(UserError, match="builds no programs of your own") as refused:
        pipeline.build(request, Progress())

    assert refused.value.next
    assert refused.value.next.endswith("invoke sdk --board=a53-som")


def test_the_bill_names_what_zig_links_with_its_licences(
    builder: LocalBuilder, tmp_path: Path
) -> None:
    root = Zig().install(tmp_path / "ziglang")
    external = with_external_toolchain(builder, board(root), tmp_path / "log")

    used = bill.compiler_packages(external, TRIPLET, tmp_path / "log")

    assert used["compiler"].purl is None  # the folder of an archive
    (root / "__init__.py").touch()  # that of the wheel
    of_wheel = bill.compiler_packages(external, TRIPLET, tmp_path / "log")
    assert of_wheel["compiler"].purl == "pkg:pypi/ziglang@0.17.1"
    assert used["libc++abi.a"].texts == {"LICENSE.TXT": b"licence of libc++abi"}
    assert used["libc++.a"].licence == "Apache-2.0 WITH LLVM-exception"
    assert used["libc.a"].source == "musl"
    assert used["libc.a"].texts == {"COPYRIGHT": b"licence of musl"}
