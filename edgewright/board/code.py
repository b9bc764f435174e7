"""What the code of a linked program takes of a CPU, function by function.

No opinion: `edgewright.board.audit` judges. The whole program is disassembled; names, and what of
it is code and what data, come of its symbols. Who branches to whom is read from direct branches:
a call by a pointer is not followed.
"""

import bisect
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from pathlib import Path
from typing import Any

from elftools.elf.constants import SH_FLAGS
from elftools.elf.elffile import ELFFile
from elftools.elf.relocation import RelocationSection

from edgewright.base.errors import UserError
from edgewright.board.symbols import STT_FUNC, STT_IFUNC, THUMB, Symbol, symbol_table


class Feature(StrEnum):
    """What an instruction needs beyond ARMv7-A with NEON, in 64 bits beyond ARMv8.0-A."""

    ARMV8 = "armv8"  # in 32 bits
    BF16 = "bf16"
    CRC = "crc"
    CRYPTO = "crypto"
    DIVISION = "division"  # in 32 bits
    DOTPROD = "dotprod"
    FCMA = "fcma"
    FLAGM = "flagm"
    FP16 = "fp16"
    FP16_CONVERSION = "fp16-conversion"  # in 32 bits
    I8MM = "i8mm"
    JSCVT = "jscvt"
    LSE = "lse"
    MOPS = "mops"
    MTE = "mte"
    PAUTH = "pauth"
    RCPC = "rcpc"
    RDM = "rdm"
    SME = "sme"
    SVE = "sve"
    VFPV4 = "vfpv4"  # in 32 bits
    UNKNOWN = "unknown"  # to the disassembler


@dataclass(frozen=True, kw_only=True)
class Function:
    """One function; `features` name an instruction that needs each."""

    name: str  # as linked
    address: int
    features: Mapping[Feature, str]


@dataclass(frozen=True, kw_only=True)
class Code:
    """The code of one program."""

    functions: tuple[Function, ...]  # those with features
    # Address → whom it branches to; only what runs before main begins at a root.
    branches: Mapping[int, frozenset[int]]
    roots: Mapping[int, str]  # address → why it runs before main
    names: Mapping[int, str]  # of all functions, by address


# Of ARMv8.4 and later only what compilers and libraries are known to hold; the rest the
# disassembler does not know either, or Linux runs it on every core (hints).
_ATOMIC = r"(cas|casp|swp|(ld|st)(add|clr|eor|set|[su](max|min)))(a|l|al)?[bh]?"
_A64_MNEMONICS = {
    Feature.LSE: _ATOMIC,
    Feature.CRC: r"crc32\w*",
    Feature.CRYPTO: r"aes\w+|sha(1|256|512)\w+|pmull2?|sm[34]\w+|eor3|rax1|xar|bcax",
    Feature.DOTPROD: r"[us]dot",
    Feature.I8MM: r"us?mmla|smmla|usdot|sudot",
    Feature.BF16: r"bf(dot|mmla|mlal[bt]?|cvt\w*)",
    Feature.RDM: r"sqrdml[as]h",
    Feature.FCMA: r"fcmla|fcadd",
    Feature.JSCVT: r"fjcvtzs",
    Feature.FP16: r"fml[as]l2?",
    Feature.RCPC: r"ldapu?r\w*|stlur\w*",
    Feature.FLAGM: r"cfinv|rmif|setf(8|16)|[ax]x?flag",
    Feature.MOPS: r"cpyf?[pme]\w*|setg?[pme]\w*",
    Feature.MTE: r"irg|gmi|addg|subg|subps?|st2?g|stz2?gm?|stgp|stgm|ldgm?",
    # Those of the hint space (paciasp, autiasp, xpaclri …) do nothing on an old core.
    Feature.PAUTH: r"e?reta[ab]|bl?ra[ab]z?|ldra[ab]|(pac|aut)(d[ab]z?|i[ab]|iz[ab])|xpac[di]",
    Feature.SVE: r"rdvl|addvl|addpl|(cnt|inc|dec)[bhwd]|ptrue|pfalse|whil\w+|setffr|rdffrs?|wrffr",
    Feature.SME: r"smst\w+|rdsvl|addsvl|addspl",
}
_A64_OPERANDS = {
    Feature.SVE: (r".*", r"\b[zp]\d+[./]"),
    Feature.SME: (r".*", r"\bza\b|\bza\d"),
    # Conversions between FP16 and others, loads and stores are ARMv8.0's.
    Feature.FP16: (r"(?!fcvt(l2?|n2?)?$)(f|scvtf|ucvtf)\w*", r"\bh\d+\b|\.[248]?h\b"),
}
_CONDITION = r"(eq|ne|[hc]s|lo|cc|mi|pl|vs|vc|hi|ls|ge|lt|gt|le)?"
_A32_MNEMONICS = {
    Feature.DIVISION: rf"[su]div{_CONDITION}(\.w)?",
    Feature.VFPV4: rf"vfn?m[as]{_CONDITION}\.f(32|64)",
    Feature.FP16_CONVERSION: rf"vcvt([bt]{_CONDITION}\..*|\.f16\.f32|\.f32\.f16)",
    Feature.ARMV8: rf"(lda|stl)(b|h|ex[bhd]?)?{_CONDITION}(\.w)?|vsel\w\w\..*|v(max|min)nm\..*"
    rf"|vcvt[anpm]\.[su]32\..*|vrint.*|sevl(\.w)?|hlt",
    Feature.CRC: r"crc32\w*",
    Feature.CRYPTO: r"aes\w+\..*|sha(1|256)\w+\..*|vmull\.p64",
    Feature.DOTPROD: r"v[us]dot\..*",
    Feature.I8MM: r"v(us|su)dot\..*|v(us?|s)mmla\..*",
    Feature.BF16: r".*\.bf16.*",
    Feature.FP16: r"(?!vcvt)v.*\.f16|vcvt\w*\.([su](16|32)\.f16|f16\.[su](16|32))|vfm[as]l\..*",
    Feature.RDM: r"vqrdml[as]h\..*",
    Feature.FCMA: r"vcmla\..*|vcadd\..*",
    Feature.JSCVT: r"vjcvt\..*",
}
_A32_OPERANDS = {Feature.ARMV8: (r"d[ms]b", r"ld$")}
_BRANCH = re.compile(r"(bl?x?(\.w)?|b\.?[a-z]{2}(\.w)?|bl[a-z]{2}|cbn?z|tbn?z)$")
_TARGET = re.compile(r"#(0x[0-9a-f]+|\d+)$")
UNDECODED = ".byte"  # what capstone calls data among code

_IRELATIVE, _RELATIVE = {1032, 160}, {1027, 23}  # of AArch64 and of Arm
_STARTUP = ((".preinit_array", "pre-initialiser"), (".init_array", "static initialiser"))


def read_code(program: Path, symbols: Path) -> Code:
    """Disassemble a program or library; `symbols` is the file that has its symbol table.

    Raises UserError if that names no function: code without names, and without the marks that
    tell it from constants, cannot be judged.
    """
    with program.open("rb") as stream, symbols.open("rb") as symbols_stream:
        elf = ELFFile(stream)
        table = sorted(symbol_table(ELFFile(symbols_stream)), key=lambda symbol: symbol.value)
        starts = _functions(table, thumb=THUMB if elf["e_machine"] == "EM_ARM" else 0)
        if not starts:
            raise UserError(
                str(program),
                "names no function, so what its instructions need cannot be judged",
                facts=["expected: a symbol table", f"looked in: {symbols}"],
                next="link it without -s or --strip-all",
            )
        return _read(elf, table, starts)


def _functions(table: Iterable[Symbol], *, thumb: int) -> dict[int, str]:
    """First address → name; of several names the first in the alphabet that is not local."""
    names: dict[int, str] = {}
    for symbol in table:
        if symbol.kind in (STT_FUNC, STT_IFUNC):
            address = symbol.value & ~thumb
            names[address] = min(names.get(address, symbol.name), symbol.name)
    return dict(sorted(names.items()))


def _read(elf: ELFFile, table: list[Symbol], names: Mapping[int, str]) -> Code:
    starts = list(names)
    features: dict[int, dict[Feature, str]] = defaultdict(dict)
    branches: dict[int, set[int]] = defaultdict(set)

    def owner(address: int) -> int:
        return starts[max(bisect.bisect_right(starts, address) - 1, 0)]

    classify = _Classifier(elf["e_machine"])
    for address, mnemonic, operands in _instructions(elf, table):
        for feature in classify.features(mnemonic, operands):
            text = f"{mnemonic} {operands}".strip()
            features[owner(address)].setdefault(feature, f"{address:#x}: {text}")
        if classify.is_branch(mnemonic) and (target := _TARGET.search(operands)):
            source, called = owner(address), owner(int(target[1], 0))
            if source != called:
                branches[source].add(called)
    roots = {owner(address): why for address, why in _roots(elf, table)}
    return Code(
        functions=tuple(
            Function(name=names[address], address=address, features=features[address])
            for address in sorted(features)
        ),
        branches={source: frozenset(targets) for source, targets in branches.items()},
        roots=roots,
        names=names,
    )


class _Classifier:
    """Features of instructions; a mnemonic is looked at once, for programs have few of them."""

    def __init__(self, machine: str) -> None:
        is_arm = machine == "EM_ARM"
        by_mnemonic, by_operands = (
            (_A32_MNEMONICS, _A32_OPERANDS) if is_arm else (_A64_MNEMONICS, _A64_OPERANDS)
        )
        self._mnemonics = [(feature, re.compile(p)) for feature, p in by_mnemonic.items()]
        self._operands = [
            (feature, re.compile(m), re.compile(o)) for feature, (m, o) in by_operands.items()
        ]
        self._known: dict[str, tuple[list[Feature], list[tuple[Feature, re.Pattern[str]]]]] = {}
        self._branches: dict[str, bool] = {}

    def features(self, mnemonic: str, operands: str) -> list[Feature]:
        if mnemonic not in self._known:
            plain = [feature for feature, p in self._mnemonics if p.fullmatch(mnemonic)]
            plain += [Feature.UNKNOWN] if mnemonic == UNDECODED else []
            asking = [(feature, o) for feature, m, o in self._operands if m.fullmatch(mnemonic)]
            self._known[mnemonic] = (plain, asking)
        plain, asking = self._known[mnemonic]
        return [*plain, *(feature for feature, pattern in asking if pattern.search(operands))]

    def is_branch(self, mnemonic: str) -> bool:
        if mnemonic not in self._branches:
            self._branches[mnemonic] = _BRANCH.fullmatch(mnemonic) is not None
        return self._branches[mnemonic]


def _instructions(elf: ELFFile, table: Iterable[Symbol]) -> Iterator[tuple[int, str, str]]:
    """Address, mnemonic and operands of every instruction; constants among them are left out."""
    decoders = _decoders(elf["e_machine"])
    marks = [(s.value, s.name[:2]) for s in table if s.name[:2] in ("$a", "$d", "$t", "$x")]
    for section in elf.iter_sections():
        if not section["sh_flags"] & SH_FLAGS.SHF_EXECINSTR or section["sh_type"] == "SHT_NOBITS":
            continue
        start, content = section["sh_addr"], section.data()
        end = start + len(content)
        inside = [(address, kind) for address, kind in marks if start <= address < end]
        for (address, kind), (following, _) in pairwise([*inside, (end, "")]):
            if kind in decoders:
                piece = content[address - start : following - start]
                for at, _, mnemonic, operands in decoders[kind].disasm_lite(piece, address):
                    yield at, mnemonic, operands


def _decoders(machine: str) -> dict[str, Any]:
    """By mapping symbol."""
    import capstone  # whoever only looks at ELF facts, as each login does, waits for none of it

    if machine == "EM_ARM":
        modes = {"$a": capstone.CS_MODE_ARM, "$t": capstone.CS_MODE_THUMB}
        decoders = {
            kind: capstone.Cs(capstone.CS_ARCH_ARM, mode | capstone.CS_MODE_V8)
            for kind, mode in modes.items()
        }
    else:
        decoders = {"$x": capstone.Cs(capstone.CS_ARCH_ARM64, capstone.CS_MODE_ARM)}
    for decoder in decoders.values():
        decoder.skipdata = True
    return decoders


def _roots(elf: ELFFile, table: Iterable[Symbol]) -> Iterator[tuple[int, str]]:
    """What runs before main: the start, initialisers, and resolvers of indirect functions."""
    word = elf.elfclass // 8
    thumb = THUMB if elf["e_machine"] == "EM_ARM" else 0
    if elf["e_entry"]:  # a library has none
        yield elf["e_entry"] & ~thumb, "start of the program"
    moved = dict(_relative_relocations(elf))
    for name, why in _STARTUP:
        section = elf.get_section_by_name(name)
        if section is None:
            continue
        content = section.data()
        for at in range(0, len(content), word):
            stored = int.from_bytes(content[at : at + word], "little")
            # In a shared library the address may stand in the relocation instead.
            yield (moved.get(section["sh_addr"] + at) or stored) & ~thumb, why
    for symbol in table:
        if symbol.kind == STT_IFUNC:
            yield symbol.value & ~thumb, "resolver of an indirect function"


def _relative_relocations(elf: ELFFile) -> Iterator[tuple[int, int]]:
    """Place → address, where the relocation holds it."""
    for section in elf.iter_sections():
        if isinstance(section, RelocationSection) and section.is_RELA():
            for relocation in section.iter_relocations():
                if relocation["r_info_type"] in _RELATIVE | _IRELATIVE:
                    yield relocation["r_offset"], relocation["r_addend"]
