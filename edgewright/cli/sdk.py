"""The runtime as a library for others' programs."""

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from invoke.context import Context
from rich.table import Table

from edgewright.base.layout import user_cache
from edgewright.build import container
from edgewright.build import sdk as sdks
from edgewright.cli import build_screens, screens
from edgewright.cli import keys as key_tasks
from edgewright.cli.common import (
    ERR,
    OUT,
    BoardName,
    Json,
    model_path,
    print_uncut,
    profile_of,
    say,
    task,
    workspace,
    write_document,
)
from edgewright.cli.keys import KeyName
from edgewright.cli.release import add_evidence
from edgewright.release import evidence, keys
from edgewright.release.documents import VerifiedSdk, verified_sdk, verified_wheel
from edgewright.release.minisign import PublicKey
from edgewright.release.sdk import (
    load_sdk,
    parse_operators,
    sign_sdk,
    verify_evidence,
    verify_sdk,
)
from edgewright.release.wheel import SUFFIX, sign_wheel, verify_wheel, wheel_evidence

SdkFolder = Annotated[str, "folder of an SDK: build/<board>/sdk/<id>, or an unpacked archive"]
SdkOrWheel = Annotated[str, "folder of an SDK: build/<board>/sdk/<id>; or a wheel (.whl)"]


@dataclass(frozen=True, kw_only=True)
class SdkOptions:
    """What `invoke sdk` builds, and where."""

    board: BoardName
    model: Annotated[
        tuple[str, ...],
        "ONNX model, or its name in edgewright.toml; again for another one that the same runtime "
        "shall run; default: default_model there, else the demo's",
    ] = ()
    operators: Annotated[
        str, "models: those of the models; all: every one that ONNX Runtime's CPU kernels run"
    ] = "models"
    builder: Annotated[str, "auto, docker or local"] = "auto"
    jobs: Annotated[int, "parallel compilations; default: the number of cores"] = 0


def request_of(options: SdkOptions) -> sdks.SdkRequest:
    """The same in terms of the library. Raises UserError."""
    operators = parse_operators(options.operators)
    default_models = ("",) if operators == "models" else ()
    return sdks.SdkRequest(
        profile=profile_of(options.board),
        models=tuple(model_path(model) for model in options.model or default_models),
        operators=operators,
        workspace=workspace(),
        builder=container.parse_choice(options.builder),
        jobs=options.jobs or os.cpu_count() or 1,
    )


@task
def build(c: Context, options: SdkOptions, json: Json = False) -> None:
    """Build the runtime as a library for your programs. Example: invoke sdk --board=a53-som"""
    request = request_of(options)
    with screens.progress(ERR) as progress:
        report = sdks.build_sdk(request, progress)
    # Last: without a signature, or with a lock on the key, there is an SDK all the same.
    key_tasks.sign_sdk(load_sdk(report.folder))
    if json:
        write_document(report)
    else:
        OUT.print(build_screens.sdk_screen(report), soft_wrap=True)


@task
def check(
    c: Context,
    path: SdkFolder,
    model: Annotated[str, "ONNX model, or its name in edgewright.toml; or a .ort file"],
    json: Json = False,
) -> None:
    """Can an SDK's runtime run a model? Example: invoke sdk.check --path=SDK --model=mine.onnx"""
    with tempfile.TemporaryDirectory(prefix="edgewright-sdk-") as scratch:
        coverage = sdks.check_model(
            load_sdk(Path(path)), model_path(model), user_cache(), Path(scratch)
        )
    if json:
        write_document(coverage)
    else:
        say(
            f"{model}: {len(coverage.required)} operators needed by {coverage.nodes} nodes, all of "
            f"them among the {len(coverage.built)} of this SDK"
        )


@task
def sign(c: Context, path: SdkOrWheel, key: KeyName = keys.DEFAULT, json: Json = False) -> None:
    """Sign an SDK, or a wheel. Example: invoke sdk.sign build/a53-som/sdk/ID"""
    place = Path(path)
    built = None if _is_wheel(place) else load_sdk(place)
    signer = keys.user_keys().open_signer(key, key_tasks.ask)
    if built:
        sign_sdk(built, signer)
    else:
        sign_wheel(place, signer)
    if json:
        write_document(_verified(place, [signer.public]))
    else:
        signature = built.signature if built else wheel_evidence(place).envelope
        say(f"{signature}: signed by key {signer.public.id}")


@task
def verify(
    c: Context,
    path: SdkOrWheel,
    complete: Annotated[
        bool, "refuse one without bill of materials, licences or signed provenance"
    ] = False,
    json: Json = False,
) -> None:
    """Verify an SDK, or a wheel. Example: invoke sdk.verify build/a53-som/sdk/ID"""
    trusted = [key.public for key in keys.user_keys().listed()]
    document = _verified(Path(path), trusted, complete=complete)
    if json:
        write_document(document)
    else:
        print_uncut(verify_screen(document))


def _is_wheel(path: Path) -> bool:
    return path.suffix == SUFFIX


def _verified(path: Path, trusted: Sequence[PublicKey], *, complete: bool = False) -> VerifiedSdk:
    if _is_wheel(path):
        wheel = verify_wheel(path, trusted)
        if complete:
            evidence.require_licences(wheel.proof.sbom, str(path), wheel_evidence(path).kind)
        return verified_wheel(path, wheel)
    sdk, key = verify_sdk(path, trusted)
    return verified_sdk(sdk, key, verify_evidence(sdk, trusted, complete=complete))


def verify_screen(document: VerifiedSdk) -> Table:
    """What was proven, and by whom it is vouched for."""
    table = Table.grid(padding=(0, 2))
    if document.wheel:
        named = "the wheel and its bill"
        table.add_row("wheel", f"{document.wheel}, of SDK {document.sdk}")
        table.add_row("files", f"{document.files} files, as the signed provenance says")
    else:
        named = "manifest, archive and bill"
        table.add_row("SDK", f"{document.sdk} for {document.compatible}")
        table.add_row("signature", f"by key {document.key}")
        table.add_row("files", f"{document.files} files: each is what the signed manifest says")
    if document.evidence is None:
        table.add_row("materials", "no bill of materials, as the first SDKs have none")
        return table
    return add_evidence(table, document.evidence, named, sign="sdk.sign")
