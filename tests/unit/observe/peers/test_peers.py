"""Which peers there are, and what they weigh."""

from pathlib import Path

import pytest

from edgewright.base.errors import UserError
from edgewright.board.profile import Arch
from edgewright.observe.peers import peers

ELF = Path(__file__).parents[3] / "data" / "elf"


def test_peers_are_named_with_commas() -> None:
    assert peers.parse_peers("") == ((), ())
    assert peers.parse_peers("debian,xnnpack,ncnn") == (("debian", "xnnpack", "ncnn"), ())


def test_other_boards_stand_among_them() -> None:
    named = peers.parse_peers("rpi2,debian", ["a53-som", "rpi2"])

    assert named == (("debian",), ("rpi2",))


def test_a_peer_that_is_not_known_is_told() -> None:
    expected = "debian, sherpa, onnxruntime, xnnpack, ncnn, rpi2\nnext: the same command with "
    with pytest.raises(UserError, match=f"--vs=tvm: no such peer or board\n  expected: {expected}"):
        peers.parse_peers("debian,tvm", ["rpi2"])


def test_symbols_do_not_weigh() -> None:
    binary = ELF / "unstripped"

    assert peers.stripped_size(binary) < binary.stat().st_size


def test_dependencies_of_dependencies_weigh_and_libc_does_not(tmp_path: Path) -> None:
    (tmp_path / "libonnxruntime.so.1").write_bytes((ELF / "libonnxruntime.so.1").read_bytes())

    libraries = peers.dependencies(ELF / "client", tmp_path)

    assert [path.name for path in libraries] == ["libonnxruntime.so.1"]


def test_the_wheel_of_onnxruntime_is_for_64_bits_alone(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no wheel for armhf\nnext: --vs=sherpa"):
        peers.onnxruntime(Arch.ARMHF, tmp_path / "log")
