"""zig as the external toolchain: found, asked, put behind the names of the builder's GCC."""

import os
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from edgewright.base.errors import UserError
from edgewright.base.progress import Progress
from edgewright.base.workspace import OwnProgram, Settings
from edgewright.board.catalogue import load_board
from edgewright.board.profile import BoardProfile, Libc, LibcFamily, Toolchain
from edgewright.build import bill, container, pipeline, zig
from edgewright.build.container import LocalBuilder
from edgewright.build.external_toolchain import with_external_toolchain
from tests.checkout import checkout

CHECKOUT = checkout()
TRIPLET = "arm-linux-gnueabihf"


class Host(LocalBuilder):
    """This host, whichever compilers it has."""

    @property
    def id(self) -> str:
        return "host" + (f"-{self.toolchain.identity}" if self.toolchain else "")


@dataclass(frozen=True, kw_only=True)
class Zig:
    """A program that answers as zig does; its libraries are empty files."""

    version: str = "echo 0.17.1"
    links: str = "true"

    def install(self, root: Path) -> Path:
        names = "crt1.o libc++.a libc.so"
        text = f"""#!/bin/sh
echo "$@" >> {root}/asked
[ "$1" != version ] || {{ {self.version}; exit; }}
case " $* " in
*" -dM "*) echo '#define __clang_major__ 21'; exit ;;
*" -c "*) exit ;;
esac
{self.links} || exit 1
for name in {names}; do touch {root}/$name; done
echo ld.lld -o trial {" ".join(f"{root}/{name}" for name in names.split())}
"""
        root.mkdir()
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

    asked = (root / "asked").read_text().splitlines()[-1]
    assert asked.startswith("c++ -target arm-linux-musleabihf -mcpu=cortex_a53-aes-sha2 -Os ")
    assert " -mcpu=cortex_a53-aes-sha2 -Werror -c a.cpp " in asked
    assert asked.endswith(" -Wno-error")  # Clang warns of more than GCC


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
    ("core", "expected"), [("cortex-a9", "cortex_a9"), ("cortex-a76", "cortex_a53")]
)
def test_a_core_that_gcc_compiles_older_code_for_gets_that_of_zig(
    core: str, expected: str, tmp_path: Path
) -> None:
    profile = board(tmp_path)
    cpu = profile.cpu.model_copy(update={"core": core})

    assert zig.core(profile.model_copy(update={"cpu": cpu})) == f"{expected}-aes-sha2"


def test_glibc_is_asked_for_in_the_version_of_the_floor(tmp_path: Path) -> None:
    profile = board(tmp_path, libc=Libc(floor="2.17"))

    assert zig.target(profile) == "arm-linux-gnueabihf.2.17"


def test_boards_with_another_c_library_have_another_toolchain(
    builder: LocalBuilder, tmp_path: Path
) -> None:
    root = Zig().install(tmp_path / "zig")
    floors = ("2.17", "2.28")
    boards = [board(root), *(board(root, libc=Libc(floor=f)) for f in floors)]

    ids = {with_external_toolchain(builder, each, tmp_path / "log").id for each in boards}

    assert len(ids) == 3


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        (Zig(version="echo 0.13.0"), ["is too old", "zig 0.17 or newer", "found: 0.13.0", "pip"]),
        (Zig(version="echo not for here >&2; exit 126"), ["does not run", "found: not for here"]),
        (
            Zig(links="echo unable to find zig installation directory"),
            ["cannot link a program", "unable to find zig installation directory"],
        ),
    ],
    ids=["old", "foreign", "half"],
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
    root = Zig().install(tmp_path / "zig")
    external = with_external_toolchain(builder, board(root), tmp_path / "log")

    used = bill.compiler_packages(external, TRIPLET, tmp_path / "log")

    assert used["compiler"].purl == "pkg:pypi/ziglang@0.17.1"
    assert used["libc++.a"].licence == "Apache-2.0 WITH LLVM-exception"
    assert used["libc.a"].source == "musl"
    assert used["libc.a"].texts == {"COPYRIGHT": b"licence of musl"}
