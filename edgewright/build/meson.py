"""Meson, for programs of users that are built by it.

The builder image has none: another image would have every package of every board built anew. Meson
is Python, so Debian's package, pinned by its hash as recipes' sources are, runs from a folder.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath

from edgewright.base.files import cached_folder
from edgewright.base.layout import Resources
from edgewright.board.profile import Arch, BoardProfile
from edgewright.build.container import Builder
from edgewright.build.supply import Supply, fetch, pins_of, source_file

PROJECT = "meson.build"
RECIPE = "meson"
# `plain`: the flags are those of the cross file alone. Its own caches and downloads stay out.
BUILD = r"""
export PYTHONPATH="$meson/usr/lib/python3/dist-packages" PYTHONDONTWRITEBYTECODE=1
meson="$meson/usr/bin/meson"
python3 "$meson" setup "$build" "$source" --cross-file "$cross" --prefix "$prefix" \
    --buildtype plain --wrap-mode nodownload
python3 "$meson" compile -C "$build" -j "$jobs"
DESTDIR="$stage" python3 "$meson" install -C "$build" --no-rebuild
"""
CPU_FAMILY = {Arch.ARMHF: "arm", Arch.ARM64: "aarch64"}


def unpacked(builder: Builder, resources: Resources, supply: Supply, log: Path) -> Path:
    """The folder of the cache with Meson in `usr/`. Raises UserError where it is not to be had."""
    recipe, store = resources.recipes / RECIPE, builder.cache / "sources"
    (source,) = pins_of(recipe).sources
    folder = builder.cache / RECIPE / source.sha256[:32]
    if not folder.is_dir():
        fetch([recipe], store, supply, log)
        with cached_folder(folder) as aside:
            archive = builder.path(source_file(store, source))
            builder.run(["dpkg-deb", "--extract", str(archive), str(builder.path(aside))], log)
    return folder


def cross_file(
    profile: BoardProfile,
    *,
    toolchain: PurePath,
    compile_flags: Sequence[str],
    link_flags: Sequence[str],
    packages: Sequence[PurePath],
) -> str:
    """Meson's description of the board; paths as the builder has them.

    `dependency()` looks into the folders of `packages` alone: the builder's own libraries, which
    pkg-config would find, are not for the board.
    """
    tool = f"{profile.abi.triplet}-"
    c, cpp = f"{tool}gcc", f"{tool}g++"
    sections: Mapping[str, Mapping[str, str | Sequence[str]]] = {
        "binaries": {
            "c": c,
            "cpp": cpp,
            **{name: f"{tool}{name}" for name in ("ar", "strip", "objcopy")},
            "pkg-config": "pkg-config",
            "cmake": "cmake",
        },
        "built-in options": {
            **dict.fromkeys(("c_args", "cpp_args"), compile_flags),
            **dict.fromkeys(("c_link_args", "cpp_link_args"), link_flags),
            "cmake_prefix_path": [str(folder) for folder in packages],
        },
        "properties": {
            "pkg_config_libdir": [f"{folder}/lib/pkgconfig" for folder in packages],
            "cmake_toolchain_file": str(toolchain),
        },
        "host_machine": {
            "system": "linux",
            "cpu_family": CPU_FAMILY[profile.abi.arch],
            "cpu": profile.cpu.core,
            "endian": "little",
        },
    }
    return "\n".join(
        f"[{name}]\n" + "".join(f"{key} = {_value(value)}\n" for key, value in values.items())
        for name, values in sections.items()
    )


def _value(value: str | Sequence[str]) -> str:
    if not isinstance(value, str):
        return f"[{', '.join(map(_value, value))}]"
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
