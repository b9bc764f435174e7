"""The picture of the table of peers."""

from pathlib import Path

from edgewright.observe.peers import plot
from edgewright.observe.peers.compare import Comparison, Row


def row(runtime: str, inference: int) -> Row:
    return Row(
        runtime=runtime,
        library="lib",
        precision="INT8",
        load=1_000_000,
        inference=inference,
        bytes=1,
        dependency_bytes=0,
        peak_kb=1,
        probabilities=(0.5, 0.5),
        difference=0.0,
    )


def test_every_runtime_has_its_bars_and_the_picture_repeats(tmp_path: Path) -> None:
    table = Comparison(
        board="a53-som",
        model="net",
        rows=(row("edge-infer", 777_000_000), row("debian", 2_964_000_000)),
    )

    first, second = (plot.draw(table, tmp_path / name) for name in ("a.svg", "b.svg"))

    assert first.read_text() == second.read_text()
    for text in ("edge-infer INT8", "debian INT8", "2,964"):
        assert f"<!-- {text} -->" in first.read_text()
