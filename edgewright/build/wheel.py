"""`invoke wheel`: the runtime of a board as a Python wheel, for scripts written for `onnxruntime`.

The wheel carries the SDK's shared library, and Python code that calls its C API by ctypes
(`runtime_py/`): nothing of it is compiled for one version of Python.
"""

import ast
import base64
import csv
import hashlib
import html
import io
import json
import re
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from edgewright import __version__
from edgewright.base import digest
from edgewright.base.errors import UserError
from edgewright.base.files import make_folder, update_file
from edgewright.base.schema import Document
from edgewright.board.elf import ElfFacts, read_elf
from edgewright.board.profile import Arch, BoardProfile, LibcFamily
from edgewright.build import packages
from edgewright.build.evidence import write_wheel_provenance
from edgewright.model.convert.ops import parse_config
from edgewright.release import evidence, sbom
from edgewright.release.evidence import SBOM
from edgewright.release.sdk import OPERATORS, OperatorChoice, Sdk
from edgewright.release.wheel import wheel_evidence

PACKAGE, DISTRIBUTION = "edgewright_runtime", "edgewright-runtime"
LIBRARY = "libonnxruntime.so.1"
HEADER = "include/onnxruntime/onnxruntime_c_api.h"
PYTHON = ">=3.7"
MACHINES = {Arch.ARMHF: "armv7l", Arch.ARM64: "aarch64"}
# By family of the C library: what pip calls a wheel for it, and the oldest that it knows for these
# machines.
PLATFORMS = {LibcFamily.GLIBC: ("manylinux", (2, 17)), LibcFamily.MUSL: ("musllinux", (1, 1))}
# Of what PEP 600 lets a wheel expect, what C programs need.
MANYLINUX_LIBRARIES = frozenset(
    {
        *("libc.so.6", "libm.so.6", "libpthread.so.0", "libdl.so.2", "librt.so.1"),
        *("ld-linux-armhf.so.3", "ld-linux-aarch64.so.1"),
    }
)
PLATFORM_LIBRARIES = {
    LibcFamily.GLIBC: MANYLINUX_LIBRARIES,
    LibcFamily.MUSL: frozenset({"libc.so"}),
}
NOT_IN_A_WHEEL = frozenset({packages.LIBEDGE, *packages.LIBRARIES})  # parts of an SDK's libedge
EPOCH = (1980, 1, 1, 0, 0, 0)  # the first time that a zip file can hold
MEMBER = re.compile(
    r"ORT_API2_STATUS\(\s*(?P<status>\w+)"
    r"|ORT_CLASS_RELEASE\(\s*(?P<release>\w+)\s*\)"
    r"|\(\s*ORT_API_CALL\s*\*\s*(?P<plain>\w+)\s*\)"
)


class WheelReport(Document):
    """What `invoke wheel` made."""

    version: Literal[1] = 1
    board: str
    sdk: str
    wheel: Path
    wheel_version: str
    platform: str
    sha256: str
    bytes: int
    index: Path | None  # the folder that pip can look into
    libc_floor: str
    requires_python: str = PYTHON
    models: tuple[str, ...]
    operators_of: OperatorChoice
    operators: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Wheel:
    """A wheel's file name and bytes; the same inputs give the same ones."""

    version: str
    platform: str
    content: bytes

    @property
    def name(self) -> str:
        return f"{PACKAGE}-{self.version}-py3-none-{self.platform}.whl"

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()


def build_wheel(sdk: Sdk, profile: BoardProfile, code: Path, out: Path) -> WheelReport:
    """Write an SDK's wheel into `out`, and its provenance beside it, to be signed.

    `code` is the folder of the Python package. Raises UserError if the SDK's header is not the one
    that the Python code was written for.
    """
    wheel = make_wheel(sdk, profile, code)
    make_folder(out)
    update_file(out / wheel.name, wheel.content, mode=0o644)
    write_wheel_provenance(out / wheel.name, _bill(sdk), sdk, code)
    return WheelReport(
        board=sdk.manifest.board,
        sdk=sdk.id,
        wheel=out / wheel.name,
        wheel_version=wheel.version,
        platform=wheel.platform,
        sha256=wheel.sha256,
        bytes=len(wheel.content),
        index=None,
        libc_floor=sdk.manifest.runtime.libc_floor,
        models=tuple(model.name for model in sdk.manifest.models),
        operators_of=sdk.manifest.runtime.operators,
        operators=operators_of(sdk),
    )


def add_to_index(report: WheelReport, index: Path) -> WheelReport:
    """Copy a wheel and its provenance into a folder for pip; the report of the wheel that has it.

    Its pages list all wheels that are there.
    """
    make_folder(index)
    update_file(index / report.wheel.name, report.wheel.read_bytes(), mode=0o644)
    behind = wheel_evidence(report.wheel)
    files = (path for path in (behind.statement, behind.envelope) if path.is_file())
    copied = {path.name: path.read_bytes() for path in files}
    evidence.write_files(wheel_evidence(index / report.wheel.name), copied)
    write_index(index)
    return report.model_copy(update={"index": index})


def _bill(sdk: Sdk) -> bytes:
    """The bill of the library alone."""
    return sbom.without((sdk.folder / SBOM).read_bytes(), NOT_IN_A_WHEEL)


def make_wheel(sdk: Sdk, profile: BoardProfile, code: Path) -> Wheel:
    """The wheel of an SDK. Raises UserError if its header is another one than `code` expects."""
    require_places(code / "_api.py", sdk.folder / HEADER)
    runtime = sdk.manifest.runtime
    library = sdk.folder / f"lib/libonnxruntime.so.{runtime.version}"
    facts = read_elf(library)
    package = {
        path.relative_to(code).as_posix(): path.read_bytes()
        for path in code.rglob("*")
        if path.suffix == ".py" or path.name == "py.typed"
    }
    about = {
        "board": sdk.manifest.board,
        "core": profile.cpu.core,
        "instructions": instructions(facts),
        "libc_family": runtime.libc_family,
        "libc_floor": runtime.libc_floor,
        "sdk": sdk.id,
        "models": [model.name for model in sdk.manifest.models],
        "operators": operators_of(sdk),
    }
    package["build.json"] = (json.dumps(about, indent=1, sort_keys=True) + "\n").encode()
    package[LIBRARY] = library.read_bytes()
    version = _version(sdk, package)
    platform = platform_tag(
        facts, LibcFamily(runtime.libc_family), runtime.libc_floor, profile.abi.arch
    )
    info = f"{PACKAGE}-{version}.dist-info"
    content = {f"{PACKAGE}/{name}": data for name, data in package.items()}
    content[f"{info}/METADATA"] = _metadata(sdk, version).encode()
    content[f"{info}/WHEEL"] = (
        f"Wheel-Version: 1.0\nGenerator: edgewright ({__version__})\n"
        f"Root-Is-Purelib: false\nTag: py3-none-{platform}\n"
    ).encode()
    licences = sdk.folder / "licenses"
    for path in sorted(licences.rglob("*")):
        if path.is_file() and path.relative_to(licences).parts[0] not in NOT_IN_A_WHEEL:
            name = path.relative_to(sdk.folder).as_posix()
            content[f"{info}/{name}"] = path.read_bytes()
    # Where PEP 770 has tools look: the bill of the library, whose licence texts lie beside it.
    content[f"{info}/sboms/{SBOM}"] = _bill(sdk)
    content[f"{info}/RECORD"] = _record(content, f"{info}/RECORD")
    return Wheel(version=version, platform=platform, content=_zip(content))


def operators_of(sdk: Sdk) -> tuple[str, ...]:
    """What an SDK's runtime can run."""
    config = sdk.folder / OPERATORS
    return tuple(sorted(map(str, parse_config(config.read_text(), str(config)).operators)))


def _version(sdk: Sdk, package: Mapping[str, bytes]) -> str:
    """ONNX Runtime's version, and a local label: wheels of two boards, or of two models, differ.

    A label's parts that are numbers would lose their zeros, so the hash begins with a letter.
    """
    content = hashlib.sha256(_record(package, "RECORD"))
    parts = re.findall("[a-z0-9]+", sdk.manifest.board.lower())
    label = ".".join(str(int(part)) if part.isdigit() else part for part in parts)
    return f"{sdk.manifest.runtime.version}+{label}.w{content.hexdigest()[:8]}"


def platform_tag(facts: ElfFacts, family: LibcFamily, floor: str, arch: Arch) -> str:
    """`manylinux_2_31_armv7l` if that is true of a library; else `linux_armv7l`."""
    name, oldest = PLATFORMS[family]
    number = tuple(int(part) for part in floor.split("."))
    newest = facts.highest("GLIBC")
    true = (
        number >= oldest
        and set(facts.needed) <= PLATFORM_LIBRARIES[family]
        and (newest is None or newest.number <= number)
    )
    kind = f"{name}_{number[0]}_{number[1]}" if true else "linux"
    return f"{kind}_{MACHINES[arch]}"


def instructions(facts: ElfFacts) -> list[str]:
    """What a 32-bit library needs of a processor, in the words of the package's `_library.py`."""
    arm = facts.arm
    if arm is None:
        return []
    return [
        *(["ARMv8"] if arm.cpu_arch == "v8" else []),
        *(["NEON"] if arm.simd_arch.startswith("NEON") else []),
        *(["VFPv4"] if "VFPv4" in arm.fp_arch or "ARMv8" in arm.fp_arch else []),
        *(["integer division"] if arm.division == "yes" or arm.cpu_arch == "v8" else []),
    ]


def require_places(code: Path, header: Path) -> None:
    """Compare the places of functions in `OrtApi` that the Python code knows with the header's.

    Raises UserError with those that differ.
    """
    members = api_members(header.read_text(encoding="utf-8"), str(header))
    of_header = {name: place for place, name in enumerate(members)}
    wrong = [
        f"{name}: expected at {place}, found at {of_header.get(name, 'no place')}"
        for name, place in api_places(code).items()
        if of_header.get(name) != place
    ]
    if wrong:
        raise UserError(
            str(header),
            f"not the table of functions that {code.name} calls",
            facts=wrong,
            next="correct the places in FUNCTIONS and PLAIN there",
        )


def api_members(header: str, subject: str) -> list[str]:
    """Names of the functions of `struct OrtApi`, in their order; `Release…` for those that free.

    Raises UserError for a text without that structure.
    """
    text = re.sub(r"/\*.*?\*/|//[^\n]*", "", header, flags=re.DOTALL)
    body = re.search(r"^struct OrtApi \{(.*?)^\};", text, re.DOTALL | re.MULTILINE)
    if body is None:
        raise UserError(subject, "has no struct OrtApi", next="invoke sdk")
    matches = (MEMBER.search(member) for member in body[1].split(";"))
    return [
        f"Release{match['release']}" if match["release"] else match["status"] or match["plain"]
        for match in matches
        if match
    ]


def api_places(code: Path) -> dict[str, int]:
    """Name → place, of the tables in the Python package's `_api.py`, which is not imported."""
    places: dict[str, int] = {}
    for node in ast.parse(code.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) in ("FUNCTIONS", "PLAIN"):
            places |= {name: row[0] for name, row in ast.literal_eval(node.value).items()}
    return places


def _metadata(sdk: Sdk, version: str) -> str:
    manifest = sdk.manifest
    models = ", ".join(model.name for model in manifest.models)
    return (
        "Metadata-Version: 2.1\n"
        f"Name: {DISTRIBUTION}\nVersion: {version}\n"
        f"Summary: ONNX Runtime {manifest.runtime.version} for board '{manifest.board}', with the "
        f"operators of {models}\n"
        "License: MIT\n"
        f"Requires-Python: {PYTHON}\nRequires-Dist: numpy\n"
        "Description-Content-Type: text/plain\n\n"
        "import edgewright_runtime as onnxruntime\n\n"
        f"Of SDK {sdk.id}. It runs models in ORT format whose operators are among these:\n"
        + "".join(f"  {operator}\n" for operator in operators_of(sdk))
    )


def _record(content: Mapping[str, bytes], own: str) -> bytes:
    """Every file's hash and size, as PEP 376 and PEP 427 want them."""
    out = io.StringIO()
    rows = csv.writer(out, lineterminator="\n")
    for name, data in sorted(content.items()):
        sha256 = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        rows.writerow((name, f"sha256={sha256}", len(data)))
    rows.writerow((own, "", ""))
    return out.getvalue().encode()


def _zip(content: Mapping[str, bytes]) -> bytes:
    """Depends on nothing but names and contents."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        # What describes a wheel comes last, so that it is read without the rest.
        for name in sorted(content, key=lambda name: (".dist-info/" in name, name)):
            member = zipfile.ZipInfo(name, EPOCH)
            member.create_system, member.external_attr = 3, 0o100644 << 16
            member.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(member, content[name])
    return packed.getvalue()


def write_index(folder: Path) -> None:
    """`simple/` beside a folder's wheels: the pages that `pip --index-url` reads (PEP 503)."""
    wheels = sorted(folder.glob(f"{PACKAGE}-*.whl"))
    pages = {
        "index.html": [(f"{DISTRIBUTION}/", DISTRIBUTION, "")],
        f"{DISTRIBUTION}/index.html": [
            (f"../../{quote(wheel.name)}#sha256={digest.file_sha256(wheel)}", wheel.name, PYTHON)
            for wheel in wheels
        ],
    }
    for name, links in pages.items():
        path = folder / "simple" / name
        make_folder(path.parent)
        update_file(path, _page(links), mode=0o644)


def _page(links: Iterable[tuple[str, str, str]]) -> str:
    rows = [
        f'<a href="{html.escape(target)}"'
        + (f' data-requires-python="{html.escape(python)}"' if python else "")
        + f">{html.escape(name)}</a><br>\n"
        for target, name, python in links
    ]
    head = '<!DOCTYPE html>\n<meta name="pypi:repository-version" content="1.0">\n'
    return f"{head}<title>{DISTRIBUTION}</title>\n{''.join(rows)}"
