"""What a bill of materials is written from: recipes, packages, symbols, the builder's compiler."""

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from edgewright.base.errors import UserError
from edgewright.board.audit import Audit, AuditedFile
from edgewright.board.elf import linked_files, read_elf
from edgewright.build import bill, packages, zig
from edgewright.build.bill import BillInputs, CompilerPackage, Linked
from edgewright.build.packages import Package
from edgewright.release import sbom
from edgewright.release.manifest import Release
from edgewright.release.sbom import Ingredient
from tests.boards import make_release
from tests.checkout import ROOT, checkout

ELF = ROOT / "tests" / "data" / "elf"
# Whose notices the libraries inside ONNX Runtime have.
HEADS = (
    *(
        "abseil-cpp",
        "google/flatbuffers",
        "HowardHinnant/date",
        "boostorg/boost, https://b",
        "Eigen",
    ),
    *("dcleblanc/SafeInt", "Microsoft GSL", "nlohmann/json", "onnx", "protocolbuffers/protobuf"),
    "google/re2",
)
GCC = CompilerPackage(
    name="libgcc-14-dev-armhf-cross",
    version="14.2.0-19cross1",
    source="gcc-14",
    source_version="14.2.0-19",
    texts={"copyright": b"with the exception"},
    purl="pkg:deb/debian/gcc-14@14.2.0-19?arch=source&distro=trixie",
)


@pytest.fixture
def inputs(tmp_path: Path) -> BillInputs:
    helper = tmp_path / "edgectl"
    helper.write_bytes(b"helper")
    release = make_release(tmp_path / "release", root="/opt", edgectl=helper)
    names = (*packages.LIBRARIES, packages.RUNTIME, packages.PROGRAM, *packages.EDGECTL_LIBRARIES)
    built = {name: package(tmp_path / "packages" / name) for name in (*names, packages.EDGECTL)}
    return BillInputs(
        manifest=release.manifest,
        model=tmp_path / "model" / "model.onnx",
        linked=Linked(
            files={file.path: file.sha256 for file in release.manifest.files},
            edgewright="0.1.0",
            packages=built,
            audit=audit(release),
            symbols=tmp_path / "symbols",
            compiler=dict.fromkeys(("libc.a", "libgcc.a", "libstdc++.a", "compiler"), GCC),
            resources=checkout().resources,
            sources=tmp_path / "sources",
        ),
    )


def package(folder: Path) -> Package:
    (folder / "licenses").mkdir(parents=True)
    (folder / "licenses" / "LICENSE").write_text(f"of {folder.name}")
    if folder.name == packages.RUNTIME:
        notices = "\n_____\n\n".join(f"{head}\n\nmay be used" for head in HEADS)
        (folder / "licenses" / "ThirdPartyNotices.txt").write_text(notices)
    return Package(
        name=folder.name,
        ref=f"{folder.name}/1.0#0123",
        package_id="4567",
        folder=folder,
        seconds=0,
        key="8",
    )


def audit(release: Release, needed: tuple[str, ...] = ()) -> Audit:
    facts = read_elf(ELF / "good-v8").model_copy(update={"build_id": None, "needed": needed})
    programs = ("bin/edge-infer", "bin/edgectl")
    files = tuple(AuditedFile(path=path, facts=facts, findings=()) for path in programs)
    return Audit(board="board", passed=True, files=files)


def with_linked(inputs: BillInputs, **changes: object) -> BillInputs:
    return replace(inputs, linked=replace(inputs.linked, **changes))  # type: ignore[arg-type]


def written(inputs: BillInputs) -> dict[str, Ingredient]:
    return {item.ref: item for item in bill.write_bill(inputs).ingredients}


def test_programs_hold_what_their_recipes_link(inputs: BillInputs) -> None:
    parts = written(inputs)

    assert parts["edgectl"].holds == ("yyjson", "musl", "libsodium", "zstd", "libgcc.a")
    assert {"onnxruntime-minimal", "libc.a", "libstdc++.a"} < set(parts["edge-infer"].holds)
    assert {ref for part in parts.values() for ref in part.holds} <= parts.keys()
    zlib = parts["zlib"]
    assert (zlib.licence, zlib.version) == ("Zlib", "1.3.1")
    assert zlib.texts == {"zlib/LICENSE": b"of zlib"}
    assert zlib.purl == ("pkg:deb/debian/zlib@1.3.dfsg%2Breally1.3.1?arch=source&distro=trixie")
    assert [source.file for source in zlib.sources] == ["zlib_1.3.dfsg+really1.3.1.orig.tar.gz"]


def test_headers_are_compiled_in_and_libraries_only_where_an_object_is_linked(
    inputs: BillInputs,
) -> None:
    parts = written(inputs)

    assert {"libeigen3-dev", "ms-gsl", "flatbuffers"} <= parts.keys()
    assert not {"abseil", "protobuf", "re2", "onnx"} & parts.keys()


def test_the_symbols_of_a_program_tell_what_was_linked(inputs: BillInputs, tmp_path: Path) -> None:
    source = tmp_path / "raw_hash_set.cc"  # abseil's
    source.write_text("int main() { return 0; }")
    ambiguous = tmp_path / "status.cc"  # ONNX Runtime's and protobuf's
    ambiguous.write_text("int status() { return 0; }")
    place = inputs.linked.symbols / ".build-id" / "ab"
    place.mkdir(parents=True)
    subprocess.run(["g++", source, ambiguous, "-o", place / "cd.debug"], check=True)
    facts = inputs.linked.audit.files[0].facts.model_copy(update={"build_id": "abcd"})
    first = inputs.linked.audit.files[0].model_copy(update={"facts": facts})
    judged = inputs.linked.audit.model_copy(update={"files": (first, inputs.linked.audit.files[1])})

    parts = written(with_linked(inputs, audit=judged))

    assert parts["abseil"].licence == "Apache-2.0"
    assert parts["abseil"].texts == {"abseil/LICENSE": b"abseil-cpp\n\nmay be used\n"}
    assert not {"protobuf", "re2", "onnx"} & parts.keys()


@pytest.mark.parametrize("name", ["unstripped", "object", "good-arm64"])
def test_names_of_sources_are_those_that_the_elf_library_reads(name: str) -> None:
    with (ELF / name).open("rb") as stream:
        table = ELFFile(stream).get_section_by_name(".symtab")
        symbols = list(table.iter_symbols()) if isinstance(table, SymbolTableSection) else []
    expected = {s.name for s in symbols if s["st_info"]["type"] == "STT_FILE"}

    assert linked_files(ELF / name) == expected


def test_what_a_board_brings_is_not_in_the_release(inputs: BillInputs) -> None:
    needed = ("libc.so.6", "libstdc++.so.6")
    files = tuple(
        file.model_copy(update={"facts": file.facts.model_copy(update={"needed": needed})})
        for file in inputs.linked.audit.files
    )
    parts = written(
        with_linked(inputs, audit=inputs.linked.audit.model_copy(update={"files": files}))
    )

    assert not {"libc.a", "libstdc++.a"} & parts.keys()
    assert parts["libgcc.a"].name == "gcc-14"


def test_a_package_without_licence_text_is_named(inputs: BillInputs) -> None:
    place = inputs.linked.packages["yyjson"].folder / "licenses"
    (place / "LICENSE").unlink()

    with pytest.raises(UserError, match="no licence text of yyjson") as refused:
        written(inputs)
    assert refused.value.subject == str(place)


def test_a_library_whose_notice_is_gone_is_named(inputs: BillInputs) -> None:
    notices = inputs.linked.packages[packages.RUNTIME].folder / "licenses" / "ThirdPartyNotices.txt"
    notices.write_text(notices.read_text().replace("Eigen", "Eigenes"))

    with pytest.raises(UserError, match="libeigen3-dev: its licence text is missing"):
        written(inputs)


def test_every_source_of_a_recipe_has_a_licence_in_the_table(inputs: BillInputs) -> None:
    provider = package(inputs.model.parent / packages.XNNPACK)
    recipe = bill.read_recipe(inputs.linked.resources.recipes / packages.XNNPACK)
    for source in recipe.debian:
        if source.package in ("fxdiv", "pthreadpool"):
            (inputs.linked.sources / source.sha256).mkdir(parents=True)
            folder = inputs.model.parent / source.package
            folder.mkdir(parents=True)
            (folder / "LICENSE").write_text(f"of {source.package}")
            target = inputs.linked.sources / source.sha256 / source.file
            subprocess.run(["tar", "-cJf", target, "-C", folder.parent, folder.name], check=True)
    with_provider = {**inputs.linked.packages, packages.XNNPACK: provider}

    parts = written(with_linked(inputs, packages=with_provider))

    assert parts["pthreadpool"].texts == {"pthreadpool/LICENSE": b"of pthreadpool"}
    assert parts["pthreadpool"].licence == "BSD-2-Clause"


def test_a_builder_that_knows_no_debian_packages_leaves_the_licence_open(
    inputs: BillInputs,
) -> None:
    parts = written(with_linked(inputs, compiler={}))

    assert (parts["libc.a"].licence, parts["libc.a"].texts) == (None, {})


def test_cross_packages_are_of_the_sources_that_they_were_built_from(tmp_path: Path) -> None:
    folder = tmp_path / "libc.a"
    folder.mkdir()
    row = "libc6-dev-armhf-cross\t2.41-11cross1\tcross-toolchain-base\t77\t"
    row += "binutils (= 2.44-3), gcc-14 (= 14.2.0-19), glibc (= 2.41-11)"
    (folder / "package.tsv").write_text(row)
    (folder / "copyright").write_text("LGPL")

    libc = bill._compiler_package(folder)

    assert libc.purl == "pkg:deb/debian/glibc@2.41-11?arch=source&distro=trixie"
    assert libc.texts == {"copyright": b"LGPL"}


def test_debians_cxx_library_has_its_own_package_and_the_compilers_source(
    inputs: BillInputs,
) -> None:
    library = package(inputs.model.parent / packages.CXX_LIBRARY)

    parts = written(
        with_linked(inputs, packages={**inputs.linked.packages, packages.CXX_LIBRARY: library})
    )

    assert parts["libstdc++.a"].notes["package"] == "libstdc++-14-dev"
    assert parts["libstdc++.a"].purl == GCC.purl
    assert parts["libstdc++.a"].texts == {"libstdc++.a/copyright": b"with the exception"}
    assert parts["libgcc.a"].notes["package"] == GCC.name


# Models


def test_a_model_has_the_licence_that_lies_beside_it(inputs: BillInputs) -> None:
    inputs.model.parent.mkdir(exist_ok=True)
    text = "# SPDX-License-Identifier: LicenseRef-acme\n\nOurs."
    (inputs.model.parent / "LICENSE").write_text(text)

    model = written(inputs)["model"]

    assert model.licence == "LicenseRef-acme"
    assert model.texts == {"model/LICENSE": text.encode()}


def test_a_model_without_licence_is_built_and_its_bill_has_none(inputs: BillInputs) -> None:
    assert written(inputs)["model"].licence is None


@pytest.mark.parametrize("text", ["free for all", "SPDX-License-Identifier: free"])
def test_a_licence_that_nobody_knows_is_an_error_with_the_files_name(
    inputs: BillInputs, text: str
) -> None:
    inputs.model.parent.mkdir(exist_ok=True)
    (inputs.model.parent / "LICENSE").write_text(text)

    with pytest.raises(UserError, match="does not say which licence it is") as refused:
        written(inputs)
    assert refused.value.subject == str(inputs.model.parent / "LICENSE")


def test_a_data_set_has_the_licence_of_the_card(inputs: BillInputs) -> None:
    card = json.loads(json.dumps(inputs.manifest.model.card))
    card["data"] = {"name": "ELPV", "license": "CC BY-NC-SA 4.0"}
    model = inputs.manifest.model.model_copy(update={"card": card})
    changed = inputs.manifest.model_copy(update={"model": model})

    parts = written(replace(inputs, manifest=changed))

    assert parts["data-set"].licence == "CC-BY-NC-SA-4.0"
    assert parts["model"].holds == ("data-set",)


@pytest.mark.parametrize("name", packages.RECIPES)
def test_every_recipe_names_a_licence_and_pins_its_sources(name: str) -> None:
    recipe = bill.read_recipe(checkout().resources.recipes / name)

    assert recipe.licence
    assert all(len(source.sha256) == 64 for source in recipe.debian)


SDK_LIBRARY = "lib/libonnxruntime.so.1.21.0"


def of_sdk(inputs: BillInputs, *needed: str) -> Linked:
    """What an SDK's libraries were linked from, where a board is to have what it needs."""
    facts = inputs.linked.audit.files[0].facts.model_copy(update={"needed": needed})
    judged = AuditedFile(path=SDK_LIBRARY, facts=facts, findings=())
    return replace(
        inputs.linked,
        files={SDK_LIBRARY: "f" * 64, "lib/libedge.so.0.1.0": "e" * 64},
        runtime=SDK_LIBRARY,
        packages={
            name: inputs.linked.packages[name] for name in (*packages.LIBRARIES, packages.RUNTIME)
        },
        audit=inputs.linked.audit.model_copy(update={"files": (judged,)}),
    )


def test_an_sdk_has_its_two_libraries_what_is_inside_of_them_and_no_program(
    inputs: BillInputs,
) -> None:
    written_bill = bill.sdk_bill(of_sdk(inputs, "libc.so.6"))
    parts = {item.ref: item for item in written_bill.ingredients}

    runtime, libedge = parts.pop(packages.RUNTIME), parts.pop(packages.LIBEDGE)
    assert (libedge.kind, libedge.sha256) == ("library", "e" * 64)
    assert set(libedge.holds) == {*packages.LIBRARIES, "libgcc.a", "libstdc++.a"}
    assert runtime.sha256 == "f" * 64
    assert {"libeigen3-dev", "ms-gsl", "flatbuffers"} <= set(runtime.holds) <= parts.keys()
    assert parts.keys() - set(runtime.holds) == set(libedge.holds)
    assert all(item.licence and item.texts for item in (runtime, libedge, *parts.values()))
    assert [tool.name for tool in written_bill.tools] == ["edgewright", GCC.name]


def test_an_sdk_by_zig_holds_its_libraries_but_no_c_library_which_is_the_board_s(
    inputs: BillInputs,
) -> None:
    by_zig = replace(GCC, source="zig", licence="MIT")
    compiler = dict.fromkeys((*zig.LIBRARIES, "compiler"), by_zig)

    written_bill = bill.sdk_bill(replace(of_sdk(inputs, "libc.so"), compiler=compiler))

    refs = {item.ref for item in written_bill.ingredients}
    assert {"libc++.a", "libc++abi.a", "libunwind.a", "libcompiler_rt.a"} <= refs
    assert not {"libc.a", "libzigc.a"} & refs


def test_an_sdk_without_a_licence_text_is_refused(inputs: BillInputs) -> None:
    linked = of_sdk(inputs)
    notices = linked.packages[packages.RUNTIME].folder / "licenses" / "ThirdPartyNotices.txt"
    notices.write_text("nobody's\n")

    with pytest.raises(UserError, match="its licence text is missing"):
        bill.sdk_bill(linked)


def with_own_programs(inputs: BillInputs, folder: Path, *paths: str) -> BillInputs:
    """Files of one project of the user's, in `folder`."""
    sources = folder / "sources of zlib"
    sources.mkdir()
    (sources / "LICENSE").write_text("SPDX-License-Identifier: MIT")
    linked = inputs.linked
    return with_linked(
        inputs,
        files={**linked.files, **dict.fromkeys(paths, "0" * 64)},
        packages={**linked.packages, packages.LIBEDGE: package(folder / "libedge")},
        programs=dict.fromkeys(paths, sources),
    )


def test_every_file_that_a_program_installs_in_bin_is_a_part(
    inputs: BillInputs, tmp_path: Path
) -> None:
    libraries = {"libinspect.so.1", "plugin.so", "libsolve.so.1.2"}
    programs = {"inspect", "edge.solver", "inspect.sock"}
    paths = [f"bin/{name}" for name in libraries | programs]
    parts = written(with_own_programs(inputs, tmp_path, *paths))
    own = {ref: part for ref, part in parts.items() if ref.startswith("program ")}
    assert {part.notes["file"] for part in own.values()} == set(paths)
    assert {part.licence for part in own.values()} == {"MIT"}
    assert {part.name for part in own.values() if part.kind == "library"} == libraries
    assert {part.name for part in own.values() if part.kind == "application"} == programs


def test_a_program_of_a_users_may_have_the_name_of_a_library(
    inputs: BillInputs, tmp_path: Path
) -> None:
    named = with_own_programs(inputs, tmp_path, "bin/zlib")
    parts = written(named)
    assert parts["program zlib"].texts.keys() == {"programs/zlib/LICENSE"}
    assert parts["zlib"].texts.keys() == {"zlib/LICENSE"}
    sbom.render(sbom.about_release(named.manifest), [*parts.values()], ())
    with pytest.raises(ValueError, match="in the bill twice: zlib"):
        sbom.render(sbom.about_release(named.manifest), [parts["zlib"], *parts.values()], ())
