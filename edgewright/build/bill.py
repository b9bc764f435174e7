"""What a release or an SDK was really linked from: programs, libraries, compiler, model, licences.

Recipes and their `conandata.yml` tell sources, hashes and licences; the symbols of a program tell
which of the libraries inside ONNX Runtime were linked; the builder's own packages tell the C and
C++ runtime. A library whose licence or licence text is missing is an error: a build that links it
would hand on something that nobody may hand on.
"""

import ast
import re
import tarfile
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Literal

from edgewright.base.errors import UserError
from edgewright.base.files import cached_folder, read_inside
from edgewright.base.layout import Resources
from edgewright.base.runtime_version import runtime_version
from edgewright.base.schema import Part
from edgewright.board import elf
from edgewright.board.audit import Audit
from edgewright.board.symbol_store import debug_path
from edgewright.build import packages, zig
from edgewright.build.container import Builder
from edgewright.build.external_toolchain import (
    CompilerFacts,
    compiler_facts,
    with_own_compiler,
)
from edgewright.build.packages import Package
from edgewright.build.supply import SUITE, PinnedSource, pins_of, source_file
from edgewright.release.manifest import Manifest
from edgewright.release.sbom import Ingredient, SourceFile, Tool, unknown_licences

LICENCES = "licences.toml"
NOTICES = "ThirdPartyNotices.txt"
SHARED_RUNTIME = "bin/libonnxruntime.so.1"
LICENCE_BYTES = 4 << 20  # of one text
LICENCE_FILES = ("LICENSE", "LICENSE.txt", "LICENSE.md", "LICENCE", "LICENCE.txt", "COPYING")
SPDX_LINE = re.compile(r"^\W*SPDX-License-Identifier:\s*(\S[^\r\n]*?)\s*$", re.MULTILINE)
SHARED_LIBRARY = re.compile(r"\.so(\.[0-9]+)*$")  # the end of its name
COMPILER_LIBRARIES = ("libgcc.a", "libc.a", "libstdc++.a")  # what C needs without libc first
# Shared library that a program asks the board for → the archives that are not inside then.
BY_THE_BOARD = {
    "libc.so.6": {"libc.a"},
    "libc.so": {"libc.a", "libzigc.a"},
    "libstdc++.so.6": {"libstdc++.a"},
}
# For each library that the compiler links, and for the compiler, a folder with its Debian package
# and the licence texts of that. Another system than Debian leaves the folders empty.
COMPILER_SCRIPT = r"""
triplet=$1; out=$2; shift 2
command -v dpkg-query >/dev/null || exit 0
for name in compiler "$@"; do
    case $name in
        compiler) file=$(command -v "$triplet-g++") ;;
        *) file=$("$triplet-gcc" -print-file-name="$name") ;;
    esac
    package=$(dpkg -S "$(readlink -f "$file")" | cut -d: -f1)
    mkdir -p "$out/$name"
    origin='${source:Package}\t${source:Version}\t${Built-Using}'
    dpkg-query -W -f "\${Package}\t\${Version}\t$origin" "$package" > "$out/$name/package.tsv"
    cp -L "/usr/share/doc/$package/copyright" "$out/$name/copyright"
    for text in $(grep -o '/usr/share/common-licenses/L\?GPL-[0-9.]*[0-9]' "$out/$name/copyright" |
        sort -u); do
        cp -L "$text" "$out/$name/"
    done
done
"""


class _Bundled(Part):
    """A library inside another one: see recipes/licences.toml."""

    licence: str
    notice: str | None = None
    text: str | None = None
    folder: str | None = None
    headers: bool = False
    source: str | None = None


class _Licences(Part):
    bundled: Mapping[str, _Bundled]
    compiler: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What a recipe says of itself."""

    name: str
    version: str
    licence: str
    debian: tuple[PinnedSource, ...]  # source archives, its own first

    @property
    def sources(self) -> tuple[SourceFile, ...]:
        return tuple(SourceFile(file=item.file, sha256=item.sha256) for item in self.debian)

    @property
    def debian_version(self) -> str | None:
        return debian_version(self.debian[0].file) if self.debian else None

    @property
    def purl(self) -> str | None:
        version = self.debian_version
        return source_purl(self.debian[0].package, version) if version else None


@dataclass(frozen=True, kw_only=True)
class CompilerPackage:
    """The package that a file of the compiler belongs to, and the licence texts of that."""

    name: str
    version: str
    source: str
    source_version: str
    texts: Mapping[str, bytes]
    purl: str | None  # None: not Debian's
    licence: str | None = None  # None: that of recipes/licences.toml


@dataclass(frozen=True, kw_only=True)
class Bill:
    """What is in a release, and what it was built with."""

    ingredients: tuple[Ingredient, ...]
    tools: tuple[Tool, ...]


@dataclass(frozen=True, kw_only=True)
class Linked:
    """Programs or libraries that were linked, and from what."""

    files: Mapping[str, str]  # path → SHA-256
    runtime: str = SHARED_RUNTIME  # path of ONNX Runtime where it is a file of its own
    edgewright: str  # its version
    packages: Mapping[str, Package]
    audit: Audit  # of the files
    symbols: Path
    compiler: Mapping[str, CompilerPackage]
    resources: Resources
    sources: Path  # of the cache
    programs: Mapping[str, Path] = field(default_factory=dict)  # the user's: path → sources


@dataclass(frozen=True, kw_only=True)
class BillInputs:
    """What a release's bill is written from."""

    manifest: Manifest
    model: Path  # the network
    linked: Linked


def compiler_packages(builder: Builder, triplet: str, log: Path) -> dict[str, CompilerPackage]:
    """What the builder's compiler links in, and itself as `compiler`; asked of a builder once."""
    facts = compiler_facts(builder.toolchain) if builder.toolchain else None
    if builder.toolchain and facts and facts.clang:
        return _of_zig(builder.toolchain.root, facts.version)
    own = with_own_compiler(builder)
    folder = own.cache / "conan" / own.id / "edgewright" / f"compiler-{triplet}"
    if not folder.is_dir():
        with cached_folder(folder) as aside:
            argv = ["sh", "-ec", COMPILER_SCRIPT, "_", triplet, str(own.path(aside))]
            own.run([*argv, *COMPILER_LIBRARIES], log)
    debian = {path.name: _compiler_package(path) for path in folder.iterdir() if path.is_dir()}
    if facts is None:
        return debian
    return {name: _of_vendor(name, item, facts) for name, item in debian.items()}


def _of_zig(root: Path, version: str) -> dict[str, CompilerPackage]:
    """zig brings the sources of its libraries, and their licences."""
    is_wheel = root.name == "ziglang" and (root / "__init__.py").is_file()
    compiler = CompilerPackage(
        name="zig",
        version=version,
        source="zig",
        source_version=version,
        texts={},
        purl=f"pkg:pypi/ziglang@{version}" if is_wheel else None,
    )
    libraries = {
        archive: replace(
            compiler,
            source=library.name,
            texts=_licence_of(root, library.text),
            licence=library.licence,
        )
        for archive, library in zig.LIBRARIES.items()
    }
    return {"compiler": compiler, **libraries}


def _licence_of(root: Path, name: str) -> dict[str, bytes]:
    return {PurePosixPath(name).name: read_inside(root, name, limit=LICENCE_BYTES)}


def _of_vendor(name: str, debian: CompilerPackage, facts: CompilerFacts) -> CompilerPackage:
    """A vendor's GCC or glibc: it says its version, and is under the licence of Debian's."""
    is_libc = name == "libc.a"
    source, version = ("glibc", facts.glibc or "unknown") if is_libc else ("gcc", facts.version)
    return CompilerPackage(
        name=f"{facts.machine}-{source}",
        version=version,
        source=source,
        source_version=version,
        texts=debian.texts,
        purl=None,
    )


def _compiler_package(folder: Path) -> CompilerPackage:
    row = (folder / "package.tsv").read_text().split("\t")
    name, version, source, source_version, built_using = row
    # Debian's cross packages are repacked from the sources that they say they were built from.
    source_prefix = "glibc" if folder.name == "libc.a" else "gcc-"
    for origin, of_version in re.findall(r"([a-z0-9.+-]+) \(= ([^)]+)\)", built_using):
        if origin.startswith(source_prefix):
            source, source_version = origin, of_version
    texts = {p.name: p.read_bytes() for p in sorted(folder.iterdir()) if p.name != "package.tsv"}
    return CompilerPackage(
        name=name,
        version=version,
        source=source,
        source_version=source_version,
        texts=texts,
        purl=source_purl(source, source_version),
    )


def write_bill(inputs: BillInputs) -> Bill:
    """A release's. Raises UserError for a library, model or data set whose licence is not known."""
    compiler, libraries = _linked(inputs.linked)
    inside = [item.ref for item in compiler]
    programs = [*_own(inputs.linked, inside), *_of_user(inputs.linked, inside)]
    return _bill(inputs.linked, [*programs, *libraries, *compiler, *_model(inputs)])


def sdk_bill(linked: Linked) -> Bill:
    """An SDK's. Raises UserError for a library whose licence is not known."""
    compiler, libraries = _linked(linked)
    own = _own(linked, [item.ref for item in compiler])
    return _bill(linked, [*own, *libraries, *compiler])


def _linked(linked: Linked) -> tuple[list[Ingredient], list[Ingredient]]:
    """The C and C++ runtime; and other libraries, with those inside ONNX Runtime."""
    table = linked.resources.recipes / LICENCES
    licences = _Licences.model_validate(tomllib.loads(table.read_text()))
    bundled = [*_bundled(linked, licences)]
    libraries = [*_libraries(linked, [item.ref for item in bundled]), *bundled]
    return [*_compiler_libraries(linked, licences)], libraries


def _bill(linked: Linked, ingredients: Sequence[Ingredient]) -> Bill:
    for item in ingredients:
        if item.licence and (unknown := unknown_licences(item.licence)):
            raise UserError(
                item.ref,
                f"its licence is no SPDX expression: {item.licence}",
                facts=[f"unknown: {', '.join(unknown)}"],
                next="name a licence of SPDX's list, or your own as LicenseRef-NAME",
            )
    return Bill(ingredients=tuple(ingredients), tools=tuple(_tools(linked)))


def _own(linked: Linked, compiler: Sequence[str]) -> Iterator[Ingredient]:
    """Programs and libraries that are edgewright's own."""
    files = linked.files
    runtime = () if linked.runtime in files else (packages.RUNTIME,)
    holds = {
        packages.PROGRAM: (*packages.LIBRARIES, *runtime, *compiler),
        # Its libc is musl, and it has no C++ runtime.
        packages.EDGECTL: ("yyjson", *packages.EDGECTL_LIBRARIES, _compiler_archives(linked)[0]),
        packages.LIBEDGE: (*packages.LIBRARIES, *compiler),
    }
    text = (linked.resources.recipes / "licences" / "MIT.txt").read_bytes()
    for path, sha256 in sorted(files.items()):
        name, library, _ = PurePosixPath(path).name.partition(".so")
        if name in holds:
            recipe = read_recipe(linked.resources.recipes / name)
            yield Ingredient(
                ref=name,
                kind="library" if library else "application",
                name=name,
                version=recipe.version,
                licence=recipe.licence,
                texts={f"{name}/LICENSE": text},
                sha256=sha256,
                holds=holds[name],
                notes={"file": path},
            )


def _of_user(linked: Linked, compiler: Sequence[str]) -> Iterator[Ingredient]:
    """Programs of the user's, and libedge, which goes into them as an archive."""
    if not linked.programs:
        return
    recipe = read_recipe(linked.resources.recipes / packages.LIBEDGE)
    text = (linked.resources.recipes / "licences" / "MIT.txt").read_bytes()
    yield Ingredient(
        ref=recipe.name,
        kind="library",
        name=recipe.name,
        version=recipe.version,
        licence=recipe.licence,
        texts={f"{recipe.name}/LICENSE": text},
        holds=packages.LIBRARIES,
        notes={"conan": linked.packages[packages.LIBEDGE].ref},
    )
    for path, source in sorted(linked.programs.items()):
        licence, name = licence_in(source), PurePosixPath(path).name
        yield Ingredient(
            ref=f"program {name}",  # a library of edgewright's may have its name
            kind="library" if SHARED_LIBRARY.search(name) else "application",
            name=name,
            version=linked.files[path][:16],
            licence=licence.licence if licence else None,
            texts={f"programs/{name}/{licence.name}": licence.content} if licence else {},
            sha256=linked.files[path],
            holds=(packages.LIBEDGE, packages.RUNTIME, *compiler),
            notes={"file": path},
        )


def _libraries(linked: Linked, bundled: Sequence[str]) -> Iterator[Ingredient]:
    """Libraries that are packages of recipes."""
    provider = (packages.XNNPACK,) if packages.XNNPACK in linked.packages else ()
    holds = {packages.RUNTIME: (*bundled, *provider), "libspng": ("zlib",)}
    for name in (*packages.LIBRARIES, *provider, packages.RUNTIME, *packages.EDGECTL_LIBRARIES):
        if name not in linked.packages:
            continue
        recipe = read_recipe(linked.resources.recipes / name)
        package = linked.packages[name]
        yield Ingredient(
            ref=name,
            kind="library",
            name=name,
            version=recipe.version,
            licence=recipe.licence,
            texts=package_licences(name, package.folder),
            purl=recipe.purl,
            sha256=linked.files.get(linked.runtime) if name == packages.RUNTIME else None,
            sources=recipe.sources[:1],
            holds=holds.get(name, ()),
            notes={"conan": package.ref},
        )


def package_licences(name: str, folder: Path) -> dict[str, bytes]:
    """The licence texts of a package, by their paths in a release. Raises UserError for none."""
    place = folder / "licenses"
    texts = {
        f"{name}/{path.name}": read_inside(place, path.name, limit=LICENCE_BYTES)
        for path in (sorted(place.iterdir()) if place.is_dir() else ())
    }
    if not texts:
        raise UserError(
            str(place),
            f"no licence text of {name}",
            next="mend its recipe, which is to package one",
        )
    return texts


def _bundled(linked: Linked, licences: _Licences) -> Iterator[Ingredient]:
    """Libraries inside other libraries, as far as a program holds anything of them."""
    recipes = linked.resources.recipes
    folders = _linked_folders(linked)
    notices = notice_sections(
        (linked.packages[packages.RUNTIME].folder / "licenses" / NOTICES).read_text()
    )
    for holder in (packages.RUNTIME, packages.XNNPACK):
        sources = read_recipe(recipes / holder).debian if holder in linked.packages else ()
        for source in sources[1:]:  # the first one is the library itself
            library = licences.bundled.get(source.package)
            if library is None:
                raise UserError(
                    str(recipes / LICENCES),
                    f"no licence of {source.package}, which {holder} is built from",
                    next=f"add it under [bundled] in {recipes / LICENCES}",
                )
            if not library.headers and library.folder not in folders:
                continue
            version = debian_version(source.file)
            yield Ingredient(
                ref=source.package,
                kind="library",
                name=source.package,
                version=version,
                licence=library.licence,
                texts={f"{source.package}/LICENSE": _text(linked, source, library, notices)},
                purl=source_purl(library.source or source.package, version),
                sources=(SourceFile(file=source.file, sha256=source.sha256),),
                notes={"use": "headers" if library.headers else "linked"},
            )


def _linked_folders(linked: Linked) -> set[str]:
    """Folders below the runtime's deps/ that an object of a program comes from.

    Symbols tell base names. One that several sources have, as `util.cc`, is no evidence.
    """
    provider: Literal["xnnpack", "stock"]
    provider = "xnnpack" if packages.XNNPACK in linked.packages else "stock"
    lists = linked.resources.recipes / packages.RUNTIME / runtime_version().links[provider]
    names = {line.partition(":")[0] for line in lists.read_text().splitlines()}
    by_base: dict[str, set[str]] = {}
    for name in names:
        parts = name.removeprefix("src/").split("/")
        # What ONNX's own generator makes lies in the build's folder.
        folder = parts[1] if parts[0] in ("deps", "build") else ""
        by_base.setdefault(parts[-1], set()).add(folder)
    folders: set[str] = set()
    for judged in linked.audit.files:
        if judged.path != f"bin/{packages.EDGECTL}" and judged.facts.build_id:
            build_id = judged.facts.build_id
            debug = debug_path(linked.symbols, build_id)
            for base in elf.linked_files(debug) & by_base.keys():
                if len(by_base[base]) == 1:
                    folders |= by_base[base]
    return folders - {""}


def _text(
    linked: Linked, source: PinnedSource, library: _Bundled, notices: Mapping[str, str]
) -> bytes:
    if library.notice is not None and library.notice in notices:
        return notices[library.notice].encode()
    archive = source_file(linked.sources, source)
    if library.text is not None and archive.is_file():
        with tarfile.open(archive) as tar:
            for member in tar:
                if member.isfile() and member.name.split("/", 1)[-1] == library.text:
                    stream = tar.extractfile(member)
                    if stream is not None and member.size <= LICENCE_BYTES:
                        return stream.read()
    raise UserError(
        source.package,
        "its licence text is missing",
        facts=[
            f"expected: section '{library.notice}' of {NOTICES}"
            if library.notice
            else f"expected: {library.text} in {archive}"
        ],
        next=f"mend {linked.resources.recipes / LICENCES}",
    )


def notice_sections(text: str) -> dict[str, str]:
    """Head → text of each section of ONNX Runtime's ThirdPartyNotices.txt.

    A head that stands twice has the first text: later ones are of other parts of that project.
    """
    sections: dict[str, str] = {}
    for section in re.split(r"^_{5,}\s*$", text, flags=re.MULTILINE):
        head = section.strip().partition("\n")[0].partition(",")[0].strip()
        sections.setdefault(head, section.strip() + "\n")
    return sections


def _compiler_archives(linked: Linked) -> tuple[str, ...]:
    return tuple(zig.LIBRARIES) if "libc++.a" in linked.compiler else COMPILER_LIBRARIES


def _compiler_libraries(linked: Linked, licences: _Licences) -> Iterator[Ingredient]:
    """The C and C++ runtime, as far as a program does not ask its board for it."""
    archives = _compiler_archives(linked)
    inside = {archives[0]}
    for judged in linked.audit.files:
        if judged.path != f"bin/{packages.EDGECTL}":
            by_board = (BY_THE_BOARD.get(name, set()) for name in judged.facts.needed)
            inside |= set(archives).difference(*by_board)
    for name in sorted(inside):
        package = linked.compiler.get(name)
        if package and name == "libstdc++.a" and packages.CXX_LIBRARY in linked.packages:
            package = _debian_twin(package, linked.resources)
        texts = package.texts if package else {}
        licence = package.licence if package else None
        yield Ingredient(
            ref=name,
            kind="library",
            name=package.source if package else name,
            version=package.source_version if package else "unknown",
            licence=licence or (licences.compiler[name] if texts else None),
            texts={f"{name}/{path}": text for path, text in texts.items()},
            purl=package.purl if package else None,
            notes={"archive": name} | ({"package": package.name} if package else {}),
        )


def _debian_twin(package: CompilerPackage, resources: Resources) -> CompilerPackage:
    """The C++ library that takes the place of the cross compiler's: of the same source."""
    pin = read_recipe(resources.recipes / packages.CXX_LIBRARY).debian[0]
    return replace(package, name=pin.package, version=package.source_version)


def _model(inputs: BillInputs) -> Iterator[Ingredient]:
    """The network, and the data set that its card names."""
    released = inputs.manifest.model
    text = model_licence(inputs.model)
    raw = released.card.get("data")
    data = raw if isinstance(raw, dict) and isinstance(raw.get("name"), str) else {}
    texts = {f"model/{text.name}": text.content} if text else {}
    yield Ingredient(
        ref="model",
        kind="machine-learning-model",
        name=released.name,
        version=released.onnx_sha256[:16],
        licence=text.licence if text else None,
        texts=texts,
        sha256=released.ort_sha256,
        holds=("data-set",) if data else (),
        notes={"file": "model/model.ort", "onnx-sha256": released.onnx_sha256},
    )
    if data:
        # As people write it, `CC BY 4.0` is SPDX's CC-BY-4.0.
        stated = str(data.get("license") or "").replace(" ", "-")
        yield Ingredient(
            ref="data-set",
            kind="data",
            name=str(data["name"]),
            version=str(data.get("version") or ""),
            licence=stated or None,
            texts=texts if stated else {},
        )


@dataclass(frozen=True, kw_only=True)
class LicenceText:
    """The licence text in a folder of the user's."""

    name: str
    content: bytes
    licence: str  # SPDX expression


def model_licence(model: Path) -> LicenceText | None:
    """The licence of a network, None where nothing lies beside it. Raises as `licence_in`."""
    return licence_in(model.parent)


def licence_in(folder: Path) -> LicenceText | None:
    """The licence of what a folder holds, None where it says nothing.

    Raises UserError for a text that does not say which licence it is.
    """
    for name in LICENCE_FILES:
        path = folder / name
        if path.exists() or path.is_symlink():
            content = read_inside(folder, name, limit=LICENCE_BYTES)
            line = SPDX_LINE.search(content.decode(errors="replace"))
            if line is None or unknown_licences(line[1]):
                raise UserError(
                    str(path),
                    "does not say which licence it is",
                    facts=[
                        "expected: a line SPDX-License-Identifier: with a licence of SPDX's list, "
                        "or LicenseRef-NAME for your own",
                        f"found: {line[1] if line else 'no such line'}",
                    ],
                    next=f"write the line into {path}",
                )
            return LicenceText(name=name, content=content, licence=line[1])
    return None


def _tools(linked: Linked) -> Iterator[Tool]:
    yield Tool(name="edgewright", version=linked.edgewright)
    if compiler := linked.compiler.get("compiler"):
        yield Tool(name=compiler.name, version=compiler.version, purl=compiler.purl)


# Recipes


def read_recipe(folder: Path) -> Recipe:
    """What a recipe says of itself, without running it. Raises UserError if it names no licence."""
    path = folder / "conanfile.py"
    tree = ast.parse(path.read_text(), str(path))
    stated = {
        target.id: node.value.value
        for class_ in tree.body
        if isinstance(class_, ast.ClassDef)
        for node in class_.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    if not stated.get("license"):
        raise UserError(str(path), "names no licence", next=f"write license = … into {path}")
    pins = pins_of(folder)
    return Recipe(
        name=folder.name,
        version=str(stated.get("version") or pins.version),
        licence=str(stated["license"]),
        debian=pins.sources,
    )


def debian_version(file: str) -> str:
    """`1.3.dfsg+really1.3.1` of `zlib_1.3.dfsg+really1.3.1.orig.tar.gz`, `3.4.0-5` of a .deb."""
    return file.split("_")[1].partition(".orig.")[0]


def source_purl(package: str, version: str) -> str:
    """The package URL of a Debian source package."""
    from packageurl import PackageURL

    url = PackageURL("deb", "debian", package, version, {"arch": "source", "distro": SUITE})
    return url.to_string()
