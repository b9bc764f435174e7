"""What ONNX Runtime's profiler writes: one event a line, in the order in which they ended."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from edgewright.base.errors import TargetError
from edgewright.base.schema import Foreign, parse_json

LINE_BYTES = 64 << 10  # the shapes of a node's tensors are in it
MOST_US = 3_600_000_000
KERNEL = "_kernel_time"  # what the name of a node's event ends with
INFERENCE = "model_run"


class _Arguments(Foreign):
    op_name: str = ""
    node_index: str = ""


class _Event(Foreign):
    cat: str
    name: str
    dur: int  # µs
    args: _Arguments


@dataclass(frozen=True, kw_only=True)
class NodeEvent:
    """One run of a node."""

    index: str
    name: str
    operator: str
    us: int


@dataclass(frozen=True, kw_only=True)
class InferenceEvents:
    """One inference, its nodes in the order of execution."""

    us: int
    nodes: tuple[NodeEvent, ...]


def parse_events(lines: Iterable[str], subject: str) -> Iterator[InferenceEvents]:
    """The inferences that are whole: a file may have been cut. Raises TargetError."""
    nodes: list[NodeEvent] = []
    for line in lines:
        text = line.strip().removesuffix(",")
        if text in ("", "[", "]") or not text.endswith("}}"):
            continue
        problem = "is no profile of ONNX Runtime"
        event = parse_json(_Event, text, subject, problem, blame=TargetError, limit=LINE_BYTES)
        if not 0 <= event.dur <= MOST_US:
            raise TargetError(subject, f"tells a time of {event.dur} µs")
        if event.cat == "Node" and event.name.endswith(KERNEL):
            nodes.append(
                NodeEvent(
                    index=event.args.node_index,
                    name=event.name.removesuffix(KERNEL),
                    operator=event.args.op_name,
                    us=event.dur,
                )
            )
        elif event.name == INFERENCE:
            yield InferenceEvents(us=event.dur, nodes=tuple(nodes))
            nodes = []
