"""`invoke build`: board profile and model in, release out, stage by stage."""

import hashlib
import math
import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Literal, Protocol

import edgewright
from edgewright.base import digest, process
from edgewright.base.errors import UserError
from edgewright.base.files import (
    cached_folder,
    copy_file,
    locked,
    open_inside,
    read_inside,
    replacing,
    update_file,
)
from edgewright.base.layout import BoardBuild
from edgewright.base.progress import Progress, Stage, StageReport, Stages
from edgewright.base.runtime_version import runtime_version
from edgewright.base.schema import Document, read_record
from edgewright.base.workspace import SETTINGS, Workspace
from edgewright.board import audit, toolchain
from edgewright.board.audit import Audit
from edgewright.board.cores import core_facts
from edgewright.board.profile import Arch, BoardProfile, Kernels, Linkage, Toolchain
from edgewright.board.symbol_store import SYMBOLS, store_symbols
from edgewright.build import container, packages, zig
from edgewright.build.bill import (
    LICENCE_FILES,
    compiler_packages,
    model_licence,
    read_recipe,
)
from edgewright.build.evidence import EvidenceInputs, write_evidence
from edgewright.build.external_toolchain import compiler_facts, with_external_toolchain
from edgewright.build.programs import BuiltPrograms, ProgramInputs, build_programs
from edgewright.build.supply import Network, Supply, fetch, image_exists
from edgewright.model.contract.card import Card, ImageCard
from edgewright.model.contract.network_file import NETWORK_BYTES, network_sha256
from edgewright.model.contract.task_cards import AnyCard, read_any_card
from edgewright.model.convert.coverage import Coverage, prove
from edgewright.model.convert.ops import parse_config
from edgewright.model.convert.ort_tools import Converted, TileName, pack_weights
from edgewright.model.convert.to_ort import convert, rules_sha256
from edgewright.model.importer.classifier import CARD, choices_beside, read_with_card
from edgewright.model.importer.task_network import read_for_task
from edgewright.model.pack.golden import require_golden
from edgewright.model.pack.reference import REFERENCE, read_reference
from edgewright.model.pack.task_golden import require_task_golden
from edgewright.release import manifest as release
from edgewright.release.programs import DEFAULT_PROGRAM, DEFAULT_PROGRAMS
from edgewright.release.run_file import ImageLimits, UnsureLimits

# A decoder's process beside the image: its stack, tables and copies of the program's pages; and the
# network's input as it is resized, as it is turned, and where the service reads it.
DECODER_BYTES, INPUTS_OF_DECODER = 2 << 20, 3
LEAST_IMAGE_MB = 4  # of memory for images, however little a profile leaves


class BuildReport(Document):
    """What a build made; `build/<board>/reports/build.json`."""

    version: Literal[1] = 1
    board: str
    release: str
    folder: Path
    builder: str
    stages: tuple[StageReport, ...]
    sizes: dict[str, int]  # bytes
    budgets: dict[str, int]  # bytes, for the same names
    coverage: Coverage
    audit: Audit

    @property
    def from_cache(self) -> bool:
        return all(stage.origin == "cache" for stage in self.stages)

    @property
    def seconds(self) -> float:
        return sum(stage.seconds for stage in self.stages)


@dataclass(frozen=True, kw_only=True)
class BuildRequest:
    """What to build."""

    profile: BoardProfile
    model: Path
    workspace: Workspace
    builder: container.BuilderChoice = "auto"
    all_sources: bool = False
    runtime_ops: Path | None = None  # op config of a runtime for several models; None: this one's
    cache: Path | None = None  # in place of the user's
    # Folder for converted models and symbols, which each build adds; None: the cache.
    products: Path | None = None
    supply: Supply = field(default_factory=Network)
    jobs: int

    @property
    def out(self) -> BoardBuild:
        return self.workspace.build(self.profile.name)


def build(request: BuildRequest, progress: Progress) -> BuildReport:
    """Render, convert, cross-build, prove coverage, audit, package.

    Raises UserError for whatever the user can mend; nothing is packaged then.
    """
    request = _without_zig(request)
    with alone(request.out):
        return _build(request, Stages(progress))


def _without_zig(request: BuildRequest) -> BuildRequest:
    """zig compiles what others link; the programs of a release are static, and the builder's own
    GCC's: nothing that they do on a board was tried by zig.

    Raises UserError for programs of the user's, which are linked with the libraries of an SDK.
    """
    profile = request.profile
    external = profile.toolchain.external
    if external is None or zig.program_in(Path(external)) is None:
        return request
    if request.workspace.settings.programs:
        raise UserError(
            f"board '{profile.name}': toolchain {external}",
            "builds no programs of your own into a release",
            facts=[f"found: [programs] in {SETTINGS}"],
            next=f"take [programs] out of {SETTINGS}, and link them with the SDK: "
            f"invoke sdk --board={profile.name}",
        )
    return replace(request, profile=profile.model_copy(update={"toolchain": Toolchain()}))


def alone(out: BoardBuild) -> AbstractContextManager[None]:
    """While a build writes the files of a board. Raises UserError if another one does."""
    lock = out.root / ".lock"

    def refuse() -> None:
        raise UserError(
            f"board '{out.root.name}'",
            "another build is running",
            facts=[f"lock: {lock}"],
            next="wait for it",
        )

    return locked(lock, on_busy=refuse)


def _build(request: BuildRequest, stages: Stages) -> BuildReport:
    out = request.out
    # The model comes before the packages, since its operators decide what the runtime is built of;
    # everything is proven before it becomes a release.
    with stages.stage("builder") as stage:
        builder = find_builder(request, stages.progress, stage, request.supply)
    with stages.stage("toolchain") as stage:
        stage.cached = not render(request.profile, request.workspace, builder)
    with stages.stage("model") as stage:
        request.supply.host_runtime()
        xnnpack, tile = request.profile.runtime.xnnpack, kernels_tile(request.profile)
        products = request.products or builder.cache
        converted, stage.cached = converted_model(
            request.model, out, products, xnnpack=xnnpack, tile=tile
        )
        _require_promise(request.model, out)
    built, own = _packages(request, builder, stages)
    if request.all_sources:
        copy_file(built[packages.RUNTIME].folder / "res" / "links.txt", out.links)
    with stages.stage("coverage") as stage:
        runtime_ops = built[packages.RUNTIME].folder / "res" / "ops.config"
        coverage, stage.cached = _coverage(converted.ort, runtime_ops, out)
    files = _collect(
        [built[name] for name in (packages.PROGRAM, packages.EDGECTL) if name in built], own, out
    )
    # A release may crash on a board long after the next build took its place here.
    store_symbols(products / SYMBOLS, files.values(), out.symbols)
    with stages.stage("audit") as stage:
        judgement, stage.cached = _audit(files, own.linkages, request.profile, out)
    with stages.stage("release") as stage:
        # An id is a hash of all files: the same id again means that nothing new came out.
        previous = out.latest.read_text() if out.latest.is_file() else ""
        built_release = _release(request, files, own, converted)
        stage.cached = previous == f"{built_release.id}\n"
    evidence = EvidenceInputs(
        release=built_release,
        profile=request.profile,
        model=request.model,
        workspace=request.workspace,
        builder=builder,
        packages=built,
        audit=judgement,
        program_sources=own.sources,
        all_sources=request.all_sources,
    )
    _write_evidence(evidence, stages)
    report = _report(request, stages, builder, built_release, files, coverage, judgement)
    update_file(out.reports / "build.json", report.to_json())
    return report


def _write_evidence(inputs: EvidenceInputs, stages: Stages) -> None:
    with stages.stage("evidence") as stage:
        if model_licence(inputs.model) is None:
            place = inputs.model.parent / LICENCE_FILES[0]
            stages.progress.note(f"{place}: not there, so no licence of the model is known")
        stage.cached = not write_evidence(inputs)


class BuilderRequest(Protocol):
    """What of a request decides on its builder."""

    @property
    def profile(self) -> BoardProfile: ...

    @property
    def workspace(self) -> Workspace: ...

    @property
    def builder(self) -> container.BuilderChoice: ...

    @property
    def cache(self) -> Path | None: ...


def find_builder(
    request: BuilderRequest, progress: Progress, stage: Stage, supply: Supply | None = None
) -> container.Builder:
    """The builder asked for, its image built where that is missing, with the board's toolchain.

    Raises UserError.
    """
    # `choose` builds the image where it is missing: whether it was there must be asked before.
    workspace = request.workspace
    if request.builder == "local":
        stage.cached = True
    else:
        stage.cached = not container.docker_problem() and image_exists(
            container.image_tag(workspace.resources)
        )
    log = workspace.build(request.profile.name).logs / "builder.log"
    builder = container.choose(
        request.builder,
        workspace,
        log,
        progress.line,
        cache=request.cache,
        supply=supply,
    )
    return with_external_toolchain(builder, request.profile, log)


def render(profile: BoardProfile, workspace: Workspace, builder: container.Builder) -> bool:
    """Write the toolchain file and the Conan profile; returns whether either changed."""
    out = workspace.build(profile.name)
    texts = rendered(profile, workspace, builder)
    changed = [update_file(out.toolchain, texts.cmake), update_file(out.conan_profile, texts.conan)]
    return any(changed)


def rendered(
    profile: BoardProfile, workspace: Workspace, builder: container.Builder
) -> toolchain.Toolchain:
    """The toolchain file and the Conan profile of a board, as texts for that builder."""
    path = Path(builder.path(workspace.build(profile.name).toolchain))
    templates = workspace.resources.toolchains
    if builder.toolchain is None:
        return toolchain.render(profile, templates, path)
    compiler = compiler_facts(builder.toolchain).compiler
    return toolchain.render(profile, templates, path, compiler=compiler)


def kernels_tile(profile: BoardProfile) -> TileName | None:
    """What our kernels multiply at a time on a board; None for a board without them.

    XNNPACK reads weights only as ONNX Runtime stores them. A core that lacks SDOT after all packs
    the weights when it loads them.
    """
    if profile.runtime.kernels is not Kernels.NEON or profile.runtime.xnnpack:
        return None
    if profile.abi.arch is Arch.ARMHF:
        return "neon-32"
    core = core_facts(profile.cpu.core)
    return "dot-64" if core and core.v8_2 else "neon-64"


def converted_model(
    model: Path,
    out: BoardBuild,
    cache: Path,
    *,
    xnnpack: bool = False,
    tile: TileName | None = None,
) -> tuple[Converted, bool]:
    """The model in ORT format and its op config; and whether it was converted before.

    Boards share conversions: the cache names them by the model and the rules of converting. With
    `tile`, weights are packed for it.
    """
    if not model.exists():
        raise UserError(str(model), "no such model", next="invoke build --model=PATH")
    _require_bounded(model)
    choices = choices_beside(model)
    key = digest.text_sha256(network_sha256(model), rules_sha256(), str(xnnpack), repr(choices))
    cached_model = cache / "models" / key[:32]
    is_cached = cached_model.is_dir()
    if not is_cached:
        with cached_folder(cached_model) as folder:
            convert(
                model,
                folder,
                xnnpack=xnnpack,
                shape=choices.shape,
                output=choices.output,
                form=choices.form,
            )
    converted = Converted(ort=out.ort_model, ops_config=out.ops_config)
    ort = cached_model / "model.ort"
    copy_file(_packed(ort, tile) if tile else ort, converted.ort)
    copy_file(cached_model / "ops.config", converted.ops_config)
    return converted, is_cached


def _packed(ort: Path, tile: TileName) -> Path:
    """A converted model with packed weights, made once beside it."""
    packed = ort.with_name(f"{tile}.ort")
    if not packed.is_file():
        with replacing(packed) as aside:
            pack_weights(ort, tile, aside)
    return packed


def _require_bounded(model: Path) -> None:
    """Refuse a link: whoever made the folder could have any network of this machine released."""
    with open_inside(model.parent, model.name, next="copy the model there") as file:
        size = os.fstat(file.fileno()).st_size
    if size > NETWORK_BYTES:
        facts = [f"expected: at most {NETWORK_BYTES:,} bytes, as ONNX has it", f"found: {size:,}"]
        raise UserError(str(model), "is too large", facts=facts)


def _packages(
    request: BuildRequest, builder: container.Builder, stages: Stages
) -> tuple[dict[str, packages.Package], BuiltPrograms]:
    """The packages of the release, and the user's own programs, which are built with some more."""
    settings, profile = request.workspace.settings, request.profile
    inputs = package_inputs(
        request.profile,
        request.workspace,
        builder,
        ops_config=request.runtime_ops or request.out.ops_config,
        jobs=request.jobs,
        cxx_library=_cxx_library(request, builder, stages.progress),
        all_sources=request.all_sources,
        supply=request.supply,
    )
    steps = packages.steps(inputs, default_program=settings.default_program)
    built = build_packages(inputs, steps, stages)
    if not settings.programs:
        return built, BuiltPrograms()
    packages.require_sdk_libc(profile, next=f"take [programs] out of {SETTINGS}")
    # The runtime is the release's. The libraries are built anew, position-independent.
    earlier = {name: built[name] for name in (packages.XNNPACK, packages.RUNTIME) if name in built}
    libraries = packages.library_steps(inputs, profile.libc.floor)
    sdk = build_packages(inputs, libraries, stages, earlier)
    own = build_programs(
        ProgramInputs(
            profile=profile,
            workspace=request.workspace,
            builder=builder,
            packages=sdk,
            supply=request.supply,
            jobs=request.jobs,
        ),
        stages,
    )
    return {**sdk, **built}, own


def package_inputs(
    profile: BoardProfile,
    workspace: Workspace,
    builder: container.Builder,
    *,
    ops_config: Path,
    jobs: int,
    cxx_library: packages.CxxLibrary = "compiler",
    all_sources: bool = False,
    supply: Supply | None = None,
) -> packages.PackageInputs:
    """What the packages of a board are built from; its toolchain was rendered before."""
    out = workspace.build(profile.name)
    return packages.PackageInputs(
        resources=workspace.resources,
        builder=builder,
        conan_profile=out.conan_profile,
        toolchain=out.toolchain,
        ops_config=ops_config,
        linkage=profile.runtime.linkage,
        kernels=profile.runtime.kernels,
        xnnpack_core=profile.cpu.core if profile.runtime.xnnpack else None,
        cxx_library=cxx_library,
        sources="all" if all_sources else "needed",
        supply=supply or Network(),
        jobs=jobs,
        logs=out.logs,
    )


def _cxx_library(
    request: BuildRequest, builder: container.Builder, progress: Progress
) -> packages.CxxLibrary:
    """Debian's for arm64 where the compiler is of the same source; wherever it runs.

    Headers and the rest of the C++ runtime are the compiler's, so no other will do.
    """
    profile, recipes = request.profile, request.workspace.resources.recipes
    if profile.abi.arch is not Arch.ARM64 or builder.toolchain is not None:
        return "compiler"
    log = request.out.logs / "compiler.log"
    own = compiler_packages(builder, profile.abi.triplet, log).get("libstdc++.a")
    version = own.source_version if own else "of no Debian package"
    pinned = read_recipe(recipes / packages.CXX_LIBRARY).debian_version
    if version == pinned:
        return "debian"
    progress.note(
        f"the compiler's C++ library is {version}, recipes/{packages.CXX_LIBRARY} has {pinned}: "
        "the compiler's own is linked, which is larger"
    )
    return "compiler"


def build_packages(
    inputs: packages.PackageInputs,
    steps: Sequence[packages.PackageStep],
    stages: Stages,
    earlier: Mapping[str, packages.Package] = MappingProxyType({}),
) -> dict[str, packages.Package]:
    """Every package by name, those of `earlier` too; each of the others is a stage.

    Conan's cache is locked only while it builds one.
    """
    built = dict(earlier)
    recipes = [inputs.resources.recipes / step.name for step in steps]
    note = partial(stages.progress.note, "another build uses the Conan cache: waiting for it")
    for step in steps:
        with stages.stage(step.name) as stage:
            package = packages.recorded(step, inputs, built)
            stage.cached = package is not None
            if package is None:
                with locked(_conan_lock(inputs.builder), on_busy=note):
                    # All at once, since reading an archive's lists takes seconds.
                    sources, log = inputs.builder.cache / "sources", inputs.logs / "sources.log"
                    fetch(recipes, sources, inputs.supply, log)
                    obtained = packages.obtain(step, inputs, built, stages.progress.line)
                package, stage.cached = obtained.package, obtained.cached
            built[step.name] = package
    return built


def _conan_lock(builder: container.Builder) -> Path:
    """Conan's cache is not made for two writers."""
    return builder.cache / "conan" / f"{builder.id}.lock"


def native_edgectl(
    workspace: Workspace,
    builder: container.Builder,
    *,
    jobs: int,
    progress: Progress | None = None,
) -> dict[str, packages.Package]:
    """edgectl and its libraries for the machine that builds: the board's sources and libc.

    The program is static, so that it runs on this host; the proofs of docs/reliability.md use it.
    """
    resources = workspace.resources
    inputs = packages.PackageInputs(
        resources=resources,
        builder=builder,
        conan_profile=resources.toolchains / "build.profile",
        jobs=jobs,
        logs=workspace.root / "build" / "native",
    )
    steps = [packages.library("yyjson", resources.recipes), *packages.edgectl_steps(resources)]
    return build_packages(inputs, steps, Stages(progress or Progress()))


def _coverage(model: Path, runtime_ops: Path, out: BoardBuild) -> tuple[Coverage, bool]:
    """The proof that the runtime has what the model needs; and whether it was proven before."""
    key = digest.text_sha256(digest.file_sha256(model), digest.file_sha256(runtime_ops))
    document = out.root / "coverage.json"
    stamp = out.root / "coverage.key"  # what the document is about; written after it
    is_current = stamp.is_file() and stamp.read_text() == key
    if is_current and (recorded := read_record(Coverage, document)):
        return recorded, True
    coverage = prove(model, parse_config(runtime_ops.read_text(), str(runtime_ops)))
    update_file(document, coverage.to_json())
    update_file(stamp, key)
    return coverage, False


def _collect(
    programs: Sequence[packages.Package], own: BuiltPrograms, out: BoardBuild
) -> dict[str, Path]:
    """Copy all programs, their libraries and symbols; `{"bin/edgectl": path, …}`."""
    sources = [path for program in programs for path in sorted((program.folder / "bin").iterdir())]
    files: dict[str, Path] = {}
    for source in [*sources, *own.binaries.values()]:
        name = f"bin/{source.name}"
        if name in files:
            raise UserError(
                name,
                "would be replaced by that of a program of yours",
                next=f"install it by another name, see [programs] in {SETTINGS}",
            )
        files[name] = out.bin / source.name
        copy_file(source, out.bin / source.name)
    for symbols in [*(program.folder / "symbols" for program in programs), *own.symbols]:
        shutil.copytree(symbols, out.symbols, dirs_exist_ok=True)
    # A board that is linked statically now has no use for the libraries of a shared build.
    for stale in set(out.bin.iterdir()) - set(files.values()):
        stale.unlink()
    return files


def _audit(
    files: Mapping[str, Path],
    linkages: Mapping[str, Linkage],
    profile: BoardProfile,
    out: BoardBuild,
) -> tuple[Audit, bool]:
    """The judgement on all programs; and whether it was there. Disassembling takes seconds."""
    key = digest.text_sha256(
        digest.tree_sha256(Path(audit.__file__).parent),
        profile.model_dump_json(),
        repr(sorted(linkages.items())),
        *(f"{name} {digest.file_sha256(path)}" for name, path in sorted(files.items())),
    )
    stamp = out.root / "audit.key"  # what the document is about; written after it
    is_current = stamp.is_file() and stamp.read_text() == key
    recorded = read_record(Audit, out.audit) if is_current else None
    judgement = recorded
    if judgement is None:
        judgement = audit.audit_files(
            files, profile, out.symbols, linkages=linkages, without_budget=linkages
        )
        # Written before it is judged: a user whose build is refused can read why.
        update_file(out.audit, judgement.to_json())
        update_file(stamp, key)
    audit.require_passed(judgement, out.root)
    return judgement, recorded is not None


def _release(
    request: BuildRequest, files: Mapping[str, Path], own: BuiltPrograms, converted: Converted
) -> release.Release:
    profile = request.profile
    budgets = profile.budgets
    _require_model_size(converted.ort, budgets.model_bytes)
    inputs = release.ReleaseInputs(
        board=profile.name,
        compatible=profile.compatible,
        deploy_root=profile.deploy.root,
        binaries=tuple(files.values()),
        programs=(*(DEFAULT_PROGRAMS if DEFAULT_PROGRAM.path in files else ()), *own.programs),
        program_files=own.files,
        ort_model=converted.ort,
        onnx_sha256=network_sha256(request.model),
        card=_beside(request.model, CARD),
        golden=_beside(request.model, "golden"),
        reference=_reference(request.model.parent / REFERENCE),
        runtime=release.ReleasedRuntime(
            version=runtime_version().version,
            ops_config_sha256=digest.file_sha256(request.runtime_ops or converted.ops_config),
            linkage=profile.runtime.linkage.value,
            threads=profile.runtime.threads,
        ),
        limits=_image_limits(profile, read_any_card(_beside(request.model, CARD))),
        thermal_limit_c=profile.thermal.limit_c,
        unsure_images=_unsure_limits(profile),
        execution_providers=tuple(name.value for name in profile.runtime.execution_providers),
        budgets=release.ReleasedBudgets(**budgets.model_dump()),
        source=source_of(request.workspace),
    )
    built_release = release.build_release(inputs, request.out.release)
    update_file(request.out.latest, f"{built_release.id}\n")
    return built_release


def _image_limits(profile: BoardProfile, card: AnyCard) -> ImageLimits:
    """What images may cost: what the service may have, less what else works at that time.

    While the network runs for one image, a process of its own decodes the next: the release's peak
    and that process both count. `serve` holds images that wait besides, as much as a decoder.
    """
    inputs = card.input_bytes if isinstance(card, ImageCard) else 0
    decoder = DECODER_BYTES + INPUTS_OF_DECODER * inputs
    available = (profile.service.memory_mb << 20) - math.ceil(
        profile.budgets.peak_rss_mb * (1 << 20)
    )
    shares = 2 if profile.service.command == "serve" else 1
    memory = max((available - decoder) // shares, LEAST_IMAGE_MB << 20)
    most = ImageLimits()
    return ImageLimits(
        image_bytes=min(memory, most.image_bytes), image_memory=min(memory, most.image_memory)
    )


def _unsure_limits(profile: BoardProfile) -> UnsureLimits | None:
    service = profile.service
    if service.unsure_images == 0:
        return None
    return UnsureLimits(images=service.unsure_images, bytes=service.unsure_mb << 20)


def _reference(path: Path) -> Path | None:
    """What `drift` compares a board with; a model folder need not have it.

    Raises UserError for a file that is no reference.
    """
    if not path.exists():
        return None
    read_reference(path)
    return path


def _beside(model: Path, name: str) -> Path:
    """A file or folder of the model's folder. Raises UserError if it is not there."""
    path = model.parent / name
    if not path.exists():
        raise UserError(
            str(model),
            f"no {name} beside it",
            facts=[
                "a model folder holds model.onnx, card.json and golden/: edgewright help models"
            ],
            next="invoke model.golden",
        )
    return path


def promise_sha256(model: Path) -> str:
    """Hash of a network, its card and its golden set. Raises UserError.

    They are read within limits, and nothing outside of the folder.
    """
    _require_bounded(model)
    path, golden = _beside(model, CARD), _beside(model, "golden")
    content = release.golden_content(golden)
    content[CARD] = read_inside(path.parent, path.name, limit=release.CARD_BYTES)
    hashes = [f"{name} {hashlib.sha256(data).hexdigest()}" for name, data in content.items()]
    return digest.text_sha256(network_sha256(model), *hashes)


def _require_promise(model: Path, out: BoardBuild) -> None:
    """Raise UserError if network, card and golden set do not belong together.

    The board would refuse them, or compare itself with answers that the network never gave.
    """
    onnx_sha256, key = network_sha256(model), promise_sha256(model)
    path, golden = model.parent / CARD, model.parent / "golden"
    stamp = out.root / "promise.key"  # of the last ones that were judged, and belong together
    if stamp.is_file() and stamp.read_text() == key:
        return
    card = read_any_card(path)
    if card.file.sha256 != onnx_sha256:
        raise UserError(
            str(path),
            f"is not the card of {model.name}",
            facts=[
                f"expected: file.sha256 {onnx_sha256}",
                f"found: file.sha256 {card.file.sha256}",
            ],
            next="use the card that was made with the model, or write that hash into it",
        )
    if isinstance(card, Card):
        classifier, _ = read_with_card(model)
        require_golden(classifier.path, card, golden, model)
    else:
        network = read_for_task(model, card, path)
        require_task_golden(network.path, card, golden, model)
    update_file(stamp, key)


def _require_model_size(model: Path, budget: int) -> None:
    size = model.stat().st_size
    if size > budget:
        raise UserError(
            str(model),
            f"{size:,} bytes, over the board's budget",
            facts=[f"budgets.model_bytes: {budget:,}"],
            next="quantize the model, or raise the budget in the board profile",
        )


def source_of(workspace: Workspace) -> release.Source:
    """The commit of the user's repository, and the edgewright that built; without git, unknown."""
    revision, dirty = _commit(workspace.root)
    version = edgewright.__version__
    if workspace.resources.is_checkout:
        # The version of a checkout says little: as setuptools-scm writes it, with the commit.
        tool, changed = _commit(workspace.resources.root)
        version += f"+g{tool[:9]}{'.dirty' if changed else ''}" if tool else "+unknown"
    return release.Source(revision=revision or "unknown", dirty=dirty, edgewright=version)


def _commit(folder: Path) -> tuple[str, bool]:
    """The commit of a folder's repository, "" for none; whether tracked files differ from it.

    Files that git does not track do not make it dirty: a build leaves some in the folder itself.
    """
    git = ["git", "-C", str(folder)]
    head = process.capture([*git, "rev-parse", "HEAD"])
    if head.returncode != 0:
        return "", True
    changes = process.capture([*git, "status", "--porcelain", "--untracked-files=no"])
    return head.stdout.strip(), bool(changes.stdout.strip())


def _report(
    request: BuildRequest,
    stages: Stages,
    builder: container.Builder,
    built_release: release.Release,
    files: Mapping[str, Path],
    coverage: Coverage,
    judgement: Audit,
) -> BuildReport:
    sizes = {name: path.stat().st_size for name, path in files.items()}
    sizes["model/model.ort"] = request.out.ort_model.stat().st_size
    sizes[built_release.archive.name] = built_release.archive.stat().st_size
    budgets = request.profile.budgets
    has_default_program = built_release.manifest.has_default_program
    return BuildReport(
        board=request.profile.name,
        release=built_release.id,
        folder=built_release.folder,
        builder=builder.id,
        stages=tuple(stages.reports),
        sizes=sizes,
        budgets={
            # It is of edgewright's own program alone.
            **({DEFAULT_PROGRAM.path: budgets.binary_bytes} if has_default_program else {}),
            "model/model.ort": budgets.model_bytes,
        },
        coverage=coverage,
        audit=judgement,
    )
