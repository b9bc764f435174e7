"""A deploy root with one release in it, for images that are built whole and written whole."""

import tempfile
from pathlib import Path

from edgewright.base.files import write_file
from edgewright.deploy.edgectl import PROGRAM
from edgewright.export import tools
from edgewright.export.exported import Exported
from edgewright.export.trees import File, Folder, Link, Tree, below, tar_bytes, text, write_tree
from edgewright.release.manifest import SIGNATURE

OSTREE_ROOT = "usr/lib/edgewright"  # /usr is what an ostree deployment holds, and nobody writes to
BRANCH = "edgewright"


def write_tar(exported: Exported, out: Path) -> None:
    """The deploy root at its own path: for a root file system, or a Yocto or Buildroot overlay.

    No updater owns it: the first deploy to the board takes it over.
    """
    root = exported.release.manifest.deploy_root.strip("/")
    write_file(out, tar_bytes(below(root, deploy_root(exported)), exported.epoch), mode=0o644)


def write_ostree(exported: Exported, out: Path) -> None:
    """A repository with one commit, in a tar: `ostree pull-local` takes it. Made by `ostree`."""
    owner = {"owner": text("ostree\n")}  # `edgectl` deploys nothing into it
    tree = below(OSTREE_ROOT, {**deploy_root(exported), **owner})
    with tempfile.TemporaryDirectory(prefix="edgewright-ostree-") as scratch:
        folder, repo = Path(scratch) / "tree", Path(scratch) / "repo"
        folder.mkdir()
        write_tree(tree, folder, exported.epoch)
        _ostree(exported, repo, "init", "--mode=archive")
        _ostree(
            exported,
            repo,
            "commit",
            f"--branch={BRANCH}/{exported.release.manifest.board}",
            f"--subject={exported.summary}",
            f"--add-metadata-string=version={exported.version}",
            f"--timestamp=@{exported.epoch}",
            "--owner-uid=0",
            "--owner-gid=0",
            "--no-xattrs",
            str(folder),
        )
        write_file(out, tar_bytes(_repository(repo), exported.epoch), mode=0o644)


def deploy_root(exported: Exported) -> Tree:
    """The release, current, and `edgectl`.

    Without the signature: a board that has one and no floor has lost its floor.
    """
    files = exported.release_files()
    del files[SIGNATURE]
    folder = f"releases/{exported.release.id}"
    return {
        **below(folder, files),
        "current": Link(folder),
        PROGRAM: File(exported.edgectl, 0o755),
    }


def _ostree(exported: Exported, repo: Path, command: str, *arguments: str) -> None:
    argv = [tools.program("ostree"), command, f"--repo={repo}", *arguments]
    tools.run(argv, epoch=exported.epoch)


def _repository(repo: Path) -> Tree:
    """A repository but for its lock; it is none without its empty folders."""
    return {
        path.relative_to(repo).as_posix(): Folder() if path.is_dir() else File(path.read_bytes())
        for path in repo.rglob("*")
        if path.name != ".lock"
    }
