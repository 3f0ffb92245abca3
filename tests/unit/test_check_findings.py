"""What `melissa-like check` and `--dry-run` say of a mesh: its sizes, what is sent once, which points are named."""

from pathlib import Path

import numpy as np
import pytest

from melissa_like.config import Config, as_config, layout_of
from melissa_like.launcher.findings import print_findings
from melissa_like.launcher.preview import plan_study
from melissa_like.protocol.reports import Findings
from melissa_like.protocol.wire import Kind, encode
from melissa_like.records import Purpose, Sample, SampleKey, static_fields
from melissa_like.server.checking import CheckingConsumer
from melissa_like.server.point_counts import PointCounts
from tests.unit.test_assembly_meshes import LAYOUT, Rank
from tests.unit.test_config import composed

SIZES = {"num_points": 5, "num_edges": 3}
STATIC = {
    "x": np.arange(10, dtype=np.float32).reshape(2, 5),
    "edges": np.array([[0, 1, 2], [1, 2, 0]], np.int32),
    "inflow": np.array([4, 3]),
}


def meshed() -> Config:
    """heat2d, declared on a mesh."""
    return as_config(
        composed(
            "solver.fields.temperature.shape=[num_points]",
            "solver.fields.temperature.bounds=null",
            "+solver.static.x={shape:[2,num_points],components:2}",
            "+solver.static.edges={shape:[2,num_edges],components:2,dtype:int32,indexes:num_points}",
            "+solver.static.inflow={shape:[2],dtype:int64,indexes:num_points}",
        )
    )


def said(config: Config, findings: Findings, capsys: pytest.CaptureFixture[str]) -> str:
    print_findings(config, findings, 0.0)
    return capsys.readouterr().out


def test_a_check_says_what_was_sent_once(capsys: pytest.CaptureFixture[str]) -> None:
    config = meshed()
    layout = layout_of(config.solver)
    consumer = CheckingConsumer(layout)
    consumer.begin(0, 1, layout.sized(SIZES))
    static = static_fields(layout.sized(SIZES), STATIC)
    for step in range(2):
        (temperature,) = consumer.reserve(0, 1, step)
        temperature[:] = step
        consumer.take(
            Sample(
                key=SampleKey(0, step),
                attempt=1,
                purpose=Purpose.TRAINING,
                time=0.1 * step,
                parameters=np.arange(5.0),
                fields=(temperature,),
                static=static,
            ),
            0.0,
        )
    text = said(config, consumer.findings((2, 3)), capsys)
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in text.splitlines() if line.startswith("│")]
    assert rows == [
        ["temperature", "5", "float32", "0", "1", "none"],
        ["x", "2×5", "float32", "0", "9", "none"],
        ["edges", "2×3", "int32", "0", "2", "none"],
        ["inflow", "2", "int64", "3", "4", "none"],
    ]
    assert "extents of this simulation: num_points = 5, num_edges = 3\n" in text
    assert "points per rank: 2, 3\n" in text
    assert "sent once: x, edges, inflow\n" in text
    assert "connectivity: edges names 3 of 5 points, and no other\n" in text
    assert "connectivity: inflow names 2 of 5 points, and no other\n" in text


def test_points_of_many_ranks_are_said_in_short(capsys: pytest.CaptureFixture[str]) -> None:
    config = meshed()
    findings = CheckingConsumer(layout_of(config.solver)).findings((7, *[5] * 20))
    assert "points per rank: 5 to 7 on 21 ranks\n" in said(config, findings, capsys)


def test_points_are_counted_by_rank_in_one_step() -> None:
    counts = PointCounts(LAYOUT)
    assert counts.by_rank == ()
    study = Rank()
    for kind, field_id, shape, who in [
        (Kind.PART, 0, (3,), {"client_rank": 2, "step": 5}),  # the first field that is on points
        (Kind.PART, 0, (2,), {"client_rank": 2, "step": 5}),
        (Kind.SCATTER, 0, (4,), {"client_rank": 0, "step": 5}),
        (Kind.PART, 0, (9,), {"client_rank": 1, "step": 6}),
        (Kind.PART, 1, (2, 9), {"client_rank": 1, "step": 5}),
        (Kind.STATIC, 0, (2, 9), {"client_rank": 1}),
    ]:
        dtype = "float64" if field_id == 0 and kind is not Kind.STATIC else "float32"
        counts.see(encode(study.header(kind, field_id, dtype, (0,) * len(shape), shape, num_client_ranks=3, **who)))
    assert counts.by_rank == (4, 0, 5)


def test_a_check_says_that_nothing_came(capsys: pytest.CaptureFixture[str]) -> None:
    config = meshed()
    text = said(config, CheckingConsumer(layout_of(config.solver)).findings(), capsys)
    assert "│ temperature │ num_points │" in text
    assert "extents of this simulation: none arrived\n" in text
    assert "sent once: x, edges, inflow did not arrive\n" in text


def test_a_check_of_a_grid_says_nothing_of_meshes(capsys: pytest.CaptureFixture[str]) -> None:
    config = as_config(composed())
    text = said(config, CheckingConsumer(layout_of(config.solver)).findings(), capsys)
    assert "│ 32×32 │" in text
    assert "extents" not in text
    assert "once" not in text


def test_a_dry_run_says_what_each_simulation_sends_first(tmp_path: Path) -> None:
    line = "each simulation sends its own num_points, num_edges and x, edges, inflow once, before its first time step"
    assert line in plan_study(meshed(), tmp_path / "study")
    assert not any("each simulation" in line for line in plan_study(as_config(composed()), tmp_path / "study"))
