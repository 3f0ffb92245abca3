"""A sampler that learns goes on where it was, whatever its launcher did not get to."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from melissa_like.errors import ConfigurationError
from melissa_like.records import Purpose
from melissa_like.sampling import (
    DesignSampler,
    LatinHypercube,
    Snapshot,
    StudySamplers,
    Uniform,
    read_snapshot,
    try_samplers,
    write_snapshot,
)
from melissa_like.sampling.snapshot import SAMPLER_FILE

DISTRIBUTIONS = {"a": Uniform(low=0, high=100)}
PLAIN = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
STATES = st.dictionaries(
    st.text(),
    st.recursive(
        PLAIN,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text() | st.integers(), inner, max_size=3),
        max_leaves=8,
    ),
    max_size=4,
)


class Counting:
    """Gives 0, 1, 2, ... whatever the numbers of the simulations are."""

    def __init__(self) -> None:
        self.drawn = 0

    def next(self, simulations: range) -> list[list[float]]:
        first, self.drawn = self.drawn, self.drawn + len(simulations)
        return [[float(number)] for number in range(first, self.drawn)]

    def observe(self, keys: object, losses: object) -> None:
        """It counts."""

    def state_dict(self) -> dict[str, Any]:
        return {"drawn": self.drawn}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.drawn = state["drawn"]


def of(sampler: object) -> StudySamplers:
    return StudySamplers(sampler, DISTRIBUTIONS, seed=3)  # type: ignore[arg-type]


def listed(training: int, validation: int = 0) -> dict[Purpose, int]:
    return {Purpose.TRAINING: training, Purpose.VALIDATION: validation}


@given(state=STATES)
def test_a_state_comes_back_as_it_was(tmp_path_factory: pytest.TempPathFactory, state: dict[str, Any]) -> None:
    folder = tmp_path_factory.mktemp("snapshot")
    snapshot = Snapshot(first=3, rows=((0.1, 0.2),), state=state)
    write_snapshot(folder, snapshot)
    assert read_snapshot(folder) == snapshot


def test_arrays_come_back_with_their_type(tmp_path: Path) -> None:
    generator = np.random.default_rng(4).bit_generator.state
    state = {"f": np.float32([[1.5, np.inf]]), "i": np.arange(3), "n": np.int64(4), "generator": generator}
    write_snapshot(tmp_path, Snapshot(first=0, rows=(), state=state))
    found = read_snapshot(tmp_path)
    assert found is not None
    assert (found.state["f"].dtype, found.state["f"].tolist()) == (np.float32, [[1.5, np.inf]])
    assert found.state["i"].tolist() == [0, 1, 2]
    assert found.state["n"] == 4
    assert found.state["generator"] == generator


@pytest.mark.parametrize(("row", "next_rows"), [(2, (3.0, 4.0)), (4, (4.0, 5.0))])
def test_a_draw_that_the_journal_did_not_hear_of_is_given_again(
    tmp_path: Path, row: int, next_rows: tuple[float, ...]
) -> None:
    """Two were listed; the launcher died after it had drawn two more, or one of which is listed only after that."""
    before = of(Counting())
    before.next(Purpose.TRAINING, range(2))
    drawn = before.next(Purpose.TRAINING, range(2, 4))
    write_snapshot(tmp_path, before.snapshot(2, drawn))
    after = of(Counting())
    after.go_on(listed(row), read_snapshot(tmp_path))
    if row == 2:
        assert after.next(Purpose.TRAINING, range(2, 3)) == ((2.0,),)
        assert after.next(Purpose.TRAINING, range(3, 5)) == ((3.0,), (4.0,))
    else:
        assert after.next(Purpose.TRAINING, range(4, 6)) == ((4.0,), (5.0,))


def test_a_design_goes_on_without_a_snapshot(tmp_path: Path) -> None:
    def design() -> StudySamplers:
        return of(DesignSampler(LatinHypercube(DISTRIBUTIONS, num_simulations=4, seed=1)))

    whole, again = design(), design()
    held_out, training = whole.next(Purpose.VALIDATION, range(3)), whole.next(Purpose.TRAINING, range(3, 9))
    again.go_on(listed(2, 1), read_snapshot(tmp_path))
    assert again.next(Purpose.TRAINING, range(3, 7)) == training[2:]
    assert again.next(Purpose.VALIDATION, range(7, 9)) == held_out[1:]


def test_a_snapshot_that_is_lost_or_damaged_is_told(tmp_path: Path) -> None:
    of(Counting()).go_on(listed(0), None)
    with pytest.raises(ConfigurationError, match=r"sampler\.json is not there"):
        of(Counting()).go_on(listed(3), None)
    (tmp_path / SAMPLER_FILE).write_text('{"first": 1, "rows": [[')
    with pytest.raises(ConfigurationError, match=r"sampler\.json, from which the sampler goes on, cannot be read"):
        read_snapshot(tmp_path)


def test_a_sampler_whose_state_cannot_be_kept_is_refused_before_the_study() -> None:
    class Secretive(Counting):
        def state_dict(self) -> dict[str, Any]:
            return {"model": object()}

    with pytest.raises(ConfigurationError, match=r"sampling.sampler cannot be kept .*\(TypeError: it holds a object"):
        try_samplers(of(Secretive()), with_sampler=True)
