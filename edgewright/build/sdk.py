"""`invoke sdk`: the runtime of a board as a library for others' programs, audited as releases are.

One runtime serves all the models. It is the package that a release's program is linked with, so a
model that was built before costs a link. With all operators it is one of its own.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from edgewright.base import digest
from edgewright.base.files import update_file
from edgewright.base.layout import BoardBuild
from edgewright.base.progress import Progress, StageReport, Stages
from edgewright.base.runtime_version import runtime_version
from edgewright.base.schema import Document
from edgewright.base.workspace import Workspace
from edgewright.board import audit
from edgewright.board.audit import Audit
from edgewright.board.profile import BoardProfile, LibcFamily, Linkage
from edgewright.build import container, packages, pipeline
from edgewright.build.bill import Linked, compiler_packages, sdk_bill
from edgewright.build.evidence import BuiltFrom, edgewright_version, write_sdk_provenance
from edgewright.build.packages import Package
from edgewright.model.contract.network_file import network_sha256
from edgewright.model.convert.all_operators import all_operators
from edgewright.model.convert.coverage import Coverage, prove
from edgewright.model.convert.ops import OpConfig, parse_config, union
from edgewright.release import sdk as release
from edgewright.release.evidence import LICENSES, SBOM
from edgewright.release.sbom import About, render
from edgewright.release.sdk import (
    OPERATORS,
    OperatorChoice,
    Sdk,
    SdkInputs,
    SdkManifest,
    SdkModel,
    SdkRuntime,
)

OPERATOR_LIST = "operators.txt"
PACKAGES = packages.SDK_PACKAGES
LIBRARY = re.compile(r"lib/lib\w+\.(a|so\.[0-9.]+)")
OUTSIDE_OF_ALL = "export the network with other operators: no SDK has these"
# Of packages, what is Conan's own, stripped symbols, or goes by another name in an SDK.
OWN_FILES = ("conaninfo.txt", "conanmanifest.txt", "symbols/", "ops.config", "licenses/")


class SdkReport(Document):
    """What `sdk.build` made."""

    version: Literal[1] = 1
    board: str
    sdk: str
    folder: Path
    archive: Path
    builder: str
    stages: tuple[StageReport, ...]
    sizes: dict[str, int]  # bytes: the libraries and the archive
    models: tuple[str, ...]
    operators_of: OperatorChoice
    operators: tuple[str, ...]
    libc_floor: str
    audit: Audit


@dataclass(frozen=True, kw_only=True)
class SdkRequest:
    """What to build: one runtime for all the models."""

    profile: BoardProfile
    models: tuple[Path, ...]
    operators: OperatorChoice = "models"
    workspace: Workspace
    builder: container.BuilderChoice = "auto"
    cache: Path | None = None  # in place of the user's
    jobs: int


def build_sdk(request: SdkRequest, progress: Progress) -> SdkReport:
    """Render, convert, build, audit, package. Raises UserError for whatever the user can mend."""
    packages.require_sdk_libc(
        request.profile, next="build a release: its program is static, and needs none"
    )
    out = request.workspace.build(request.profile.name)
    with pipeline.alone(out):
        return _build(request, out, Stages(progress))


def _build(request: SdkRequest, out: BoardBuild, stages: Stages) -> SdkReport:
    profile = request.profile
    with stages.stage("builder") as stage:
        builder = pipeline.find_builder(request, stages.progress, stage)
    with stages.stage("toolchain") as stage:
        stage.cached = not pipeline.render(profile, request.workspace, builder)
    with stages.stage("models") as stage:
        operators, stage.cached = _operators(request, out, builder.cache)
    ops_config = out.sdks / OPERATORS
    update_file(ops_config, operators.text())
    inputs = pipeline.package_inputs(
        profile, request.workspace, builder, ops_config=ops_config, jobs=request.jobs
    )
    steps = packages.sdk_steps(inputs, profile.libc.floor)
    built = pipeline.build_packages(inputs, steps, stages)
    with stages.stage("audit"):
        audits = {name: _audit(built[name].folder, request) for name in PACKAGES}
    files = tuple(file for judged in audits.values() for file in judged.files)
    judgement = Audit(board=profile.name, passed=True, files=files)
    linked = _linked(request, builder, built, audits)
    with stages.stage("sdk") as stage:
        inputs_of_sdk = SdkInputs(
            board=profile.name,
            compatible=profile.compatible,
            content={**_content(built, operators, out, profile), **_evidence(linked, profile)},
            links=_links(judgement),
            models=_sdk_models(request.models),
            runtime=SdkRuntime(
                version=runtime_version().version,
                operators=request.operators,
                ops_config_sha256=digest.file_sha256(ops_config),
                libc_family=profile.libc.family.value,
                libc_floor=profile.libc.floor,
                execution_providers=tuple(p.value for p in profile.runtime.execution_providers),
            ),
            source=pipeline.source_of(request.workspace),
        )
        before = [*out.sdks.iterdir()]
        sdk = release.make_sdk(inputs_of_sdk, out.sdks)
        stage.cached = sdk.folder in before
        built_from = BuiltFrom(
            source=sdk.manifest.source,
            builder=builder,
            networks={f"model {model.name}": model.onnx_sha256 for model in sdk.manifest.models},
            recipes=request.workspace.resources.recipes,
            packages=built,
            shared_recipes=packages.SHARED_RECIPES,
        )
        write_sdk_provenance(sdk, profile, out, built_from)
    return _report(sdk, builder, stages, judgement, operators)


def _audit(package: Path, request: SdkRequest) -> Audit:
    """Of a package's shared library, which must pass it."""
    libraries = {f"lib/{path.name}": path for path in package.glob("lib/*.so.*")}
    symbols = package / "symbols"
    shared = dict.fromkeys(libraries, Linkage.SHARED)
    judgement = audit.audit_files(
        libraries,
        request.profile,
        symbols,
        linkages=shared,
        # The budget is of a program that runs the board's model.
        without_budget=libraries if request.operators == "all" else (),
    )
    audit.require_passed(judgement, package)
    return judgement


def _links(judgement: Audit) -> dict[str, str]:
    """What others find the shared libraries by: the loader by soname, linkers without a number."""
    links = {}
    for file in judgement.files:
        soname = file.facts.soname
        assert soname  # the recipes give one to each
        links[f"lib/{soname}"] = PurePosixPath(file.path).name
        links[f"lib/{soname.partition('.so')[0]}.so"] = soname
    return links


def _linked(
    request: SdkRequest,
    builder: container.Builder,
    built: Mapping[str, Package],
    audits: Mapping[str, Audit],
) -> Linked:
    """What the shared libraries were linked from."""
    package, workspace = built[packages.SDK].folder, request.workspace
    log = workspace.build(request.profile.name).logs / "compiler.log"
    return Linked(
        files={
            file.path: digest.file_sha256(built[name].folder / file.path)
            for name, judged in audits.items()
            for file in judged.files
        },
        runtime=audits[packages.SDK].files[0].path,
        edgewright=edgewright_version(pipeline.source_of(workspace)),
        packages=built,
        audit=audits[packages.SDK],  # libedge asks the board for the same libraries
        symbols=package / "symbols",
        compiler=compiler_packages(builder, request.profile.abi.triplet, log),
        resources=workspace.resources,
        sources=builder.cache / "sources",
    )


def _evidence(linked: Linked, profile: BoardProfile) -> dict[str, bytes]:
    """The bill of materials and the licence texts, by path.

    They lie in the SDK, unlike a release's: whoever links it hands on what is inside, and its
    manifest has their hashes. Raises UserError for a library whose licence is not known.
    """
    bill = sdk_bill(linked)
    about = About(
        ref="sdk",
        kind="library",
        name=f"libonnxruntime for {profile.compatible}",
        version=runtime_version().version,
        sha256=linked.files[linked.runtime],
    )
    texts = {
        f"{LICENSES}/{path}": text for item in bill.ingredients for path, text in item.texts.items()
    }
    return {SBOM: render(about, bill.ingredients, bill.tools), **texts}


def _sdk_models(models: Iterable[Path]) -> tuple[SdkModel, ...]:
    """Sorted: the order in which models were named makes no other SDK."""
    rows = {(model_name(path), network_sha256(path)) for path in models}
    return tuple(SdkModel(name=name, onnx_sha256=sha256) for name, sha256 in sorted(rows))


def model_name(model: Path) -> str:
    """What a manifest calls a model: the name of its folder, where files are all model.onnx."""
    return model.parent.name if model.stem == "model" else model.stem


def _operators(request: SdkRequest, out: BoardBuild, cache: Path) -> tuple[OpConfig, bool]:
    """What the runtime is built for, which serves all the models; and whether they were cached."""
    configs, cached = [], True
    everything = all_operators() if request.operators == "all" else None
    for model in request.models:
        # Beside the board's own build, whose model this is not.
        place = BoardBuild(root=out.sdks / "models" / digest.text_sha256(str(model))[:16])
        xnnpack = request.profile.runtime.xnnpack
        converted, was_there = pipeline.converted_model(model, place, cache, xnnpack=xnnpack)
        needed = parse_config(converted.ops_config.read_text(), str(model))
        prove(converted.ort, everything or needed, subject=str(model), next=OUTSIDE_OF_ALL)
        configs.append(needed)
        cached = cached and was_there
    return everything or union(configs), cached


def _content(
    built: Mapping[str, Package], operators: OpConfig, out: BoardBuild, profile: BoardProfile
) -> Mapping[str, bytes]:
    """Path → bytes of every file of the SDK."""
    content = {
        OPERATORS: operators.text().encode(),
        OPERATOR_LIST: _operator_list(operators).encode(),
    }
    if profile.libc.family is LibcFamily.GLIBC:
        # It names the builder's own compiler, which has no musl for the board.
        content["toolchain.cmake"] = out.toolchain.read_bytes()
    for folder in (built[name].folder for name in PACKAGES):
        for path in sorted(folder.rglob("*")):
            name = path.relative_to(folder).as_posix()
            if path.is_file() and not name.startswith(OWN_FILES):
                content[name] = path.read_bytes()
    return content


def _operator_list(operators: OpConfig) -> str:
    """What the runtime can run, for a person: an operator a line, with its types."""
    lines = []
    for operator, restrictions in sorted(operators.operators.items(), key=lambda item: item[0]):
        types = [
            f"{kind.removesuffix('s')} {place} {' or '.join(names)}"
            for kind, places in restrictions.items()
            if isinstance(places, Mapping)
            for place, names in places.items()
        ]
        lines.append(f"{operator}{': ' if types else ''}{', '.join(types)}")
    return "".join(f"{line}\n" for line in lines)


def _report(
    sdk: Sdk,
    builder: container.Builder,
    stages: Stages,
    judgement: Audit,
    operators: OpConfig,
) -> SdkReport:
    files = {file.path: file.bytes for file in sdk.manifest.files}
    return SdkReport(
        board=sdk.manifest.board,
        sdk=sdk.id,
        folder=sdk.folder,
        archive=sdk.archive,
        builder=builder.id,
        stages=tuple(stages.reports),
        sizes={
            **{name: size for name, size in files.items() if LIBRARY.fullmatch(name)},
            sdk.archive.name: sdk.archive.stat().st_size,
        },
        models=tuple(model.name for model in sdk.manifest.models),
        operators_of=sdk.manifest.runtime.operators,
        operators=tuple(sorted(map(str, operators.operators))),
        libc_floor=sdk.manifest.runtime.libc_floor,
        audit=judgement,
    )


def check_model(sdk: Sdk, model: Path, cache: Path, scratch: Path) -> Coverage:
    """The proof that an SDK's runtime has what a model needs: `.ort`, or `.onnx` to be converted.

    Raises UserError with every operator and type that is outside of it.
    """
    manifest = sdk.manifest
    if model.suffix != ".ort":
        xnnpack = "xnnpack" in manifest.runtime.execution_providers
        place = BoardBuild(root=scratch)
        model_ort = pipeline.converted_model(model, place, cache, xnnpack=xnnpack)[0].ort
    else:
        model_ort = model
    built = parse_config((sdk.folder / OPERATORS).read_text(), str(sdk.folder / OPERATORS))
    return prove(model_ort, built, subject=str(model), next=_next_for(model, manifest))


def _next_for(model: Path, manifest: SdkManifest) -> str:
    """The commands that make an SDK which has what this one lacks."""
    if manifest.runtime.operators == "all":
        return OUTSIDE_OF_ALL
    sdk = f"invoke sdk --board={manifest.board}"
    others = "".join(f" --model={other.name}" for other in manifest.models)
    return f"{sdk}{others} --model={model}, or {sdk} --operators=all"
