from pathlib import Path

import pytest

from edgewright.base.errors import UserError
from edgewright.base.files import new_folder
from edgewright.base.memory import available, require_memory


def fill(out: Path, text: str, fault: BaseException | None = None) -> None:
    with new_folder(out) as folder:
        (folder / "file").write_text(text)
        assert not (out / "file").exists() or (out / "file").read_text() != text
        if fault:
            raise fault


def test_a_folder_appears_whole_and_takes_the_place_of_the_former(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    fill(out, "first")
    (out / "left over").touch()
    fill(out, "second")
    assert {path.name: path.read_text() for path in out.iterdir()} == {"file": "second"}
    assert list(out.parent.iterdir()) == [out]


@pytest.mark.parametrize("fault", [UserError("net", "is bad"), KeyboardInterrupt()])
def test_what_goes_wrong_leaves_nothing_new(fault: BaseException, tmp_path: Path) -> None:
    out = tmp_path / "out"
    fill(out, "former")
    with pytest.raises(type(fault)):
        fill(out, "half", fault)
    assert {path.name: path.read_text() for path in out.iterdir()} == {"file": "former"}
    assert list(tmp_path.iterdir()) == [out]


def test_a_file_is_not_replaced_by_a_folder(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(UserError, match="is a file, expected a folder"):
        fill(tmp_path / "out", "new")
    assert (tmp_path / "out").read_text() == "mine"


def test_memory_that_is_there_is_enough(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal:       2048 kB\nMemAvailable:   1024 kB\n")
    assert available(meminfo) == 1 << 20
    require_memory("net", 1 << 20, meminfo)
    with pytest.raises(UserError) as caught:
        require_memory("net", 3 << 20, meminfo)
    assert "net: there is too little memory for it\n  needs about 3 MiB\n  available: 1 MiB" in str(
        caught.value
    )


def test_where_the_kernel_tells_nothing_nothing_is_refused(tmp_path: Path) -> None:
    require_memory("net", 1 << 60, tmp_path / "absent")
