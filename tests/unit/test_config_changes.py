"""What may be another at a resume: every key of the configuration has an answer."""

from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_module
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf

from melissa_like.config import Config, changed_keys, walltime_s
from melissa_like.config.changes import reason_to_refuse
from melissa_like.config.keys import schema_keys
from melissa_like.errors import ConfigurationError
from melissa_like.launcher.resume import with_overrides


def saved() -> DictConfig:
    """The default study, as its run directory holds it."""
    ConfigStore.instance().store(name="schema", node=Config)
    with initialize_config_module(version_base="1.3", config_module="melissa_like.configs"):
        composed = compose("config", overrides=["run_dir=there"])
    made = OmegaConf.create(OmegaConf.to_container(composed, resolve=True))
    assert isinstance(made, DictConfig)
    return made


def test_every_key_is_in_the_table() -> None:
    for name in schema_keys():
        assert reason_to_refuse(name, 1, 2) != "nothing says that it may", name


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        ("launcher.max_jobs=7", "launcher.max_jobs", 7),
        ("study.num_simulations=400", "study.num_simulations", 400),
        ("launcher.num_server_ranks=2", "launcher.num_server_ranks", 2),
        ("launcher.walltime='1:30:00'", "launcher.walltime", "1:30:00"),
        ("training.max_batches=null", "training.max_batches", None),
        ("+solver.environment.DEBUG=yes", "solver.environment.DEBUG", "yes"),
        ("buffer.capacity=9000", "buffer.capacity", 9000),
        ("monitoring.figures=false", "monitoring.figures", False),
    ],
)
def test_what_may_change_does(override: str, key: str, value: Any) -> None:
    before = saved()
    after = with_overrides(before, [override])
    assert OmegaConf.select(after, key) == value
    assert set(changed_keys(before, after)) <= {key, "solver.environment"}


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("study.num_simulations=3", "simulations can be added, but those that were drawn stay. Leave it out"),
        ("study.num_validation_simulations=9", "validation before and after must be on the same simulations"),
        ("study.seed=1", "study.seed is 0 in this study and cannot become 1 when it is resumed"),
        ("model.depth=9", "the weights of this network"),
        ("solver.fields.temperature.shape=[4,4]", "what was received has these fields"),
        ("solver.num_steps=3", "of one solver"),
        ("transport.routing=trajectory", "lie on the server ranks by it"),
        ("buffer.watermark=10", "the buffer's content"),
        ("training.optimizer.lr=1", "a training that was begun with it"),
        ("run_dir=elsewhere", "a folder that was moved is named as it is called now"),
        ("launcher.max_job=4", "did you mean launcher.max_jobs"),
        ("launcher=inline", "names a group or a mapping: a resumed study takes single keys"),
        ("launcher.max_jobs=1,2", "takes KEY=VALUE, one value for a key"),
        ("~launcher.max_jobs", "takes KEY=VALUE"),
        ("launcher.max_jobs=[1", "cannot be read: write KEY=VALUE"),
        ("launcher.max_jobs=many", "launcher.max_jobs"),
    ],
)
def test_what_may_not_is_refused_with_its_reason(override: str, words: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        with_overrides(saved(), [override])
    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("walltime", "seconds"), [(None, None), (5400, 5400.0), ("1:30:00", 5400.0), ("1-00:00:01", 86401.0)]
)
def test_a_walltime_is_read(walltime: Any, seconds: float | None) -> None:
    launcher = Config().launcher
    launcher.walltime = walltime
    assert walltime_s(launcher) == seconds


@pytest.mark.parametrize("walltime", ["soon", True, float("nan"), "0:70:00", 35])
def test_a_walltime_that_is_none_or_too_short_is_refused(walltime: Any) -> None:
    launcher = Config().launcher
    launcher.walltime = walltime
    words = "35, but its last .* = 35 s are for saving and ending" if walltime == 35 else "write seconds"
    with pytest.raises(ConfigurationError, match=words):
        walltime_s(launcher)


def test_a_study_that_was_moved_is_still_that_study(tmp_path: Path) -> None:
    assert with_overrides(saved(), []) == saved()
