"""Every file of configs/ composes, and what cannot work is refused with what to write instead."""

import functools
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_module
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig

from melissa_like.config import Config, as_config, capacity_per_rank, check, watermark_per_rank
from melissa_like.errors import ConfigurationError
from melissa_like.server.build import make_buffer, make_loss, make_surrogate

CONFIGS = Path(__file__).parents[2] / "configs"
GROUPS = [f"{file.parent.name}={file.stem}" for file in sorted(CONFIGS.glob("*/*.yaml"))]


def composed(*overrides: str) -> DictConfig:
    ConfigStore.instance().store(name="schema", node=Config)
    with initialize_config_module(version_base="1.3", config_module="melissa_like.configs"):
        return compose("config", overrides=["run_dir=somewhere", *overrides])


def config(*overrides: str) -> Config:
    return as_config(composed(*overrides))


@pytest.mark.parametrize("override", GROUPS)
def test_every_file_composes_and_passes_the_check(override: str) -> None:
    extra = ["sampling.design.path=some.csv"] if override == "sampling=list" else []
    extra += ["solver.num_ranks=1"] if override == "launcher=inline" else []
    if override == "solver=empty":
        extra += ["solver.name=mine", "solver.command=[./mine]", "+solver.fields.f.shape=[4]"]
        extra += ["+solver.parameters.a={_target_:melissa_like.sampling.Uniform,low:0,high:1}"]
    check(config(override, *extra))


def test_the_laptop_case_is_the_published_one() -> None:
    case = config("experiment=sc23_laptop")
    assert (case.study.num_simulations, case.solver.num_steps, case.launcher.max_jobs) == (100, 100, 2)
    assert case.solver.fields["temperature"].shape == [100, 100]
    assert (capacity_per_rank(case), watermark_per_rank(case), case.training.batch_size) == (2500, 500, 10)


@pytest.mark.parametrize("buffer", ["fifo", "firo", "reservoir"])
def test_the_laptop_case_runs_with_every_buffer(buffer: str) -> None:
    check(config("experiment=sc23_laptop", f"buffer={buffer}"))


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["buffer.watermark=600", "buffer.capacity=500"], "buffer.watermark is 600 but buffer.capacity is 500"),
        (["training.batch_size=5000"], "training.batch_size is 5000 but a server rank holds only 4000"),
        (["study.num_simulations=0"], "study.num_simulations is 0: write 1 or more"),
        (["monitoring.interval_s=30"], "launcher.server_timeout_s is 60.0 but server ranks report every"),
        (["transport.port=70000"], "transport.port is 70000: write 0"),
        (["solver.fields.temperature.bounds=[1]"], "field 'temperature' has the bounds"),
        (["buffer.capacity=many"], "write a number of samples"),
        (["transport.routing=nearest"], "write one of sample, trajectory"),
        (["training.precision=fp8"], "write one of float32, bf16"),
        (["buffer.device=gpu"], "buffer.device is 'gpu': write one of auto, cpu, cuda"),
        (["buffer.device=cuda", "training.device=cpu"], "write buffer.device=cpu, or training.device=cuda"),
        (["launcher.max_jobs=0"], "launcher.max_jobs is 0"),
        (["solver.command=[./program]"], "exactly one of solver.solve"),
        (["solver.fields.temperature.dtype=complex64"], "write one of float32"),
        (["solver.fields.temperature.shape=[0,3]"], "positive numbers"),
        (["training.schedule_on=batches"], "training.max_batches is null"),
        (["study.num_simulations=1", "buffer.watermark=500"], "only 100 training samples"),
        (["launcher.num_server_ranks=8", "buffer.capacity=4", "training.batch_size=1"], "at least one sample"),
    ],
)
def test_what_cannot_work_is_refused(overrides: list[str], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        check(config(*overrides))


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
    assert type(make_loss(config())) is functools.partial
    surrogate = make_surrogate(config(), torch.device("cpu"))
    assert not any(type(part).__module__.startswith("hydra") for part in vars(surrogate).values())
