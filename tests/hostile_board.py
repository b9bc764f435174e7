"""A board that answers as `edgectl` and `edge-infer` would, or wrongly in any way.

`honest` knows what a sound board answers to each command of ours; `Hostile` makes of it, or of
the schema of the answer, something else. Both speak bytes, as a channel does.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from hypothesis import strategies as st
from pydantic import BaseModel

from edgewright.base.errors import TargetError
from edgewright.deploy import access, edgectl, service, survey
from edgewright.deploy.probe import APPLETS, PROBE
from edgewright.deploy.remote import Result, _result
from edgewright.observe import board_files
from edgewright.observe.crash.fetch import FETCH
from edgewright.observe.doctor import facts
from edgewright.release.manifest import Release
from tests.boards import StandIn, documents
from tests.unit.observe.crash.crash_files import TEXT as CRASH_FILE

Draw = Callable[[st.SearchStrategy[Any]], Any]
Answer = tuple[int, bytes, bytes]  # exit code, output, errors
ROOT = "/opt/edgewright"
ESCAPES = "\x1b]0;t\x07\x1b]52;c;eA==\x07[link=http://evil]x[/link][/no]\u202e\x9b2J\x7f\n\r"


@dataclass(kw_only=True)
class World:
    """What a board may know, and what it must not get: a secret beside the release."""

    current: Release
    previous: Release
    signature: bytes  # of `previous`
    keys: bytes  # keys.json
    secret: Path
    foreign: Release  # that was neither built here nor signed by a key of the user's
    foreign_signature: bytes
    foreign_keys: bytes  # keys.json with a key that the engineer does not know
    order: bytes = b""  # that was sent last
    calls: int = 0
    wrong: int = 0
    sent: list[bytes] = field(default_factory=list)


# Honest


def honest(argv: Sequence[str], world: World) -> Answer:
    if argv[:2] == ["sh", "-c"]:
        return 0, _script(argv[2]).encode(), b""
    if argv[0] == "cat":
        return 0, _file(argv[1], world), b""
    name = argv[0].rpartition("/")[2]
    if name == "edge-infer":
        return 0, json.dumps(documents()[argv[1]]).encode(), b""
    if name == "edgectl":
        return 0, json.dumps(_edgectl(argv, world)).encode(), b""
    return 0, b"", b""


def _script(text: str) -> str:
    if text == PROBE:
        applets = "".join(f"applet {name}\n" for name in APPLETS)
        return f"machine armv7l\nbits 1\nspace /dev/root 9999999 1 9999998 1% /\n{applets}"
    if text == survey.SURVEY:
        return "kernel 6.1\nprocessor processor : 0\nimplementer 0x41\npart 0xc07\ncomm init\n"
    if text == access.LOOK:
        return "folder /opt\nuid 0\nuser root\nowner root\nwritable yes\n"
    if text == facts.LOOK:
        return (
            "date 1700000000\ninodes /dev/root 9999 9 9990 1% /\nMemAvailable 999999\noom_kill 0\n"
        )
    if text == FETCH:
        return f"file 000000001.crash\n{CRASH_FILE}\n"
    if text == board_files.READ:
        zone = "sys/class/thermal/thermal_zone0"
        return f"{zone}/type cpu\n{zone}/temp 45000\nproc/loadavg 0.10 0.10 0.10 1/9 9\n"
    if text in (service.READ, service.READ_SYSTEMD):
        beat = '{"version":1,"command":"watch","pid":9,"uptime_s":95,"images":1,"failed":0}'
        return f"since 40\nstarts 3\nheartbeat {beat}\nuptime 100\nlog image.png\n"
    return "changed\n"


def _file(path: str, world: World) -> bytes:
    name = path.rpartition("/")[2]
    if name == "keys.json":
        return world.keys
    if name == "manifest.json":
        is_current = world.current.id in path
        return (world.current if is_current else world.previous).manifest.canonical()
    if name == "manifest.json.minisig":
        return world.signature
    return (world.current.folder / "model" / "golden" / "expected.json").read_bytes()


def _edgectl(argv: Sequence[str], world: World) -> dict[str, Any]:
    command = argv[1]
    program = world.current.manifest.file("bin/edgectl").sha256
    helper = {"version": "0.1.0", "protocol": 2, "sha256": program, "encodings": ["zstd"]}
    answer: dict[str, Any] = {"version": 1, "command": command, "helper": helper}
    if command == "infer":
        inference = next(word for word in argv[2:] if not word.startswith("--"))
        report = json.dumps(documents()[inference])
        return answer | {"release": world.current.id, "exit": 0, "report": report}
    return answer | _fields(command, world)


def _fields(command: str, world: World) -> dict[str, Any]:
    current, previous = world.current, world.previous
    is_rollback = previous.id.encode() in world.order
    floor = {"sequence": 1_700_000_000, "release": previous.id}
    state = {"current": previous.id, "previous": None, "floor": floor, "txn": None, "lease": None}
    if command in ("plan", "begin"):
        model = current.manifest.file("model/model.ort")
        base = previous.manifest.file("model/model.ort")
        missing = {"sha256": model.sha256, "bytes": model.bytes, "path": model.path}
        missing |= {"part": {"bytes": 65536, "chunks": ["0" * 32]}}
        missing |= {"base": {"sha256": base.sha256, "bytes": base.bytes}}
        answer = {"release": current.id, "sequence": 1_700_000_000, "key": "0" * 16}
        answer |= {"state": "absent", "sound": False, "noop": False}
        answer |= {"missing": [] if is_rollback else [missing]}
        answer |= {"missing_bytes": 9, "needed_bytes": 9, "free_bytes": 10**9, "fence": 7}
        return answer | state
    if command == "status":
        answer = {"compatible": "acme,board", "keys": ["0" * 16], "releases": [current.id]}
        answer |= {"quarantine": [], "objects": 3, "object_bytes": 99, "service": {"pid": 9}}
        answer |= {"free_bytes": 10**9, "sound": True}
        if is_rollback:  # which has switched
            current, previous = previous, current
        return answer | state | {"current": current.id, "previous": previous.id}
    if command == "selftest":
        return {"exit": 0, "report": json.dumps(documents()["selftest"])}
    if command == "chunks":
        return {"bytes": 9, "chunk_bytes": 4096, "chunks": ["0" * 32]}
    if command == "keys":
        kind = {"compatible": "acme,board", "aliases": ["acme,old"]}
        return {"changed": True, "keys": ["0" * 16], "sequence": 9} | kind
    others: dict[str, dict[str, Any]] = {
        "receive": {
            "objects": [{"sha256": "0" * 64, "bytes": 1, "sent": 1, "copied": 0, "kept": 0}]
        },
        "seal": {"release": current.id, "made": True, "mended": [], "read_back_bytes": 9},
        "switch": {"switched": True},
        "commit": {"committed": True},
        "rollback": {"reverted": current.id, "current": previous.id},
        "identify": {
            "board_id": "0123456789abcdef0123456789abcdef",
            "compatible": "acme,board",
            "aliases": ["acme,old"],
            "document": world.keys.decode(),
        },
        "forget": {"removed": {"releases": [], "objects": 0, "bytes": 0}, "remains": []},
        "gc": {"removed": {"releases": [], "objects": 0, "bytes": 0}},
    }
    return others.get(command, {})


# Hostile

KINDS: dict[str, type[BaseModel]] = {
    "plan": edgectl.PlanAnswer,
    "begin": edgectl.PlanAnswer,
    "chunks": edgectl.ChunksAnswer,
    "receive": edgectl.ReceiveAnswer,
    "seal": edgectl.SealAnswer,
    "selftest": edgectl.SelftestAnswer,
    "infer": edgectl.InferAnswer,
    "switch": edgectl.SwitchAnswer,
    "commit": edgectl.CommitAnswer,
    "rollback": edgectl.RevertAnswer,
    "gc": edgectl.GcAnswer,
    "keys": edgectl.KeysAnswer,
    "identify": edgectl.IdentifyAnswer,
    "forget": edgectl.ForgetAnswer,
    "status": edgectl.StatusAnswer,
}
CODES = [*edgectl.NEXT, "io", "bug", "usage", "no_space", ESCAPES]
TEXTS = st.sampled_from(
    ["", ESCAPES, "../../keys/default.key", "/etc/passwd", "0" * 64, "f" * 16, "-x", "$(id)", "\0"]
    + ["9" * 5000, "x" * 70_000]
)
NUMBERS = st.sampled_from(
    [0, -1, 1, 2**31, 2**63 - 1, 2**63, 2**64 - 1, 2**64, 10**400, -(10**400), 0.5, 1e308]
)
SCALARS = st.one_of(TEXTS, NUMBERS, st.booleans(), st.none(), st.text(max_size=20), st.floats())
DEEP: Any = 0
for _ in range(150):
    DEEP = [DEEP]
VALUES = st.one_of(
    SCALARS,
    st.sampled_from([[], {}, [[]], [{}], [{}] * 3000, ["x"] * 20_000, DEEP, {"a": {"b": {}}}]),
    st.lists(SCALARS, max_size=3),
    st.dictionaries(st.text(max_size=5), SCALARS, max_size=3),
)
BYTES = st.one_of(
    st.binary(max_size=60),
    st.sampled_from(
        [b"", b"{", b"[" * 100_000, b"null", b"\xff\xfe{}", b'{"version":1}', b"1" * 10_000]
        + [b"a\n" * 1_000_000, b"x" * ((4 << 20) - 1), b'{"a":"' + b"\\u001b" * 500_000 + b'"}']
        + [b'{"missing":[' + b"{}," * 49_000 + b"{}]}", b"[" + b"0," * 49_000 + b"0]"]
    ),
)
EXITS = st.sampled_from([0, 1, 2, 3, 6, 10, 11, 12, 13, 14, 15, 16, 17, 126, 127, 137, 255, -1])


def of_schema(kind: Any) -> st.SearchStrategy[Any]:
    """Values of an annotation that fit, or that fit in all parts but some."""
    return st.one_of(_fitting(kind), _fitting(kind), VALUES)


def _fitting(kind: Any) -> st.SearchStrategy[Any]:
    origin, arguments = get_origin(kind), get_args(kind)
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        fields = {f.alias or name: f.annotation for name, f in kind.model_fields.items()}
        return st.fixed_dictionaries(
            {}, optional={name: of_schema(inner) for name, inner in fields.items()}
        )
    if origin in (Union, UnionType):
        return st.one_of([_fitting(inner) for inner in arguments])
    if origin is tuple:
        return st.lists(of_schema(arguments[0]), max_size=4)
    if origin is Literal:
        return st.sampled_from(arguments)
    plain: dict[Any, st.SearchStrategy[Any]] = {
        str: st.one_of(TEXTS, st.text(max_size=8)),
        int: st.one_of(st.integers(-3, 99), NUMBERS),
        float: st.floats(),
        bool: st.booleans(),
        type(None): st.none(),
    }
    return plain.get(kind, SCALARS)


SCHEMAS = {command: of_schema(kind) for command, kind in KINDS.items()}


class Hostile:
    """Answers for one run of a command of ours; most are wrong."""

    def __init__(self, draw: Draw, world: World) -> None:
        self._draw, self.world = draw, world
        # A liar's answers agree with each other: it has a release and a key of its own.
        self.is_liar = draw(st.integers(0, 3)) == 0
        # Of nine answers so many are right in form: only then a command gets to its later steps.
        self._right = 8 if self.is_liar else draw(st.sampled_from([2, 6, 8]))

    def answer(self, argv: Sequence[str]) -> Answer:
        world = self.world
        world.calls += 1
        if self.is_liar:
            world = replace(
                world,
                previous=world.foreign,
                signature=world.foreign_signature,
                keys=world.foreign_keys,
            )
        code, output, errors = honest(argv, world)
        if self._draw(st.integers(1, 9)) <= self._right:
            return code, output, errors
        self.world.wrong += 1
        return self._wrong(argv, code, output)

    def _wrong(self, argv: Sequence[str], code: int, output: bytes) -> Answer:
        how = self._draw(st.integers(0, 9))
        if how <= 3:
            return code, self._changed(output), b""
        if how == 4 and argv[0].endswith("/edgectl"):
            return code, dumped(self._draw(SCHEMAS[argv[1]])), b""
        if how == 5:
            return code, output[: self._draw(st.integers(0, len(output)))], b""
        if how == 6:
            return self._draw(EXITS), output, ESCAPES.encode()
        if how == 7:
            problem = {"code": self._draw(st.sampled_from(CODES)), "message": self._draw(TEXTS)}
            refusal = {"version": 1, "error": problem | {"next": self._draw(TEXTS)}}
            return self._draw(EXITS), dumped(refusal), b""
        if how == 8:
            return self._draw(EXITS), self._draw(BYTES), self._draw(BYTES)
        return code, self.world.foreign.manifest.canonical(), b""

    def _changed(self, output: bytes) -> bytes:
        """The honest answer, wrong in one or two fields."""
        try:
            document = json.loads(output)
        except ValueError:
            return self._changed_lines(output)
        for _ in range(self._draw(st.integers(1, 2))):
            document = self._changed_field(document)
        return dumped(document)

    def _changed_field(self, value: Any) -> Any:
        if self._draw(st.integers(0, 4)) == 0 or not isinstance(value, dict | list) or not value:
            return self._draw(VALUES)
        if isinstance(value, list):
            at = self._draw(st.integers(0, len(value) - 1))
            if self._draw(st.booleans()):
                return value * 2
            return [*value[:at], self._changed_field(value[at]), *value[at + 1 :]]
        key = self._draw(st.sampled_from(sorted(value)))
        if self._draw(st.integers(0, 7)) == 0:
            return {other: inner for other, inner in value.items() if other != key}
        return value | {key: self._changed_field(value[key])}

    def _changed_lines(self, output: bytes) -> bytes:
        lines = output.decode().split("\n")
        at = self._draw(st.integers(0, len(lines) - 1))
        key, _, value = lines[at].partition(" ")
        text = self._draw(st.one_of(TEXTS, NUMBERS.map(str)))
        word = self._draw(st.sampled_from([value, *value.split()])) if value else ""
        changed = value.replace(word, str(text)) if word else str(text)
        return "\n".join([*lines[:at], f"{key} {changed}", *lines[at + 1 :]]).encode(
            errors="surrogatepass"
        )


def dumped(document: Any) -> bytes:
    """JSON, or what only looks like it: NaN, half of a surrogate pair."""
    return json.dumps(document).encode()


class HostileBoard(StandIn):
    """A board whose channel says what `Hostile` draws; what is sent to it is kept."""

    def __init__(self, hostile: Hostile, *, emulated: bool = False) -> None:
        super().__init__(emulated=emulated)
        self._hostile = hostile

    def answer(self, argv: Sequence[str], data: bytes) -> Result:
        assert self.commands < 100, "a deploy without end"
        self._hostile.world.order = data or self._hostile.world.order
        self._hostile.world.sent.append("\0".join(argv).encode(errors="replace") + data)
        if self._hostile._draw(st.integers(0, 60)) == 0:
            raise self._lost("connection lost", ())
        if self._hostile._draw(st.integers(0, 60)) == 0:
            raise TargetError(str(self.target), "its answer has no end after 360 s")
        return _result(argv, *self._hostile.answer(list(argv)))
