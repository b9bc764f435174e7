"""A supply that hands out what it was given."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edgewright.base.progress import LineSink
from edgewright.build.supply import Pins


@dataclass
class Shelf:
    """Files by name, whatever they are asked for as."""

    files: Mapping[str, bytes]
    requested: list[str] = field(default_factory=list)

    def sources(self, pins: Pins, into: Path, log: Path) -> None:
        self.requested += [source.file for source in pins.sources]
        for name, content in self.files.items():
            (into / name).write_bytes(content)

    def builder(self, image: str, context: Path, log: Path, on_line: LineSink | None) -> str:
        raise AssertionError("no builder was asked for")

    def host_runtime(self) -> None:
        raise AssertionError("no runtime was asked for")
