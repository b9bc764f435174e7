"""An OCI image of nothing but the release: an image layout in a tar, as `skopeo` takes it."""

import gzip
import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edgewright.base.errors import UserError
from edgewright.base.files import write_file
from edgewright.export.exported import Exported
from edgewright.export.trees import File, Tree, below, tar_bytes, text
from edgewright.release.programs import DEFAULT_PROGRAM

RELEASE = "release"  # its folder in the image
_TYPE = "application/vnd.oci.image"
_LABEL = "org.opencontainers.image"


def write_image(exported: Exported, out: Path) -> None:
    """Write the layout. Raises UserError for a release that needs libraries it does not bring."""
    libraries = exported.foreign_libraries
    if libraries:
        raise UserError(
            str(exported.release.folder),
            "cannot run in an image of its own: it needs the board's libraries",
            facts=[f"library: {library}" for library in libraries],
            next='set runtime.linkage = "static" in the board profile, then invoke build',
        )
    write_file(out, tar_bytes(_layout(exported), exported.epoch), mode=0o644)


def _layout(exported: Exported) -> Tree:
    layer = tar_bytes(below(RELEASE, exported.release_files()), exported.epoch)
    packed = gzip.compress(layer, mtime=0)
    config = _json(_config(exported, layer))
    manifest = _json(
        {
            "schemaVersion": 2,
            "mediaType": f"{_TYPE}.manifest.v1+json",
            "config": _descriptor(f"{_TYPE}.config.v1+json", config),
            "layers": [_descriptor(f"{_TYPE}.layer.v1.tar+gzip", packed)],
            "annotations": _labels(exported),
        }
    )
    index = {
        "schemaVersion": 2,
        "mediaType": f"{_TYPE}.index.v1+json",
        "manifests": [
            {
                **_descriptor(f"{_TYPE}.manifest.v1+json", manifest),
                "platform": _platform(exported),
                "annotations": {f"{_LABEL}.ref.name": exported.release.id},
            }
        ],
    }
    return {
        "oci-layout": text('{"imageLayoutVersion":"1.0.0"}'),
        "index.json": File(_json(index)),
        **{f"blobs/sha256/{_digest(blob)}": File(blob) for blob in (config, manifest, packed)},
    }


def _config(exported: Exported, layer: bytes) -> dict[str, Any]:
    created = datetime.fromtimestamp(exported.epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    manifest = exported.release.manifest
    program = manifest.programs[0]
    is_default = program == DEFAULT_PROGRAM
    options = manifest.run_options(f"/{RELEASE}") if is_default else ()
    return {
        "created": created,
        **_platform(exported),
        "config": {
            "Entrypoint": [f"/{RELEASE}/{program.path}"],
            "Cmd": [*program.selftest, *options],
            "WorkingDir": f"/{RELEASE}",
            "Labels": _labels(exported),
        },
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{_digest(layer)}"]},
        "history": [{"created": created, "created_by": "edgewright release.export"}],
    }


def _platform(exported: Exported) -> dict[str, str]:
    platform = exported.platform
    variant = {"variant": platform.variant} if platform.variant else {}
    return {"architecture": platform.oci, "os": "linux", **variant}


def _labels(exported: Exported) -> dict[str, str]:
    manifest = exported.release.manifest
    return {
        f"{_LABEL}.title": exported.name,
        f"{_LABEL}.description": exported.summary,
        f"{_LABEL}.version": exported.version,
        f"{_LABEL}.revision": manifest.source.revision,
        "edgewright.release": manifest.id,
        "edgewright.compatible": manifest.compatible,
    }


def _descriptor(kind: str, blob: bytes) -> dict[str, Any]:
    return {"mediaType": kind, "digest": f"sha256:{_digest(blob)}", "size": len(blob)}


def _digest(blob: bytes) -> str:
    return hashlib.sha256(blob).hexdigest()


def _json(table: dict[str, Any]) -> bytes:
    return json.dumps(table, sort_keys=True, separators=(",", ":")).encode()
