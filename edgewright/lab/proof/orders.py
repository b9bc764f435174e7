"""Small signed releases, and a deployer that runs `edgectl` on a folder of this machine."""

import hashlib
import json
import struct
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import zstandard

from edgewright.base.digest import file_sha256
from edgewright.base.errors import UserError
from edgewright.release.manifest import (
    MANIFEST,
    SIGNATURE,
    Release,
    ReleasedBudgets,
    ReleasedRuntime,
    ReleaseInputs,
    Source,
    build_release,
    parse_manifest,
)
from edgewright.release.minisign import SecretKey
from edgewright.release.order import Order, check
from edgewright.release.programs import DEFAULT_PROGRAM

COMPATIBLE = "acme,board"
PROGRAM = b"#!/bin/sh\nexit 0\n"  # a release that starts on any board, and passes its self-test
RUN = (DEFAULT_PROGRAM.path, *DEFAULT_PROGRAM.selftest)  # what a board's init has `start` become
CHUNK = 1 << 16
STATES = ("board", "fence", "floor", "id", "keys.json")
BOARD_NAMES = {  # names below a board's deploy root
    *("bin", "current", "lease", "locks", "previous", "quarantine", "releases", "store", "tmp"),
    *(f"{name}{copy}" for name in STATES for copy in ("", ".copy")),
}

Answer = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class SignedOrder:
    """A release, signed with a sequence number."""

    release: Release
    sequence: int
    key: SecretKey

    @property
    def signature(self) -> bytes:
        manifest = self.release.manifest
        order = Order(sequence=self.sequence, release=manifest.id, compatible=manifest.compatible)
        signed = self.key.sign(manifest.canonical(), str(order))
        return signed.text("signature of a proof").encode()

    @property
    def input(self) -> bytes:
        """Standard input of `plan` and `begin`."""
        return self.signature + self.release.manifest.canonical()

    def stream(self, objects: Iterable[str]) -> bytes:
        """Standard input of `receive`, for the objects with these hashes."""
        content = {file.sha256: self.release.path(file) for file in self.release.manifest.files}
        parts = [_object(sha256, content[sha256].read_bytes()) for sha256 in objects]
        return b"EWR1" + b"".join(parts) + b"E"

    @property
    def objects(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(file.sha256 for file in self.release.manifest.files))


def _object(sha256: str, content: bytes) -> bytes:
    chunks = [content[at : at + CHUNK] for at in range(0, len(content), CHUNK)]
    # Every second chunk compressed, so that both operations of a stream are played.
    ops = b"".join(_packed(c) if at % 2 else _plain(c) for at, c in enumerate(chunks))
    return b"O" + bytes.fromhex(sha256) + struct.pack("<Q", len(content)) + bytes(32) + ops


def _plain(chunk: bytes) -> bytes:
    return b"D" + struct.pack("<I", len(chunk)) + chunk


def _packed(chunk: bytes) -> bytes:
    """As a Zstandard frame where that is smaller."""
    frame = zstandard.compress(chunk)
    sizes = struct.pack("<II", len(chunk), len(frame))
    return b"Z" + sizes + frame if len(frame) < len(chunk) else _plain(chunk)


def keys_input(
    keys: Sequence[SecretKey],
    by: SecretKey,
    *,
    sequence: int = 1,
    after: bytes | None = None,
    names: Sequence[str] = (),
) -> bytes:
    """Standard input of `keys`: a document with these keys, signed by one that is trusted.

    It is for all boards of the proof's kind. `after` is the input of the one before it, `names`
    what the kind is called from then on.
    """
    previous = hashlib.sha256(after.split(b"\n", 4)[4]).hexdigest() if after else None
    table: dict[str, object] = {
        "keys": [key.public.line for key in keys],
        "previous": previous,
        "schema": 2,
        "scope": {"compatible": COMPATIBLE},
        "sequence": sequence,
    }
    comment = (
        f"edgewright keys sequence={sequence} previous={previous or 'none'}"
        f" scope=compatible:{COMPATIBLE}"
    )
    if names:
        table["names"], comment = list(names), f"{comment} names={'/'.join(names)}"
    return _signed_keys(table, by, comment)


def old_keys_input(keys: Sequence[SecretKey], sequence: int, by: SecretKey) -> bytes:
    """The same of schema 1, which is bound to no board."""
    table = {"schema": 1, "sequence": sequence, "keys": [key.public.line for key in keys]}
    return _signed_keys(table, by, f"edgewright keys sequence={sequence}")


def _signed_keys(table: Mapping[str, Any], by: SecretKey, comment: str) -> bytes:
    document = json.dumps(table, separators=(",", ":")).encode() + b"\n"
    return by.sign(document, comment).text("keys of a proof").encode() + document


def small_release(folder: Path, root: Path, model: bytes, program: bytes = PROGRAM) -> Release:
    """A release of a few hundred bytes; another model makes another id."""
    inputs = folder / "inputs"
    (inputs / "golden").mkdir(parents=True, exist_ok=True)
    card = {"name": "small", "labels": ["ok", "bad"]}
    content: Mapping[str, bytes] = {
        DEFAULT_PROGRAM.name: program,
        "model.ort": model,
        "card.json": json.dumps(card).encode(),
        "golden/expected.json": b'{"cases": []}',
    }
    for name, data in content.items():
        (inputs / name).write_bytes(data)
    return build_release(_inputs(inputs, root), folder / "release")


def _inputs(inputs: Path, root: Path) -> ReleaseInputs:
    return ReleaseInputs(
        board="board",
        compatible=COMPATIBLE,
        deploy_root=str(root),
        binaries=(inputs / DEFAULT_PROGRAM.name,),
        ort_model=inputs / "model.ort",
        onnx_sha256="0" * 64,
        card=inputs / "card.json",
        golden=inputs / "golden",
        runtime=ReleasedRuntime(
            version="1.21.0", ops_config_sha256="1" * 64, linkage="static", threads=1
        ),
        budgets=ReleasedBudgets(
            binary_bytes=10**6, model_bytes=10**6, peak_rss_mb=64, latency_ms=100
        ),
        source=Source(revision="0" * 40, dirty=False),
    )


class RefusedError(Exception):
    """`edgectl` refused; the first argument is its word for the reason."""


@dataclass(frozen=True, kw_only=True)
class Helper:
    """`edgectl` on a folder of this machine that stands for a board."""

    program: Path
    root: Path
    proc: Path  # boot id of the board

    def argv(self, *command: str) -> list[str]:
        options = [f"--root={self.root}", f"--proc={self.proc}"]
        return [str(self.program), command[0], *options, *command[1:]]

    def run(self, *command: str, input: bytes = b"") -> Answer:
        """One command. Raises RefusedError."""
        child = subprocess.run(self.argv(*command), input=input, capture_output=True, check=False)
        answer: Answer = json.loads(child.stdout) if child.stdout else {}
        if child.returncode != 0:
            error = answer.get("error", {})
            raise RefusedError(error.get("code", f"exit {child.returncode}"), error.get("message"))
        return answer

    def starts(self) -> int:
        """Exit code of the program that `start` becomes; 17 if there is nothing to start."""
        argv = self.argv("start", *RUN)
        return subprocess.run(argv, capture_output=True, check=False).returncode

    def deploy(self, order: SignedOrder, *, holder: str = "prover") -> bool:
        """Install and commit an order; False if there was nothing to do. Raises RefusedError."""
        if self.run("plan", input=order.input)["noop"]:
            return False
        begun = self.run("begin", f"--holder={holder}", input=order.input)
        fence = f"--fence={begun['fence']}"
        missing = [entry["sha256"] for entry in begun["missing"]]
        if missing:
            self.run("receive", fence, input=order.stream(missing))
        for command in ("seal", "selftest"):
            self.run(command, fence)
        self.run("switch", fence, "--deadline=0")
        for command in ("commit", "gc"):
            self.run(command, fence)
        return True


# A board's state, read without `edgectl`: the helper must not be its own judge


def state(root: Path, name: str) -> str:
    """A state of the board, as its first whole copy has it; empty if there is none."""
    for path in (root / name, root / f"{name}.copy"):
        text = path.read_text(errors="replace") if path.is_file() else ""
        content, _, seal = text.rpartition("sha256 ")
        if seal == f"{hashlib.sha256(content.encode()).hexdigest()}\n":
            return content
    return ""


def floor_of(root: Path) -> int:
    """The sequence that was committed last; 0 if none was."""
    return int((state(root, "floor") or "0").split()[0])


def linked(root: Path, name: str) -> str | None:
    """Id of the release that `current` or `previous` names."""
    link = root / name
    return link.readlink().name if link.is_symlink() else None


def release_problem(root: Path, release: str, keys: Sequence[SecretKey]) -> str | None:
    """What is wrong with an installed release (signature, a file's hash or mode), or None."""
    folder = root / "releases" / release
    try:
        manifest = parse_manifest((folder / MANIFEST).read_bytes(), MANIFEST)
        signature = (folder / SIGNATURE).read_bytes()
        check(manifest, signature, [key.public for key in keys], SIGNATURE)
        for file in manifest.files:
            path = folder / file.path
            if file_sha256(path) != file.sha256:
                return f"{file.path}: damaged"
            if file.mode == "0755" and not path.stat().st_mode & 0o100:
                return f"{file.path}: not executable"
    except (OSError, UserError) as wrong:
        return str(wrong)
    return None


def leaks(root: Path) -> list[str]:
    """Files that a finished deploy and its `gc` left on a board without need."""
    linked_releases = {linked(root, "current"), linked(root, "previous")} - {None}
    releases = {path.name for path in (root / "releases").iterdir()}
    # An object that a release uses has a second link, in that release's folder.
    single = [path for path in (root / "store/sha256").iterdir() if path.stat().st_nlink == 1]
    reserves = (root / "quarantine").glob("*.new")
    return [
        *(f"releases/{name}" for name in sorted(releases - linked_releases)),
        *(f"quarantine/{path.name}" for path in reserves),
        *(f"store/sha256/{path.name}" for path in single),
        *(f"tmp/{path.name}" for path in (root / "tmp").iterdir()),
        *(name for name in sorted({p.name for p in root.iterdir()} - BOARD_NAMES)),
    ]
