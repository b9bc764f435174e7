"""What every format says of a release: its name, version, time, platform and signed order."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from edgewright.base.errors import UserError
from edgewright.base.text import visible
from edgewright.board.elf import MAGIC, ElfFacts, read_elf
from edgewright.deploy.edgectl import PROGRAM, protocol_of, signed_input
from edgewright.export.trees import File
from edgewright.release.manifest import MANIFEST, SIGNATURE, Release, ReleaseFile
from edgewright.release.order import Verified

LATEST_TIME = (1 << 31) - 1  # Unix seconds that every archive format has room for


@dataclass(frozen=True, kw_only=True)
class Platform:
    """What the release's programs run on, in the words of others."""

    debian: str  # architecture of a package
    oci: str  # architecture of an image
    variant: str  # of that, or ""


@dataclass(frozen=True, kw_only=True)
class Exported:
    """A signed release on its way into another updater's format."""

    release: Release
    verified: Verified
    signature: bytes
    first_keys: bytes  # for a board that trusts no key yet: standard input of `edgectl keys`

    @property
    def name(self) -> str:
        return f"edgewright-{self.release.manifest.board}"

    @property
    def version(self) -> str:
        """It grows as the board's orders do: what an updater takes for newer, the board does."""
        return f"{self.verified.order.sequence}+{self.release.id}"

    @property
    def epoch(self) -> int:
        """SOURCE_DATE_EPOCH: when the order was signed, or the latest time that formats know."""
        return min(self.verified.order.sequence, LATEST_TIME)

    @property
    def order(self) -> bytes:
        """Standard input of `edgectl begin`."""
        return signed_input(self.signature, self.release.manifest.canonical())

    @property
    def model(self) -> str:
        """The model's name, which is any text, without what ends a line or a string in a format."""
        name = visible(self.release.manifest.model.name)
        return name.replace('"', "'").replace("\\", "/")

    @property
    def summary(self) -> str:
        return f"{self.model} for {self.release.manifest.board}, release {self.release.id}"

    @cached_property
    def contents(self) -> Mapping[str, bytes]:
        """Path → bytes of the release's files, checked anew: they may have changed meanwhile."""
        return {file.path: self._read(file) for file in self.release.manifest.files}

    def _read(self, file: ReleaseFile) -> bytes:
        content = self.release.path(file).read_bytes()
        if hashlib.sha256(content).hexdigest() != file.sha256:
            raise UserError(str(self.release.path(file)), "changed while the release was exported")
        return content

    @cached_property
    def programs(self) -> Mapping[str, ElfFacts]:
        """Path → facts of the release's ELF files."""
        return {
            path: read_elf(self.release.folder / path)
            for path, content in self.contents.items()
            if content.startswith(MAGIC)
        }

    @cached_property
    def platform(self) -> Platform:
        """Raises UserError for a machine that is none of ours."""
        machines = {program.machine for program in self.programs.values()}
        if machines == {"AARCH64"}:
            return Platform(debian="arm64", oci="arm64", variant="v8")
        if machines == {"ARM"}:
            # Of all programs the highest: v8 code in 32 bits must not be started on a v7 core.
            cores = [facts.arm.cpu_arch[:2] for facts in self.programs.values() if facts.arm]
            return Platform(debian="armhf", oci="arm", variant=max(cores, default="v7"))
        if machines == {"X86_64"}:
            return Platform(debian="amd64", oci="amd64", variant="")
        raise UserError(
            str(self.release.folder),
            "has no programs for one kind of machine that others have a name for",
            facts=[f"found: {', '.join(sorted(machines)) or 'no program'}"],
            next="invoke build",
        )

    @property
    def foreign_libraries(self) -> tuple[str, ...]:
        """Libraries that the programs need and the release does not bring."""
        needed = {name for facts in self.programs.values() for name in facts.needed}
        return tuple(sorted(needed - {path.rpartition("/")[2] for path in self.contents}))

    @property
    def edgectl(self) -> bytes:
        """Raises UserError for a release without it."""
        try:
            return self.contents[PROGRAM]
        except KeyError:
            raise UserError(
                str(self.release.folder), f"no {PROGRAM} in it", next="invoke build"
            ) from None

    @property
    def protocol(self) -> int:
        """That of its `edgectl`."""
        return protocol_of(self.edgectl)

    def release_files(self) -> dict[str, File]:
        """The release's folder as it is, its signed manifest included."""
        files = {
            file.path: File(self.contents[file.path], int(file.mode, 8))
            for file in self.release.manifest.files
        }
        files[MANIFEST] = File(self.release.manifest.canonical())
        files[SIGNATURE] = File(self.signature)
        return files

    def file_name(self, ending: str) -> str:
        """`edgewright-<board>_<version>_<architecture><ending>`."""
        return f"{self.name}_{self.version}_{self.platform.debian}{ending}"
