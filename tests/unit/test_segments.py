"""Sums and means of the rows of samples that follow one another."""

import pytest
import torch

from melissa_like.models.segments import sample_of_row, segment_max, segment_mean, segment_sum

OFFSETS = torch.tensor([0, 2, 5, 5, 9])


@pytest.mark.parametrize("shape", [(9,), (9, 3), (9, 2, 3)])
@pytest.mark.parametrize(
    ("reduced", "alone"),
    [(segment_sum, lambda rows: rows.sum(0)), (segment_mean, lambda rows: rows.mean(0) if len(rows) else rows.sum(0))],
)
def test_each_sample_is_reduced_by_itself(shape, reduced, alone) -> None:
    values = torch.randn(*shape, dtype=torch.float64, requires_grad=True)
    expected = torch.stack([alone(rows) for rows in torch.tensor_split(values, OFFSETS[1:-1])])
    torch.testing.assert_close(reduced(values, OFFSETS), expected)
    assert torch.autograd.gradcheck(lambda given: reduced(given, OFFSETS), (values,))


def test_the_largest_of_each_sample() -> None:
    values = torch.tensor([[1.0, 5.0], [3.0, 2.0], [-4.0, -7.0]])
    torch.testing.assert_close(segment_max(values, torch.tensor([0, 2, 3])), torch.tensor([[3.0, 5.0], [-4.0, -7.0]]))


def test_rows_know_their_sample() -> None:
    assert sample_of_row(OFFSETS).tolist() == [0, 0, 1, 1, 1, 3, 3, 3, 3]
