"""Artifacts of SWUpdate and Mender that bring the installer and run it on the board."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from edgewright.base.files import write_file
from edgewright.export import tools
from edgewright.export.exported import Exported
from edgewright.export.installer import self_extracting
from edgewright.export.trees import File, Tree, normalized_tar, text, write_tree

SCRIPT = "install-release"  # the installer as one file

# Any revision of the board: whether it is of the release's kind, `edgectl` decides.
_SW_DESCRIPTION = """\
software =
{{
    version = "{version}";
    hardware-compatibility: [ "#RE:.*" ];
    description = "{summary}";
    scripts: (
        {{
            filename = "{script}";
            type = "postinstall";
        }}
    );
}}
"""


@dataclass(frozen=True, kw_only=True)
class ArtifactKey:
    """The key that an updater's own signature is made with."""

    certificate: Path | None = None  # X.509, PEM; of RAUC and SWUpdate
    private: Path | None = None  # PEM


def write_swu(exported: Exported, key: ArtifactKey, out: Path) -> None:
    """An image of SWUpdate that runs the installer, by `swugenerator`. Raises UserError."""
    description = _SW_DESCRIPTION.format(
        version=exported.version, summary=exported.summary, script=SCRIPT
    )
    tree = {"sw-description": text(description), SCRIPT: _installer(exported, "swupdate")}
    with written(tree, exported) as folder:
        image = folder.parent / "image.swu"
        files = ["-s", str(folder / "sw-description"), "-a", str(folder), "-o", str(image)]
        argv = [*tools.module("swugenerator.main"), *files, *_swu_signature(key), "create"]
        clock = tools.clock_at(exported.epoch) if key.certificate else []
        tools.run([*clock, *argv], epoch=exported.epoch)
        write_file(out, image.read_bytes(), mode=0o644)


def _swu_signature(key: ArtifactKey) -> list[str]:
    """By CMS where there is a certificate: how it was built decides which one SWUpdate takes."""
    if key.private is None:
        return []
    if key.certificate is None:
        return ["--sign", f"RSA,{key.private}"]
    return ["--sign", f"CMS,{key.private},{key.certificate}"]


def write_mender(exported: Exported, key: ArtifactKey, out: Path) -> None:
    """An artifact for Mender's update module `script`, by `mender-artifact`. Raises UserError."""
    with written({SCRIPT: _installer(exported, "mender")}, exported) as folder:
        artifact = folder.parent / "artifact.mender"
        sign = [f"--key={key.private}"] if key.private else []
        argv = [tools.program("mender-artifact"), "write", "module-image", "--type=script"]
        argv += [f"--artifact-name={exported.name}-{exported.version}"]
        argv += [f"--device-type={exported.release.manifest.board}", *sign]
        argv += [f"--file={folder / SCRIPT}", f"--output-path={artifact}"]
        tools.run(argv, epoch=exported.epoch)
        # The artifact's outer tar has the times of the tool's own scratch files.
        content = normalized_tar(artifact.read_bytes(), exported.epoch)
        write_file(out, content, mode=0o644)


def _installer(exported: Exported, owner: str) -> File:
    return File(self_extracting(exported, owner), 0o755)


@contextmanager
def written(tree: Tree, exported: Exported) -> Iterator[Path]:
    """The tree in a folder of its own, beside which there is room for what a tool makes of it."""
    with tempfile.TemporaryDirectory(prefix="edgewright-export-") as scratch:
        folder = Path(scratch) / "content"
        folder.mkdir()
        write_tree(tree, folder, exported.epoch)
        yield folder
