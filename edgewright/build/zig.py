"""zig in place of the builder's GCC: Clang, musl and libc++.

Recipes call it by the names of the builder's GCC and with the options of GCC. The programs that
stand for those translate them.
"""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from edgewright.base.files import make_folder, write_file
from edgewright.board.audit import LOADERS
from edgewright.board.profile import Arch, BoardProfile, LibcFamily
from edgewright.board.toolchain import core_flags, shared_flags

PROGRAM = "zig"
OLDEST = (0, 17)  # older ones were not tried
FOLDER = "zig"  # of a toolchain of the cache: what the probe wrote
LINK = "link.py"  # in it
LINKER = Path(__file__).with_name("zig_link.py")
WITHOUT = "-aes-sha2"  # of a core
STANDARD_LIBRARY = Path("lib", "std")  # beside the program: where zig has all that it compiles
UNKNOWN_CORES = frozenset({"cortex-a34", "cortex-a65", "cortex-a65ae", "cortex-x2"})


@dataclass(frozen=True, kw_only=True)
class Library:
    """What zig compiles from sources of its own, for programs to be linked with."""

    name: str
    licence: str
    text: str  # path in zig's folder


_LLVM = "Apache-2.0 WITH LLVM-exception"
# By archive; what C needs without libc first.
LIBRARIES: Mapping[str, Library] = MappingProxyType(
    {
        "libcompiler_rt.a": Library(name="compiler_rt", licence="MIT", text="LICENSE"),
        "libc++.a": Library(name="libc++", licence=_LLVM, text="lib/libcxx/LICENSE.TXT"),
        "libc++abi.a": Library(name="libc++abi", licence=_LLVM, text="lib/libcxxabi/LICENSE.TXT"),
        "libc.a": Library(name="musl", licence="MIT", text="lib/libc/musl/COPYRIGHT"),
        "libunwind.a": Library(name="libunwind", licence=_LLVM, text="lib/libunwind/LICENSE.TXT"),
        "libzigc.a": Library(name="zigc", licence="MIT", text="LICENSE"),  # of a static musl
    }
)
TARGETS: Mapping[Arch, str] = MappingProxyType({Arch.ARMHF: "arm-linux-musleabihf"})
# What the recipes call. Code is held to GCC's warnings; those of Clang end no build. Linking is
# another program's, whose text is not in this one: ccache knows a compiler by its content. zig's
# cache lasts for one call: nobody else can put objects into it, and ccache has those of before.
WRAPPER = """\
#!/bin/sh
# {identity}
zig=${{0%/*}}/../{folder}
links=1
for word do
    shift
    case $word in
        -c | -E | -S | -M | -MM) links= ;;
        -mfpu=* | -mtune=* | -static-lib* | -stdlib=*) continue ;;
{cores}
        -print-file-name=*)
            for file in "$zig/shared/${{word#*=}}" "$zig/static/${{word#*=}}" "${{word#*=}}"; do
                [ ! -e "$file" ] || break
            done
            echo "$file"
            exit
            ;;
    esac
    set -- "$@" "$word"
done
set -- -Os -isystem "$zig/include" "$@" -Wno-unknown-warning-option -Wno-error
cache=$(mktemp -d) || exit
trap 'rm -rf "$cache"' EXIT
trap 'exit 1' HUP INT TERM
export ZIG_LOCAL_CACHE_DIR="$cache" ZIG_GLOBAL_CACHE_DIR="$cache"
if [ -n "$links" ]; then
    python3 "$zig/{link}" {triplet}-ld {loader} "$zig/{program}" {compiler} -- "$@"
else
    "$zig/{program}" {compiler} "$@"
fi
"""
# zig links a trial program and a trial library, and tells what it links them with, which it has
# compiled for them: the build's own links take a copy. Their paths begin in its cache, which has no
# blanks in its names. The last step tries the programs that stand for the compiler, as the build
# will.
PROBE = r"""
triplet=$1; zig=$2; out=$3; target=$4; core=$5; archives=$6; shift 6
export ZIG_LOCAL_CACHE_DIR="$out/cache" ZIG_GLOBAL_CACHE_DIR="$out/cache" ZIG_VERBOSE_LINK=1
echo "$target" > "$out/target"
"$zig" version > "$out/version" 2>&1 || exit 0
"$triplet-gcc" -dM -E -x c /dev/null > "$out/defaults" 2> "$out/problem" || exit 0
cd "$out"
cat > crtbegin.c << 'EOF'
/* A program that GCC links has its own, to which this one gives way. */
__attribute__((weak, visibility("hidden"))) void* __dso_handle = &__dso_handle;
EOF
printf '#include <thread>\nint main() { std::thread([] {}).join(); try { throw 1; } catch (int) {} }
' > trial.cpp
collect() {
    linkage=$1; shift
    mkdir -p "$linkage"
    "$triplet-gcc" -fPIC -c crtbegin.c -o "$linkage/crtbegin.o" || return 1
    "$zig" c++ -target "$target" "-mcpu=$core" -Os trial.cpp -o trial "$@" > link 2>&1 ||
        { cat link; return 1; }
    for file in $(tail -n 1 link | grep -oE 'cache/o/[0-9a-f]+/([^/ ]+\.(a|so)|S?crt1\.o)'); do
        name=${file##*/}
        case $name:" $archives " in
            *.a:*" $name "* | *.so:* | *.o:*) ;;
            *) echo "zig links $name: its licence is not known to edgewright"; return 1 ;;
        esac
        cp "$file" "$linkage/" || return 1
    done
    [ -e "$linkage/libc++.a" ] || { echo "zig tells no libc++.a:"; cat link; return 1; }
}
try() { "$triplet-g++" "$@" -std=c++17 trial.cpp -o trial; }
{
    collect static -static &&
        try "$@" -static &&
        collect shared -dynamic &&
        collect shared -dynamic -pie &&
        collect shared -fPIC -shared &&
        try "$@" &&
        try "$@" -fPIC -shared
} > problem 2>&1 || exit 0
rm -rf cache
: > problem
"""


def program_in(external: Path) -> Path | None:
    """zig, where `toolchain.external` names it or its folder."""
    zig = external / PROGRAM if external.is_dir() else external
    return zig if zig.name == PROGRAM and zig.is_file() else None


def core(profile: BoardProfile) -> str:
    """What zig calls the core that GCC compiles for."""
    return _core(_named_core(core_flags(profile)))


def is_core_unknown(profile: BoardProfile) -> bool:
    """Whether zig has no name for that core."""
    return _named_core(core_flags(profile)) in UNKNOWN_CORES


def _named_core(flags: Sequence[str]) -> str:
    """GCC's name of a core, of two kinds ("cortex-a72.cortex-a53") the smaller one."""
    return dict(flag.split("=") for flag in flags if "=" in flag)["-mcpu"].rpartition(".")[2]


def _core(name: str) -> str:
    """zig's cores have instructions for AES and SHA, which many boards lack, as Raspberry Pis."""
    if name == "generic-armv7-a":
        return "baseline"
    return name.replace("cortex-", "cortex_") + WITHOUT


def _translated_cores(profile: BoardProfile) -> str:
    """Of a shell's `case`: the cores that recipes name to GCC for this board."""
    flags = [*core_flags(profile), *shared_flags(profile)]
    names = sorted({flag for flag in flags if flag.startswith("-mcpu=")})
    return "\n".join(
        f"        {name}) word=-mcpu={_core(_named_core([name]))} ;;" for name in names
    )


def write_programs(folder: Path, zig: Path, profile: BoardProfile, identity: str) -> None:
    """What stands for the builder's gcc and g++, and what that needs beside it."""
    beside = folder.parent / FOLDER
    make_folder(beside / "include")
    (beside / PROGRAM).symlink_to(zig)  # the texts below are the same wherever it lies
    shutil.copyfile(LINKER, beside / LINK)
    # ONNX Runtime includes it for builds that debug: musl has none.
    write_file(beside / "include" / "execinfo.h", "")
    for name, language in (("gcc", "cc"), ("g++", "c++")):
        text = WRAPPER.format(
            identity=identity,
            folder=FOLDER,
            link=LINK,
            cores=_translated_cores(profile),
            triplet=profile.abi.triplet,
            loader=LOADERS[LibcFamily.MUSL][profile.abi.arch],
            program=PROGRAM,
            compiler=f"{language} -target {TARGETS[profile.abi.arch]} -mcpu={core(profile)}",
        )
        write_file(folder / f"{profile.abi.triplet}-{name}", text, mode=0o755)
