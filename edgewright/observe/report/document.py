"""What the page of `report` shows, as a document; null is what was not measured or is not here."""

from typing import Literal

from edgewright.base.schema import Document, Foreign, Part, Shown
from edgewright.deploy.report import Check, SmokeReport
from edgewright.observe.bench.report import BoardBench
from edgewright.observe.report.composition import Composition


class ReleasedFile(Part):
    """A file of the release, beside the same path of the former one."""

    path: str
    bytes: int | None  # null: the release has none of this path
    budget: int | None
    former_bytes: int | None


class Metric(Shown, Part):
    """A figure that the model's card, or an evaluation, tells; with its 95 % interval if it has
    one. The same figure of the former release's card stands beside it."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    former: float | None = None


class Ingredient(Shown, Part):
    """A line of the bill of materials."""

    name: str
    version: str
    kind: str
    licence: str  # "": none is stated
    purl: str
    sha256: str | None


class Former(Shown, Part):
    """The release that this one is compared with."""

    release: str
    model: str
    runtime: str
    bytes: int  # of all files


class ReleaseReport(Shown, Document):
    """`report --json`; the page holds the same."""

    version: Literal[1] = 1
    board: str
    target: str | None
    release: str
    model: str
    runtime: str
    revision: str
    dirty: bool
    threads: int
    linkage: str
    latency_budget_ms: float
    peak_rss_budget_mb: float
    bytes: int  # of all files
    files: tuple[ReleasedFile, ...]
    operators: tuple[str, ...] | None  # that the model needs
    programs: tuple[Composition, ...]
    programs_reason: str | None  # why it is not known what programs are made of
    network: Composition | None  # the model's file
    network_reason: str | None  # why it is not known what it is made of
    metrics: tuple[Metric, ...]
    metrics_source: str | None  # null: neither card nor evaluation tells any
    checks: tuple[Check, ...]  # of the last smoke test, and of budgets
    bench: BoardBench | None
    smoke: SmokeReport | None
    former: Former | None
    former_reason: str | None
    ingredients: tuple[Ingredient, ...]
    ingredients_reason: str | None


class EvaluationInterval(Foreign):
    value: float
    low: float
    high: float


class Evaluation(Foreign):
    """What is read of `model.evaluate --json`."""

    images: str
    count: int
    accuracy: EvaluationInterval
    auc: EvaluationInterval
    defect_recall: EvaluationInterval
