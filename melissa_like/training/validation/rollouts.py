"""Roll-outs over held-out simulations: the errors at each time step, and how long a roll-out stays near the solver."""

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby

import numpy as np
import torch
from torch import Tensor

from melissa_like.models.segments import sample_of_row, segment_mean, segment_sum
from melissa_like.records import FloatArray
from melissa_like.training.reports import RollOutReport
from melissa_like.training.surrogate import Surrogate
from melissa_like.training.tasks import RollsOut
from melissa_like.training.validation.extracts import Extract
from melissa_like.training.validation.one_step import ratios_of, target_offsets
from melissa_like.training.validation.spread import Table, spread_of

__all__ = ["CORRELATED", "correlations_of", "report_of", "step_errors"]

#: A roll-out is near the solver while their correlation is not below this.
CORRELATED = 0.8
#: Deviations within a field that are not larger, in parts of its norm, are rounding.
_ROUNDING = 1e-7


def step_errors(
    surrogate: Surrogate,
    task: RollsOut,
    trajectories: Extract,
    *,
    chunk_size: int,
    on_chunk: Callable[[], None],
) -> Table:
    """Of each simulation and step of its roll-out the relative errors of the target fields, and two things beside them.

    These are the correlations, and the relative errors of fields that stay as they were before the call: at the last
    time step of the solver, or at the end of the history where the task goes on from nothing else.

    Args:
        surrogate: in evaluation, without gradients.
        task: of the surrogate.
        trajectories: of one sample per simulation, from which it is rolled out to its end.
        chunk_size: time steps of the solver that a call may be given at once, about.
        on_chunk: called before each call of the network, or several.

    Returns:
        [n, 2 + 3 · fields]. The steps are counted from 1, the first that is predicted. A field of zeros has no
        relative error, a constant one no correlation: NaN.
    """
    tables = [np.zeros((0, 2 + 3 * len(surrogate.task.problem.targets)))]
    for part in _of_equal_length(trajectories, task.history, task.longest):
        length = len(part.samples[0])
        # Inputs are needed at every step; else the solver's steps are taken one by one, to compare with.
        needed = length if set(surrogate.task.problem.fields) - set(surrogate.task.problem.targets) else task.history
        for chunk in part.chunks(max(1, chunk_size // needed) * length):
            tables += _rolled_out(surrogate, task, chunk, needed, on_chunk)
    return np.concatenate(tables)


def report_of(table: Table) -> RollOutReport | None:
    """What the errors of all simulations come to; None without any.

    Args:
        table: of `step_errors`, of all ranks.
    """
    if not len(table):
        return None
    simulations, steps = table[:, 0], table[:, 1].astype(int)
    errors, correlations, persistence = np.split(table[:, 2:], 3, axis=1)
    lengths = [_correlation_lengths(correlations[simulations == number]) for number in np.unique(simulations)]
    known = np.concatenate(lengths)
    return RollOutReport(
        num_simulations=len(lengths),
        num_steps=int(steps.max()),
        relative_l2=spread_of(errors),
        by_step=tuple(spread_of(errors[steps == step]) for step in range(1, steps.max() + 1)),
        num_fields=len(known),
        correlation_time=spread_of(known[:, 0]).mean,
        correlation_time_median=spread_of(known[:, 0]).median,
        correlation_time_min=float(known[:, 0].min(initial=np.inf)) if len(known) else np.nan,
        num_correlated=int(known[:, 1].sum()),
        persistence=spread_of(persistence).mean,
    )


def _correlation_lengths(correlations: FloatArray) -> FloatArray:
    """Of each field of one simulation the first step below, and 0; or the number of steps, and 1, if none is.

    Args:
        correlations: [T, F], NaN where there is none.
    """
    found = []
    for each in correlations.T:
        if np.isnan(each).all():
            continue
        below = np.flatnonzero(each < CORRELATED)
        found.append((below[0] + 1, 0) if len(below) else (len(each), 1))
    return np.array(found, dtype=float).reshape(-1, 2)


def _of_equal_length(trajectories: Extract, history: int, longest: int | None) -> Iterator[Extract]:
    """Those with a step to predict, cut to the longest roll-out, in parts of equally many steps."""
    cut = [sample[: None if longest is None else history + longest] for sample in trajectories.samples]
    for length, samples in groupby(sorted(cut, key=len), key=len):
        if length > history:
            yield Extract(trajectories.layout, [*samples], has_windows=True)


def _rolled_out(
    surrogate: Surrogate, task: RollsOut, chunk: Extract, num_given: int, on_chunk: Callable[[], None]
) -> Sequence[FloatArray]:
    """A table for each step of the roll-out of some simulations of equally many steps."""
    device, num_steps = surrogate.device, len(chunk.samples[0]) - task.history
    batch = chunk.steps(0, num_given).batch(device)
    tables, step = [], task.history
    offsets = target_offsets(batch, surrogate.task.problem.targets)
    on_chunk()
    for piece in task.roll_out(surrogate.network, surrogate.normalization, batch, num_steps):
        length = next(iter(piece.values())).shape[1]
        sent = chunk.steps(step, step + length).fields(device)
        truth = {name: sent[name].float() for name in piece}
        if task.longest is None or step == task.history:
            before = chunk.steps(step - 1, step).fields(device)
        stays = {name: before[name].float().expand_as(values) for name, values in truth.items()}
        ratios, still = (ratios_of(made, truth, dict.fromkeys(piece, 2), offsets) for made in (piece, stays))
        correlations = torch.stack(
            [correlations_of(piece[name], truth[name], offsets.get(name)) for name in piece], dim=-1
        )
        for at in range(length):
            number = torch.full_like(batch.steps, step - task.history + at + 1)
            keys = torch.stack([batch.simulations, number], dim=1).double()
            tables.append(torch.cat([keys, ratios[:, at], correlations[:, at], still[:, at]], dim=1).cpu().numpy())
        step += length
        on_chunk()
    return tables


def correlations_of(made: Tensor, truth: Tensor, offsets: Tensor | None = None) -> Tensor:
    """Pearson's correlation over the components and points of a field, float64 [B, K].

    NaN where the solver's field is constant; −1 where the prediction is constant or not finite, which is no agreement.

    Args:
        made: prediction, [B, K, ...], or [ΣN, K, C].
        truth: in the same shape.
        offsets: int64 [B + 1], if the points of all samples follow one another.
    """
    flat = [values.flatten(2).double() for values in (made, truth)]
    centred = [values - _means(values, offsets) for values in flat]
    sizes = [_sums(values.square(), offsets).sqrt() for values in centred]
    found: Tensor = _sums(centred[0] * centred[1], offsets) / (sizes[0] * sizes[1])
    is_constant = sizes[1] <= _ROUNDING * _sums(flat[1].square(), offsets).sqrt()
    return found.where(found.isfinite(), -1.0).where(~is_constant, torch.nan)


def _sums(values: Tensor, offsets: Tensor | None) -> Tensor:
    """Over the last axis, and over the points of each sample if they follow one another: [B, K]."""
    sums = values.sum(dim=2)
    return sums if offsets is None else segment_sum(sums, offsets)


def _means(values: Tensor, offsets: Tensor | None) -> Tensor:
    """The mean of each sample and time step, to be subtracted from values [B, K, ...] or [ΣN, K, C]."""
    means = values.mean(dim=2, keepdim=True)
    return means if offsets is None else segment_mean(means, offsets)[sample_of_row(offsets)]
