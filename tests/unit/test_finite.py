"""What is looked for in a sample, and what is said of it."""

import numpy as np
import pytest

from melissa_like.assembly import FiniteCheck
from melissa_like.buffer import fifo
from melissa_like.config import Config
from melissa_like.errors import UnfitSampleError
from melissa_like.records import FieldSpec, Layout, Sample, SampleKey
from melissa_like.server.build import guarded
from tests.contract.consumers import assembled
from tests.plugins.means import Means

KEY = SampleKey(3, 7)


def layout(dtype: str, shape: tuple[int, ...] = (3, 4)) -> Layout:
    flag = FieldSpec(name="flag", shape=(2,), dtype="int32")
    return Layout(fields=(flag, FieldSpec(name="u", shape=shape, dtype=dtype)), parameters=("a", "b"))


def looked_at(values: np.ndarray, *, drops: bool = False) -> tuple[SampleKey, ...] | None:
    of = layout(str(values.dtype), values.shape)
    buffer = fifo(of, 4, spare_slots=2)
    consumer = FiniteCheck(buffer, of, drops=drops, give_back=buffer.give_back)
    sample = assembled(consumer, KEY, (np.zeros(2, np.int32), values), parameters=(0.25, -1.0))
    return consumer.take(sample, 0.0)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize(("value", "place"), [(np.nan, (0, 0)), (np.inf, (1, 2)), (-np.inf, (2, 3))])
def test_one_value_is_found_and_named(dtype: str, value: float, place: tuple[int, int]) -> None:
    values = np.ones((3, 4), dtype)
    values[place] = value
    with pytest.raises(UnfitSampleError) as raised:
        looked_at(values)
    said = str(raised.value)
    for words in (
        "time step 7 of simulation 3",
        f"'u' is {value} at {list(place)}",
        "1 of its 12",
        "a = 0.25, b = -1.0",
        "solver.not_finite=drop",
    ):
        assert words in said
    assert not raised.value.drops


def test_infinities_that_cancel_and_many_values_behind_many_are_found() -> None:
    values = np.ones((1000, 300), np.float32)
    values[700, 100:] = np.inf
    values[701, :50] = -np.inf
    with pytest.raises(
        UnfitSampleError, match=r"is inf at \[700, 100\], and is not finite at 250 of its 300000"
    ) as told:
        looked_at(values, drops=True)
    assert told.value.drops


@pytest.mark.parametrize(
    ("dtype", "largest"), [("float16", 6e4), ("float32", 3e38), ("float64", 1e308), ("int64", 2**63 - 1)]
)
def test_large_values_are_finite(dtype: str, largest: float) -> None:
    assert looked_at(np.full((3, 4), largest, dtype)) == (KEY,)


@pytest.mark.parametrize(
    ("dtype", "what", "looks"),
    [
        ("float32", "fail_simulation", True),
        ("float16", "drop", True),
        ("float32", "accept", False),
        ("uint8", "fail_simulation", False),
    ],
)
def test_where_nothing_is_looked_for_nothing_is_in_the_way(dtype: str, what: str, looks: bool) -> None:
    config, of = Config(), layout(dtype)
    config.solver.not_finite = what
    buffer = fifo(of, 4)
    consumer = guarded(config, buffer, of, give_back=buffer.give_back)
    assert isinstance(consumer, FiniteCheck) == looks
    assert (consumer is buffer) != looks


class Picky(Means):
    """A consumer of a user's own that refuses what it does not believe."""

    def take(self, sample: Sample, timeout_s: float) -> tuple[SampleKey, ...] | None:
        if sample.fields[0].max() > 100:
            raise UnfitSampleError("hotter than the sun", drops=True)
        return super().take(sample, timeout_s)


def test_a_consumer_of_ones_own_may_refuse_a_sample_and_its_memory_is_free_again() -> None:
    of = Layout(fields=(FieldSpec(name="u", shape=(4,)),), parameters=("a",))
    buffer = fifo(of, 4, spare_slots=1)
    consumer = FiniteCheck(Picky(then=buffer), of, drops=False, give_back=buffer.give_back)
    for step in range(10):
        sample = assembled(consumer, SampleKey(0, step), (np.full(4, 200.0 if step % 3 else 1.0),))
        if step % 3:
            with pytest.raises(UnfitSampleError, match="hotter than the sun"):
                consumer.take(sample, 0.0)
        else:
            assert consumer.take(sample, 0.0) == (sample.key,)
    assert buffer.population().puts == 4
