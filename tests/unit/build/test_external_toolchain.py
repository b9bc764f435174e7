"""A vendor's GCC in place of the builder's own: found, checked, and put first in PATH."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from edgewright.base.errors import UserError
from edgewright.board.catalogue import load_board
from edgewright.board.profile import BoardProfile, Kernels, Toolchain
from edgewright.build import bill, container, external_toolchain, pipeline
from edgewright.build.container import DockerBuilder, LocalBuilder
from edgewright.build.external_toolchain import compiler_facts, with_external_toolchain
from tests.checkout import checkout
from tests.unit.build.local_host import Host

CHECKOUT = checkout()
TRIPLET = "arm-linux-gnueabihf"  # as recipes call the compiler


@dataclass(frozen=True, kw_only=True)
class Gcc:
    """Programs that answer as a vendor's GCC does."""

    machine: str = "arm-vendor-linux-gnueabihf"
    version: str = "12.2.0"
    sysroot: str = "/opt/vendor/sysroot"
    defaults: tuple[str, ...] = ("__ARM_PCS_VFP 1",)
    macros: tuple[str, ...] = ("__GLIBC__ 2", "__GLIBC_MINOR__ 31", "_GLIBCXX_RELEASE 12")
    breaks: str = ""  # what it says of a program that it cannot compile
    names: tuple[str, ...] = field(default=("gcc", "g++", "ar"))

    def install(self, root: Path, prefix: str = "arm-vendor-linux-gnueabihf-") -> Path:
        defines = "\n".join(f"#define {macro}" for macro in self.defaults)
        macros = "\n".join(f"#define {macro}" for macro in self.macros)
        fails = f"echo '{self.breaks}' >&2; exit 1" if self.breaks else "exit 0"
        text = f"""#!/bin/sh
case " $* " in
*" -dumpmachine "*) echo {self.machine} ;;
*" -dumpfullversion "*) echo {self.version} ;;
*" -print-sysroot "*) echo {self.sysroot} ;;
*" -print-file-name=libc.so "*) echo {root}/lib/gcc/../../target/lib/libc.so ;;
*" --arguments "*) echo "$@" ;;
*" -std=c++17 -dM "*) echo '{macros}' ;;
*" -dM "*) echo '{defines}' ;;
*) {fails} ;;
esac
"""
        (root / "bin").mkdir(parents=True, exist_ok=True)
        for name in self.names:
            program = root / "bin" / f"{prefix}{name}"
            program.write_text(text)
            program.chmod(0o755)
        return root


@pytest.fixture
def builder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalBuilder:
    monkeypatch.setattr(container, "missing_tools", list)
    return Host(workspace=tmp_path, cache=tmp_path / "cache")


def board(external: Path | str) -> BoardProfile:
    profile = load_board("a53-som", CHECKOUT.boards)
    stock = profile.runtime.model_copy(update={"kernels": Kernels.STOCK})
    return profile.model_copy(
        update={"toolchain": Toolchain(external=str(external)), "runtime": stock}
    )


def refusal(builder: container.Builder, external: Path, tmp_path: Path) -> str:
    with pytest.raises(UserError) as refused:
        with_external_toolchain(builder, board(external), tmp_path / "log")
    assert not [*(tmp_path / "cache").glob("toolchains/*")]
    return str(refused.value)


def test_recipes_run_the_vendors_programs_by_the_builders_names(
    builder: LocalBuilder, tmp_path: Path
) -> None:
    root = Gcc().install(tmp_path / "vendor")

    external = with_external_toolchain(builder, board(root), tmp_path / "log")
    external.run([f"{TRIPLET}-gcc", "-dumpfullversion"], tmp_path / "version")
    external.run([f"{TRIPLET}-ar", "--arguments", "a b"], tmp_path / "arguments")

    assert (tmp_path / "version").read_text().endswith("\n12.2.0\n")
    assert (tmp_path / "arguments").read_text().endswith("\n--arguments a b\n")
    assert external.toolchain
    assert not (external.toolchain.programs / f"{TRIPLET}-strip").exists()  # the builder's own


def test_packages_of_another_compiler_are_others(builder: LocalBuilder, tmp_path: Path) -> None:
    root = Gcc().install(tmp_path / "vendor")
    first = with_external_toolchain(builder, board(root), tmp_path / "log")
    again = with_external_toolchain(builder, board(root), tmp_path / "log")
    Gcc(version="12.3.0").install(root)
    upgraded = with_external_toolchain(builder, board(root), tmp_path / "log")

    assert builder.id != first.id == again.id != upgraded.id
    assert first.toolchain
    assert upgraded.toolchain
    name = f"{TRIPLET}-g++"
    programs = [(t.programs / name).read_text() for t in (first.toolchain, upgraded.toolchain)]
    assert programs[0] != programs[1]  # ccache tells compilers apart by these


def test_a_toolchain_file_names_its_version_and_its_sysroot(
    builder: LocalBuilder, tmp_path: Path
) -> None:
    profile = board(Gcc().install(tmp_path / "vendor"))
    external = with_external_toolchain(builder, profile, tmp_path / "log")

    texts = pipeline.rendered(profile, CHECKOUT, external)

    assert "set(CMAKE_FIND_ROOT_PATH /opt/vendor/sysroot)" in texts.cmake
    assert "compiler.version=12\n" in texts.conan


def test_a_toolchain_without_a_sysroot_has_its_libraries_beside_libc(
    builder: LocalBuilder, tmp_path: Path
) -> None:
    root = Gcc(sysroot="/").install(tmp_path / "vendor")
    external = with_external_toolchain(builder, board(root), tmp_path / "log")

    assert external.toolchain
    assert compiler_facts(external.toolchain).libraries == f"{root}/target"


def test_the_bill_names_the_compiler_that_was_used(builder: LocalBuilder, tmp_path: Path) -> None:
    """Under the licence of Debian's, which the builder has the texts of."""
    root = Gcc().install(tmp_path / "vendor")
    external = with_external_toolchain(builder, board(root), tmp_path / "log")
    folder = tmp_path / "cache" / "conan" / "host" / "edgewright" / f"compiler-{TRIPLET}"
    for name in ("compiler", *bill.COMPILER_LIBRARIES):
        (folder / name).mkdir(parents=True)
        (folder / name / "package.tsv").write_text("libgcc\t14.2.0-19\tgcc-14\t14.2.0-19\t")
        (folder / name / "copyright").write_text("with the exception")

    used = bill.compiler_packages(external, TRIPLET, tmp_path / "log")

    assert used["compiler"].name == "arm-vendor-linux-gnueabihf-gcc"
    assert used["compiler"].version == "12.2.0"
    assert used["libc.a"].version == "2.31"
    assert used["libstdc++.a"].purl is None
    assert used["libstdc++.a"].texts == {"copyright": b"with the exception"}


def test_buildroot_has_two_names_for_one_compiler(builder: LocalBuilder, tmp_path: Path) -> None:
    root = Gcc().install(tmp_path / "host", prefix="arm-buildroot-linux-gnueabihf-")
    for name in ("gcc", "g++"):
        short = root / "bin" / f"arm-linux-{name}"
        short.symlink_to(f"arm-buildroot-linux-gnueabihf-{name}")

    assert with_external_toolchain(builder, board(root), tmp_path / "log").toolchain


@pytest.mark.parametrize("named", ["gcc-12", "g++-12"])
def test_of_several_compilers_one_can_be_named(
    builder: LocalBuilder, tmp_path: Path, named: str
) -> None:
    root = tmp_path / "usr"
    for version in ("11", "12"):
        names = (f"gcc-{version}", f"g++-{version}")
        Gcc(version=f"{version}.1.0", names=names).install(root, prefix=f"{TRIPLET}-")

    assert "names several compilers" in refusal(builder, root, tmp_path)
    compiler = root / "bin" / f"{TRIPLET}-{named}"
    external = with_external_toolchain(builder, board(compiler), tmp_path / "log")
    assert external.toolchain
    assert compiler_facts(external.toolchain).version == "12.1.0"


def test_an_sdk_of_yocto_says_itself_where_its_compiler_and_its_sysroot_are(
    builder: LocalBuilder, tmp_path: Path
) -> None:
    sdk = tmp_path / "poky"
    Gcc(machine="arm-poky-linux-gnueabi").install(sdk / "native", prefix="arm-poky-linux-gnueabi-")
    file = sdk / "environment-setup-cortexa7t2hf-neon-vfpv4-poky-linux-gnueabi"
    file.write_text(
        f"export SDKTARGETSYSROOT={sdk}/sysroot\nexport PATH={sdk}/native/bin:$PATH\n"
        'export CC="arm-poky-linux-gnueabi-gcc -mthumb --sysroot=$SDKTARGETSYSROOT"\n'
        'export CXX="arm-poky-linux-gnueabi-g++ -mthumb --sysroot=$SDKTARGETSYSROOT"\n'
    )

    external = with_external_toolchain(builder, board(file), tmp_path / "log")
    external.run([f"{TRIPLET}-g++", "--arguments"], tmp_path / "arguments")

    assert external.toolchain
    assert external.toolchain.root == sdk
    assert (tmp_path / "arguments").read_text().endswith(f"\n--sysroot={sdk}/sysroot --arguments\n")


def test_an_environment_file_that_sets_nothing_is_refused(
    builder: LocalBuilder, tmp_path: Path
) -> None:
    file = tmp_path / "environment-setup-empty"
    file.write_text("true\n")

    assert "is not the environment file of a Yocto SDK" in refusal(builder, file, tmp_path)


@pytest.mark.parametrize(
    ("gcc", "expected"),
    [
        (
            Gcc(
                machine="arm-linux-gnueabi",
                defaults=(),
                breaks="gnu/stubs-hard.h: No such file or directory",
            ),
            ["default float ABI: soft; the board needs hard", "gnu/stubs-hard.h", "-gnueabihf"],
        ),
        (Gcc(version="8.3.0"), ["is too old", "expected: GCC 9 or newer", "found: 8.3.0"]),
        (Gcc(defaults=("__clang__ 1",)), ["is no GCC", "found: Clang"]),
        (
            Gcc(machine="arm-buildroot-linux-musleabihf"),
            ["compiles for another system", "found: arm-buildroot-linux-musleabihf"],
        ),
        (Gcc(machine="aarch64-none-linux-gnu"), ["compiles for another system"]),
        (Gcc(machine="arm-none-eabi"), ["compiles for another system", "found: arm-none-eabi"]),
        (Gcc(names=("gcc",)), ["lacks a program", "-g++"]),
        (Gcc(breaks="cannot find -lstdc++"), ["cannot link a program", "cannot find -lstdc++"]),
    ],
    ids=lambda value: None if isinstance(value, list) else "",
)
def test_a_toolchain_that_cannot_build_for_the_board_is_refused(
    builder: LocalBuilder, tmp_path: Path, gcc: Gcc, expected: list[str]
) -> None:
    message = refusal(builder, gcc.install(tmp_path / "vendor"), tmp_path)

    assert message.startswith(f"board 'a53-som': toolchain {tmp_path}/vendor: ")
    assert [text for text in expected if text not in message] == []


def test_our_kernels_ask_for_a_newer_compiler_than_the_runtime(
    builder: LocalBuilder, tmp_path: Path
) -> None:
    profile = board(Gcc(version="13.3.0").install(tmp_path / "vendor"))
    neon = profile.runtime.model_copy(update={"kernels": Kernels.NEON})

    assert with_external_toolchain(builder, profile, tmp_path / "log").toolchain
    with pytest.raises(UserError, match="is too old for our kernels"):
        with_external_toolchain(
            builder, profile.model_copy(update={"runtime": neon}), tmp_path / "log"
        )


def test_a_folder_without_a_compiler_is_refused(builder: LocalBuilder, tmp_path: Path) -> None:
    assert "has no GCC for this board" in refusal(builder, tmp_path / "absent", tmp_path)


def test_a_toolchain_that_would_hide_the_builders_own_system_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = DockerBuilder(image="i", workspace=tmp_path, cache=tmp_path, resources=tmp_path)
    root = Gcc().install(tmp_path / "usr")
    monkeypatch.setattr(external_toolchain, "SYSTEM_FOLDERS", (str(root),))

    assert f"lies in {root}, which cannot be mounted" in refusal(image, root, tmp_path)


def test_docker_runs_what_it_is_given_with_the_vendors_programs_first(tmp_path: Path) -> None:
    """The container's own PATH is kept behind them."""
    external = container.ExternalToolchain(
        root=tmp_path / "vendor", programs=tmp_path / "cache" / "bin", identity="0" * 64
    )
    image = DockerBuilder(
        image="i", workspace=tmp_path / "w", cache=tmp_path / "cache", resources=tmp_path / "r"
    )

    assert replace(image, toolchain=external).id == f"i-{'0' * 12}"
    assert str(replace(image, toolchain=external).path(tmp_path / "vendor" / "x")) == str(
        tmp_path / "vendor" / "x"
    )


def test_a_relative_path_is_refused_by_the_profile() -> None:
    with pytest.raises(ValueError, match="external"):
        Toolchain(external="gcc-12/bin")


@pytest.mark.parametrize("folder", ["/bin", "/usr/bin", "/usr/lib", "/usr/local/bin", "/tmp"])
def test_folders_of_the_builders_own_are_named(folder: str, tmp_path: Path) -> None:
    image = DockerBuilder(image="i", workspace=tmp_path, cache=tmp_path, resources=tmp_path)

    with pytest.raises(UserError, match=f"lies in {folder}, which cannot be mounted"):
        external_toolchain._require_mountable(image, Path(folder), board(Path(folder)))
