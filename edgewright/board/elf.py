"""Facts of one ELF file. No opinion: `edgewright.board.audit` judges."""

import struct
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from elftools.elf.constants import P_FLAGS
from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile
from elftools.elf.gnuversions import GNUVerNeedSection, GNUVerSymSection
from elftools.elf.sections import ARMAttributesSection, NoteSection, SymbolTableSection
from elftools.elf.segments import InterpSegment

from edgewright.base.errors import UserError
from edgewright.base.schema import Part

MAGIC = b"\x7fELF"
STT_FILE = 4  # type of the symbols that name source files
HEADER_BYTES = 32  # the smallest section or program header there is
VERNEED_BYTES = 16
TEXT_TAGS = {  # dynamic tags that are text, and pyelftools' attribute that holds it
    "DT_NEEDED": "needed",
    "DT_SONAME": "soname",
    "DT_RPATH": "rpath",
    "DT_RUNPATH": "runpath",
}

# Values of the build attributes, in readelf's words. Source: Addenda to, and Errata in,
# the ABI for the Arm Architecture, 2023Q3, section 3.3.
CPU_ARCH = {
    0: "pre-v4",
    1: "v4",
    2: "v4T",
    3: "v5T",
    4: "v5TE",
    5: "v5TEJ",
    6: "v6",
    7: "v6KZ",
    8: "v6T2",
    9: "v6K",
    10: "v7",
    11: "v6-M",
    12: "v6S-M",
    13: "v7E-M",
    14: "v8",
    15: "v8-R",
    16: "v8-M.baseline",
    17: "v8-M.mainline",
    21: "v8.1-M.mainline",
    22: "v9",
}
FP_ARCH = {
    0: "none",
    1: "VFPv1",
    2: "VFPv2",
    3: "VFPv3",
    4: "VFPv3-D16",
    5: "VFPv4",
    6: "VFPv4-D16",
    7: "FP for ARMv8",
    8: "FPv5/FP-D16 for ARMv8",
}
SIMD_ARCH = {
    0: "none",
    1: "NEONv1",
    2: "NEONv1 with Fused-MAC",
    3: "NEON for ARMv8",
    4: "NEON for ARMv8.1",
}
VFP_ARGS = {0: "core registers", 1: "VFP registers", 2: "custom", 3: "compatible with both"}
ARM_ISA = {0: "no", 1: "yes"}
THUMB_ISA = {0: "no", 1: "Thumb-1", 2: "Thumb-2", 3: "yes"}
DIVISION = {0: "as the architecture", 1: "no", 2: "yes"}


class ArmAttributes(Part):
    """ARM build attributes of a whole file; the linker merges them over all its inputs."""

    cpu_name: str
    cpu_arch: str
    arm_isa: str
    thumb_isa: str
    fp_arch: str
    simd_arch: str
    vfp_args: str  # "VFP registers" is the hard-float calling convention
    division: str  # integer division, which only some ARMv7 cores have and every ARMv8 one


class NeededVersion(Part):
    """A symbol version that a library must offer, and the symbols that need it."""

    library: str
    version: str
    symbols: tuple[str, ...]

    @property
    def number(self) -> tuple[int, ...]:
        """(2, 34) of GLIBC_2.34; () where the version is not a number."""
        parts = self.version.partition("_")[2].split(".")
        # `isdigit` alone also takes "²", which `int` refuses.
        is_number = all(part.isascii() and part.isdigit() for part in parts)
        return tuple(int(part) for part in parts) if is_number else ()


class Section(Part):
    name: str
    bytes: int


class ElfFacts(Part):
    """What stands in an ELF file."""

    bytes: int  # of the file
    machine: str  # ARM, AARCH64, X86_64 …
    bits: Literal[32, 64]
    endian: Literal["little", "big"]
    type: str  # EXEC, DYN, REL, CORE
    entry: int  # address; of a 32-bit ARM program it is odd where Thumb code starts
    interpreter: str | None
    needed: tuple[str, ...]
    soname: str | None
    rpath: str | None
    runpath: str | None
    arm: ArmAttributes | None
    versions: tuple[NeededVersion, ...]
    sections: tuple[Section, ...]
    build_id: str | None
    symbol_table: bool  # .symtab: what `strip` takes away
    debug_info: bool
    executable_stack: bool

    @property
    def stripped(self) -> bool:
        return not (self.symbol_table or self.debug_info)

    def highest(self, family: str) -> NeededVersion | None:
        """The highest numbered version needed of "GLIBC", "GLIBCXX" or "CXXABI"."""
        versions = [v for v in self.versions if v.version.startswith(f"{family}_") and v.number]
        return max(versions, key=lambda version: version.number, default=None)


def read_elf(path: Path) -> ElfFacts:
    """Read the facts of one file.

    Raises UserError if it cannot be read, is not ELF, or is truncated or malformed.
    """
    try:
        with path.open("rb") as stream:
            if stream.read(len(MAGIC)) != MAGIC:
                raise UserError(str(path), "not an ELF file")
            return _facts(ELFFile(stream), path.stat().st_size)
    except OSError as error:
        raise UserError(str(path), f"not readable: {error.strerror}") from error
    except UserError:
        raise
    except Exception as broken:  # pyelftools raises almost anything on a malformed file
        raise UserError(
            str(path), "truncated or malformed ELF file", facts=[f"{broken}"]
        ) from broken


def _facts(elf: ELFFile, size: int) -> ElfFacts:
    _require_bounds(elf, size)
    sections = list(elf.iter_sections())
    tags = _dynamic_tags(sections)
    segments = elf.iter_segments()
    interpreters = [s.get_interp_name() for s in segments if isinstance(s, InterpSegment)]
    notes = (note for s in sections if isinstance(s, NoteSection) for note in s.iter_notes())
    build_ids = (note["n_desc"] for note in notes if note["n_type"] == "NT_GNU_BUILD_ID")
    return ElfFacts(
        bytes=size,
        machine=str(elf["e_machine"]).removeprefix("EM_"),
        bits=64 if elf.elfclass == 64 else 32,
        endian="little" if elf.little_endian else "big",
        type=str(elf["e_type"]).removeprefix("ET_"),
        entry=elf["e_entry"],
        interpreter=_first(interpreters),
        needed=tuple(tags["DT_NEEDED"]),
        soname=_first(tags["DT_SONAME"]),
        rpath=_first(tags["DT_RPATH"]),
        runpath=_first(tags["DT_RUNPATH"]),
        arm=_arm_attributes(sections),
        versions=_needed_versions(sections),
        sections=tuple(Section(name=s.name, bytes=s["sh_size"]) for s in sections if s.name),
        build_id=next(build_ids, None),
        symbol_table=any(s["sh_type"] == "SHT_SYMTAB" for s in sections),
        debug_info=any(s.name.startswith((".debug_", ".zdebug_")) for s in sections),
        executable_stack=_executable_stack(elf),
    )


def _require_bounds(elf: ELFFile, size: int) -> None:
    """Every section and segment lies inside the file.

    pyelftools believes headers: a count or size out of a damaged file would have it loop for
    minutes or read gigabytes. Raises ValueError.
    """
    if elf.num_sections() == 0:
        raise ValueError("no section headers")
    if (elf.num_sections() + elf.num_segments()) * HEADER_BYTES > size:
        raise ValueError("more headers than the file can hold")
    for section in elf.iter_sections():
        kind, stored = section["sh_type"], section["sh_size"]
        # NOBITS, as .bss, has a size in memory only.
        if kind not in ("SHT_NULL", "SHT_NOBITS") and section["sh_offset"] + stored > size:
            raise ValueError(f"section '{section.name}' ends after the file")
        if kind == "SHT_GNU_verneed" and section["sh_info"] * VERNEED_BYTES > stored:
            raise ValueError(f"section '{section.name}' counts more entries than it holds")
    for segment in elf.iter_segments():
        if segment["p_offset"] + segment["p_filesz"] > size:
            raise ValueError(f"segment {segment['p_type']} ends after the file")


def _executable_stack(elf: ELFFile) -> bool:
    """As Linux decides: PT_GNU_STACK with the X flag, or no such header at all."""
    stacks = list(elf.iter_segments("PT_GNU_STACK"))
    loaded = any(True for _ in elf.iter_segments("PT_LOAD"))
    return loaded and not any(not stack["p_flags"] & P_FLAGS.PF_X for stack in stacks)


def _dynamic_tags(sections: list[Any]) -> dict[str, list[str]]:
    tags: dict[str, list[str]] = defaultdict(list)
    for section in sections:
        if isinstance(section, DynamicSection):
            for tag in section.iter_tags():
                if tag.entry.d_tag in TEXT_TAGS:
                    tags[tag.entry.d_tag].append(getattr(tag, TEXT_TAGS[tag.entry.d_tag]))
    return tags


def _arm_attributes(sections: list[Any]) -> ArmAttributes | None:
    section = next((s for s in sections if isinstance(s, ARMAttributesSection)), None)
    if section is None:
        return None
    values = dict(_file_attributes(section))
    return ArmAttributes(
        cpu_name=values.get("TAG_CPU_NAME", ""),
        cpu_arch=_word(CPU_ARCH, values.get("TAG_CPU_ARCH", 0)),
        arm_isa=_word(ARM_ISA, values.get("TAG_ARM_ISA_USE", 0)),
        thumb_isa=_word(THUMB_ISA, values.get("TAG_THUMB_ISA_USE", 0)),
        fp_arch=_word(FP_ARCH, values.get("TAG_FP_ARCH", 0)),
        simd_arch=_word(SIMD_ARCH, values.get("TAG_ADVANCED_SIMD_ARCH", 0)),
        vfp_args=_word(VFP_ARGS, values.get("TAG_ABI_VFP_ARGS", 0)),
        division=_word(DIVISION, values.get("TAG_DIV_USE", 0)),
    )


def _file_attributes(section: ARMAttributesSection) -> Iterator[tuple[str, Any]]:
    """The attributes of the public vendor, which comes first, for the whole file.

    Only the first: pyelftools walks in circles where there are several subsections.
    """
    subsection = next(section.iter_subsections())
    scope = next(subsection.iter_subsubsections())
    if subsection["vendor_name"] == "aeabi" and scope.header.tag == "TAG_FILE":
        yield from ((attribute.tag, attribute.value) for attribute in scope.iter_attributes())


def _needed_versions(sections: list[Any]) -> tuple[NeededVersion, ...]:
    users = _symbols_by_version(sections)
    needed = [
        NeededVersion(
            library=entry.name,
            version=version.name,
            symbols=tuple(sorted(users[version["vna_other"]])),
        )
        for section in sections
        if isinstance(section, GNUVerNeedSection)
        for entry, versions in section.iter_versions()
        for version in versions
    ]
    return tuple(sorted(needed, key=lambda n: (n.library, n.number, n.version)))


def _symbols_by_version(sections: list[Any]) -> dict[int, set[str]]:
    """Version index → names of the dynamic symbols that carry it."""
    # .gnu.version has one index for each symbol of .dynsym, in the same order.
    table = next((s for s in sections if s["sh_type"] == "SHT_DYNSYM"), None)
    indices = next((s for s in sections if isinstance(s, GNUVerSymSection)), None)
    users: dict[int, set[str]] = defaultdict(set)
    if isinstance(table, SymbolTableSection) and indices is not None:
        for symbol, index in zip(table.iter_symbols(), indices.iter_symbols(), strict=True):
            users[index["ndx"]].add(symbol.name)
    return users


def _word(words: dict[int, str], value: int) -> str:
    return words.get(value, f"unknown ({value})")


def _first(values: list[str]) -> str | None:
    return values[0] if values else None


def linked_files(path: Path) -> frozenset[str]:
    """Base names of the source or object files that a program was linked from, by its symbols.

    Of a stripped program, `path` is its file of debug symbols. Raises UserError.
    """
    try:
        with path.open("rb") as stream:
            elf = ELFFile(stream)
            table = elf.get_section_by_name(".symtab")
            if not isinstance(table, SymbolTableSection):
                return frozenset()
            names, entries = table.stringtable.data(), table.data()
            # Name, and type in the low half of `st_info`. pyelftools takes seconds for them.
            layout = "IBBHQQ" if elf.elfclass == 64 else "IIIBBH"
            symbols = struct.iter_unpack(("<" if elf.little_endian else ">") + layout, entries)
            at = 1 if elf.elfclass == 64 else 3
            starts = (symbol[0] for symbol in symbols if symbol[at] & 0xF == STT_FILE)
            return frozenset(_text_at(names, start) for start in starts)
    except OSError as error:
        raise UserError(str(path), f"not readable: {error.strerror}") from error
    except Exception as broken:  # pyelftools raises almost anything on a malformed file
        problem = "truncated or malformed ELF file"
        raise UserError(str(path), problem, facts=[f"{broken}"]) from broken


def _text_at(names: bytes, start: int) -> str:
    return names[start : names.index(b"\0", start)].decode(errors="replace")
