"""A Debian package. Its maintainer scripts go through `edgectl`: to install it is a transaction."""

import gzip
import hashlib
import re
import tempfile
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path

from edgewright.base.errors import UserError
from edgewright.base.files import read_inside, write_file
from edgewright.export import tools
from edgewright.export.exported import Exported
from edgewright.export.installer import installer
from edgewright.export.trees import File, Tree, below, script, text, write_tree
from edgewright.release import evidence
from edgewright.release.sbom import Sbom, SbomComponent, licence_texts

MAINTAINER = re.compile(r"[^<>\n@]+ <[^<>@\s]+@[^<>@\s]+>")
# What Debian calls the packages of libraries that a release may need and does not bring.
LIBC = re.compile(r"(?:libc|libm|libdl|libpthread|librt|ld-linux.*)\.so\.[0-9]+")
NOTICE = re.compile(r"(?:copyright|\(c\)|©)(?:[ ,:]|\(c\)|©|by)*[0-9]{4}\b", re.IGNORECASE)
PACKAGES = {"libstdc++.so.6": "libstdc++6", "libgcc_s.so.1": "libgcc-s1"}

_POSTINST = """\
#!/bin/sh
set -e
if [ "$1" = configure ]; then
    sh {folder}/install
fi
"""
_PRERM = """\
#!/bin/sh
set -e
if [ "$1" = remove ]; then
    sh {folder}/remove
fi
"""
# What somebody else deployed since the removal is not ours to purge.
_POSTRM = """\
#!/bin/sh
set -e
if [ "$1" = purge ] && [ ! -e {root}/owner ] && [ ! -L {root}/current ]; then
    rm -rf {root}
fi
"""
_OVERRIDES = """\
# The board's helper: static, so that it runs whatever the board's libraries are, and stripped.
{name} binary: statically-linked-binary [usr/lib/{name}/edgectl]
"""
_COPYRIGHT = """\
{summary}

The parts of this release, by the bill of materials that was written of what was linked.

The texts of their licences are in /usr/share/doc/{name}/licenses; a Debian system has the
GNU licences in /usr/share/common-licenses, too. Below each part stands what these texts say of
copyright.

{parts}
"""


def write_deb(exported: Exported, maintainer: str, out: Path) -> None:
    """Make the package by `dpkg-deb`.

    Raises UserError for a maintainer without address, a release without bill of materials, and a
    library that no package of Debian is known for.
    """
    if not MAINTAINER.fullmatch(maintainer):
        raise UserError(
            f"maintainer '{maintainer}'",
            "expected NAME <ADDRESS>: a package says whom to ask",
            next="invoke release.export --board=… --format=deb "
            "--maintainer='Line 3 <line3@example.com>'",
        )
    content = _content(exported, maintainer)
    with tempfile.TemporaryDirectory(prefix="edgewright-deb-") as scratch:
        tree = Path(scratch) / exported.name
        tree.mkdir()
        control = below("DEBIAN", _control(exported, maintainer, content))
        write_tree({**content, **control}, tree, exported.epoch)
        # One thread: how xz cuts its blocks depends on how many there are.
        options = ["--root-owner-group", "-Zxz", "-z9", "--threads-max=1"]
        dpkg_deb = tools.program("dpkg-deb", "dpkg")
        package = Path(scratch) / "package.deb"
        tools.run([dpkg_deb, *options, "--build", str(tree), str(package)], epoch=exported.epoch)
        write_file(out, package.read_bytes(), mode=0o644)


def _content(exported: Exported, maintainer: str) -> Tree:
    name = exported.name
    overrides = _OVERRIDES.format(name=name)
    return {
        **below(f"usr/lib/{name}", installer(exported, f"dpkg {name}")),
        **below(f"usr/share/doc/{name}", _documents(exported, maintainer)),
        f"usr/share/lintian/overrides/{name}": text(overrides),
    }


def _control(exported: Exported, maintainer: str, content: Tree) -> Tree:
    folder, root = f"/usr/lib/{exported.name}", exported.release.manifest.deploy_root
    return {
        "control": text(_control_file(exported, maintainer, content)),
        "md5sums": text("".join(_checksums(content))),
        "postinst": script(_POSTINST.format(folder=folder)),
        "prerm": script(_PRERM.format(folder=folder)),
        "postrm": script(_POSTRM.format(root=root)),
    }


def _control_file(exported: Exported, maintainer: str, content: Tree) -> str:
    manifest = exported.release.manifest
    sizes = [len(entry.content) for entry in content.values() if isinstance(entry, File)]
    depends = ", ".join(_dependencies(exported))
    fields = {
        "Package": exported.name,
        "Version": exported.version,
        "Architecture": exported.platform.debian,
        "Maintainer": maintainer,
        "Installed-Size": str(sum(-(-size // 1024) for size in sizes)),
        **({"Depends": depends} if depends else {}),
        # One deploy root has one owner.
        "Conflicts": "edgewright-release",
        "Provides": "edgewright-release",
        "Section": "misc",
        "Priority": "optional",
        "Description": f"{exported.model} by ONNX Runtime, for {manifest.board}\n"
        f" Program, model and golden images: release {manifest.id}.\n"
        " It is installed by edgectl, which verifies its signature, runs its self-test,\n"
        " switches to it, and goes back to the one before it where it does not work.",
    }
    return "".join(f"{key}: {value}\n" for key, value in fields.items())


def _dependencies(exported: Exported) -> Iterator[str]:
    libraries = exported.foreign_libraries
    if any(LIBC.fullmatch(library) for library in libraries):
        versions = [facts.highest("GLIBC") for facts in exported.programs.values()]
        numbers = [version.number for version in versions if version]
        floor = ".".join(map(str, max(numbers, default=())))
        yield f"libc6 (>= {floor})" if floor else "libc6"
    for library in libraries:
        if library in PACKAGES:
            yield PACKAGES[library]
        elif not LIBC.fullmatch(library):
            raise UserError(
                library,
                "no package of Debian is known for it",
                next='set runtime.linkage = "static" in the board profile, then invoke build',
            )


def _checksums(content: Tree) -> Iterator[str]:
    """dpkg's own list, by which `dpkg --verify` tells what rotted."""
    for path, entry in sorted(content.items()):
        if isinstance(entry, File):
            digest = hashlib.md5(entry.content, usedforsecurity=False).hexdigest()
            yield f"{digest}  {path}\n"


def _documents(exported: Exported, maintainer: str) -> Tree:
    behind = evidence.beside(exported.release)
    _, bill = evidence.read_bill(behind)
    evidence.read_texts(behind, bill)
    texts = {
        path: read_inside(behind.folder, path, limit=evidence.TEXT_BYTES)
        for path in licence_texts(bill, str(behind.sbom))
    }
    changes = gzip.compress(_changelog(exported, maintainer).encode(), 9, mtime=0)
    return {
        "copyright": text(_copyright(exported, bill, texts)),
        "changelog.gz": File(changes),
        **{path: File(content) for path, content in texts.items()},
    }


def _copyright(exported: Exported, bill: Sbom, texts: Mapping[str, bytes]) -> str:
    parts = "\n\n".join(_part(component, texts) for component in bill.components)
    return _COPYRIGHT.format(summary=exported.summary, name=exported.name, parts=parts)


def _part(component: SbomComponent, texts: Mapping[str, bytes]) -> str:
    paths = [item.url for item in component.references if item.type == "license"]
    lines = [line for path in paths for line in texts[path].decode(errors="replace").splitlines()]
    # A notice as Debian looks for it: the word, and a year.
    notices = dict.fromkeys(line.strip(" *#/") for line in lines if NOTICE.search(line))
    head = f"{component.name} {component.version}: {component.licence or 'no licence is stated'}"
    return "\n".join([head, *(f"  {notice}" for notice in notices)])


def _changelog(exported: Exported, maintainer: str) -> str:
    signed = format_datetime(datetime.fromtimestamp(exported.epoch, UTC))
    return (
        f"{exported.name} ({exported.version}) unstable; urgency=medium\n\n"
        f"  * {exported.summary}.\n\n"
        f" -- {maintainer}  {signed}\n"
    )
