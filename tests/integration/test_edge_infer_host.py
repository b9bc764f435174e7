"""`edge-infer`, built for the host against the full runtime: documents, exit codes, numbers."""

import json
import random
import shutil
import subprocess
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from edgewright.base import digest
from edgewright.model.contract.card import (
    Activation,
    CenterCrop,
    Color,
    Decision,
    Filter,
    Fit,
    Letterbox,
    PerImage,
    Preprocess,
    Region,
    Scale,
    Stretch,
    read_card,
    write_card,
)
from edgewright.model.contract.preprocess import load_input
from edgewright.model.contract.session import (
    class_probabilities,
    open_session,
    outputs,
    probabilities,
)
from edgewright.model.judge.evaluate import Border, decided
from edgewright.release.manifest import MANIFEST
from edgewright.release.run_file import RUN_FILE, ImageLimits, RunFile
from tests.checkout import ROOT, checkout
from tests.integration.toy_model import graph, toy_model, toy_probabilities
from tests.schemas import require_valid

EdgeInfer = Callable[[list[str]], subprocess.CompletedProcess[bytes]]
Json = dict[str, Any]

pytestmark = pytest.mark.docker

CORPUS = ROOT / "tests" / "corpus" / "images"
CASES = [line.split(" ", 1) for line in (CORPUS / "manifest.txt").read_text().splitlines()]
GOOD = [name for name, expected in CASES if expected.startswith("ok")]
AGREEMENT = 1e-3  # of C++ and Python in every input value (docs/formats.md)


@pytest.fixture(scope="module")
def gray_toy(scratch: Path) -> Path:
    return toy_model(scratch / "gray", channels=1, height=24, width=32)


@pytest.fixture(scope="module")
def rgb_toy(scratch: Path) -> Path:
    return toy_model(scratch / "rgb", channels=3, height=24, width=32)


def document(ended: subprocess.CompletedProcess[bytes], command: str) -> Json:
    """The one JSON document on standard output."""
    answer: Json = json.loads(ended.stdout)
    assert ended.stdout.count(b"\n") == 1
    assert (answer["version"], answer["command"]) == (1, command)
    require_valid(f"edge-infer-{'error' if 'error' in answer else command}", ended.stdout)
    return answer


def told_fault(
    ended: subprocess.CompletedProcess[bytes], command: str, exit_code: int, subject: object
) -> str:
    """The code of a fault that is told as the contract says: exit code, document, message."""
    error = document(ended, command)["error"]
    message = ended.stderr.decode()
    assert ended.returncode == exit_code
    assert error["message"].startswith(f"{subject}: ")
    assert message == f"{error['message']}\nnext: {error['next']}\n"
    return str(error["code"])


def beside(model: Path, folder: Path) -> Path:
    """A copy of a model's folder that may be damaged; returns the copy's model file."""
    shutil.copytree(model.parent, folder)
    return folder / model.name


# --- images


def test_every_image_of_the_corpus_is_judged_and_bad_ones_stop_nothing(
    host_edge_infer: EdgeInfer, gray_toy: Path
) -> None:
    images = [str(CORPUS / name) for name, _ in CASES]
    ended = host_edge_infer(["run", "--model", str(gray_toy), *images])
    results = document(ended, "run")["results"]
    codes = [result["error"]["code"] if "error" in result else "ok" for result in results]
    assert ended.returncode == 3
    assert [result["image"] for result in results] == images
    assert codes == [expected.split()[0] for _, expected in CASES]
    assert ended.stderr.decode().count("next: ") == len(CASES) - len(GOOD)


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("absent.png", "image_missing"),
        (".", "image_missing"),
        ("b\u00e4d \u00ff.png", "image_missing"),
    ],
)
def test_an_image_that_is_no_file(
    host_edge_infer: EdgeInfer, gray_toy: Path, name: str, code: str
) -> None:
    path = str(CORPUS / name)
    ended = host_edge_infer(["run", "--model", str(gray_toy), path])
    (result,) = document(ended, "run")["results"]
    assert ended.returncode == 3
    assert result["image"] == path
    assert result["error"]["code"] == code


# --- agreement with the Python reference


def agreement(edge_infer: EdgeInfer, model: Path, image: Path) -> float:
    """Largest difference between the input values of C++ and of Python."""
    dumped = model.parent / "input.bin"
    ended = edge_infer(["run", "--model", str(model), "--dump-input", str(dumped), str(image)])
    assert ended.returncode == 0, ended.stderr
    expected = load_input(image, read_card(model.parent / "card.json"))
    values = np.fromfile(dumped, dtype="<f4").reshape(expected.shape)
    return float(np.abs(values - expected).max())


@pytest.mark.parametrize("name", GOOD)
@pytest.mark.parametrize("toy", ["gray_toy", "rgb_toy"])
def test_decoding_and_preprocessing_agree_with_python(
    host_edge_infer: EdgeInfer, request: pytest.FixtureRequest, toy: str, name: str
) -> None:
    model: Path = request.getfixturevalue(toy)
    assert agreement(host_edge_infer, model, CORPUS / name) <= AGREEMENT


@pytest.mark.parametrize(
    "size", [(1, 1), (32, 24), (33, 25), (7, 300), (300, 7), (64, 48), (640, 481)]
)
def test_any_size_agrees_with_python(
    host_edge_infer: EdgeInfer, scratch: Path, gray_toy: Path, size: tuple[int, int]
) -> None:
    noise = np.random.default_rng(1).integers(0, 256, size=(size[1], size[0], 3), dtype=np.uint8)
    image = scratch / f"noise-{size[0]}x{size[1]}.png"
    Image.fromarray(noise).save(image)
    assert agreement(host_edge_infer, gray_toy, image) <= AGREEMENT


def region_of(share: tuple[float, float, float, float], size: tuple[int, int]) -> Region:
    """Some region of an upright image of this height and width."""
    (height, width), (top, left, tall, wide) = size, share
    x, y = int(left * width), int(top * height)
    return Region(x=x, y=y, width=1 + int(wide * (width - x)), height=1 + int(tall * (height - y)))


def with_rules(toy: Path, rules: Preprocess, folder: Path) -> Path:
    """A copy of a toy whose card prepares images by other rules."""
    shutil.rmtree(folder, ignore_errors=True)
    model = beside(toy, folder)
    card = read_card(folder / "card.json")
    write_card(card.model_copy(update={"preprocess": rules}), folder / "card.json")
    return model


NORMALIZATIONS = [PerImage(), Scale(factor=1), Scale(factor=1 / 255)]
FITS = st.one_of(
    st.just(Stretch()),
    st.builds(Stretch, size=st.tuples(st.integers(24, 60), st.integers(32, 60))),
    st.builds(CenterCrop, resize_shorter=st.integers(32, 70)),
    st.builds(Letterbox, pad_value=st.integers(0, 255)),
)


@settings(max_examples=40, deadline=None)
@given(
    size=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    orientation=st.integers(1, 8),
    color=st.sampled_from(["gray", "rgb", "bgr"]),
    fit=FITS,
    resize=st.sampled_from(["triangle", "bicubic", "bilinear"]),
    normalize=st.sampled_from(NORMALIZATIONS),
    share=st.none() | st.tuples(*[st.floats(0, 0.99)] * 4),
    seed=st.integers(0, 9),
)
@example(  # mirrored, with weights whose sums lie in the middle of two whole numbers
    size=(2, 4),
    orientation=2,
    color="gray",
    fit=CenterCrop(resize_shorter=32),
    resize="bicubic",
    normalize=Scale(factor=1),
    share=None,
    seed=0,
)
def test_any_preprocessing_agrees_with_python(
    host_edge_infer: EdgeInfer,
    scratch: Path,
    gray_toy: Path,
    rgb_toy: Path,
    size: tuple[int, int],
    orientation: int,
    color: Color,
    fit: Fit,
    resize: Filter,
    normalize: PerImage | Scale,
    share: tuple[float, float, float, float] | None,
    seed: int,
) -> None:
    toy = gray_toy if color == "gray" else rgb_toy
    roi = region_of(share, size if orientation < 5 else size[::-1]) if share else None
    rules = Preprocess(color=color, fit=fit, resize=resize, normalize=normalize, roi=roi)
    model = with_rules(toy, rules, scratch / "any")
    noise = np.random.default_rng(seed).integers(0, 256, size=(*size, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x112] = orientation
    Image.fromarray(noise).save(model.parent / "noise.png", exif=exif)

    assert agreement(host_edge_infer, model, model.parent / "noise.png") <= AGREEMENT


@settings(max_examples=40, deadline=None)
@given(
    size=st.tuples(st.integers(1, 400), st.integers(1, 400)),
    orientation=st.integers(1, 8),
    color=st.sampled_from(["gray", "rgb", "bgr"]),
    fit=FITS,
    subsampling=st.integers(0, 2),
    progressive=st.booleans(),
)
@example(  # an eighth, whose last column and row lie half beyond the image
    size=(387, 260), orientation=6, color="gray", fit=Stretch(), subsampling=2, progressive=False
)
def test_a_jpeg_that_may_be_scaled_agrees_with_python(
    host_edge_infer: EdgeInfer,
    scratch: Path,
    gray_toy: Path,
    rgb_toy: Path,
    size: tuple[int, int],
    orientation: int,
    color: Color,
    fit: Fit,
    subsampling: int,
    progressive: bool,
) -> None:
    toy = gray_toy if color == "gray" else rgb_toy
    rules = Preprocess(color=color, fit=fit, normalize=Scale(factor=1), jpeg="scaled")
    model = with_rules(toy, rules, scratch / "scaled")
    exif = Image.Exif()
    exif[0x112] = orientation
    blocks = np.random.default_rng(1).integers(0, 256, size=(50, 50, 3), dtype=np.uint8)
    image = model.parent / "blocks.jpg"
    picture = Image.fromarray(blocks).resize(size[::-1], Image.Resampling.BICUBIC)
    options: dict[str, Any] = {"quality": 90, "subsampling": subsampling}
    options["progressive"] = progressive
    picture.save(image, exif=exif, **options)
    assert agreement(host_edge_infer, model, image) <= AGREEMENT

    # As stereo cameras and phones write them: a second picture behind the first.
    picture.save(image, "MPO", save_all=True, append_images=[picture], exif=exif, **options)
    assert agreement(host_edge_infer, model, image) <= AGREEMENT


# --- self-test


def write_golden(model: Path, shift: float) -> None:
    """A golden set of the toy's true answers, with every probability moved by `shift`."""
    folder = model.parent / "golden"
    folder.mkdir()
    shutil.copy(CORPUS / "good-rgb.png", folder)
    card = read_card(model.parent / "card.json")
    true = toy_probabilities(load_input(folder / "good-rgb.png", card))
    case = {
        "image": "good-rgb.png",
        "class": card.labels[int(np.argmax(true))],
        "probabilities": [true[0] - shift, *true[1:-1], true[-1] + shift],
    }
    golden = {"schema": 1, "tolerance": 0.01, "cases": [case]}
    (folder / "expected.json").write_text(json.dumps(golden))


@pytest.mark.parametrize(("shift", "passes"), [(0.0, True), (0.009, True), (0.011, False)])
def test_selftest_passes_within_the_tolerance_only(
    host_edge_infer: EdgeInfer, scratch: Path, gray_toy: Path, shift: float, passes: bool
) -> None:
    model = beside(gray_toy, scratch / f"golden-{shift}")
    write_golden(model, shift)
    ended = host_edge_infer(["selftest", "--model", str(model)])
    report = document(ended, "selftest")
    (case,) = report["cases"]
    assert ended.returncode == (0 if passes else 6)
    assert report["passed"] == case["passed"] == passes
    assert case["max_abs_diff"] == pytest.approx(shift, abs=1e-5)
    assert ("error" in report) == (not passes)


def test_selftest_of_the_demo_model_passes(host_edge_infer: EdgeInfer) -> None:
    ended = host_edge_infer(["selftest", "--model", str(checkout().default_model)])
    assert ended.returncode == 0, ended.stderr
    assert len(document(ended, "selftest")["cases"]) >= 8


@pytest.mark.parametrize("defect", ["no folder", "no image", "bad image"])
def test_selftest_with_a_defective_golden_set(
    host_edge_infer: EdgeInfer, scratch: Path, gray_toy: Path, defect: str
) -> None:
    model = beside(gray_toy, scratch / defect.replace(" ", "-"))
    folder = model.parent / "golden"
    write_golden(model, 0.0)
    subject = folder / "good-rgb.png"
    if defect == "no folder":
        shutil.rmtree(folder)
        subject = folder / "expected.json"
    elif defect == "no image":
        subject.unlink()
    else:
        subject.write_bytes(b"no image")
    ended = host_edge_infer(["selftest", "--model", str(model)])
    code = told_fault(ended, "selftest", 5, subject)
    assert code == ("golden_missing" if defect == "no folder" else "golden_invalid")


@pytest.mark.parametrize("threshold", [0.01, 0.99])
def test_a_threshold_and_a_temperature_decide_as_on_the_host(
    host_edge_infer: EdgeInfer, scratch: Path, gray_toy: Path, threshold: float
) -> None:
    model = beside(gray_toy, scratch / f"decided-{threshold}")
    card = read_card(model.parent / "card.json")
    decision = Decision(label=card.labels[1], threshold=threshold)
    output = card.output.model_copy(update={"temperature": 3.0})
    card = card.model_copy(update={"schema_": 2, "decision": decision, "output": output})
    write_card(card, model.parent / "card.json")
    image = CORPUS / "good-rgb.png"
    rows = class_probabilities(outputs(open_session(model), load_input(image, card)), card)

    (result,) = document(host_edge_infer(["run", "--model", str(model), str(image)]), "run")[
        "results"
    ]

    np.testing.assert_allclose(result["probabilities"], rows[0], atol=1e-5)
    assert result["class"] == card.labels[int(decided(rows, Border.of(card))[0])]
    assert result["decision"] == {"label": card.labels[1], "index": 1, "threshold": threshold}


@pytest.mark.parametrize("activation", ["softmax", "sigmoid", "none"])
def test_outputs_become_probabilities_as_the_card_says(
    host_edge_infer: EdgeInfer, scratch: Path, gray_toy: Path, activation: Activation
) -> None:
    model = beside(gray_toy, scratch / activation)
    card = json.loads((model.parent / "card.json").read_text())
    card["output"]["activation"] = activation
    (model.parent / "card.json").write_text(json.dumps(card))
    image = CORPUS / "good-rgb.png"
    rows = outputs(open_session(model), load_input(image, read_card(model.parent / "card.json")))

    ended = host_edge_infer(["run", "--model", str(model), str(image)])

    (result,) = document(ended, "run")["results"]
    expected = probabilities(rows, activation)[0]
    np.testing.assert_allclose(result["probabilities"], expected, atol=1e-5)


# --- models


def damaged(model: Path, folder: Path, content: bytes | None) -> Path:
    """A copy of the model's folder in which the model file, renamed, has another content."""
    copy = beside(model, folder).rename(folder / "other.onnx")
    if content is None:
        copy.unlink()
    else:
        copy.write_bytes(content)
    return copy


BAD_MODELS = {
    "missing": (None, {"model_missing"}),
    "empty": (b"", {"model_corrupt"}),
    "text": (b"no model at all " * 100, {"model_corrupt"}),
    "random": (random.Random(1).randbytes(5000), {"model_corrupt"}),
    "random-onnx": (b"\x08\x09" + random.Random(2).randbytes(5000), {"model_refused"}),
    "random-ort": (b"\x20\0\0\0ORTM" + random.Random(3).randbytes(5000), {"model_refused"}),
    "foreign": (graph([1, 1, 24, 31]).SerializeToString(), {"model_mismatch"}),
    "foreign-type": (graph([1, 3, 24, 32]).SerializeToString(), {"model_mismatch"}),
    "unknown-operator": (
        graph([1, 1, 24, 32], domain="nowhere").SerializeToString(),
        {"model_unsupported", "model_refused"},
    ),
}


@pytest.mark.parametrize("name", BAD_MODELS)
def test_a_model_that_cannot_be_used(
    host_edge_infer: EdgeInfer, scratch: Path, gray_toy: Path, name: str
) -> None:
    content, codes = BAD_MODELS[name]
    model = damaged(gray_toy, scratch / f"model-{name}", content)
    ended = host_edge_infer(["run", "--model", str(model), str(CORPUS / "good-rgb.png")])
    assert told_fault(ended, "run", 4, model) in codes


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_truncated_model(
    host_edge_infer: EdgeInfer, scratch: Path, gray_toy: Path, share: float
) -> None:
    model = beside(gray_toy, scratch / f"truncated-{share}")
    content = model.read_bytes()
    model.write_bytes(content[: int(len(content) * share)])
    ended = host_edge_infer(["bench", "--model", str(model)])
    assert told_fault(ended, "bench", 4, model) in {"model_truncated", "model_corrupt"}
    assert f"expected: {len(content)} bytes" in ended.stderr.decode() or share == 0.1


def test_a_model_with_one_bit_flipped_is_refused(
    host_edge_infer: EdgeInfer, scratch: Path, gray_toy: Path
) -> None:
    model = beside(gray_toy, scratch / "flipped")
    content = bytearray(model.read_bytes())
    content[len(content) // 2] ^= 1
    model.write_bytes(content)
    ended = host_edge_infer(["run", "--model", str(model), str(CORPUS / "good-rgb.png")])
    assert told_fault(ended, "run", 4, model) == "model_damaged"
    assert "next: deploy the release again: invoke deploy\n" in ended.stderr.decode()


def test_a_model_without_a_hash_and_any_byte_changed_gives_one_document(
    host_edge_infer: EdgeInfer, scratch: Path, gray_toy: Path
) -> None:
    content = gray_toy.read_bytes()
    model = damaged(gray_toy, scratch / "changed", content)  # under a name that is not the card's
    for at in range(0, len(content), max(1, len(content) // 40)):
        changed = bytes([content[at] ^ 0xFF])
        model.write_bytes(content[:at] + changed + content[at + 1 :])
        ended = host_edge_infer(["run", "--model", str(model), str(CORPUS / "good-rgb.png")])
        document(ended, "run")
        assert ended.returncode in {0, 4}, ended.stderr


def test_a_card_with_defects(host_edge_infer: EdgeInfer, scratch: Path, gray_toy: Path) -> None:
    model = beside(gray_toy, scratch / "card")
    card = model.parent / "card.json"
    card.write_text(card.read_text().replace("triangle", "cubic").replace("NCHW", "NHWC"))
    ended = host_edge_infer(["info", "--model", str(model)])
    assert told_fault(ended, "info", 5, card) == "card_invalid"
    assert "2 defects\n  input.layout: expected NCHW, found NHWC\n" in ended.stderr.decode()


# --- the other commands


def test_info_describes_program_runtime_and_model(
    host_edge_infer: EdgeInfer, gray_toy: Path
) -> None:
    ended = host_edge_infer(["info", "--model", str(gray_toy)])
    info = document(ended, "info")
    assert ended.returncode == 0
    assert len(info["edge_infer"]["build_id"]) == 40
    assert info["runtime"]["linkage"] == "shared"
    assert info["operators"] is None
    assert info["model"] == {
        "name": "toy",
        "bytes": gray_toy.stat().st_size,
        "inputs": [{"name": "image", "type": "float", "shape": [1, 1, 24, 32]}],
        "outputs": [{"name": "logits", "type": "float", "shape": [1, 2]}],
        "labels": ["class0", "class1"],
    }


def test_bench_times_and_measures(host_edge_infer: EdgeInfer, gray_toy: Path) -> None:
    ended = host_edge_infer(["bench", "--model", str(gray_toy), "--runs", "50", "--threads", "2"])
    report = document(ended, "bench")
    latency = report["latency_ms"]
    assert ended.returncode == 0
    assert (report["runs"], report["threads"]) == (50, 2)
    assert 0 < latency["min"] <= latency["median"] <= latency["p95"] <= latency["p99"]
    assert latency["p99"] <= latency["max"]
    assert report["peak_rss_kb"] > 1000


def write_manifest(release: Path) -> None:
    """A manifest with the hashes of all files, which is what `edge-infer` reads of one."""
    files = [
        {"path": path.relative_to(release).as_posix(), "sha256": digest.file_sha256(path)}
        for path in release.rglob("*")
        if path.is_file()
    ]
    (release / MANIFEST).write_text(json.dumps({"files": files}))


@pytest.mark.parametrize(
    ("file", "code"),
    [
        ("model/model.onnx", "model_damaged"),
        ("model/card.json", "release_damaged"),
        ("model/golden/expected.json", "release_damaged"),
        ("model/golden/good-rgb.png", "release_damaged"),
        (RUN_FILE, "release_damaged"),
    ],
)
@pytest.mark.parametrize("has_checksum", [True, False], ids=["checksum", "hash"])
def test_a_release_with_one_bit_flipped_is_refused(
    host_edge_infer: EdgeInfer,
    scratch: Path,
    gray_toy: Path,
    file: str,
    code: str,
    has_checksum: bool,
) -> None:
    release = scratch / f"flipped-{Path(file).name}-{has_checksum}"
    write_golden(beside(gray_toy, release / "model"), 0.0)
    checksum = zlib.crc32((release / "model/model.onnx").read_bytes()) if has_checksum else None
    says = RunFile(
        model="model/model.onnx",
        model_crc32=checksum,
        threads=1,
        execution_providers=("cpu",),
    )
    (release / RUN_FILE).write_bytes(says.content())
    write_manifest(release)
    sound = host_edge_infer(["selftest", "--release", str(release)])

    content = bytearray((release / file).read_bytes())
    content[-2 if content.endswith(b"}\n") else -1] ^= 0x20
    (release / file).write_bytes(content)
    ended = host_edge_infer(["selftest", "--release", str(release)])

    assert sound.returncode == 0
    exit_code = 4 if code == "model_damaged" else 5
    assert told_fault(ended, "selftest", exit_code, release / file) == code


def test_a_release_is_run_as_its_run_file_says(host_edge_infer: EdgeInfer, scratch: Path) -> None:
    release = scratch / "release"
    toy_model(release / "model", channels=1, height=24, width=32)
    says = RunFile(
        model="model/model.onnx",
        threads=2,
        execution_providers=("cpu",),
        limits=ImageLimits(image_side=23),
    )
    (release / RUN_FILE).write_bytes(says.content())
    write_manifest(release)
    argv = ["run", "--release", str(release), str(CORPUS / GOOD[0])]

    plain = document(host_edge_infer(argv), "run")
    overridden = document(host_edge_infer([*argv, "--threads", "1"]), "run")

    assert plain["results"][0]["error"]["code"] == "image_too_large"
    assert plain["settings"] == {
        "release": str(release),
        "model": f"{release}/model/model.onnx",
        "threads": 2,
        "execution_providers": ["cpu"],
        "limits": says.limits.model_dump(),
        "thermal_limit_c": None,
        "overridden": [],
    }
    assert overridden["threads"] == overridden["settings"]["threads"] == 1
    assert overridden["settings"]["overridden"] == ["threads"]


def test_many_inferences_do_not_grow(host_edge_infer: EdgeInfer, gray_toy: Path) -> None:
    ended = host_edge_infer(["bench", "--model", str(gray_toy), "--runs", "20000"])
    assert document(ended, "bench")["rss_growth_kb"] < 256


@pytest.mark.parametrize(
    ("arguments", "subject"),
    [
        ([], "edge-infer"),
        (["classify"], "classify"),
        (["run", "--model", "m.onnx"], "run"),
        (["bench", "--model", "m.onnx", "--threads", "none"], "--threads"),
    ],
)
def test_wrong_usage(host_edge_infer: EdgeInfer, arguments: list[str], subject: str) -> None:
    ended = host_edge_infer(arguments)
    error = json.loads(ended.stdout)["error"]
    assert ended.returncode == 2
    assert error["code"] == "usage"
    assert error["message"].startswith(f"{subject}: ")
    assert ended.stderr.decode().endswith("next: edge-infer --help\n")
