"""zig in place of the builder's GCC: Clang, a C library of the version that is asked for, libc++.

Recipes call it by the names of the builder's GCC and with the options of GCC. The programs that
stand for those translate them. It links with glibc's stubs of any version, or with a whole musl; it
has no static glibc.
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from edgewright.base.files import make_folder, write_file
from edgewright.board.audit import LOADERS
from edgewright.board.profile import Arch, BoardProfile, LibcFamily
from edgewright.board.toolchain import core_flags

PROGRAM = "zig"
OLDEST = (0, 17)  # older ones were not tried
FOLDER = "zig"  # of a toolchain of the cache: what the probe wrote
LINK = "link.py"  # in it
LINKER = Path(__file__).with_name("zig_link.py")
WITHOUT = "-aes-sha2"  # of a core


@dataclass(frozen=True, kw_only=True)
class Library:
    """What zig compiles from sources of its own, for programs to be linked with."""

    name: str
    licence: str
    text: str  # path in zig's folder


_LLVM = "Apache-2.0 WITH LLVM-exception"
# By archive; what C needs without libc first. glibc is the board's, whose stubs are linked.
LIBRARIES: Mapping[str, Library] = MappingProxyType(
    {
        "libcompiler_rt.a": Library(name="compiler_rt", licence="MIT", text="LICENSE"),
        "libc++.a": Library(name="libc++", licence=_LLVM, text="lib/libcxx/LICENSE.TXT"),
        "libc.a": Library(name="musl", licence="MIT", text="lib/libc/musl/COPYRIGHT"),
        "libunwind.a": Library(name="libunwind", licence=_LLVM, text="lib/libunwind/LICENSE.TXT"),
    }
)
_TARGET = {
    (Arch.ARMHF, LibcFamily.GLIBC): "arm-linux-gnueabihf",
    (Arch.ARMHF, LibcFamily.MUSL): "arm-linux-musleabihf",
}
# What the recipes call. Code is held to GCC's warnings; those of Clang end no build. Linking is
# another program's, whose text is not in this one: ccache knows a compiler by its content.
WRAPPER = """\
#!/bin/sh
# {identity}
zig=${{0%/*}}/../{folder}
export ZIG_LOCAL_CACHE_DIR="${{TMPDIR:-/tmp}}/edgewright-$(id -u)/zig"
export ZIG_GLOBAL_CACHE_DIR="$ZIG_LOCAL_CACHE_DIR"
links=1
for word do
    shift
    case $word in
        -c | -E | -S | -M | -MM) links= ;;
        -mfpu=* | -mtune=* | -static-lib* | -stdlib=*) continue ;;
        -mcpu=generic-armv7-a) word=-mcpu=baseline ;;
        -mcpu=cortex-*) word=-mcpu=cortex_${{word##*cortex-}}{without} ;;
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
if [ -n "$links" ]; then
    exec python3 "$zig/{link}" {triplet}-ld {loader} "$zig/{program}" {compiler} -- "$@"
fi
exec "$zig/{program}" {compiler} "$@"
"""
# zig links a trial program and a trial library, and tells what it links them with, which it has
# compiled for them: the build's own links take a copy. glibc is there as a shared library alone.
# The last step tries the programs that stand for the compiler, as the build will.
PROBE = r"""
triplet=$1; zig=$2; out=$3; target=$4; core=$5; shift 5
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
    for file in $(tail -n 1 link | tr ' ' '\n' | grep -E '(crt1\.o|\.a|\.so(\.[0-9]+)?)$'); do
        cp "$file" "$linkage/"
    done
}
try() { "$triplet-g++" "$@" -std=c++17 trial.cpp -o trial; }
{
    case $target in *musl*) collect static -static && try "$@" -static ;; esac &&
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


def target(profile: BoardProfile) -> str | None:
    """What the board is for zig, with the version of glibc; None: it was not tried for that."""
    name = _TARGET.get((profile.abi.arch, profile.libc.family))
    if name is None or profile.libc.family is LibcFamily.MUSL:
        return name
    return f"{name}.{profile.libc.floor}"


def core(profile: BoardProfile) -> str:
    """What zig calls the core that GCC compiles for. Its own has instructions for AES and SHA,
    which many boards lack, as Raspberry Pis do."""
    flags = dict(flag.split("=") for flag in core_flags(profile))
    return flags["-mcpu"].replace("cortex-", "cortex_") + WITHOUT


def write_programs(folder: Path, zig: Path, profile: BoardProfile, identity: str) -> None:
    """What stands for the builder's gcc and g++, and what that needs beside it."""
    beside = folder.parent / FOLDER
    make_folder(beside / "include")
    (beside / PROGRAM).symlink_to(zig)  # the texts below are the same wherever it lies
    shutil.copyfile(LINKER, beside / LINK)
    if profile.libc.family is LibcFamily.MUSL:
        # ONNX Runtime includes it for builds that debug: musl has none.
        write_file(beside / "include" / "execinfo.h", "")
    for name, language in (("gcc", "cc"), ("g++", "c++")):
        text = WRAPPER.format(
            identity=identity,
            folder=FOLDER,
            link=LINK,
            without=WITHOUT,
            triplet=profile.abi.triplet,
            loader=LOADERS[profile.libc.family][profile.abi.arch],
            program=PROGRAM,
            compiler=f"{language} -target {target(profile)} -mcpu={core(profile)}",
        )
        write_file(folder / f"{profile.abi.triplet}-{name}", text, mode=0o755)
