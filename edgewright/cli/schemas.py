"""Every JSON document that edgewright writes, and those of the board's programs: their schemas."""

import json
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel

from edgewright.base.files import update_file
from edgewright.base.schema import Excerpt
from edgewright.board.audit import Audit
from edgewright.board.catalogue import BoardList
from edgewright.board.proposal import ProbeReport
from edgewright.build.archive import ArchiveAge
from edgewright.build.mirror import MirrorIndex, MirrorReport
from edgewright.build.outdated import Outdated
from edgewright.build.pipeline import BuildReport
from edgewright.build.reproduce import ReproduceReport
from edgewright.build.sdk import SdkReport
from edgewright.build.wheel import WheelReport
from edgewright.cli import documents as of_tasks
from edgewright.cli.build_screens import BuildDocument
from edgewright.cli.many import BoardEnds
from edgewright.deploy import edge_infer, edgectl
from edgewright.deploy.documents import (
    DeployReport,
    PlanReport,
    RollbackReport,
    ServiceChange,
    ServiceReport,
    StatusReport,
)
from edgewright.deploy.keyring import BoundKeySet, KeySet
from edgewright.deploy.report import SmokeReport
from edgewright.deploy.smoke import Golden
from edgewright.export.release import ExportReport
from edgewright.fleet.bench.measure import FleetCosts
from edgewright.fleet.documents import (
    DismissedSite,
    EnrolledSite,
    Enrolment,
    FleetCheck,
    FleetList,
    FleetTrust,
    Invitation,
    Login,
    PeopleList,
    Quarantine,
    Refusal,
    RolloutChange,
    RolloutCurve,
    RolloutList,
    RolloutStatus,
    Served,
    SimulationReport,
    SiteFence,
    SiteOrders,
    SiteReceipt,
    SiteRun,
    SiteWork,
)
from edgewright.fleet.inventory import Fleet
from edgewright.gallery.documents import Gallery, NetworkCosts
from edgewright.lab.documents import LabStatus
from edgewright.lab.proof.crashpoints import CrashReport
from edgewright.lab.proof.lostwrites import LossReport, TeethReport
from edgewright.lab.proof.powercut import Campaign
from edgewright.model.contract.card import Card
from edgewright.model.contract.task_cards import CARDS
from edgewright.model.convert.coverage import Coverage
from edgewright.model.convert.inspect import Inspection
from edgewright.model.convert.to_ort import Conversion
from edgewright.model.judge.boxes import DetectQuality
from edgewright.model.judge.documents import LearningCurve, Quality
from edgewright.model.judge.planes import AnomalyQuality, SegmentQuality
from edgewright.model.judge.report import EvaluationReport
from edgewright.model.pack.import_folder import ImportReport
from edgewright.model.pack.make_card import CardReport
from edgewright.model.pack.reference import Reference
from edgewright.model.pack.task_golden import TaskExpected
from edgewright.model.pack.task_quantize import TaskQuantized
from edgewright.model.pack.unlabelled import UnlabelledQuantized
from edgewright.model.quantize.diff import DifferenceReport
from edgewright.model.quantize.sweep_report import SweepReport
from edgewright.nightly.report import NightReport
from edgewright.nightly.settings import NightSettings
from edgewright.observe.bench.operators import OperatorBench
from edgewright.observe.bench.report import BoardBench
from edgewright.observe.build_cost import CostVerdict
from edgewright.observe.build_growth import BuildGrowth
from edgewright.observe.build_time import BuildTimes
from edgewright.observe.count.baseline import Baseline
from edgewright.observe.count.instructions import InstructionReport
from edgewright.observe.crash.report import BoardCrashes
from edgewright.observe.debug.session import DebugReport
from edgewright.observe.doctor.report import DoctorReport
from edgewright.observe.drift.board_file import Window
from edgewright.observe.drift.report import DriftReport
from edgewright.observe.drift.trial import DriftTrial
from edgewright.observe.estimate.board_time import Calibration, TimeEstimate
from edgewright.observe.footprint import Footprint
from edgewright.observe.frame_cost import FrameCosts
from edgewright.observe.goal_report import GoalReport
from edgewright.observe.leaks.report import SoakReport
from edgewright.observe.peers.compare import Comparison
from edgewright.observe.profile.report import ProfileReport
from edgewright.observe.report.document import ReleaseReport
from edgewright.observe.sdk_cost import SdkCost
from edgewright.observe.serve_cost import ServeCost
from edgewright.observe.shadow import run as shadow_run
from edgewright.observe.shadow.report import ShadowReport
from edgewright.observe.startup import StartupReport
from edgewright.observe.trace.session import TraceReport
from edgewright.observe.transfer_rate import TransferReport
from edgewright.release.documents import (
    ChannelReport,
    KeyList,
    PublishReport,
    PullReport,
    ReleaseList,
    RetainReport,
    SbomReport,
    StoreList,
    VerifiedRelease,
    VerifiedSdk,
    VulnerabilityReport,
)
from edgewright.release.manifest import Manifest
from edgewright.release.run_file import RunFile
from edgewright.release.sdk import SdkManifest

# What a task prints under --json, by the name of the task.
OUTPUTS: Mapping[str, type[BaseModel]] = {
    "boards": BoardList,
    "board.probe": ProbeReport,
    "bench.board": BoardBench,
    "bench.rollout": RolloutCurve,
    "bench.all": GoalReport,
    "bench.growth": BuildGrowth,
    "bench.accept": of_tasks.WrittenFiles,
    "bench.calibrate": Calibration,
    "bench.check": CostVerdict,
    "bench.build": BuildTimes,
    "bench.instructions": InstructionReport,
    "bench.drift": DriftTrial,
    "bench.fleet": FleetCosts,
    "bench.frames": FrameCosts,
    "bench.sdk": SdkCost,
    "bench.networks": NetworkCosts,
    "bench.serve": ServeCost,
    "bench.startup": StartupReport,
    "bench.time": TimeEstimate,
    "bench.transfer": TransferReport,
    "build": BuildDocument,
    "crash": BoardCrashes,
    "collect": of_tasks.WrittenFiles,
    "debug": DebugReport,
    "demo": DeployReport,
    "deploy": DeployReport,
    "doctor": DoctorReport,
    "drift": DriftReport,
    "emulate.down": LabStatus,
    "emulate.status": LabStatus,
    "emulate.up": LabStatus,
    "fleet.check": FleetCheck,
    "fleet.import": of_tasks.WrittenFiles,
    "fleet.list": FleetList,
    "fleet.people": PeopleList,
    "fleet.serve": Served,
    "fleet.trust": FleetTrust,
    "help": of_tasks.Page,
    "init": of_tasks.WrittenFiles,
    "keys.generate": KeyList,
    "keys.list": KeyList,
    "keys.external": KeyList,
    "keys.floor": of_tasks.BoardFloor,
    "keys.forget": of_tasks.ForgottenBoard,
    "keys.provision": of_tasks.TrustedKeys,
    "keys.revoke": of_tasks.TrustedKeys,
    "lab.bench": Footprint,
    "lab.crashpoints": CrashReport,
    "lab.down": LabStatus,
    "lab.fuzz": of_tasks.FuzzRuns,
    "lab.lostwrites": LossReport,
    "lab.powercut": Campaign,
    "lab.status": LabStatus,
    "lab.up": LabStatus,
    "lint": of_tasks.ChecksPassed,
    "lock": of_tasks.WrittenFiles,
    "model.card": CardReport,
    "model.anomaly": of_tasks.WrittenFiles,
    "model.convert": Conversion,
    "model.curve": LearningCurve,
    "model.diff": DifferenceReport,
    "model.evaluate": Quality,
    "model.export": of_tasks.WrittenFiles,
    "model.gallery": Gallery,
    "model.import": ImportReport,
    "model.golden": of_tasks.WrittenFiles,
    "model.inspect": Inspection,
    "model.pack": of_tasks.WrittenFiles,
    "model.prune": of_tasks.WrittenFiles,
    "model.quantize": SweepReport,
    "model.detect": of_tasks.WrittenFiles,
    "model.mosaic": of_tasks.WrittenFiles,
    "model.reference": of_tasks.WrittenFiles,
    "model.segment": of_tasks.WrittenFiles,
    "model.train": of_tasks.WrittenFiles,
    "nightly": NightReport,
    "profile": ProfileReport,
    "release.export": ExportReport,
    "release.list": ReleaseList,
    "release.promote": ChannelReport,
    "release.publish": PublishReport,
    "release.pull": PullReport,
    "release.reproduce": ReproduceReport,
    "release.retain": RetainReport,
    "release.sbom": SbomReport,
    "release.sign": of_tasks.SignedRelease,
    "release.verify": VerifiedRelease,
    "release.vulnerabilities": VulnerabilityReport,
    "report": ReleaseReport,
    "render": of_tasks.WrittenFiles,
    "rollback": RollbackReport,
    "rollout.abort": RolloutChange,
    "rollout.approve": RolloutChange,
    "rollout.join": RolloutChange,
    "rollout.list": RolloutList,
    "rollout.pause": RolloutChange,
    "rollout.quarantine": Quarantine,
    "rollout.report": of_tasks.WrittenFiles,
    "rollout.resume": RolloutStatus,
    "rollout.retry": RolloutChange,
    "rollout.simulate": SimulationReport,
    "rollout.start": RolloutStatus,
    "rollout.status": RolloutStatus,
    "mirror.create": MirrorReport,
    "mirror.verify": MirrorReport,
    "outdated": ArchiveAge,
    "schema": of_tasks.WrittenFiles,
    "sdk.build": SdkReport,
    "sdk.check": Coverage,
    "sdk.sign": VerifiedSdk,
    "sdk.verify": VerifiedSdk,
    "wheel": WheelReport,
    "service.install": ServiceChange,
    "service.remove": ServiceChange,
    "service.status": ServiceReport,
    "setup": of_tasks.MachineState,
    "shadow": ShadowReport,
    "site.dismiss": DismissedSite,
    "site.enrol": EnrolledSite,
    "site.invite": of_tasks.WrittenFiles,
    "site.run": SiteRun,
    "smoke": SmokeReport,
    "soak": SoakReport,
    "status": StatusReport,
    "test": of_tasks.ChecksPassed,
    "trace": TraceReport,
    "trust": of_tasks.OfferedHostKey,
}
# What a task prints instead: under another option, or where it fails before its own document.
VARIANTS: Mapping[str, type[BaseModel]] = {
    "error": of_tasks.Failure,
    "bench.board--by": OperatorBench,
    "bench.instructions--vs": Comparison,
    "deploy--dry-run": PlanReport,
    "deploy--many": BoardEnds[DeployReport],
    "deploy--many-dry-run": BoardEnds[PlanReport],
    "doctor--many": BoardEnds[DoctorReport],
    "keys.floor--many": BoardEnds[of_tasks.BoardFloor],
    "keys.forget--many": BoardEnds[of_tasks.ForgottenBoard],
    "keys.provision--many": BoardEnds[of_tasks.TrustedKeys],
    "keys.revoke--many": BoardEnds[of_tasks.TrustedKeys],
    "lab.lostwrites--teeth": TeethReport,
    "model.evaluate--anomaly": AnomalyQuality,
    "model.evaluate--detect": DetectQuality,
    "model.evaluate--page": EvaluationReport,
    "model.evaluate--segment": SegmentQuality,
    "model.quantize--task": TaskQuantized,
    "model.quantize--unlabelled": UnlabelledQuantized,
    "outdated--runtime": Outdated,
    "release.list--store": StoreList,
    "rollback--many": BoardEnds[RollbackReport],
    "smoke--many": BoardEnds[SmokeReport],
    "status--many": BoardEnds[StatusReport],
}
# Files, by their names without `.json`.
FILES: Mapping[str, type[BaseModel]] = {
    "file-audit": Audit,
    "file-baseline": Baseline,
    "file-build": BuildReport,
    "file-calibration": Calibration,
    **{f"file-card-{task}": card for task, card in CARDS.items() if card is not Card},
    "file-card": Card,
    "file-coverage": Coverage,
    "file-estimate": TimeEstimate,
    "file-expected": Golden,
    "file-expected-2": TaskExpected,
    "file-keys": BoundKeySet,
    "file-keys-1": KeySet,
    "file-fleet": Fleet,
    "file-invitation": Invitation,
    "file-manifest": Manifest,
    "file-mirror": MirrorIndex,
    "file-nightly": NightSettings,
    "file-reference": Reference,
    "file-run": RunFile,
    "file-sdk-manifest": SdkManifest,
    "file-smoke": SmokeReport,
    "file-sweep": SweepReport,
}
# What the board's programs answer, by program and command.
ANSWERS: Mapping[str, type[BaseModel]] = {
    "edge-infer-bench": edge_infer.BenchAnswer,
    "edge-infer-error": edge_infer.Answer,
    "edge-infer-heartbeat": edge_infer.Heartbeat,
    "edge-infer-histograms": Window,
    "edge-infer-info": edge_infer.InfoAnswer,
    "edge-infer-run": edge_infer.RunAnswer,
    "edge-infer-selftest": edge_infer.SelftestAnswer,
    "edge-infer-serve": edge_infer.ServeAnswer,
    "edge-infer-shadow": shadow_run.Line,
    "edge-infer-watch": edge_infer.WatchResult,
    "program-selftest": edge_infer.ProgramSelftest,
    "edgectl-begin": edgectl.PlanAnswer,
    "edgectl-chunks": edgectl.ChunksAnswer,
    "edgectl-commit": edgectl.CommitAnswer,
    "edgectl-error": edgectl.Refusal,
    "edgectl-forget": edgectl.ForgetAnswer,
    "edgectl-gc": edgectl.GcAnswer,
    "edgectl-identify": edgectl.IdentifyAnswer,
    "edgectl-infer": edgectl.InferAnswer,
    "edgectl-keys": edgectl.KeysAnswer,
    "edgectl-plan": edgectl.PlanAnswer,
    "edgectl-probe": edgectl.ProbeAnswer,
    "edgectl-receive": edgectl.ReceiveAnswer,
    "edgectl-recover": edgectl.RevertAnswer,
    "edgectl-reset-keys": edgectl.ResetAnswer,
    "edgectl-rollback": edgectl.RevertAnswer,
    "edgectl-seal": edgectl.SealAnswer,
    "edgectl-selftest": edgectl.SelftestAnswer,
    "edgectl-status": edgectl.StatusAnswer,
    "edgectl-switch": edgectl.SwitchAnswer,
    "edgectl-verify": edgectl.VerifyAnswer,
}
# What `fleet.serve` answers, beside documents of tasks.
SERVED: Mapping[str, type[BaseModel]] = {
    "serve-enrol": Enrolment,
    "serve-fence": SiteFence,
    "serve-lease": SiteWork,
    "serve-login": Login,
    "serve-orders": SiteOrders,
    "serve-refusal": Refusal,
    "serve-report": SiteReceipt,
}
DOCUMENTS: Mapping[str, type[BaseModel]] = {**OUTPUTS, **VARIANTS, **FILES, **ANSWERS, **SERVED}


def schema_text(kind: type[BaseModel]) -> str:
    """The JSON schema of a document, with a final newline.

    What edgewright writes has every key; what another program or a person writes may lack those
    that we can do without.
    """
    mode = "validation" if issubclass(kind, (Excerpt, Fleet, NightSettings)) else "serialization"
    schema = kind.model_json_schema(mode=mode)  # type: ignore[arg-type]
    return json.dumps(schema, indent=2, sort_keys=True) + "\n"


def write_schemas(folder: Path) -> None:
    """Write every schema as `folder/<name>.json`; those that are up to date are left alone."""
    for name, kind in DOCUMENTS.items():
        update_file(folder / f"{name}.json", schema_text(kind))
