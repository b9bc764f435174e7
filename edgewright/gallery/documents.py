"""What the gallery knows of each network: one row, made stage by stage."""

from typing import Literal

from edgewright.base.schema import Document, Part

Stage = Literal["fetch", "import", "quantize", "convert", "build", "run", "count", "debian"]


class Refusal(Part):
    """Where a network's way ends, and why."""

    stage: Stage
    reason: str  # the error's first line, without its subject
    facts: tuple[str, ...] = ()
    is_traceback: bool = False  # a fault of ours: nothing says what to do


class Loss(Part):
    """What INT8 costs: the FP32 network says what is right, since random weights know nothing."""

    agreement: float | None  # share of the pictures with the same answer; null: no classifier
    sqnr_db: float  # of all outputs
    difference: float  # largest one of an output, by the largest value of that output


class HostResult(Document):
    """The stages that need no board."""

    version: Literal[1] = 1
    key: str  # hash of all that decides on it
    source: str
    sha256: str = ""  # of the network's file, with its weights
    imported: str = ""  # what the import changed, in a line
    loss: Loss | None = None  # null: it came quantized, or cannot be
    fp32_bytes: int = 0
    int8_bytes: int = 0
    ort_bytes: int = 0  # in the board's format
    macs: int = 0
    fast_nodes: int = 0  # INT8 nodes that the board computes by our kernels
    stock_nodes: int = 0  # INT8 nodes that it computes by ONNX Runtime's own
    precision: Literal["INT8", "FP32"] = "INT8"  # of what a board is to run
    refusal: Refusal | None = None
    int8_refusal: Refusal | None = None  # the FP32 network goes on


class BoardResult(Document):
    """The stages on the emulated board."""

    version: Literal[1] = 1
    key: str
    release: str = ""
    shares_runtime: bool = False  # the program has the operators of other networks too
    program_bytes: int = 0
    model_bytes: int = 0
    golden_cases: int = 0  # that the board answered as the host, within the golden set's tolerance
    tolerance: float = 0.0
    instructions: int = 0  # of a steady inference, on one thread
    debian_instructions: int | None = None  # of Debian's ONNX Runtime on the same file
    refusal: Refusal | None = None


class GalleryRow(Part):
    """A network of the table."""

    name: str
    task: str
    host: HostResult
    board: BoardResult | None  # null: not yet run on one


class Gallery(Document):
    """`model.gallery --json`."""

    version: Literal[1] = 1
    board: str
    rows: tuple[GalleryRow, ...]


class PeerCost(Part):
    """Of a runtime of others."""

    runtime: str
    precision: Literal["INT8", "FP32"]
    instructions: int


class NetworkCost(Part):
    """Of one network: a steady inference on one thread."""

    network: str
    source: str
    side: int  # pixels of the input, which is a square
    macs: int
    instructions: int
    goal: int | None  # instructions; null: none, as on 64-bit boards
    peers: tuple[PeerCost, ...]

    @property
    def per_mac(self) -> float:
        return self.instructions / self.macs


class NetworkCosts(Document):
    """`bench.networks`."""

    version: Literal[1] = 1
    board: str
    cpu: str  # QEMU's model of it
    networks: tuple[NetworkCost, ...]
