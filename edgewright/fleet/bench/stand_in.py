"""A release that any machine runs: its `edge-infer` is a script with the answers in it.

`edgectl` is the real one, and what a deploy costs the conductor does not depend on the network.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgewright.base.files import make_folder
from edgewright.release.manifest import (
    Release,
    ReleasedBudgets,
    ReleasedRuntime,
    ReleaseInputs,
    Source,
    build_release,
)
from edgewright.release.programs import DEFAULT_PROGRAM

IMAGE = {"image": "a.png", "class": "ok", "probabilities": [0.9, 0.1]}
ANSWER = {"class": "ok", "probabilities": [0.9, 0.1]}
TIMES = {"decode": 1.5, "preprocess": 0.5, "inference": 2.5}
ANSWERS: dict[str, dict[str, Any]] = {
    "selftest": {
        "passed": True,
        "tolerance": 0.01,
        "cases": [
            {
                "image": "a.png",
                "expected": ANSWER,
                "got": ANSWER,
                "max_abs_diff": 0.0,
                "passed": True,
            }
        ],
    },
    "run": {"threads": 1, "load_ms": 30.0, "results": [IMAGE | {"index": 0, "ms": TIMES}]},
    "bench": {
        "threads": 1,
        "runs": 20,
        "load_ms": 30.0,
        "latency_ms": {"min": 1.0, "median": 2.0, "p95": 3.0, "p99": 3.5, "max": 4.0},
        "peak_rss_kb": 30000,
        "rss_growth_kb": 0,
    },
}


def make_release(
    folder: Path,
    *,
    board: str,
    compatible: str,
    root: str,
    edgectl: Path | None,
    model: bytes,
    edge_infer: bytes | None = None,
    cases: Sequence[Mapping[str, Any]] = (IMAGE,),
    threads: int = 1,
) -> Release:
    """Releases that differ in `model` alone share all other files."""
    inputs = folder / "inputs"
    make_folder(inputs / "golden")
    card = {"schema": 1, "name": "small", "labels": ["ok", "defective"]}
    card["file"] = {"name": "model.onnx", "sha256": "0" * 64, "bytes": 1}
    expected = {"schema": 1, "tolerance": 0.01, "cases": cases}
    (inputs / DEFAULT_PROGRAM.name).write_bytes(edge_infer or program(_answers()))
    (inputs / "model.ort").write_bytes(model)
    (inputs / "card.json").write_text(json.dumps(card))
    (inputs / "golden" / "expected.json").write_text(json.dumps(expected))
    for case in cases:
        (inputs / "golden" / case["image"]).write_bytes(f"pixels {case['image']}".encode())
    return build_release(
        ReleaseInputs(
            board=board,
            compatible=compatible,
            deploy_root=root,
            binaries=(inputs / DEFAULT_PROGRAM.name, *((edgectl,) if edgectl else ())),
            ort_model=inputs / "model.ort",
            onnx_sha256="0" * 64,
            card=inputs / "card.json",
            golden=inputs / "golden",
            runtime=ReleasedRuntime(
                version="1.21.0", ops_config_sha256="1" * 64, linkage="static", threads=threads
            ),
            budgets=ReleasedBudgets(
                binary_bytes=10**6, model_bytes=10**7, peak_rss_mb=64, latency_ms=100
            ),
            source=Source(revision="0" * 40, dirty=False),
        ),
        folder / "release",
    )


def program(answers: Mapping[str, Mapping[str, Any]], exit_code: int = 0) -> bytes:
    """A program for any board: a shell script that writes these documents, one for a command."""
    arms = [f"{name}) echo '{json.dumps(answer)}' ;;" for name, answer in answers.items()]
    return "\n".join(["#!/bin/sh", 'case "$1" in', *arms, "esac", f"exit {exit_code}"]).encode()


def _answers() -> dict[str, dict[str, Any]]:
    return {
        name: {"version": 1, "command": name, "model": "small", **fields}
        for name, fields in ANSWERS.items()
    }
