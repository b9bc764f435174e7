"""The runtime as a library for others' programs."""

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from invoke.context import Context

from edgewright.base.layout import user_cache
from edgewright.build import container
from edgewright.build import sdk as sdks
from edgewright.cli import keys as key_tasks
from edgewright.cli import screens
from edgewright.cli.common import (
    ERR,
    OUT,
    BoardName,
    Json,
    model_path,
    profile_of,
    say,
    task,
    workspace,
    write_document,
)
from edgewright.cli.documents import VerifiedSdk
from edgewright.cli.keys import KeyName
from edgewright.release import keys
from edgewright.release.minisign import PublicKey
from edgewright.release.sdk import Sdk, load_sdk, sign_sdk, verify_sdk

SdkFolder = Annotated[str, "folder of an SDK: build/<board>/sdk/<id>, or an unpacked archive"]


@dataclass(frozen=True, kw_only=True)
class SdkOptions:
    """What `invoke sdk` builds, and where."""

    board: BoardName
    model: Annotated[
        tuple[str, ...],
        "ONNX model, or its name in edgewright.toml; again for another one that the same runtime "
        "shall run; default: default_model there, else the demo's",
    ] = ()
    builder: Annotated[str, "auto, docker or local"] = "auto"
    jobs: Annotated[int, "parallel compilations; default: the number of cores"] = 0


@task
def build(c: Context, options: SdkOptions, json: Json = False) -> None:
    """Build the runtime as a library for your programs. Example: invoke sdk --board=a53-som"""
    request = sdks.SdkRequest(
        profile=profile_of(options.board),
        models=tuple(model_path(model) for model in options.model or ("",)),
        workspace=workspace(),
        builder=container.parse_choice(options.builder),
        jobs=options.jobs or os.cpu_count() or 1,
    )
    with screens.progress(ERR) as progress:
        report = sdks.build_sdk(request, progress)
    # Last: without a signature, or with a lock on the key, there is an SDK all the same.
    key_tasks.sign_sdk(load_sdk(report.folder))
    if json:
        write_document(report)
    else:
        OUT.print(screens.sdk_screen(report), soft_wrap=True)


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
def sign(c: Context, path: SdkFolder, key: KeyName = keys.DEFAULT, json: Json = False) -> None:
    """Sign an SDK. Example: invoke sdk.sign build/a53-som/sdk/ID"""
    built = load_sdk(Path(path))
    signer = keys.user_keys().open_signer(key, key_tasks.ask)
    sign_sdk(built, signer)
    if json:
        write_document(verified(built, signer.public))
    else:
        say(f"{built.signature}: signed by key {signer.public.id}")


@task
def verify(c: Context, path: SdkFolder, json: Json = False) -> None:
    """Verify an SDK's signature and files. Example: invoke sdk.verify build/a53-som/sdk/ID"""
    sdk, key = verify_sdk(Path(path), [key.public for key in keys.user_keys().listed()])
    manifest = sdk.manifest
    if json:
        write_document(verified(sdk, key))
    else:
        say(
            f"SDK {sdk.id} for {manifest.compatible}: signed by key {key.id}; "
            f"{len(manifest.files)} files are what its manifest says"
        )


def verified(sdk: Sdk, key: PublicKey) -> VerifiedSdk:
    manifest = sdk.manifest
    return VerifiedSdk(
        sdk=sdk.id,
        board=manifest.board,
        compatible=manifest.compatible,
        key=key.id,
        files=len(manifest.files),
    )
