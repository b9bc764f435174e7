"""Names of Debian packages, as far as that goes without an archive."""

from pathlib import Path

import pytest

from edgewright.base import debs, process
from edgewright.base.errors import UserError
from edgewright.base.process import Result


@pytest.mark.parametrize("name", ["swupdat", "-o=Dir::Etc", "?essential", "Rauc", "rauc/sid", ""])
def test_what_is_no_package_is_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_up: list[str] = []

    def capture(argv: list[str], **_: object) -> Result:
        looked_up.append(argv[-1])
        stdout = "rauc\n  Depends: libc6\n" if argv[-1] == "rauc" else ""
        return Result(argv=(), returncode=0, stdout=stdout, stderr="")

    monkeypatch.setenv("EDGEWRIGHT_DEBIAN_MIRROR", "file:///nowhere")
    monkeypatch.setattr(process, "run_logged", lambda *_, **__: None)
    monkeypatch.setattr(process, "capture", capture)

    with pytest.raises(UserError) as refused:
        debs.require(["rauc", name], "armhf", "trixie", tmp_path / "log")

    assert str(refused.value) == (
        f"package '{name}': not in Debian's trixie for armhf\n"
        "next: look for its name: apt-cache search WORD"
    )
    # apt takes what is no name for an option or a pattern.
    assert set(looked_up) <= {"rauc", "swupdat"}
