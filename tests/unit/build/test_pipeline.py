"""Stages of a build that need no builder."""

import json
import os
import shutil
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper
from rich.console import Console

import edgewright
from edgewright.base import process
from edgewright.base.errors import UserError
from edgewright.base.files import locked
from edgewright.base.progress import Progress, StageReport
from edgewright.base.workspace import Workspace
from edgewright.board.catalogue import load_board
from edgewright.build import pipeline
from edgewright.build.pipeline import BuildRequest
from edgewright.cli import screens
from edgewright.model.contract.card import ModelFile, read_card
from edgewright.model.convert.ort_tools import Converted, TileName
from edgewright.model.importer.classifier import CARD
from edgewright.model.judge.data import load_folder
from edgewright.model.pack.golden import write_golden
from edgewright.release import latest
from edgewright.release.run_file import ImageLimits
from tests.checkout import checkout, workspace_at
from tests.unit.build.test_packages import Recorder
from tests.unit.model import small_cnn
from tests.unit.model.convert.test_packed_weights import int8_network
from tests.unit.model.convert.test_to_ort import small_model


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return workspace_at(tmp_path)


def converted(
    workspace: Workspace, model: Path, board: str, *, xnnpack: bool = False
) -> tuple[Converted, bool]:
    cache = workspace.root / "cache"
    return pipeline.converted_model(model, workspace.build(board), cache, xnnpack=xnnpack)


def test_a_model_is_converted_once_for_all_boards(workspace: Workspace) -> None:
    model = small_model(workspace.root / "model.onnx")

    first, cached_first = converted(workspace, model, "one")
    second, cached_second = converted(workspace, model, "two")

    assert (cached_first, cached_second) == (False, True)
    assert first.ort.read_bytes() == second.ort.read_bytes()


def test_a_model_is_converted_anew_by_another_edgewright(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = small_model(workspace.root / "model.onnx")
    converted(workspace, model, "one")
    monkeypatch.setattr(pipeline, "rules_sha256", lambda: "of another edgewright")

    _, cached = converted(workspace, model, "one")

    assert not cached


def test_a_board_with_xnnpack_gets_a_model_of_its_own(workspace: Workspace) -> None:
    model = small_model(workspace.root / "model.onnx")
    converted(workspace, model, "one")

    _, cached = converted(workspace, model, "two", xnnpack=True)
    _, again = converted(workspace, model, "three", xnnpack=True)

    assert (cached, again) == (False, True)


@pytest.mark.parametrize(
    ("board", "tile"),
    [
        ("a53-som", "neon-32"),
        ("rpi5-armhf", "neon-32"),
        ("a53-som-arm64", "neon-64"),
        ("rpi5-arm64", "dot-64"),
        ("quartz64-a", "dot-64"),
    ],
)
def test_weights_are_packed_for_the_tile_that_a_board_s_core_takes(board: str, tile: str) -> None:
    assert pipeline.kernels_tile(load_board(board, checkout().boards)) == tile


def test_a_board_without_our_kernels_gets_plain_weights(workspace: Workspace) -> None:
    board = 'extends = "a53-som"\ndescription = "x"\n[runtime]\nkernels = "stock"\n'
    (workspace.root / "board_profiles").mkdir(exist_ok=True)
    (workspace.root / "board_profiles" / "plain.toml").write_text(board)
    folders = (workspace.root / "board_profiles", checkout().boards)

    assert pipeline.kernels_tile(load_board("plain", *folders)) is None


def test_xnnpack_gets_weights_as_onnx_runtime_stores_them() -> None:
    assert pipeline.kernels_tile(load_board("a53-som-xnnpack", checkout().boards)) is None


def test_boards_with_other_tiles_share_a_conversion(workspace: Workspace) -> None:
    model, cache = workspace.root / "model.onnx", workspace.root / "cache"
    onnx.save(int8_network(), str(model))

    def for_tile(tile: TileName | None) -> tuple[bytes, bool]:
        out = workspace.build(str(tile))
        files, cached = pipeline.converted_model(model, out, cache, tile=tile)
        return files.ort.read_bytes(), cached

    plain, first = for_tile(None)
    packed = [for_tile("neon-32"), for_tile("neon-64"), for_tile("neon-32")]

    assert (first, [cached for _, cached in packed]) == (False, [True, True, True])
    assert packed[0][0] == packed[2][0]
    assert len({plain, packed[0][0], packed[1][0]}) == 3


def test_a_model_is_no_link_to_another_network_of_this_machine(workspace: Workspace) -> None:
    small_model(workspace.root / "secret.onnx")
    model = workspace.root / "model.onnx"
    model.symlink_to("secret.onnx")

    with pytest.raises(UserError, match="is a link or behind one"):
        converted(workspace, model, "one")


def test_a_model_without_end_is_not_read(workspace: Workspace) -> None:
    model = workspace.root / "model.onnx"
    model.touch()
    os.truncate(model, 1 << 40)

    with pytest.raises(UserError, match="is too large"):
        converted(workspace, model, "one")


def test_weights_without_end_are_not_read(workspace: Workspace) -> None:
    network = onnx.load(small_model(workspace.root / "model.onnx"))
    weights = network.graph.initializer[0]
    weights.ClearField("raw_data")
    weights.data_location = TensorProto.EXTERNAL
    weights.external_data.add(key="location", value="endless")
    (workspace.root / "model.onnx").write_bytes(network.SerializeToString())
    (workspace.root / "endless").touch()
    os.truncate(workspace.root / "endless", 1 << 40)

    with pytest.raises(UserError, match="endless: is too large"):
        converted(workspace, workspace.root / "model.onnx", "one")


@pytest.mark.parametrize("location", ["../secret", "/etc/hostname", "linked"])
def test_a_model_takes_no_weights_from_outside_its_folder(
    workspace: Workspace, location: str
) -> None:
    folder = workspace.root / "folder"
    folder.mkdir()
    (workspace.root / "secret").write_bytes(bytes(1000))
    (folder / "linked").symlink_to(workspace.root / "secret")
    network = onnx.load(small_model(folder / "model.onnx"))
    weights = network.graph.initializer[0]
    weights.ClearField("raw_data")
    weights.ClearField("float_data")
    weights.data_location = TensorProto.EXTERNAL
    weights.external_data.add(key="location", value=location)
    (folder / "model.onnx").write_bytes(network.SerializeToString())

    with pytest.raises(UserError, match=r"not the name of a file inside it|is a link"):
        converted(workspace, folder / "model.onnx", "one")


def test_new_weights_in_another_file_are_converted_anew(workspace: Workspace) -> None:
    model = workspace.root / "model.onnx"
    network = onnx.load(small_model(model))
    onnx.save(network, model, save_as_external_data=True, location="weights", size_threshold=0)
    first, _ = converted(workspace, model, "one")
    before = first.ort.read_bytes()
    weights = workspace.root / "weights"
    weights.write_bytes(bytes(reversed(weights.read_bytes())))

    second, cached = converted(workspace, model, "one")

    assert not cached
    assert second.ort.read_bytes() != before


@pytest.fixture(scope="module")
def classifier_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder as `invoke build` takes it."""
    folder = tmp_path_factory.mktemp("classifier")
    images = small_cnn.write_images(folder / "images", 8)
    model = small_cnn.write_network(folder / "model", images)
    samples = load_folder(images).samples
    write_golden(model, read_card(model.parent / "card.json"), [samples[0], samples[-1]])
    return model.parent


@pytest.fixture
def model(classifier_folder: Path, workspace: Workspace) -> Path:
    return Path(shutil.copytree(classifier_folder, workspace.models / "mine")) / "net.onnx"


def refusal(model: Path, workspace: Workspace) -> list[str]:
    with pytest.raises(UserError) as caught:
        pipeline._require_promise(model, workspace.build("one"))
    return str(caught.value).splitlines()


def test_a_card_of_another_network_is_refused(model: Path, workspace: Workspace) -> None:
    pipeline._require_promise(model, workspace.build("one"))
    card = model.parent / "card.json"
    sha256 = read_card(card).file.sha256
    card.write_text(card.read_text().replace(sha256, "0" * 64))

    assert refusal(model, workspace) == [
        f"{card}: is not the card of net.onnx",
        f"  expected: file.sha256 {sha256}",
        f"  found: file.sha256 {'0' * 64}",
        "next: use the card that was made with the model, or write that hash into it",
    ]


def test_golden_answers_that_the_network_does_not_give_are_refused(
    model: Path, workspace: Workspace
) -> None:
    golden = model.parent / "golden"
    expected = json.loads((golden / "expected.json").read_text())
    expected["cases"][0]["probabilities"] = [0.73, 0.27]
    (golden / "expected.json").write_text(json.dumps(expected))

    problem, *_, next_step = refusal(model, workspace)

    count = len(expected["cases"])
    assert problem == f"{golden}: 1 of its {count} answers are not those of net.onnx"
    assert next_step == f"next: invoke model.golden --model={model} --images=…"


def test_an_old_card_of_a_network_that_ends_in_softmax_is_noticed(
    model: Path, workspace: Workspace
) -> None:
    network = onnx.load(model)
    network.graph.node[-1].output[0] = "sums"
    network.graph.node.append(helper.make_node("Softmax", ["sums"], ["scores"], "probs", axis=1))
    onnx.save(network, model)
    card = read_card(model.parent / "card.json").model_dump(by_alias=True)
    card |= {"schema": 1, "file": ModelFile.of(model).model_dump()}
    del card["output"]["activation"]
    (model.parent / "card.json").write_text(json.dumps(card))

    assert refusal(model, workspace) == [
        f"{model.parent / 'card.json'}: asks for a softmax of outputs that are probabilities"
        " already",
        "  net.onnx ends in Softmax 'probs'",
        'next: write "schema": 2 and, in output, "activation": "none" into it,'
        " then invoke model.golden",
    ]


def test_a_model_that_is_refused_leaves_nothing_in_the_cache(workspace: Workspace) -> None:
    model = workspace.root / "model.onnx"
    model.write_bytes(b"nothing")

    with pytest.raises(UserError):
        converted(workspace, model, "one")

    assert list((workspace.root / "cache").glob("models/*")) == []


def test_a_model_without_card_is_told_what_belongs_beside_it(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"model\.onnx: no card\.json beside it"):
        pipeline._beside(tmp_path / "model.onnx", "card.json")


def test_a_model_over_budget_is_told_with_both_figures(tmp_path: Path) -> None:
    model = tmp_path / "model.ort"
    model.write_bytes(bytes(2048))

    with pytest.raises(UserError, match=r"2,048 bytes, over .*\n  budgets\.model_bytes: 1,024"):
        pipeline._require_model_size(model, 1024)


def limits_with(service_mb: int, command: str, side: int = 256) -> ImageLimits:
    """Of a board whose release may take 64 MiB, with a network of gray images."""
    profile = load_board("a53-som", checkout().boards)
    service = profile.service.model_copy(update={"memory_mb": service_mb, "command": command})
    card = read_card(checkout().default_model.parent / CARD)
    image = card.input.model_copy(update={"shape": (1, 1, side, side)})
    return pipeline._image_limits(
        profile.model_copy(update={"service": service}), card.model_copy(update={"input": image})
    )


@pytest.mark.parametrize(
    ("service_mb", "command", "image_kb"),
    [
        (128, "watch", (64 - 2) * 1024 - 3 * 256),
        (96, "watch", (32 - 2) * 1024 - 3 * 256),
        (64, "watch", 4 * 1024),
        (512, "watch", 64 * 1024),
        (128, "serve", ((64 - 2) * 1024 - 3 * 256) // 2),
    ],
)
def test_images_get_what_the_release_and_the_decoder_beside_it_leave(
    service_mb: int, command: str, image_kb: int
) -> None:
    limits = limits_with(service_mb, command)

    assert limits.image_memory == limits.image_bytes == image_kb << 10


def test_all_that_works_at_once_fits_the_services_memory() -> None:
    """The network for one image, and the process that decodes the next, whose input is larger."""
    for side in (64, 512, 1024):
        inputs = 3 * 4 * side * side
        for command, images in (("watch", 1), ("serve", 2)):
            image = limits_with(128, command, side).image_memory
            assert (64 << 20) + (2 << 20) + inputs + images * image <= 128 << 20


CROSS_PACKAGE = "libstdc++-14-dev-arm64-cross\t14.2.0-19cross1\tgcc-14-cross\t9\tgcc-14 (= {})"


class Heard(Progress):
    """Keeps what the user is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def notes_and_cxx_library(board: str, builder: Recorder) -> tuple[list[str], str]:
    workspace, heard = checkout(), Heard()
    request = BuildRequest(
        profile=load_board(board, workspace.boards),
        model=workspace.root / "model.onnx",
        workspace=workspace,
        jobs=1,
    )
    return heard.notes, pipeline._cxx_library(request, builder, heard)


@pytest.fixture
def builder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recorder:
    monkeypatch.setenv("EDGEWRIGHT_CACHE", str(tmp_path / "cache"))
    return Recorder()


def link_cxx_library(builder: Recorder, source_version: str) -> None:
    """Have its compiler for arm64 link the C++ library of that version of Debian's source."""
    folder = builder.cache / "conan" / builder.id / "edgewright" / "compiler-aarch64-linux-gnu"
    (folder / "libstdc++.a").mkdir(parents=True)
    (folder / "libstdc++.a" / "package.tsv").write_text(CROSS_PACKAGE.format(source_version))


def test_arm64_gets_debians_cxx_library_beside_the_compiler_of_its_source(
    builder: Recorder,
) -> None:
    """Wherever that runs: the image of edgewright itself builds in no container."""
    link_cxx_library(builder, "14.2.0-19")

    assert notes_and_cxx_library("a53-som-arm64", builder) == ([], "debian")
    assert notes_and_cxx_library("a53-som", builder) == ([], "compiler")


def test_beside_a_newer_compiler_its_own_cxx_library_is_linked_and_the_user_is_told(
    builder: Recorder,
) -> None:
    link_cxx_library(builder, "14.2.0-19+deb13u1")

    notes, library = notes_and_cxx_library("a53-som-arm64", builder)

    assert library == "compiler"
    assert notes == [
        "the compiler's C++ library is 14.2.0-19+deb13u1, recipes/libstdc++ has 14.2.0-19: "
        "the compiler's own is linked, which is larger"
    ]


def test_a_second_build_of_a_board_is_refused_while_one_runs(workspace: Workspace) -> None:
    request = BuildRequest(
        profile=load_board("a53-som", *checkout().board_folders),
        model=workspace.models / "model.onnx",
        workspace=workspace,
        jobs=1,
    )
    lock = workspace.build("a53-som").root / ".lock"
    with locked(lock), pytest.raises(UserError) as caught:
        pipeline.build(request, screens.LineProgress(Console()))

    assert str(caught.value) == (
        f"board 'a53-som': another build is running\n  lock: {lock}\nnext: wait for it"
    )


def test_a_board_without_a_build_names_the_command(workspace: Workspace) -> None:
    with pytest.raises(UserError, match=r"nothing has been built for it\nnext: invoke build"):
        latest.release_of(workspace.build("rpi2"))


def test_a_release_names_the_commit_of_the_users_repository_and_the_edgewright(
    workspace: Workspace,
) -> None:
    source = pipeline.source_of(workspace)
    assert (source.revision, source.dirty) == ("unknown", True)
    assert source.edgewright == edgewright.__version__

    process.check(["git", "init", "-q", str(workspace.root)])
    author = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    commit = ["commit", "-q", "--allow-empty", "-m", "one"]
    process.check(["git", "-C", str(workspace.root), *author, *commit])
    assert len(pipeline.source_of(workspace).revision) == 40
    assert not pipeline.source_of(workspace).dirty
    (workspace.root / "tests").mkdir()  # the mark of a checkout of edgewright
    assert pipeline.source_of(workspace).edgewright == (
        f"{edgewright.__version__}+g{pipeline.source_of(workspace).revision[:9]}"
    )


def lines_of(*lines: str) -> str:
    """What `LineProgress` tells of a stage with these lines, none of them late."""
    console = Console(width=80, no_color=True, force_terminal=False)
    with console.capture() as output:
        progress = screens.LineProgress(console)
        progress.start("runtime")
        for line in lines:
            progress.line(line)
        progress.end(StageReport(name="runtime", seconds=61.25, origin="built"))
    return output.get()


def test_a_log_gets_a_line_for_each_stage_and_no_more() -> None:
    many = [f"[{number}/500] Building CXX object" for number in range(500)]

    assert lines_of(*many) == "runtime: built, 61.2 s\n"


def test_a_long_stage_speaks_up_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(screens, "QUIET_SECONDS", -1.0)

    output = lines_of("[7/500] Building", "noise")

    assert output == "runtime: 7 of 500 steps\nruntime: built, 61.2 s\n"


@pytest.mark.parametrize("name", ["card.json", "golden/expected.json", "golden/{image}"])
def test_a_build_opens_no_link_or_device_of_a_model_folder(
    model: Path, workspace: Workspace, name: str
) -> None:
    expected = json.loads((model.parent / "golden" / "expected.json").read_text())
    path = model.parent / name.format(image=expected["cases"][0]["image"])
    path.unlink()
    path.symlink_to("/dev/zero")

    assert refusal(model, workspace)[0] == (
        f"{path}: is a link or behind one, expected a file of this folder"
    )


def test_a_build_opens_no_golden_image_outside_of_the_model_folder(
    model: Path, workspace: Workspace
) -> None:
    golden = model.parent / "golden"
    expected = json.loads((golden / "expected.json").read_text())
    shutil.copy(golden / expected["cases"][0]["image"], model.parent.parent / "outside.png")
    for name in ("../../outside.png", str(model.parent.parent / "outside.png")):
        expected["cases"][0]["image"] = name
        (golden / "expected.json").write_text(json.dumps(expected))

        assert refusal(model, workspace)[0] == f"{golden}/expected.json: not a golden set"
