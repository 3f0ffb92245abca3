"""Every file of configs/ composes, and what cannot work is refused with what to write instead."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_module
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig
from torch.nn import functional

from melissa_like.config import (
    Config,
    LauncherConfig,
    as_config,
    available_memory,
    capacity,
    capacity_per_rank,
    check,
    check_memory,
    default_capacity,
    log_limit_bytes,
    routing_of,
    saves_buffer,
    watermark_per_rank,
)
from melissa_like.config.schema import BufferConfig, StaticConfig
from melissa_like.errors import ConfigurationError
from melissa_like.launcher.run import prepare
from melissa_like.records import FieldSpec, Layout, Routing, Window
from melissa_like.server.build import make_buffer
from melissa_like.server.build_training import make_loop, make_recipe, make_stream, make_surrogate, window_of
from melissa_like.training import Direct, mse, train

CONFIGS = Path(__file__).parents[2] / "configs"
GROUPS = [f"{file.parent.name}={file.stem}" for file in sorted(CONFIGS.glob("*/*.yaml"))]


def composed(*overrides: str) -> DictConfig:
    ConfigStore.instance().store(name="schema", node=Config)
    with initialize_config_module(version_base="1.3", config_module="melissa_like.configs"):
        return compose("config", overrides=["run_dir=somewhere", *overrides])


def config(*overrides: str) -> Config:
    return as_config(composed(*overrides))


def test_fields_and_static_fields_are_read_into_their_schema() -> None:
    made = config("+solver.static.x.shape=[2,num_points]", "+solver.static.x.components=2").solver
    assert made.static == {"x": StaticConfig(shape=[2, "num_points"], components=2)}
    assert made.fields["temperature"].shape == [32, 32]


@pytest.mark.parametrize("override", GROUPS)
def test_every_file_composes_and_passes_the_check(override: str) -> None:
    extra = ["sampling.design.path=some.csv"] if override == "sampling=list" else []
    extra += ["solver.num_ranks=1"] if override == "launcher=inline" else []
    if override == "solver=empty":
        extra += ["solver.name=mine", "solver.command=[./mine]", "+solver.fields.f.shape=[4]"]
        extra += ["+solver.parameters.a={_target_:melissa_like.sampling.Uniform,low:0,high:1}"]
    check(config(override, *extra))  # does not raise


def test_the_laptop_case_is_the_published_one() -> None:
    case = config("experiment=sc23_laptop")
    assert (case.study.num_simulations, case.solver.num_steps, case.launcher.max_jobs) == (100, 100, 2)
    assert case.solver.fields["temperature"].shape == [100, 100]
    assert (capacity_per_rank(case), watermark_per_rank(case), case.training.batch_size) == (2500, 500, 10)


@pytest.mark.parametrize("buffer", ["fifo", "firo", "reservoir"])
def test_the_laptop_case_runs_with_every_buffer(buffer: str) -> None:
    check(config("experiment=sc23_laptop", f"buffer={buffer}"))  # does not raise


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["buffer.watermark=600", "buffer.capacity=500"], "buffer.watermark is 600 but buffer.capacity is 500"),
        (["training.batch_size=5000"], "training.batch_size is 5000 but a server rank holds only 4000"),
        (
            ["solver.fields.temperature.shape=[num_points]", "buffer.capacity='2 KiB'"],
            "training.batch_size is 64 but a server rank holds only 8 samples even of the smallest mesh",
        ),
        (["study.num_simulations=0"], "study.num_simulations is 0: write 1 or more"),
        ([f"study.seed={2**63}"], "study.seed is 9223372036854775808: write 0 to 9223372036854775807"),
        (["solver.num_steps=10000000000000"], "solver.num_steps is 10000000000000: write 1 to 1000000000000"),
        (["solver.end_time=inf"], "solver.end_time is inf: write a number above 0, 9223372036854775807 at most"),
        (["training.num_threads=100000"], "training.num_threads is 100000: write 1 to 1024"),
        (["monitoring.interval_s=30"], "launcher.server_timeout_s is 60.0 but server ranks report every"),
        (["transport.port=70000"], "transport.port is 70000: write 0"),
        (["solver.fields.temperature.bounds=[1]"], "field 'temperature' has the bounds"),
        (["solver.fields.temperature.bounds=[2,2]"], r"'temperature' has the bounds \[2.0, 2.0\]: .* lowest below"),
        (["solver.fields.temperature.bounds=[3,2]"], "both finite and the lowest below"),
        (["solver.fields.temperature.bounds=[0,inf]"], "both finite"),
        (["solver.fields.temperature.bounds=[nan,1]"], "both finite"),
        (["solver.fields.temperature.bounds=[1e299,1e300]"], r"its dtype is float32 .* between -3.403e\+38 and 3.403e"),
        (
            ["solver.fields.temperature.bounds=[1e299,1e300]", "solver.fields.temperature.dtype=float64"],
            "network computes in float32",
        ),
        (["solver.fields.temperature.bounds=[0,1e5]", "solver.fields.temperature.dtype=float16"], "and 6.55e\\+04"),
        (["solver.fields.temperature.bounds=[-1,9]", "solver.fields.temperature.dtype=uint8"], "between 0 and 255"),
        (["solver.fields.temperature.bounds=[1e8,100000001]"], "too few numbers: send the difference"),
        (["+solver.fields.temperature.fill_value=1e39"], "field 'temperature' has the fill_value 1e.39"),
        (["buffer.capacity=many"], "write a number of samples"),
        (["transport.routing=nearest"], "write one of sample, trajectory"),
        (["training.precision=fp8"], "write one of float32, bf16"),
        (["buffer.device=gpu"], "buffer.device is 'gpu': write one of auto, cpu, cuda"),
        (["buffer.device=cuda", "training.device=cpu"], "write buffer.device=cpu, or training.device=cuda"),
        (["launcher.max_jobs=0"], "launcher.max_jobs is 0"),
        (["solver.command=[./program]"], "exactly one of solver.solve"),
        (["solver=empty", "solver.name=p", "solver.command=[p]", "solver.python=p"], "begin solver.command with it"),
        (["solver.fields.temperature.dtype=complex64"], "write one of float32"),
        (["solver.fields.temperature.shape=[0,3]"], "positive numbers"),
        (["training.schedule_on=batches"], "training.max_batches is null"),
        (["study.num_simulations=1", "buffer.watermark=500"], "only 100 training samples"),
        (["launcher.num_server_ranks=8", "buffer.capacity=4", "training.batch_size=1"], "at least one sample"),
        (["training.checkpoint.interval_s=0"], "training.checkpoint.interval_s is 0.0: write a number above 0"),
        (["training.checkpoint.num_kept=1"], "training.checkpoint.num_kept is 1: write 2 or more"),
        (["training.checkpoint.buffer_limit=much"], "buffer_limit is 'much': write a number of bytes"),
        (
            ["+training.checkpoint.interval=5"],
            "training.checkpoint.interval is no key .* training.checkpoint.interval_s",
        ),
    ],
)
def test_what_cannot_work_is_refused(overrides: list[str], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        check(config(*overrides))


@pytest.mark.parametrize(
    ("overrides", "saves"),
    [
        ([], True),
        (["training.checkpoint.buffer_limit=1 KiB"], False),
        (["training.checkpoint.buffer_limit=1024"], False),
        (["training.checkpoint.buffer_limit=null"], True),
        (["training.checkpoint.buffer_limit=1 KiB", "buffer.views_per_sample=3"], True),
    ],
)
def test_a_large_buffer_is_not_saved_unless_its_draws_are_counted(overrides: list[str], saves: bool) -> None:
    assert saves_buffer(config("buffer.views_per_sample=null", *overrides)) is saves


SMALL_LAYOUT = Layout(fields=(FieldSpec(name="u", shape=(16,)),), parameters=("a",))
LARGE_LAYOUT = Layout(fields=(FieldSpec(name="u", shape=(4_000_000,)),), parameters=("a",))


@pytest.mark.parametrize(
    ("layout", "available", "expected"),
    [(SMALL_LAYOUT, 2**34, 4000), (SMALL_LAYOUT, 4 * 640, 10), (LARGE_LAYOUT, 2**34, 268), (LARGE_LAYOUT, 2**40, 4000)],
)
def test_the_default_capacity_follows_from_the_memory(layout: Layout, available: int, expected: int) -> None:
    chosen = BufferConfig(capacity=default_capacity(layout, available))
    assert capacity(chosen, layout) == expected


def test_a_sample_that_does_not_fit_is_refused_with_both_numbers() -> None:
    with pytest.raises(ConfigurationError, match=r"a sample takes 15.3 MiB and a quarter .* is 8 MiB"):
        default_capacity(LARGE_LAYOUT, 32 * 2**20)


def test_a_capacity_that_does_not_fit_is_refused_with_both_numbers() -> None:
    large = config("solver.solve.grid_size=2000", "buffer.capacity=4000")
    with pytest.raises(ConfigurationError, match=r"4000 samples of 15.3 MiB, .* need 59.6 GiB, but 16 GiB .* are free"):
        check_memory(large, 2**34, num_ranks=1)
    check_memory(config("solver.solve.grid_size=2000", "buffer.capacity=1000"), 2**34, num_ranks=1)


def test_windows_take_the_memory_of_all_their_steps() -> None:
    large = config("solver.solve.grid_size=2000", "buffer.capacity=400")
    with pytest.raises(ConfigurationError, match=r"400 samples of 76.3 MiB, .* need 29.\d GiB, but 16 GiB .* are free"):
        check_memory(large, 2**34, Window(length=5), num_ranks=1)
    smaller = config("solver.solve.grid_size=2000", "buffer.capacity=200")
    check_memory(smaller, 2**34, Window(length=5), num_ranks=1)
    assert not saves_buffer(config("buffer.views_per_sample=null", "buffer.capacity=1000000"), Window(length=5))
    assert saves_buffer(config("buffer.views_per_sample=null", "buffer.capacity=1000000"))


def test_memory_is_what_the_system_has_within_the_limits_of_all_groups(tmp_path: Path) -> None:
    proc, groups = tmp_path / "proc", tmp_path / "groups"
    (proc / "self").mkdir(parents=True)
    (proc / "meminfo").write_text("MemTotal:  2000 kB\nMemAvailable:    1000 kB\n")
    (proc / "self" / "status").write_text("VmSize:  10 kB\n")
    (proc / "self" / "cgroup").write_text("8:cpu:/outer\n4:memory:/old\n0::/outer/inner\n")
    assert available_memory(proc, groups) == 1000 * 1024
    (groups / "outer" / "inner").mkdir(parents=True)
    (groups / "outer" / "inner" / "memory.max").write_text("max\n")
    (groups / "outer" / "memory.max").write_text("500000\n")
    (groups / "outer" / "memory.current").write_text("300000\n")
    (groups / "outer" / "memory.stat").write_text("anon 1\ninactive_file 100000\n")
    assert available_memory(proc, groups) == 300_000
    (groups / "memory" / "old").mkdir(parents=True)
    (groups / "memory" / "old" / "memory.limit_in_bytes").write_text("90000\n")
    (groups / "memory" / "old" / "memory.usage_in_bytes").write_text("100000\n")
    assert available_memory(proc, groups) == 0


def test_the_launcher_writes_down_the_capacity_that_it_chose() -> None:
    study = composed("solver.launch=''", "solver.num_ranks=1")
    settled, _ = prepare(study)
    assert study.buffer.capacity == settled.buffer.capacity
    assert re.fullmatch(r"4000 within \d+ B", settled.buffer.capacity)
    assert capacity_per_rank(settled) == 4000


@pytest.mark.parametrize(
    ("given", "expected"), [(100, 100), ("6400 B", 20), ("30 within 6400 B", 20), ("15 within 6400 B", 15)]
)
def test_a_capacity_is_counted_in_the_samples_that_the_task_needs(given: object, expected: int) -> None:
    assert capacity(BufferConfig(capacity=given), SMALL_LAYOUT, Window(length=5)) == expected


@pytest.mark.parametrize("given", ["many within 1 GiB", "10 within many", "within 1 GiB"])
def test_a_capacity_within_no_memory_is_refused(given: str) -> None:
    with pytest.raises(ConfigurationError, match="write a number of samples"):
        capacity(BufferConfig(capacity=given), SMALL_LAYOUT)


def test_capacity_in_bytes_is_divided_among_the_server_ranks() -> None:
    sized = config("buffer.capacity='4 MiB'", "launcher.num_server_ranks=2", "training.batch_size=8")
    assert capacity_per_rank(sized) == 4 * 2**20 // (32 * 32 * 4) // 2


@pytest.mark.parametrize("device", ["cpu", "auto"])
def test_the_buffer_lies_where_the_training_is_only_if_asked_to(device: str) -> None:
    assert make_buffer(config(f"buffer.device={device}"), 0, torch.device("cpu")).device == torch.device("cpu")


def test_a_buffer_on_a_gpu_is_refused_where_there_is_none() -> None:
    demanding = config("buffer.device=cuda")
    check(demanding)  # the launcher's node need not have one
    with pytest.raises(ConfigurationError, match=r"this server rank trains on cpu: write buffer.device=auto or cpu"):
        make_buffer(demanding, 0, torch.device("cpu"))


def test_a_recipe_is_told_the_device_only_where_its_rows_shall_lie_there() -> None:
    made = make_buffer(config("buffer.device=auto"), 0, torch.device("meta"))
    assert made.device == torch.device("meta")
    assert make_buffer(config(), 0, torch.device("meta")).device == torch.device("cpu")


def test_what_every_training_step_calls_is_called_directly() -> None:
    """Hydra's partials examine their target at every call, which takes half as long as a small training step."""
    assert make_recipe(config()).loss is mse
    assert make_loop(config()) is train
    surrogate = make_surrogate(config(), torch.device("cpu"))
    assert not any(type(part).__module__.startswith("hydra") for part in vars(surrogate).values())


class Huber:
    """A loss with a state of its own."""

    def __init__(self, delta: float) -> None:
        self.delta = delta

    def __call__(
        self, prediction: torch.Tensor, target: torch.Tensor, per_sample: Callable[[torch.Tensor], torch.Tensor]
    ) -> torch.Tensor:
        return per_sample(functional.huber_loss(prediction, target, reduction="none", delta=self.delta))


def test_a_loss_may_be_a_class() -> None:
    loss = make_recipe(config(f"training.loss._target_={__name__}.Huber", "+training.loss.delta=0.5")).loss
    assert isinstance(loss, Huber)
    assert loss.delta == 0.5


def test_an_option_that_a_function_does_not_take_is_told_before_it_is_called() -> None:
    with pytest.raises(ConfigurationError, match=r"training.loss has the options wide .* per_sample, prediction"):
        make_recipe(config("+training.loss.wide=3"))
    with pytest.raises(ConfigurationError, match=r"training.loop has the options fast"):
        make_loop(config("+training.loop.fast=true"))


class TwoSteps(Direct):
    """A task that learns from two steps, and cannot be told of others."""

    window = Window(length=2)


class SomeSteps(Direct):
    """A task that can be told how many steps it learns from."""

    def __init__(self, layout: Layout, window: Mapping[str, int] | None = None) -> None:
        super().__init__(layout)
        self.window = Window(**{"length": 3, **(window or {})})


def of_task(name: str, *overrides: str) -> Config:
    return config(f"training.task._target_={__name__}.{name}", *overrides)


@pytest.mark.parametrize(
    ("task", "overrides", "expected"),
    [
        ("Direct", [], None),
        ("TwoSteps", [], Window(length=2)),
        ("TwoSteps", ["buffer.window.hop=3"], Window(length=2, hop=3)),
        ("SomeSteps", [], Window(length=3)),
        ("SomeSteps", ["buffer.window.stride=2"], Window(length=3, stride=2)),
        ("SomeSteps", ["+training.task.window={hop:2,length:5}", "buffer.window.length=4"], Window(length=4, hop=2)),
    ],
)
def test_a_sample_is_what_the_task_says_with_what_is_wanted(
    task: str, overrides: list[str], expected: Window | None
) -> None:
    assert window_of(of_task(task, *overrides)) == expected


@pytest.mark.parametrize(
    ("task", "overrides", "words"),
    [
        ("Direct", ["buffer.window.hop=2"], r"buffer.window is \{'hop': 2\}, but a sample .*Direct' is one time step"),
        ("TwoSteps", ["buffer.window.length=3"], r"takes no `window`: set length and stride to null \(hop can"),
        (
            "SomeSteps",
            ["buffer.window.length=101"],
            r"spans 101, but a simulation has only 100 .*shorten buffer.window",
        ),
        ("TwoSteps", ["transport.routing=sample"], r"transport.routing is 'sample'.* write transport.routing=null"),
        (
            "SomeSteps",
            ["buffer.capacity='100 KiB'", "buffer.watermark=20"],
            r"watermark is 20 but buffer.capacity is 8",
        ),
        ("SomeSteps", ["buffer.capacity=4000", "buffer.watermark=9900", "study.num_simulations=100"], "watermark"),
    ],
)
def test_a_window_that_cannot_be_had_is_refused(task: str, overrides: list[str], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        window_of(of_task(task, *overrides))


def test_the_routing_follows_from_what_a_sample_is() -> None:
    transport = config().transport
    assert routing_of(transport) is Routing.SAMPLE
    assert routing_of(transport, Window(length=2)) is Routing.TRAJECTORY


def own_recipe(layout: Layout, capacity: int, *, seed: int, spare_slots: int, views_per_sample: int) -> None:
    """A recipe that knows of no windows."""


def test_a_recipe_must_take_windows_where_there_are_any() -> None:
    made = make_buffer(config("buffer.capacity=70"), 0, torch.device("cpu"), Window(length=3))
    assert made.batch_memory(2, pinned=False).fields["temperature"].shape == (2, 3, 32, 32)
    given = config(f"buffer._target_={__name__}.own_recipe", "buffer.capacity=70")
    with pytest.raises(ConfigurationError, match=r"own_recipe takes no window_length, but .* window of 3 time steps"):
        make_buffer(given, 0, torch.device("cpu"), Window(length=3))


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["training.task._target_=nowhere.Task"], "training.task is 'nowhere.Task'"),
        (["+training.task.inputs=[u]"], "training.task has the options inputs .*Direct .* it takes layout"),
        (
            ["training.task._target_=melissa_like.training.Operator"],
            "training.task .*Operator.* leave one or more to be learned",
        ),
    ],
)
def test_a_task_that_cannot_be_made_is_refused(overrides: list[str], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        make_surrogate(config(*(override.format(here=__name__) for override in overrides)), torch.device("cpu"))


def test_field_weights_must_name_the_targets() -> None:
    given = config("+training.field_weights.temprature=1")
    with pytest.raises(ConfigurationError, match=r"training.field_weights .*temprature.* fields are temperature"):
        make_stream(given, [], surrogate=make_surrogate(given, torch.device("cpu")))


@pytest.mark.parametrize(("given", "nbytes"), [("16 MiB", 2**24), (100_000, 100_000), ("1.5 GB", 1_500_000_000)])
def test_a_log_limit_is_a_number_of_bytes_or_a_text(given: object, nbytes: int) -> None:
    assert log_limit_bytes(LauncherConfig(log_limit=given)) == nbytes


@pytest.mark.parametrize("given", [None, 0, 1000, True, "10", "10 apples", "1 KiB"])
def test_a_log_limit_that_is_none(given: object) -> None:
    with pytest.raises(ConfigurationError, match=r"launcher.log_limit is .*'10 MiB'"):
        log_limit_bytes(LauncherConfig(log_limit=given))
