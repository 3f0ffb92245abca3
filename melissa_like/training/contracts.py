"""Whether a network and a task keep their contracts, looked at with samples that nobody sent."""

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from melissa_like.errors import ConfigurationError
from melissa_like.loading import Batch, field_of_sample
from melissa_like.models import Problem
from melissa_like.records import Layout
from melissa_like.training.modes import evaluating
from melissa_like.training.outputs import check_outputs
from melissa_like.training.probe import Probe
from melissa_like.training.surrogate import Surrogate
from melissa_like.training.suspects import MODEL, TASK, Suspects
from melissa_like.training.tasks import Predicts, RollsOut

__all__ = ["alike", "check_evaluation", "check_independence", "check_prediction", "check_task", "check_weights"]

#: Two ways of computing the same in float32 differ by less, in parts of the largest value.
_TOLERANCE = 1e-2
#: Lists in lists that are looked into for weights.
_DEEPEST = 3


def check_weights(network: nn.Module, suspects: Suspects) -> None:
    """Whether there is something to train, and nothing that looks as if it were trained.

    Raises:
        ConfigurationError: there is nothing, or a layer has weights that do not count as its own.
    """
    hidden = [*_hidden_weights(network)]
    if hidden:
        raise ConfigurationError(
            f"{suspects.of(MODEL)} keeps weights where torch does not find them ({', '.join(hidden[:6])}), so that "
            "they would neither be trained nor saved: a tensor is an nn.Parameter, layers in a list are an "
            "nn.ModuleList, in a mapping an nn.ModuleDict; what shall not learn gets requires_grad_(False)"
        )
    if not any(weights.requires_grad for weights in network.parameters()):
        raise ConfigurationError(
            f"{suspects.of(MODEL)} has no weights to train: make its layers in __init__ and keep them as attributes of "
            "the module (layers in a list are an nn.ModuleList)"
        )


def check_task(surrogate: Surrogate, batch: Batch, suspects: Suspects) -> None:
    """Whether a task gives what it declares, and whether its way back to the fields undoes its way there.

    Args:
        surrogate: normalized for the batch.
        batch: some samples.
        suspects: who is to be named.

    Raises:
        ConfigurationError: which method gave what.
    """
    task, scale = surrogate.task, surrogate.normalization
    with suspects.blame(TASK, "looks at a batch"), torch.no_grad():
        targets = task.targets(scale, batch)
        _expect("targets", _shapes(targets), _expected(task.problem, _shapes(targets), batch))
        truth = task.truth(batch)
        _expect("truth", {name: values.numel() for name, values in truth.items()}, _sizes(targets))
        restored = task.restore(scale, batch, targets)
        _expect("restore", _shapes(restored), _shapes(truth))
        wrong = [name for name, values in truth.items() if not alike(restored[name], values)]
        if wrong and all(values.isfinite().all() for values in targets.values()):
            raise ValueError(
                f"restore, given what targets gave for {', '.join(wrong)}, does not give what truth gives: what is "
                "predicted would be in other units than what the solver sends"
            )


def check_evaluation(surrogate: Surrogate, batch: Batch, suspects: Suspects) -> None:
    """Whether a network returns what it should in evaluation mode too.

    Args:
        surrogate: normalized for the batch.
        batch: some samples.
        suspects: who is to be named.

    Raises:
        ConfigurationError: it raises, or returns something else.
    """
    task, network, scale = surrogate.task, surrogate.network, surrogate.normalization
    doing = f"is evaluated on {batch.size} samples" if batch.size > 1 else "is evaluated on a single sample"
    with evaluating(surrogate):
        with suspects.blame(MODEL, doing, network, outside=TASK):
            predictions = task.advance(network, scale, batch)
        with suspects.blame(MODEL, doing):
            check_outputs(predictions, task.targets(scale, batch))


def check_independence(surrogate: Surrogate, batch: Batch, suspects: Suspects) -> None:
    """Whether what a network predicts for a sample is the same in whatever company it comes.

    A network that is random when it predicts is not asked.

    Args:
        surrogate: normalized for the batch.
        batch: several samples.
        suspects: who is to be named.

    Raises:
        ConfigurationError: a sample alone gets another prediction.
    """
    with evaluating(surrogate):
        together, again = surrogate(batch), surrogate(batch)
        if not all(alike(again[name], values) for name, values in together.items()):
            return
        for row in range(batch.size):
            alone = surrogate(batch.part(row, row + 1))
            of_row = {name: _rows(batch, name, row) for name in together}
            other = [name for name, values in together.items() if not alike(alone[name], values[of_row[name]])]
            if other:
                raise ConfigurationError(
                    f"{suspects.of(MODEL)} predicts something else for {', '.join(other)} of a sample when other "
                    "samples are in its batch: axis 0 is that of the samples, so take no softmax, mean or "
                    "normalization along it, and do not mix it with others in a reshape (batch normalization: keep "
                    "its running statistics)"
                )


def check_prediction(surrogate: Surrogate, probe: Probe, suspects: Suspects) -> None:
    """Whether a surrogate answers for one sample, or rolls out, as its task says it does.

    A task that wants to be asked something that nobody here knows is not asked.

    Raises:
        ConfigurationError: it cannot be asked, or gives other fields than the targets.
    """
    task, batch = surrogate.task, probe.batch(1)
    parameters = dict(zip(surrogate.layout.parameters, batch.parameters[0].tolist(), strict=True))
    if isinstance(task, Predicts):
        asked = _known(task, task.problem, batch, surrogate.layout)
        if asked is not None:
            with suspects.blame(TASK, "is asked to predict"):
                predicted = surrogate.predict(parameters, **asked)
                _expect("predict", {name: values.size for name, values in predicted.items()}, _sizes(task.truth(batch)))
    if isinstance(task, RollsOut):
        with suspects.blame(TASK, "is asked to roll out"):
            num_steps = next(iter(batch.fields.values())).shape[1] - task.history
            pieces = task.roll_out(surrogate.network, surrogate.normalization, batch, num_steps)
            with evaluating(surrogate):
                shapes = [_shapes(piece) for piece in pieces]
            first = shapes[0]
            found = {name: (of[0], sum(each[name][1] for each in shapes), *of[2:]) for name, of in first.items()}
            _expect("roll_out", found, {name: tuple(values.shape) for name, values in task.truth(batch).items()})


def _known(task: Predicts, problem: Problem, batch: Batch, layout: Layout) -> dict[str, Any] | None:
    """What a task is asked besides the parameters; None: something that nobody here knows."""
    given = [spec for spec in layout.fields if spec.name in problem.fields]
    once = [spec for spec in layout.static if spec.name in problem.static]
    known = {
        "step": int(batch.steps[0]),
        "time": float(batch.times.flatten()[0]),
        "fields": {spec.name: field_of_sample(batch.fields[spec.name].cpu().numpy(), spec) for spec in given},
        "static": {spec.name: field_of_sample(batch.static[spec.name].cpu().numpy(), spec) for spec in once},
    }
    wanted = [p for p in inspect.signature(task.request).parameters.values() if p.kind is p.KEYWORD_ONLY]
    if any(parameter.default is parameter.empty and parameter.name not in known for parameter in wanted):
        return None
    return {parameter.name: known[parameter.name] for parameter in wanted if parameter.name in known}


def alike(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors of the same shape hold the same numbers, but for rounding; NaN is like NaN."""
    one, other = one.double(), other.double()
    slack = _TOLERANCE * float(other[other.isfinite()].abs().max()) if other.isfinite().any() else 0.0
    return torch.allclose(one, other, rtol=0.0, atol=slack, equal_nan=True)


def _hidden_weights(network: nn.Module) -> Iterator[str]:
    """Names of what requires a gradient in an attribute of a layer, and is none of the weights of the network."""
    known = {id(weights) for weights in network.parameters()}
    for path, layer in network.named_modules():
        for name, value in vars(layer).items():
            if name not in ("_parameters", "_modules"):
                for place, tensor in _tensors_in(value, f"{path}.{name}" if path else name, _DEEPEST):
                    if tensor.requires_grad and tensor.is_leaf and id(tensor) not in known:
                        yield place


def _tensors_in(value: object, place: str, depth: int) -> Iterator[tuple[str, Tensor]]:
    """Tensors in lists, mappings and modules, with their places."""
    if isinstance(value, Tensor):
        yield place, value
    elif isinstance(value, nn.Module):
        yield from ((f"{place}.{name}", weights) for name, weights in value.named_parameters())
    elif depth and isinstance(value, Mapping):
        for key, item in value.items():
            yield from _tensors_in(item, f"{place}[{key!r}]", depth - 1)
    elif depth and isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _tensors_in(item, f"{place}[{index}]", depth - 1)


def _rows(batch: Batch, name: str, sample: int) -> slice:
    """The rows of a sample in a field of a batch."""
    extent = batch.axes.points.get(name)
    return slice(sample, sample + 1) if extent is None else slice(*batch.offsets[extent][sample : sample + 2].tolist())


def _expected(problem: Problem, found: Mapping[str, tuple[int, ...]], batch: Batch) -> dict[str, tuple[int, ...]]:
    """Shapes of the targets: [B, C, *grid], or [B, K, C, *grid] where some number of time steps was found."""
    shapes = {}
    for name, shape in problem.targets.items():
        size = batch.size if shape.extent is None else int(batch.offsets[shape.extent][-1])
        one = (size, shape.components, *shape.grid)
        steps = found[name][1:2] if len(found.get(name, ())) > len(one) else ()
        shapes[name] = (size, *steps, shape.components // (shape.steps if steps else 1), *shape.grid)
    return shapes


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(values.shape) for name, values in tensors.items()}


def _sizes(tensors: Mapping[str, Tensor]) -> dict[str, int]:
    return {name: values.numel() for name, values in tensors.items()}


def _expect(method: str, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    if found != wanted:
        raise ValueError(f"{method} gave {found}, expected {wanted}, the shapes of the task's targets")
