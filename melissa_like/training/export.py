"""A surrogate as a file that torch alone can load and call, wherever melissa_like is not installed."""

import copy
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from melissa_like.loading import Batch
from melissa_like.training.modes import evaluating
from melissa_like.training.tasks import RollsOut

if TYPE_CHECKING:
    from melissa_like.training.surrogate import Surrogate

__all__ = ["export_surrogate"]

#: Numbers of samples that the exported program is compared with the surrogate on; the first is what it is traced with.
_SIZES = (3, 1, 7)
_TOLERANCE = 1e-4
_SEED = 0
_SUFFIX = ".pt2"


class _Program(nn.Module):
    """What is exported: tensors in, tensors out, all in original units."""

    def __init__(self, surrogate: "Surrogate") -> None:
        super().__init__()
        self.network = surrogate.network
        self.normalization = surrogate.normalization
        self._task = surrogate.task

    def forward(self, parameters: Tensor, step: Tensor, fields: Mapping[str, Tensor]) -> dict[str, Tensor]:
        batch = Batch(simulations=step, steps=step, times=step.double(), parameters=parameters, fields=fields)
        if isinstance(self._task, RollsOut):
            return dict(self._task.one_call(self.network, self.normalization, batch))
        made = self._task.advance(self.network, self.normalization, batch)
        return dict(self._task.restore(self.normalization, batch, made))


def export_surrogate(surrogate: "Surrogate", path: str | os.PathLike[str]) -> None:
    """Write a surrogate as a program of `torch.export`, for any number B of samples, on the CPU.

    `program = torch.export.load(path).module()` is called as `program(parameters, step, fields)`, all in original
    units: parameters float64 [B, P] in the order of the layout; step int64 [B], the number of the time step; fields by
    name what the task is given. It returns a mapping by target field.

    | task | step | fields | returns |
    |---|---|---|---|
    | `Direct` | to be predicted | none: {} | [B, *shape] |
    | `Operator`, same step | to be predicted | inputs, [B, *shape] | [B, *shape] |
    | `Operator`, first step | steps since the first | initial ones and inputs, [B, 1, *shape] | [B, 1, *shape] |
    | `Autoregressive` | first that is given | [B, history, *shape] | [B, bundle, *shape], those that follow |

    The file appears whole or not at all. What it computes is compared with the surrogate before.

    Args:
        surrogate: normalized.
        path: of the file, `*.pt2`.

    Raises:
        ValueError: torch cannot export the network or the task, or what was exported computes something else; the
            message says why. Or another suffix, the network is given static data or meshes that differ, or the
            surrogate is not normalized yet.
        TypeError: the task learns from windows and cannot roll out.
    """
    target = Path(path)
    if target.suffix != _SUFFIX:
        raise ValueError(f"the file is {target.name!r}: give it the suffix {_SUFFIX}, which torch.export.load expects")
    task, scale = surrogate.task, surrogate.normalization
    if task.problem.static or task.problem.extents:
        of_mesh = ", ".join((*task.problem.static, *task.problem.extents))
        raise ValueError(
            f"the network is given what belongs to a mesh ({of_mesh}), and a program of torch.export takes "
            "parameters, step and fields alone: keep it as it is with save_surrogate"
        )
    if scale.unset or (task.problem.time and scale.time_range is None):
        raise ValueError("the surrogate is not normalized yet, so it predicts nothing: export it after its training")
    if task.window is not None and not isinstance(task, RollsOut):
        raise TypeError(f"{type(task).__name__} learns from windows and has no one_call: nothing says what to export")
    mine = copy.deepcopy(surrogate).cpu().requires_grad_(False)  # so that what it predicts is plain numbers
    for tensor in (*mine.parameters(), *mine.buffers()):  # with memory of its own: torch saves no parts of others
        tensor.data = tensor.data.clone(memory_format=torch.contiguous_format)
    with evaluating(mine):
        program, generator = _Program(mine), torch.Generator().manual_seed(_SEED)
        exported = _exported(program, _made_up(mine, _SIZES[0], generator))
        aside = target.with_name(f".{target.stem}.{os.getpid()}{_SUFFIX}")
        try:
            torch.export.save(exported, aside)
            loaded = torch.export.load(aside).module()
            for size in _SIZES:
                given = _made_up(mine, size, generator)
                _compare(program(*given), loaded(*given), size)
            aside.replace(target)
        finally:
            aside.unlink(missing_ok=True)


def _exported(program: _Program, given: tuple[Tensor, Tensor, dict[str, Tensor]]) -> torch.export.ExportedProgram:
    num_samples = torch.export.Dim("num_samples", min=1)
    shapes = {
        "parameters": {0: num_samples},
        "step": {0: num_samples},
        "fields": {name: {0: num_samples} for name in given[2]},
    }
    try:
        return torch.export.export(program, given, dynamic_shapes=shapes)
    except Exception as error:  # torch raises many kinds, and what the network raises while it is traced
        network = type(program.network).__name__
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise ValueError(
            f"torch.export cannot export the network {network} with {type(program._task).__name__}: {reason}: it takes "
            "networks that compute with tensors alone, the same for any number of samples: no branch on values, no "
            "numpy, no len() of a tensor; keep it as it is with save_surrogate otherwise"
        ) from error


def _made_up(
    surrogate: "Surrogate", num_samples: int, generator: torch.Generator
) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Inputs like those of the training: parameters within their bounds, fields as they are spread."""
    layout, task, scale = surrogate.layout, surrogate.task, surrogate.normalization
    shares = torch.rand(num_samples, len(layout.parameters), generator=generator)
    fields = {}
    for name, shape in task.problem.fields.items():
        spec = layout.fields[layout.field_id(name)]
        values = torch.randn(num_samples * shape.steps, spec.components, *spec.grid, generator=generator)
        steps = (shape.steps,) if isinstance(task, RollsOut) else ()
        values = scale.restore(name, values).reshape(num_samples, *steps, *spec.shape)
        fields[name] = values.to(getattr(torch, spec.dtype))
    first, last = scale.time_range or (0.0, 0.0)
    step = torch.randint(int(first), int(last) + 1, (num_samples,), generator=generator)
    return scale.restore_parameters(2 * shares - 1), step, fields


def _compare(mine: Mapping[str, Tensor], theirs: Mapping[str, Tensor], num_samples: int) -> None:
    for name, values in mine.items():
        slack = _TOLERANCE * float(values.abs().max())
        if not torch.allclose(theirs[name], values, rtol=0.0, atol=slack, equal_nan=True):
            off = float((theirs[name] - values).abs().max())
            raise ValueError(
                f"the exported program gives other values for {name!r} of {num_samples} samples, by {off:.3g} at most: "
                "the network is random when it predicts, or depends on how many samples it is given; it cannot be "
                "exported as it is"
            )
