"""Networks, losses, tasks, optimizers, schedules and loops that do not work, or only nearly: one fault each."""

from collections import UserDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from melissa_like.loading import Batch
from melissa_like.models import MLP, Problem
from melissa_like.records import Layout
from melissa_like.training import Direct, Normalization, TrainingStream, train

# -- networks ---------------------------------------------------------------------------------------------------------


class Sound(nn.Module):
    """A network for one field; the others change one thing of it."""

    def __init__(self, problem: Problem, width: int = 8) -> None:
        super().__init__()
        ((self.name, self.shape),) = problem.targets.items()
        self.first = nn.Linear(problem.num_inputs, width)
        self.between = self.make_between(width)
        self.last = nn.Linear(width, self.num_outputs(problem))

    def make_between(self, width: int) -> nn.Module:
        return nn.Tanh()

    def num_outputs(self, problem: Problem) -> int:
        return problem.num_outputs

    def forward(self, *, parameters: torch.Tensor, time: torch.Tensor) -> Any:
        return self.answer(self.last(self.between(self.first(torch.cat([parameters, time[:, None]], dim=1)))))

    def answer(self, flat: torch.Tensor) -> Any:
        return {self.name: flat.view(-1, self.shape.components, *self.shape.grid)}


class OneColumn(Sound):
    """One number for sixteen, which would be broadcast."""

    def num_outputs(self, problem: Problem) -> int:
        return 1

    def answer(self, flat: torch.Tensor) -> Any:
        return {self.name: flat.view(-1, 1, 1)}


class OneTooMany(Sound):
    """A column too many."""

    def num_outputs(self, problem: Problem) -> int:
        return problem.num_outputs + 1

    def answer(self, flat: torch.Tensor) -> Any:
        return {self.name: flat.unsqueeze(1)}


class ViewsOneTooMany(OneTooMany):
    """The same, found by its own view."""

    def answer(self, flat: torch.Tensor) -> Any:
        return {self.name: flat.view(len(flat), self.shape.components, *self.shape.grid)}


class WithoutComponents(Sound):
    """The axis of the components is missing."""

    def answer(self, flat: torch.Tensor) -> Any:
        return {self.name: flat}


class AnotherAxis(Sound):
    """An axis too many."""

    def answer(self, flat: torch.Tensor) -> Any:
        return {self.name: flat.view(-1, 1, 1, *self.shape.grid)}


class Pair(Sound):
    """A pair instead of a mapping."""

    def answer(self, flat: torch.Tensor) -> Any:
        return flat, flat


class Bare(Sound):
    """A tensor instead of a mapping."""

    def answer(self, flat: torch.Tensor) -> Any:
        return flat


class Nothing(Sound):
    """Forgets to return."""

    def answer(self, flat: torch.Tensor) -> Any:
        return None


class Integers(Sound):
    """Whole numbers."""

    def answer(self, flat: torch.Tensor) -> Any:
        return {self.name: flat.view(-1, 1, *self.shape.grid).round().long()}


class Detached(Sound):
    """Cuts its answer off from its weights."""

    def answer(self, flat: torch.Tensor) -> Any:
        return {self.name: flat.detach().view(-1, 1, *self.shape.grid)}


class Raises(Sound):
    """Fails in its own code."""

    def answer(self, flat: torch.Tensor) -> Any:
        return {self.name: flat @ torch.zeros(3, 3)}


class OnlyInTraining(Sound):
    """Wrong in training mode only."""

    def answer(self, flat: torch.Tensor) -> Any:
        return {self.name: flat.view(-1, 1, *self.shape.grid)[:, :, : 3 if self.training else None]}


class OnlyInEvaluation(Sound):
    """Wrong in evaluation mode only."""

    def answer(self, flat: torch.Tensor) -> Any:
        return {self.name: flat.view(-1, 1, *self.shape.grid)[:, :, : None if self.training else 3]}


class Squeezes(Sound):
    """Loses the axis of a single sample."""

    def answer(self, flat: torch.Tensor) -> Any:
        values = flat.squeeze(0)
        return {self.name: values.view(*values.shape[:-1], self.shape.components, *self.shape.grid)}


class Lazy(Sound):
    """A layer without a shape before the first call."""

    def make_between(self, width: int) -> nn.Module:
        return nn.LazyLinear(width)


class Idle(Sound):
    """A layer that is not used."""

    def make_between(self, width: int) -> nn.Module:
        self.spare = nn.Linear(width, width)
        return nn.Tanh()


class Frozen(Idle):
    """The same, but nobody expects a gradient of it."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self.spare.requires_grad_(False)


class Weightless(nn.Module):
    """Nothing to train; its layers are in a plain list."""

    def __init__(self, problem: Problem) -> None:
        super().__init__()
        ((self.name, self.shape),) = problem.targets.items()
        self.layers = [nn.Linear(problem.num_inputs, problem.num_outputs)]

    def forward(self, *, parameters: torch.Tensor, time: torch.Tensor) -> dict[str, torch.Tensor]:
        flat = self.layers[0](torch.cat([parameters, time[:, None]], dim=1))
        return {self.name: flat.view(-1, 1, *self.shape.grid)}


class AllFrozen(Sound):
    """Every weight is frozen."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self.requires_grad_(False)


class BatchNorm(Sound):
    """Batch normalization, which a single sample cannot be given in training."""

    def make_between(self, width: int) -> nn.Module:
        return nn.BatchNorm1d(width)


class BatchNormWithoutMemory(Sound):
    """The same without running statistics."""

    def make_between(self, width: int) -> nn.Module:
        return nn.BatchNorm1d(width, track_running_stats=False)


class Forgetful(Sound):
    """Random numbers of its own that are not saved."""

    def make_between(self, width: int) -> nn.Module:
        self.numbers = torch.randn(width, width)
        return nn.Identity()

    def answer(self, flat: torch.Tensor) -> Any:
        return {self.name: (flat * (1 + self.numbers.sum())).view(-1, 1, *self.shape.grid)}


class Remembering(Forgetful):
    """The same, saved."""

    def make_between(self, width: int) -> nn.Module:
        self.register_buffer("numbers", torch.randn(width, width))
        return nn.Identity()


class Dropout(Sound):
    """Random in training."""

    def make_between(self, width: int) -> nn.Module:
        return nn.Dropout(0.5)


class Grows(Sound):
    """Has other weights after it was called than a new one."""

    def answer(self, flat: torch.Tensor) -> Any:
        self.extra = nn.Parameter(torch.zeros(len(flat)))
        return super().answer(flat)


class NotFinite(Sound):
    """The logarithm of what is below 0."""

    def answer(self, flat: torch.Tensor) -> Any:
        return {self.name: (-flat.square() - 1).log().view(-1, 1, *self.shape.grid)}


class Complex(Sound):
    """Complex numbers."""

    def answer(self, flat: torch.Tensor) -> Any:
        return {self.name: torch.fft.fft(flat).view(-1, 1, *self.shape.grid)}


class Double(Sound):
    """A layer of another precision than what it is given."""

    def make_between(self, width: int) -> nn.Module:
        return nn.Linear(width, width).double()


class Transposed(Sound):
    """Weights that are not contiguous."""

    def make_between(self, width: int) -> nn.Module:
        self.extra = nn.Parameter(torch.randn(3, width).t())
        return nn.Identity()

    def answer(self, flat: torch.Tensor) -> Any:
        return {self.name: (flat + self.extra.sum()).view(-1, 1, *self.shape.grid)}


class RemembersBatch(Sound):
    """Keeps something of the size of its first batch."""

    memory: torch.Tensor | None = None

    def answer(self, flat: torch.Tensor) -> Any:
        self.memory = torch.zeros_like(flat) if self.memory is None else self.memory
        return {self.name: (flat + self.memory).view(-1, 1, *self.shape.grid)}


class SparseGradient(Sound):
    """Gradients that most optimizers do not take."""

    def make_between(self, width: int) -> nn.Module:
        self.table = nn.Embedding(4, 16, sparse=True)
        return nn.Identity()

    def answer(self, flat: torch.Tensor) -> Any:
        rows = self.table(torch.zeros(len(flat), dtype=torch.int64))
        return {self.name: (flat + rows).view(-1, 1, *self.shape.grid)}


class SaysMore(Sound):
    """More than the targets, in another kind of mapping."""

    def answer(self, flat: torch.Tensor) -> Any:
        return UserDict({self.name: flat.view(-1, 1, *self.shape.grid), "hidden": flat})


class OnTheHost(Sound):
    """Works on the CPU only: adds a tensor that is no buffer."""

    def answer(self, flat: torch.Tensor) -> Any:
        return {self.name: (flat + torch.ones(flat.shape)).view(-1, 1, *self.shape.grid)}


class InAList(Sound):
    """A layer in a list, where no optimizer finds its weights."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self.more = [nn.Linear(8, 8)]

    def forward(self, *, parameters: torch.Tensor, time: torch.Tensor) -> Any:
        self.between = self.more[0]
        return super().forward(parameters=parameters, time=time)


class InAMapping(Sound):
    """Weights in a mapping of lists."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self.scales = {"last": [torch.ones(1, requires_grad=True)]}

    def answer(self, flat: torch.Tensor) -> Any:
        return super().answer(flat * self.scales["last"][0])


class BareTensor(Sound):
    """A weight that is no parameter."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self.scale = torch.ones(1, requires_grad=True)

    def answer(self, flat: torch.Tensor) -> Any:
        return super().answer(flat * self.scale)


class WithTeacher(Sound):
    """A frozen copy that is hidden on purpose."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self.teacher = [nn.Linear(8, 8).requires_grad_(False)]


class MixesSamples(Sound):
    """A softmax along the wrong axis."""

    def answer(self, flat: torch.Tensor) -> Any:
        return super().answer(flat.softmax(dim=0))


class ReshapesSamples(Sound):
    """A reshape where a transpose was meant."""

    def answer(self, flat: torch.Tensor) -> Any:
        return super().answer(flat.T.reshape(flat.shape))


class FirstForAll(Sound):
    """The first sample's answer for all."""

    def answer(self, flat: torch.Tensor) -> Any:
        return super().answer(flat[:1].expand_as(flat).contiguous())


class BatchStatistics(Sound):
    """Normalizes by the batch when it predicts, too."""

    def answer(self, flat: torch.Tensor) -> Any:
        return super().answer(nn.functional.batch_norm(flat.unsqueeze(1), None, None, training=True).squeeze(1))


class Noisy(Sound):
    """Random when it predicts, too."""

    def answer(self, flat: torch.Tensor) -> Any:
        return super().answer(flat + torch.rand_like(flat))


class InFourierSpace(Sound):
    """Complex weights between real ones."""

    def make_between(self, width: int) -> nn.Module:
        return _Spectral(width)


class _Spectral(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.weight = nn.Parameter(torch.ones(width // 2 + 1, dtype=torch.complex64))

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return torch.fft.irfft(torch.fft.rfft(values) * self.weight, n=self.width)


class Exits(Sound):
    """Parses the arguments of a program that it is not part of."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        raise SystemExit(2)


class ExitsLater(Sound):
    """Gives up the whole program."""

    def answer(self, flat: torch.Tensor) -> Any:
        raise SystemExit("not for this problem")


class RootOfZero(Sound):
    """A root whose slope is infinite."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def answer(self, flat: torch.Tensor) -> Any:
        return super().answer(flat.abs().sqrt())


class ShareOfABuffer(Sound):
    """Buffers that are rows of one tensor."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self.register_buffer("mean", torch.zeros(2, 16)[0])


class SparseBuffer(Sound):
    """A sparse matrix, which can neither be saved nor sent to other ranks."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self.register_buffer("matrix", torch.eye(16).to_sparse())


class DoubleComplex(Sound):
    """A dtype that cannot be saved."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self.register_buffer("phase", torch.ones(16, dtype=torch.complex128))


class GrowingBuffer(Sound):
    """A buffer that has another size after training."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self.register_buffer("seen", torch.zeros(0))

    def answer(self, flat: torch.Tensor) -> Any:
        if self.training:
            self.seen = torch.cat([self.seen, flat.detach().mean(dim=1)])
        return super().answer(flat)


class Slope(Sound):
    """Adds a derivative of what it has computed, which there is not when it predicts."""

    def forward(self, *, parameters: torch.Tensor, time: torch.Tensor) -> Any:
        time = time.requires_grad_()
        values = super().forward(parameters=parameters, time=time)[self.name]
        (slope,) = torch.autograd.grad(values.sum(), time, create_graph=True)
        return {self.name: values + slope[:, None, None]}


class AnotherCall(Sound):
    """Wants arguments that no task gives."""

    def forward(self, x: torch.Tensor) -> Any:  # type: ignore[override]
        return x


# -- losses -----------------------------------------------------------------------------------------------------------


def scalar(prediction: torch.Tensor, target: torch.Tensor, per_sample: Any) -> torch.Tensor:
    """One number for the batch."""
    return ((prediction - target) ** 2).mean()


def elementwise(prediction: torch.Tensor, target: torch.Tensor, per_sample: Any) -> torch.Tensor:
    """A number per element."""
    return (prediction - target) ** 2


def number(prediction: torch.Tensor, target: torch.Tensor, per_sample: Any) -> float:
    """No tensor."""
    return float(((prediction - target) ** 2).mean())


def cut_off(prediction: torch.Tensor, target: torch.Tensor, per_sample: Any) -> torch.Tensor:
    """Cannot be differentiated."""
    return per_sample((prediction.detach() - target) ** 2)


def complex_numbers(prediction: torch.Tensor, target: torch.Tensor, per_sample: Any) -> torch.Tensor:
    """Forgets the absolute value."""
    return per_sample(torch.fft.fft(prediction - target))  # type: ignore[no-any-return]


class Weighted(nn.Module):
    """A loss that wants to learn."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(1.0))

    def forward(self, prediction: torch.Tensor, target: torch.Tensor, per_sample: Any) -> Any:
        return self.weight * per_sample((prediction - target).square())


class Perceptual(Weighted):
    """A loss with a network that is frozen."""

    def __init__(self) -> None:
        super().__init__()
        self.requires_grad_(False)


def two_arguments(prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Does not take per_sample."""
    return ((prediction - target) ** 2).flatten(1).mean(1)


def divides_by_deviation(prediction: torch.Tensor, target: torch.Tensor, per_sample: Any) -> torch.Tensor:
    """A single sample has no deviation."""
    return per_sample((prediction - target) ** 2) / target.std(dim=0).mean()


def raises(prediction: torch.Tensor, target: torch.Tensor, per_sample: Any) -> torch.Tensor:
    """Fails in its own code."""
    return {}["weight"] * per_sample(prediction)


# -- optimizers, schedules, loops -------------------------------------------------------------------------------------


def no_optimizer(parameters: Iterator[nn.Parameter]) -> list[nn.Parameter]:
    """Something else."""
    return list(parameters)


def ruins(parameters: Sequence[nn.Parameter]) -> torch.optim.Optimizer:
    """An optimizer that divides by zero."""

    class Ruining(torch.optim.SGD):
        @torch.no_grad()
        def step(self, closure: Any = None) -> None:  # type: ignore[override]
            for weights in self.param_groups[0]["params"]:
                weights /= 0.0

    return Ruining(parameters, lr=0.1)


def decays_matrices_alone(parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """Walks twice along the weights, as everybody does."""
    matrices = [weights for weights in parameters if weights.ndim > 1]
    vectors = [weights for weights in parameters if weights.ndim <= 1]
    assert vectors, "half of the weights would not be trained"
    return torch.optim.AdamW([{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}])


def negative(progress: float) -> float:
    """A factor below 0 at the end."""
    return 1 - 2 * progress


def text(progress: float) -> str:
    """No factor."""
    return "fast"


def forgets_to_return(stream: TrainingStream) -> None:
    """Returns nothing."""
    for _ in stream.turns:
        pass


def loses_its_weights(stream: TrainingStream, *, at_once: bool = True) -> nn.Module:
    """Returns weights that are no numbers, and reports no loss."""
    trained = train(stream)
    if at_once or not stream.is_trial:
        for weights in trained.network.parameters():
            nn.init.constant_(weights, float("nan"))
    return trained


def returns_nothing_later(stream: TrainingStream) -> nn.Module | None:
    """Keeps its contract in the trial only."""
    trained = train(stream)
    return trained if stream.is_trial else None


def takes_nothing(stream: TrainingStream) -> nn.Module:
    """Trains nothing."""
    return stream.surrogate


def misspelt(stream: TrainingStream) -> nn.Module:
    """Fails in its own code."""
    for turn in stream.turns:
        stream.reprot(loss=turn.progress)  # type: ignore[attr-defined]
    return stream.surrogate


def yields(stream: TrainingStream) -> Iterator[nn.Module]:
    """A generator, which nobody runs."""
    yield from stream.turns


async def waits(stream: TrainingStream) -> nn.Module:
    """A coroutine, which nobody runs."""
    return stream.surrogate


def keeps_what_has_no_state(stream: TrainingStream) -> nn.Module:
    """Could not go on after a restart."""
    stream.keep("list", [])  # type: ignore[arg-type]
    for _ in stream.turns:
        pass
    return stream.surrogate


def wants_three_turns(stream: TrainingStream) -> nn.Module:
    """More than there need be."""
    for _ in range(3):
        next(stream.turns)
    return stream.surrogate


class _Path:
    """Its state is of a type that is not read from a checkpoint."""

    def state_dict(self) -> dict[str, Any]:
        return {"folder": Path("runs")}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Never called."""


def keeps_a_path(stream: TrainingStream) -> nn.Module:
    """Something that a checkpoint cannot bring back."""
    stream.keep("place", _Path())
    return validates_always(stream)


def validates_always(stream: TrainingStream) -> nn.Module:
    """Sound: validates after each training step, and returns the surrogate."""
    objective = stream.objective()
    optimizer = torch.optim.SGD(stream.surrogate.network.parameters(), lr=1e-3)
    for turn in stream.turns:
        optimizer.zero_grad()
        objective(turn.batch, turn.progress).sum().backward()
        optimizer.step()
        stream.validate()
    return stream.surrogate


def needs_a_batch(stream: TrainingStream) -> nn.Module:
    """Does not expect that a rank has nothing to draw."""
    objective = stream.objective()
    optimizer = torch.optim.SGD(stream.surrogate.network.parameters(), lr=1e-3)
    for turn in stream.turns:
        optimizer.zero_grad()
        objective(turn.batch, turn.progress).sum().backward()
        optimizer.step()
        stream.report(loss=float(turn.batch.size))  # type: ignore[union-attr]
    return stream.surrogate


def own_network(stream: TrainingStream) -> nn.Module:
    """A module of its own, trained without any of ours."""
    network = nn.Linear(1, 16)
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3)
    for turn in stream.turns:
        if turn.batch is None:
            continue
        optimizer.zero_grad()
        (network(turn.batch.parameters.float()) - turn.batch.fields["u"]).square().mean().backward()
        optimizer.step()
        assert stream.is_trial
    return network


def no_consumer(**options: Any) -> list[Any]:
    """Something else."""
    return [*options]


class NoDesign:
    """Fails when it is drawn from."""

    def __init__(self, distributions: Mapping[str, Any], *, num_simulations: int, seed: int) -> None:
        self._points: dict[str, Any] = {}

    def draw(self, first: int, num: int) -> Any:
        return self._points["table"][first : first + num]


# -- tasks ------------------------------------------------------------------------------------------------------------


class Peeking(Direct):
    """Reads a field that nobody can know who only has parameters."""

    def advance(self, network: nn.Module, scale: Normalization, batch: Batch) -> Mapping[str, Any]:
        return {n: v + 0 * batch.fields["u"].mean() for n, v in super().advance(network, scale, batch).items()}


class Untold(Direct):
    """Trains on fewer fields than it validates."""

    def __init__(self, layout: Layout) -> None:
        super().__init__(layout, targets=[layout.fields[0].name])
        self._all = [field.name for field in layout.fields]

    def truth(self, batch: Batch) -> Mapping[str, torch.Tensor]:
        return {name: batch.fields[name].float() for name in self._all}


class TooFew(Direct):
    """Its targets are fewer than its problem's."""

    def targets(self, scale: Normalization, batch: Batch) -> Mapping[str, torch.Tensor]:
        return {}


class OtherUnits(Direct):
    """Forgets to undo its normalization."""

    def restore(
        self, scale: Normalization, batch: Batch, values: Mapping[str, torch.Tensor]
    ) -> Mapping[str, torch.Tensor]:
        return {name: value + 1 for name, value in super().restore(scale, batch, values).items()}


class Misdeclared(Direct):
    """Declares components that it does not measure."""

    def __init__(self, layout: Layout) -> None:
        super().__init__(layout)
        self.quantities = {"u": 3}


class RaisesInMeasure(Direct):
    """Fails in its own code."""

    def measure(self, batch: Batch) -> Mapping[str, torch.Tensor]:
        return {"u": batch.fields["v"]}


class NoTargets(Direct):
    """Nothing to learn."""

    def __init__(self, layout: Layout) -> None:
        super().__init__(layout)
        self.problem = Problem(parameters=layout.parameters, targets={})


class AsksForMore(Direct):
    """Predicts for whoever says something that nobody here knows."""

    def request(self, parameters: Mapping[str, float], *, step: int, mood: str) -> Batch:  # type: ignore[override]
        return super().request(parameters, step=step + len(mood))


class NoTask:
    """Nothing of a task."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout


def two(problem: Problem, hidden: Sequence[int] = (4,)) -> list[nn.Module]:
    """A list of networks."""
    return [MLP(problem, hidden), MLP(problem, hidden)]
