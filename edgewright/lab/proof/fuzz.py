"""Fuzz edgectl's parsers: libFuzzer with the sanitizers of addresses and undefined behaviour."""

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgewright.base import process
from edgewright.base.errors import UserError
from edgewright.base.layout import Resources
from edgewright.base.workspace import Workspace
from edgewright.build import packages
from edgewright.build.packages import Package

TARGETS = ("manifest", "signature", "stream")
CORPUS = {"manifest": "manifests", "signature": "signatures", "stream": "streams"}


@dataclass(frozen=True, kw_only=True)
class FuzzReport:
    """One bounded run without a fault."""

    target: str
    executions: int
    seconds: int


def problem() -> str | None:
    """Why nothing can be fuzzed on this machine; None if it can."""
    for tool in ("clang++", "pkg-config"):
        if shutil.which(tool) is None:
            return f"{tool} is not installed"
    folder = Path(process.check(["clang++", "-print-resource-dir"]).stdout.strip())
    has_fuzzer = any(folder.glob("lib/**/*clang_rt.fuzzer*"))
    return None if has_fuzzer else "clang++ has no libFuzzer"


def run(
    checkout: Workspace, libraries: Mapping[str, Package], target: str, *, seconds: int
) -> FuzzReport:
    """Fuzz one target for `seconds`, starting from the corpus in the repo.

    Raises UserError without clang or for an unknown target, ChildFailed for a fault, whose input
    then lies beside the log.
    """
    if target not in TARGETS:
        raise UserError(target, "no such target", facts=[f"expected: {', '.join(TARGETS)}"])
    if missing := problem():
        raise UserError("this machine", missing, next="invoke setup --yes")
    out = checkout.root / "build" / "fuzz"
    _build(checkout.resources, libraries, out)
    corpus = out / "corpus" / target
    corpus.mkdir(parents=True, exist_ok=True)
    seeds = checkout.root / "tests" / "corpus" / "edgectl" / CORPUS[target]
    log = out / f"{target}.log"
    # An input that takes 10 s or 1 GiB is a fault as well.
    limits = [f"-max_total_time={seconds}", "-rss_limit_mb=1024", "-timeout=10", "-max_len=65536"]
    artifacts = f"-artifact_prefix={out}/{target}-"
    argv = [str(out / f"fuzz_{target}"), *limits, artifacts, str(corpus), str(seeds)]
    process.run_logged(argv, log, next=f"add the input in {out} to {seeds}, then mend edgectl")
    runs = re.findall(r"^Done (\d+) runs", log.read_text(errors="replace"), re.MULTILINE)
    return FuzzReport(target=target, executions=int(runs[-1]), seconds=seconds)


def _build(resources: Resources, libraries: Mapping[str, Package], out: Path) -> None:
    packages.write_pkg_config(out, libraries)
    env = os.environ | {"PKG_CONFIG_PATH": str(out)}
    source = resources.runtime_cpp / "edgectl"
    options = ["-DEDGECTL_BUILD_FUZZERS=ON", "-DCMAKE_BUILD_TYPE=Fuzz"]
    compiler = ["-DCMAKE_CXX_COMPILER=clang++"]
    for argv in (
        ["cmake", "-G", "Ninja", "-S", str(source), "-B", str(out), *options, *compiler],
        ["cmake", "--build", str(out), "--target", "fuzzers", "--parallel", "2"],
    ):
        child = subprocess.run(argv, env=env, capture_output=True, text=True, check=False)
        if child.returncode != 0:
            tail = (child.stdout + child.stderr).splitlines()[-process.TAIL_LINES :]
            raise UserError("fuzz targets", "do not build", facts=tail)
