"""Write tests/corpus/edgectl/manifests: one defect each; expected.txt says how each is refused."""

import hashlib
import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "edgectl" / "manifests"
FILE = {"path": "bin/edge-infer", "sha256": "a" * 64, "bytes": 3, "mode": "0755"}
GOOD: dict[str, Any] = {
    "schema": 1,
    "board": "board",
    "compatible": "acme,board",
    "deploy_root": "/opt/edgewright",
    "files": [FILE],
    "runtime": {"threads": 2},
}


def canonical(table: dict[str, Any]) -> bytes:
    text = json.dumps(table, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode() + b"\n"


def manifest(**changes: Any) -> bytes:
    """A manifest with its right id, however wrong the rest is."""
    body = GOOD | changes
    return canonical(body | {"id": hashlib.sha256(canonical(body)).hexdigest()[:16]})


def files(*entries: Any) -> bytes:
    return manifest(files=list(entries))


def one(**changes: Any) -> bytes:
    return files(FILE | changes)


def path(text: str) -> bytes:
    return one(path=text)


def without(key: str) -> bytes:
    return files({name: value for name, value in FILE.items() if name != key})


def programs(*entries: Any) -> bytes:
    return manifest(programs=list(entries))


def program(**changes: Any) -> dict[str, Any]:
    return {"name": "edge-infer", "selftest": ["selftest"]} | changes


good = manifest()
CORPUS: dict[str, tuple[bytes, str]] = {
    "good": (good, "ok"),
    # not what it says
    "empty": (b"", "manifest_invalid is not JSON"),
    "truncated": (good[: len(good) // 2], "manifest_invalid is not JSON"),
    "not-json": (b"schema: 1\n", "manifest_invalid is not JSON"),
    "nul": (good[:20] + b"\0" + good[20:], "manifest_invalid is not JSON"),
    "not-utf8": (good.replace(b"board", b"bo\xffrd", 1), "manifest_invalid is not JSON"),
    "trailing": (good + b"{}", "manifest_invalid is not JSON"),
    "list": (b"[]\n", "manifest_invalid is not a JSON object"),
    "deep": (b"[" * 100_000 + b"]" * 100_000, "manifest_invalid is not a JSON object"),
    "deep-inside": (
        manifest(model=None).replace(b"null", b"[" * 50_000 + b"]" * 50_000),
        "manifest_changed id is",
    ),
    "many-keys": (manifest(**{f"k{n}": n for n in range(100)}), "manifest_invalid too many keys"),
    "changed": (good.replace(b'"threads":2', b'"threads":3'), "manifest_changed id is"),
    "not-canonical": (good.replace(b",", b", "), "manifest_changed id is"),
    # schema, id, board
    "schema-2": (manifest(schema=2), "manifest_schema expected schema 1, found 2"),
    "schema-huge": (manifest(schema=10**30), "manifest_schema found no whole number"),
    "schema-text": (manifest(schema="1"), "manifest_schema found no whole number"),
    "schema-missing": (
        good.replace(b',"schema":1', b""),
        "manifest_schema found no whole number",
    ),
    "schema-twice": (
        good.replace(b'"schema":1', b'"schema":1,"schema":2'),
        "manifest_duplicate has the key 'schema' twice",
    ),
    "id-short": (good.replace(b'"id":"', b'"id":"0'), "manifest_invalid id is not 16"),
    "id-path": (canonical(GOOD | {"id": "../../../../etcx"}), "manifest_invalid id is not 16"),
    "compatible-number": (manifest(compatible=1), "manifest_invalid compatible is not a text"),
    "compatible-nul": (manifest(compatible="a\0b"), "manifest_invalid compatible is not a text"),
    "threads-zero": (manifest(runtime={"threads": 0}), "manifest_invalid runtime.threads"),
    "threads-huge": (manifest(runtime={"threads": 10**18}), "manifest_invalid runtime.threads"),
    # files
    "files-missing": (manifest(files=None), "manifest_invalid files is not a list"),
    "files-empty": (files(), "manifest_invalid files is empty"),
    "files-many": (
        files(*(FILE | {"path": f"f{n:05}"} for n in range(4097))),
        "manifest_invalid more than 4096",
    ),
    "entry-text": (files("bin/edge-infer"), "manifest_invalid files[0]: is not an object"),
    "entry-symlink": (one(link="/etc/passwd"), "manifest_invalid other keys than a file's four"),
    "entry-type-for-mode": (
        files({**{k: v for k, v in FILE.items() if k != "mode"}, "type": "symlink"}),
        "manifest_invalid mode is neither",
    ),
    "entry-key-twice": (
        good.replace(b'"bytes":3', b'"bytes":3,"bytes":4'),
        "manifest_duplicate has the key 'bytes' twice",
    ),
    "unsorted": (
        files(FILE | {"path": "b"}, FILE | {"path": "a"}),
        "manifest_invalid files are not sorted",
    ),
    "path-twice": (files(FILE, FILE), "manifest_duplicate comes twice"),
    "file-and-folder": (
        files(FILE | {"path": "bin"}, FILE | {"path": "bin/edge-infer"}),
        "manifest_path is a file and a folder",
    ),
    "two-sizes": (
        files(FILE, FILE | {"path": "bin/other", "bytes": 4}),
        "manifest_invalid two sizes for one hash",
    ),
    # paths
    "path-empty": (path(""), "manifest_path is empty"),
    "path-absolute": (path("/etc/passwd"), "manifest_path is absolute"),
    "path-up": (path("../../keys.json"), "manifest_path leaves its folder"),
    "path-up-inside": (path("bin/../../floor"), "manifest_path leaves its folder"),
    "path-dot": (path("./bin"), "manifest_path leaves its folder"),
    "path-empty-part": (path("bin//edge-infer"), "manifest_path has an empty part"),
    "path-final-slash": (path("bin/"), "manifest_path has an empty part"),
    "path-backslash": (path("bin\\edge-infer"), "manifest_path has a forbidden letter"),
    "path-newline": (path("bin/a\nb"), "manifest_path has a forbidden letter"),
    "path-space": (path("bin/a b"), "manifest_path has a forbidden letter"),
    "path-shell": (path("bin/$(reboot)"), "manifest_path has a forbidden letter"),
    "path-unicode": (path("bin/\u202egpj.exe"), "manifest_path has a forbidden letter"),
    "path-nul": (path("bin/a\0b"), "manifest_path is empty"),
    "path-long": (path("a" * 201), "manifest_path is too long"),
    "path-manifest": (path("manifest.json"), "manifest_path is taken"),
    "path-signature": (path("manifest.json.minisig"), "manifest_path is taken"),
    "path-number": (one(path=7), "manifest_path is empty"),
    # numbers, hashes, modes
    "bytes-negative": (one(bytes=-1), "manifest_invalid bytes is not a whole number"),
    "bytes-fraction": (one(bytes=1.5), "manifest_invalid bytes is not a whole number"),
    "bytes-beyond-64-bit": (one(bytes=2**64), "manifest_invalid bytes is not a whole number"),
    "bytes-huge": (one(bytes=2**64 - 1), "manifest_invalid bytes is over 4 GiB"),
    "bytes-text": (one(bytes="3"), "manifest_invalid bytes is not a whole number"),
    "bytes-missing": (without("bytes"), "manifest_invalid other keys than a file's four"),
    "sha256-short": (one(sha256="a" * 63), "manifest_invalid sha256 is not 64"),
    "sha256-upper": (one(sha256="A" * 64), "manifest_invalid sha256 is not 64"),
    "sha256-path": (one(sha256="../" * 21 + "a"), "manifest_invalid sha256 is not 64"),
    "mode-setuid": (one(mode="4755"), "manifest_invalid mode is neither"),
    "mode-number": (one(mode=493), "manifest_invalid mode is neither"),
    # programs
    "programs": (programs(program()), "ok"),
    "programs-null": (manifest(programs=None), "manifest_invalid programs is not a list"),
    "programs-empty": (programs(), "manifest_invalid programs is not a list with entries"),
    "programs-many": (programs(*[program()] * 17), "manifest_invalid more than 16 entries"),
    "program-text": (programs("edge-infer"), "manifest_invalid programs[0]: is not an object"),
    "program-twice": (programs(program(), program()), "manifest_invalid programs[1]: comes twice"),
    "program-absent": (programs(program(name="inspect")), "manifest_invalid no file of bin/"),
    "program-elsewhere": (programs(program(name="../bin/sh")), "manifest_invalid no file of bin/"),
    "program-untested": (
        programs({"name": "edge-infer"}),
        "manifest_invalid programs[0]: has no self-test",
    ),
    "program-empty-selftest": (programs(program(selftest=[])), "manifest_invalid has no self-test"),
    "program-selftest-long": (
        programs(program(selftest=["a"] * 33)),
        "manifest_invalid selftest is too long",
    ),
    "program-argument-nul": (
        programs(program(selftest=["a\0b"])),
        "manifest_invalid 1 to 256 printable letters",
    ),
    "program-argument-number": (
        programs(program(selftest=[1])),
        "manifest_invalid 1 to 256 printable letters",
    ),
    "program-argument-long": (
        programs(program(selftest=["a" * 257])),
        "manifest_invalid 1 to 256 printable letters",
    ),
}


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, (content, _) in CORPUS.items():
        (FOLDER / f"{name}.json").write_bytes(content)
    lines = [f"{name}.json {expected}\n" for name, (_, expected) in CORPUS.items()]
    (FOLDER / "expected.txt").write_text("".join(lines))


if __name__ == "__main__":
    main()
