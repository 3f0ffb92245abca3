"""How wrong a surrogate is, measured in the same way whoever trained it."""

from collections.abc import Iterable

import numpy as np
import torch

from melissa_like.training import Surrogate
from melissa_like.training.modes import evaluating
from tests.benchmarks.claim.results import Errors
from tests.benchmarks.claim.simulations import Samples

__all__ = ["errors_of"]

_CHUNK = 64


def errors_of(surrogate: Surrogate, samples: Samples) -> Errors:
    """The errors of all samples of some simulations; several fields are averaged."""
    ratios, squares = [], []
    with evaluating(surrogate):
        for chunk in _chunks(range(len(samples))):
            batch = samples.__getitems__(chunk).to(surrogate.device)
            predictions, truth = surrogate(batch), surrogate.task.truth(batch)
            errors = {name: (predictions[name] - values).double().flatten(1) for name, values in truth.items()}
            sizes = {name: values.double().flatten(1).norm(dim=1) for name, values in truth.items()}
            ratios.append(torch.stack([errors[name].norm(dim=1) / sizes[name] for name in truth]).mean(dim=0))
            squares.append(torch.stack([errors[name].square().mean(dim=1) for name in truth]).mean(dim=0))
    relative = torch.cat(ratios).cpu().numpy()
    return Errors(
        mean=float(relative.mean()),
        median=float(np.median(relative)),
        p99=float(np.quantile(relative, 0.99)),
        max=float(relative.max()),
        mse=float(torch.cat(squares).mean()),
    )


def _chunks(indices: range) -> Iterable[range]:
    return (indices[start : start + _CHUNK] for start in range(0, len(indices), _CHUNK))
