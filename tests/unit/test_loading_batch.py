"""Moments of quantities: merged over ranks they equal those of the union."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from melissa_like.buffer import reservoir
from melissa_like.loading import Batch, BatchAxes, Moments, moments_of
from melissa_like.loading.placement import make_slots
from melissa_like.records import FieldSpec, Layout


@given(
    sizes=st.lists(st.integers(0, 7), min_size=1, max_size=5), seed=st.integers(0, 2**31), scale=st.floats(1e-3, 1e3)
)
def test_merged_moments_equal_numpy_on_the_union(sizes: list[int], seed: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    parts = [scale * rng.normal(rng.normal(), 1.0, (size, 2, 3, 2)) for size in sizes]
    of_parts = [moments_of(torch.from_numpy(part)) for part in parts]
    union = np.concatenate(parts)
    for component in range(2):
        merged = Moments.merge(moments[component] for moments in of_parts)
        values = union[:, component]
        assert merged.count == values.size
        if values.size:
            assert merged.mean == pytest.approx(values.mean(), rel=1e-10, abs=1e-12 * scale)
            assert merged.std == pytest.approx(values.std(), rel=1e-10)


def test_moments_of_float32_far_from_zero_keep_their_digits() -> None:
    samples = 300.0 + torch.arange(6000, dtype=torch.float32).reshape(6, 1, 1000) / 6000
    (moments,) = moments_of(samples)
    assert moments.std == pytest.approx(samples.to(torch.float64).numpy().std(), rel=1e-12)


def test_nothing_has_moments_of_nothing() -> None:
    nothing = Moments(count=0, mean=0.0, std=0.0)
    assert Moments.merge([]) == nothing
    assert moments_of(torch.empty(0, 2, 4)) == (nothing, nothing)


def test_batches_are_placed_where_their_buffer_can_reach() -> None:
    layout = Layout(fields=(FieldSpec(name="u", shape=(2,)),), parameters=())
    with pytest.raises(ValueError, match="batches can be placed on cpu or cuda"):
        make_slots(reservoir(layout, 4), 2, 1, torch.device("meta"))
    with pytest.raises(ValueError, match="the buffer lies on meta but the batches are wanted on cpu"):
        make_slots(reservoir(layout, 4, device="meta"), 2, 1, torch.device("cpu"))


#: Three simulations of 2, 1 and 3 points.
RAGGED = Batch(
    simulations=torch.tensor([7, 8, 9]),
    steps=torch.tensor([0, 1, 2]),
    times=torch.tensor([0.0, 0.1, 0.2], dtype=torch.float64),
    parameters=torch.zeros(3, 1, dtype=torch.float64),
    fields={"u": torch.arange(12.0).view(6, 2), "drag": torch.tensor([[1.0], [2.0], [3.0]])},
    offsets={"points": torch.tensor([0, 2, 3, 6]), "edges": torch.tensor([0, 1, 1, 3])},
    static={
        "edges": torch.tensor([[0, 1], [3, 5], [5, 4]]),
        "inflow": torch.tensor([[0], [2], [4]]),
        "material": torch.ones(3, 4),
        "weights": torch.ones(5),
    },
    axes=BatchAxes(
        points={"u": "points", "edges": "edges"},
        indexes={"edges": "points", "inflow": "points"},
        shared=frozenset({"weights"}),
    ),
)


def test_a_part_of_ragged_samples_counts_its_points_from_zero() -> None:
    part = RAGGED.part(1, 3)
    assert part.size == 2
    assert part.fields["u"].tolist() == RAGGED.fields["u"][2:].tolist()
    assert part.fields["drag"].tolist() == [[2.0], [3.0]]
    assert part.offsets["points"].tolist() == [0, 1, 4]
    assert part.offsets["edges"].tolist() == [0, 0, 2]
    assert part.static["edges"].tolist() == [[1, 3], [3, 2]]
    assert part.static["inflow"].tolist() == [[0], [2]]
    assert part.static["material"].shape == (2, 4)
    assert part.static["weights"] is RAGGED.static["weights"]


def test_a_part_of_a_part_is_that_part_of_the_whole() -> None:
    twice, once = RAGGED.part(1, 3).part(1, 2), RAGGED.part(2, 3)
    for name in ("edges", "inflow"):
        assert twice.static[name].tolist() == once.static[name].tolist()
    assert twice.fields["u"].tolist() == once.fields["u"].tolist()
    assert twice.offsets["points"].tolist() == once.offsets["points"].tolist() == [0, 3]


def test_all_of_a_ragged_batch_moves_to_a_device() -> None:
    moved = RAGGED.to(torch.device("meta"))
    tensors = [*moved.fields.values(), *moved.offsets.values(), *moved.static.values()]
    assert {tensor.device.type for tensor in tensors} == {"meta"}
    assert moved.axes is RAGGED.axes
