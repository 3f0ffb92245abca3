"""What is measured ends where it can be read."""

import io
import json
import math
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from melissa_like.monitoring import (
    JsonLinesSink,
    LenientSink,
    LiveView,
    PlainView,
    Recorder,
    Relay,
    StudySnapshot,
    TensorBoardSink,
    view_for,
)
from melissa_like.monitoring.figures import draw_field, draw_losses, draw_population
from melissa_like.monitoring.rollout_figures import draw_rollout, draw_rollout_errors

ROWS = [
    {"seconds": float(n), "seen": 2.0 * n, "unseen": 5.0, "batches": float(n), "training_loss": 1 / (1 + n)}
    for n in range(20)
]


def snapshot(**changes: object) -> StudySnapshot:
    values: dict[str, object] = {
        "name": "heat2d",
        "elapsed_s": 65.0,
        "remaining_s": 3600.0,
        "num_simulations": 100,
        "complete": 40,
        "running": 2,
        "given_up": 1,
        "jobs": 2,
        "samples_expected": 10000,
        "samples_delivered": 4000,
        "samples_in_per_s": 512.0,
        "samples_out_per_s": 2048.0,
        "capacity": 1000,
        "seen": 600,
        "unseen": 300,
        "batches": 777,
        "training_loss": 0.0123,
        "validation_relative_l2": None,
        "rollout_relative_l2": None,
        "phase": "streaming",
    }
    return StudySnapshot(**{**values, **changes})  # type: ignore[arg-type]


def test_plain_lines_come_every_few_seconds_and_at_each_phase() -> None:
    stream = io.StringIO()
    view = view_for(stream)
    assert isinstance(view, PlainView)
    for elapsed_s, phase in (
        (0.0, "starting"),
        (1.0, "starting"),
        (2.0, "streaming"),
        (3.0, "streaming"),
        (8.0, "streaming"),
    ):
        view.show(snapshot(elapsed_s=elapsed_s, phase=phase))
    lines = stream.getvalue().splitlines()
    assert [line.split(":")[1].split("] ")[1] for line in lines] == ["starting", "streaming", "streaming"]
    assert "simulations 40/100 (2 running)" in lines[0]
    assert "600 seen + 300 unseen of 1000" in lines[0]


def test_why_jobs_wait_is_shown() -> None:
    stream = io.StringIO()
    view_for(stream).show(snapshot(pending={"Priority": 10, "QOSMaxJobsPerUserLimit": 1}))
    waiting = "10 wait for the scheduler (Priority), 1 waits for the scheduler (QOSMaxJobsPerUserLimit)"
    assert stream.getvalue().endswith(f"{waiting}\n")
    console = Console(file=io.StringIO(), force_terminal=True, width=160, no_color=True)
    view = LiveView(console)
    view.show(snapshot(pending={"Priority": 10, "QOSMaxJobsPerUserLimit": 1}))
    view.close()
    assert waiting in console.file.getvalue()  # type: ignore[attr-defined]


def test_the_error_of_roll_outs_is_shown_beside_that_of_one_step() -> None:
    stream = io.StringIO()
    view_for(stream).show(snapshot(validation_relative_l2=0.012, rollout_relative_l2=0.25))
    assert "validation 1.20 % (roll-out 25.00 %)" in stream.getvalue()


def test_the_live_view_shows_progress_rates_buffer_losses_and_time_left() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=140, no_color=True)
    view = LiveView(console)
    view.show(snapshot())
    view.close()
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    for words in (
        "40 of 100 complete",
        "in 512/s",
        "2048/s",
        "600 seen + 300 unseen of 1000",
        "0.0123",
        "1:05",
        "1:00:00",
    ):
        assert words in shown


def test_the_recorder_thins_itself() -> None:
    recorder = Recorder(max_rows=100)
    for number in range(10_000):
        recorder.write(number / 10, {"batches": number})
    assert 40 <= len(recorder.rows) <= 100
    numbers = [row["batches"] for row in recorder.rows]
    steps = np.diff(numbers)
    assert numbers[0] == 0
    assert numbers[-1] > 9_500
    assert steps.max() == steps.min()


def test_a_buffer_of_meshes_is_shown_by_its_bytes() -> None:
    stream = io.StringIO()
    view_for(stream).show(snapshot(buffer_bytes=3 * 2**20, capacity_nbytes=2**23))
    assert "buffer 600 seen + 300 unseen, 3 MiB of 8 MiB, loss" in stream.getvalue()
    assert snapshot(buffer_bytes=3 * 2**20, capacity_nbytes=2**23).filled == 0.375
    assert snapshot().filled == 0.9


def test_json_lines_and_tensorboard_events_can_be_read_back(tmp_path: Path) -> None:
    for sink in (JsonLinesSink(tmp_path / "metrics.jsonl"), TensorBoardSink(tmp_path / "events")):
        for row in ROWS:
            sink.write(row["seconds"], row)
        sink.close()
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["training_loss"] for line in lines] == [row["training_loss"] for row in ROWS]
    events = EventAccumulator(str(tmp_path / "events"))
    events.Reload()
    assert [event.step for event in events.Scalars("training_loss")] == list(range(20))
    np.testing.assert_allclose(
        [event.value for event in events.Scalars("training_loss")], [row["training_loss"] for row in ROWS], rtol=1e-6
    )


def test_what_is_not_finite_is_null_in_the_lines(tmp_path: Path) -> None:
    sink = JsonLinesSink(tmp_path / "metrics.jsonl")
    sink.write(0.0, {"low": -math.inf, "none": math.nan, "one": 1.0})
    sink.close()
    text = (tmp_path / "metrics.jsonl").read_text()
    assert json.loads(text, parse_constant=pytest.fail) | {"time": 0} == {
        "time": 0,
        "low": None,
        "none": None,
        "one": 1,
    }


def test_figures_are_drawn_of_one_two_and_three_dimensions_and_of_nothing(tmp_path: Path) -> None:
    draw_losses(tmp_path / "losses.png", ROWS, [{"batches": 10.0, "loss": 2.0, "relative_l2": 0.1}])
    draw_losses(tmp_path / "no_losses.png", [], [])
    draw_population(tmp_path / "population.png", ROWS, 100, 20)
    draw_population(tmp_path / "population_of_meshes.png", ROWS, None, None)
    draw_population(tmp_path / "no_population.png", [], 100, None)
    rng = np.random.default_rng(0)
    for shape in ((30,), (8, 9), (4, 5, 6)):
        true = rng.random(shape)
        draw_field(tmp_path / f"field{len(shape)}.png", "u", "title", true + 0.1, true)
    files = list(tmp_path.glob("*.png"))
    assert len(files) == 8
    assert all(file.read_bytes().startswith(b"\x89PNG") for file in files)


@pytest.mark.parametrize(
    ("shape", "components"), [((3,), 1), ((30,), 1), ((2, 30), 2), ((8, 9), 1), ((2, 8, 9), 2), ((4, 5, 6), 1)]
)
def test_roll_outs_are_drawn_as_curves_pictures_or_snapshots(
    tmp_path: Path, shape: tuple[int, ...], components: int
) -> None:
    true = np.random.default_rng(0).random((12, *shape))
    predicted = true * np.linspace(1, 2, 12).reshape(-1, *(1,) * len(shape))
    predicted[-1] = np.inf  # a roll-out may end so
    draw_rollout(tmp_path / "u.png", "u", "title", predicted, true, steps=range(4, 16), components=components)
    draw_rollout(tmp_path / "one.png", "u", "title", true[:1], true[:1], steps=[4], components=components)
    for file in ("u.png", "one.png"):
        assert (tmp_path / file).read_bytes().startswith(b"\x89PNG")


def test_the_errors_of_roll_outs_and_of_validations_are_drawn(tmp_path: Path) -> None:
    by_step = [{"mean": 0.1 * k, "median": 0.08 * k, "p99": 0.3 * k, "max": None} for k in range(1, 9)]
    draw_rollout_errors(tmp_path / "rollout.png", by_step)
    validation = {"batches": 1, "relative_l2": 0.1, "relative_l2_median": 0.05, "relative_l2_p99": None}
    rollouts = [{"relative_l2": {"mean": 0.5}}, {"relative_l2": {"mean": None}}, None]
    draw_losses(tmp_path / "losses.png", [], [{**validation, "rollout": rollout} for rollout in rollouts])
    assert len([*tmp_path.glob("*.png")]) == 2


def test_a_sink_that_cannot_be_written_says_so_once_and_is_left_alone(capsys: pytest.CaptureFixture[str]) -> None:
    sink = LenientSink(JsonLinesSink(Path("/dev/full")), "the metrics")
    for at_s in (0.0, 1.0):
        sink.write(at_s, {"batches": 1})
    assert sink.problem is not None
    assert sink.problem.startswith("the metrics cannot be written any more: ")
    assert "No space left" in sink.problem
    assert capsys.readouterr().err.count("cannot be written") == 1
    sink.close()


def test_a_sink_that_can_be_written_has_no_problem_and_is_written_at_once(tmp_path: Path) -> None:
    sink = LenientSink(JsonLinesSink(tmp_path / "metrics.jsonl"), "the metrics")
    sink.write(0.0, {"batches": 1})
    assert '"batches": 1' in (tmp_path / "metrics.jsonl").read_text()
    sink.close()
    assert sink.problem is None


def test_a_file_goes_on_where_the_checkpoint_was(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    first = JsonLinesSink(path)
    first.write(0.0, {"batches": 1})
    position = first.position
    first.write(0.0, {"batches": 2})
    first.close()
    second = JsonLinesSink(path, position)
    second.write(0.0, {"batches": 3})
    second.close()
    assert [json.loads(line)["batches"] for line in path.read_text().splitlines()] == [1, 3]
    assert second.position == path.stat().st_size
    path.unlink()
    third = JsonLinesSink(path, 100)
    third.write(0.0, {"batches": 4})
    third.close()
    assert [json.loads(line)["batches"] for line in path.read_text().splitlines()] == [4]


def test_the_events_of_a_lost_training_are_not_shown(tmp_path: Path) -> None:
    for first, purge in ((0, 0), (3, 3)):
        sink = TensorBoardSink(tmp_path, purge)
        for batches in range(first, first + 5):
            sink.write(0.0, {"batches": batches, "loss": 10.0 * purge + batches})
        sink.close()
    events = EventAccumulator(str(tmp_path)).Reload().Scalars("loss")
    assert [event.step for event in events] == [0, 1, 2, 3, 4, 5, 6, 7]
    assert [event.value for event in events[2:5]] == [2.0, 33.0, 34.0]


def test_recorded_rows_go_on_without_a_gap(tmp_path: Path) -> None:
    first, second = Recorder(max_rows=8), Recorder(max_rows=8)
    for number in range(9):
        first.write(100.0 + number, {"batches": number})
    second.load_state_dict(first.state_dict())
    for number in range(9, 12):
        second.write(5000.0 + number, {"batches": number})
    assert [row["seconds"] for row in second.rows] == [0, 2, 4, 6, 8, 9]  # every second one; the first begins anew


def test_what_is_measured_before_the_sinks_are_there_is_not_kept() -> None:
    relay, recorder = Relay(), Recorder()
    relay.write(0.0, {"batches": 1})
    relay.sinks = (recorder,)
    relay.write(1.0, {"batches": 2})
    relay.close()
    assert recorder.rows == ({"seconds": 0.0, "batches": 2},)
