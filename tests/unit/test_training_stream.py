"""The stream that a training loop is given, and loops that are not ours."""

import math
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import nn

from melissa_like.loading import Batch, Moments, Turn
from melissa_like.models import MLP
from melissa_like.records import FieldSpec, Layout, SampleKey
from melissa_like.training import (
    StepReport,
    Surrogate,
    TrainingRecipe,
    TrainingStream,
    ValidationReport,
    ValidationSet,
    build_surrogate,
    l1,
    run_loop,
    train,
)
from tests.contract.consumers import assembled

LAYOUT = Layout(fields=(FieldSpec(name="u", shape=(6,)),), parameters=("a",))
STATISTICS = {"u": (Moments(count=9, mean=0.5, std=0.3),)}


def batch(size: int, seed: int) -> Batch:
    parameters = torch.rand(size, 1, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return Batch(
        simulations=torch.arange(size),
        steps=torch.arange(size) % 5,
        times=torch.zeros(size, dtype=torch.float64),
        parameters=parameters,
        fields={"u": (parameters * torch.linspace(0, 1, 6)).float()},
    )


def turns(num: int, *, empty_every: int = 0) -> Iterator[Turn]:
    for index in range(num):
        nothing = empty_every > 0 and index % empty_every == empty_every - 1
        yield Turn(
            batch=None if nothing else batch(8, index),
            num_samples_global=8,
            progress=index / num,
            validate=index % 4 == 1,
            statistics=STATISTICS if index == 0 else None,
        )


@pytest.fixture
def surrogate() -> Surrogate:
    torch.manual_seed(0)
    return build_surrogate(
        layout=LAYOUT, parameter_bounds={"a": (0.0, 1.0)}, num_steps=5, model=partial(MLP, hidden=(16,))
    )


def add(held_out: ValidationSet) -> None:
    """One sample that the solution gives."""
    given = batch(1, 99)
    sample = assembled(
        held_out, SampleKey(70, 0), [given.fields["u"][0].numpy()], parameters=given.parameters[0].tolist()
    )
    held_out.take(sample, 0.0)


def test_the_normalization_is_frozen_before_the_first_turn_is_handed_out(surrogate: Surrogate) -> None:
    stream = TrainingStream(turns(2), surrogate=surrogate)
    assert surrogate.normalization.unset == ("u",)
    next(stream.turns)
    assert surrogate.normalization.unset == ()
    assert stream.batches == 1


def by_hand(stream: TrainingStream) -> nn.Module:
    objective = stream.objective(l1)
    optimizer = torch.optim.Adam(stream.surrogate.network.parameters(), lr=1e-2)
    for turn in stream.turns:
        optimizer.zero_grad()
        losses = objective(turn.batch, turn.progress)
        losses.mean().backward()
        optimizer.step()
        if turn.batch is not None:
            stream.observe(turn.batch, losses.detach())
        stream.report(loss=losses.mean(), learning_rate=1e-2, temperature=float(stream.batches))
    return stream.surrogate


def test_a_loop_by_hand_learns_reports_and_is_validated_at_the_end(surrogate: Surrogate) -> None:
    held_out = ValidationSet(LAYOUT)
    add(held_out)
    steps, validations, observed = list[StepReport](), list[ValidationReport](), list[tuple[int, int]]()
    stream = TrainingStream(
        turns(200, empty_every=7),
        surrogate=surrogate,
        held_out=held_out,
        on_step=steps.append,
        on_validation=validations.append,
        observe=lambda batch, losses: observed.append((batch.size, len(losses))),
    )
    assert run_loop(by_hand, stream) is surrogate
    summary = stream.summary()
    assert (summary.batches, summary.samples) == (200, 8 * (200 - 200 // 7))
    assert summary.final_training_loss == steps[-1].loss < 0.2 * steps[0].loss
    assert steps[3].more == {"temperature": 4.0}
    assert steps[3].learning_rate == 1e-2
    assert set(observed) == {(8, 8)}
    assert len(observed) == 200 - 200 // 7
    assert [report.batches for report in validations] == [200]
    assert validations[0].relative_l2 < 0.5


def test_our_loop_tells_the_loss_of_each_sample_to_whoever_asks(surrogate: Surrogate) -> None:
    observed: list[tuple[Batch, torch.Tensor]] = []
    given = list(turns(3))
    stream = TrainingStream(given, surrogate=surrogate, observe=lambda batch, losses: observed.append((batch, losses)))
    run_loop(train, stream)
    assert [batch for batch, _ in observed] == [turn.batch for turn in given]
    assert all(losses.shape == (8,) and not losses.requires_grad for _, losses in observed)


def test_what_is_validated_last_is_not_validated_again(surrogate: Surrogate) -> None:
    validations: list[ValidationReport] = []
    held_out = ValidationSet(LAYOUT)
    add(held_out)
    stream = TrainingStream(turns(6), surrogate=surrogate, held_out=held_out, on_validation=validations.append)
    run_loop(train, stream)
    assert [report.batches for report in validations] == [2, 6]


def test_a_loop_may_return_another_module_but_not_nothing(surrogate: Surrogate) -> None:
    other = nn.Linear(1, 1)
    assert run_loop(lambda stream: other, TrainingStream(turns(1), surrogate=surrogate)) is other

    def forgetful(stream: TrainingStream) -> nn.Module:
        return None  # type: ignore[return-value]

    with pytest.raises(TypeError, match=r"forgetful returned a NoneType: return stream.surrogate"):
        run_loop(forgetful, TrainingStream(turns(1), surrogate=surrogate))


def test_what_is_kept_has_one_name_each(surrogate: Surrogate) -> None:
    stream = TrainingStream(turns(1), surrogate=surrogate)
    stream.keep("mine", nn.Linear(1, 1))
    for name in ("mine", "surrogate"):
        with pytest.raises(ValueError, match=f"'{name}' is kept already .surrogate, mine."):
            stream.keep(name, nn.Linear(1, 1))
    assert sorted(stream.state_dict()["kept"]) == ["mine", "surrogate"]


def test_a_cut_is_taken_when_the_step_of_its_turn_has_ended_and_once_more_at_the_end(surrogate: Surrogate) -> None:
    cuts: list[tuple[int | None, int, torch.Tensor]] = []
    given = [replace(turn, checkpoint=7 if number == 1 else None) for number, turn in enumerate(turns(4))]

    def cut(number: int | None) -> None:
        weights = stream.state_dict()["kept"]["surrogate"]["network.layers.0.weight"].clone()
        cuts.append((number, stream.state_dict()["batches"], weights))

    stream = TrainingStream(given, surrogate=surrogate, on_cut=cut)
    after: list[torch.Tensor] = []

    def loop(stream: TrainingStream) -> nn.Module:
        inner = stream.turns

        def watched() -> Iterator[Turn]:
            for turn in inner:
                yield turn
                after.append(surrogate.network.layers[0].weight.detach().clone())

        stream.turns = watched()
        return train(stream)

    run_loop(loop, stream)
    assert stream.kept == ("optimizer", "learning_rate")
    assert [(number, batches) for number, batches, _ in cuts] == [(7, 2), (None, 4)]
    assert torch.equal(cuts[0][2], after[1])
    assert torch.equal(cuts[1][2], after[3])
    assert not torch.equal(after[1], after[3])


def test_no_cut_is_taken_of_a_stream_that_was_left(surrogate: Surrogate) -> None:
    cuts: list[int | None] = []
    stream = TrainingStream(turns(3), surrogate=surrogate, on_cut=cuts.append)
    next(stream.turns)
    del stream
    assert cuts == []


def test_a_restored_normalization_stays_as_it_was(surrogate: Surrogate) -> None:
    first = TrainingStream(turns(2), surrogate=surrogate)
    next(first.turns)
    before = surrogate.normalization.time_range
    given = [replace(turn, time_range=(0.0, 1000.0), statistics=None) for turn in turns(1)]
    second = TrainingStream(given, surrogate=surrogate, restored=first.state_dict())
    next(second.turns)
    assert surrogate.normalization.time_range == before
    assert second.batches == 2


def test_nothing_reported_is_no_loss(surrogate: Surrogate) -> None:
    stream = TrainingStream(turns(1), surrogate=surrogate)
    assert stream.summary().final_training_loss is None
    stream.report(loss=math.inf)
    assert stream.summary().final_training_loss == math.inf


def test_an_empty_turn_gives_every_weight_a_gradient_of_zero(surrogate: Surrogate) -> None:
    surrogate.network.layers[0].bias.requires_grad_(False)
    objective = TrainingStream([], surrogate=surrogate).objective()
    objective(None, 0.0).sum().backward()
    gradients = [weights.grad for weights in surrogate.network.parameters() if weights.requires_grad]
    assert len(gradients) == 3
    assert all(gradient is not None and not gradient.any() for gradient in gradients)


def wrong_name(stream: TrainingStream) -> nn.Module:
    network = stream.surrogate.network
    network.forward = lambda **given: {"v": torch.zeros(8, 1, 6)}  # type: ignore[method-assign]
    return train(stream)


def flat(stream: TrainingStream) -> nn.Module:
    stream.surrogate.network.forward = lambda **given: {"u": torch.zeros(8, 6)}  # type: ignore[method-assign]
    return train(stream)


def bare(stream: TrainingStream) -> nn.Module:
    stream.surrogate.network.forward = lambda **given: torch.zeros(8, 6)  # type: ignore[method-assign]
    return train(stream)


@pytest.mark.parametrize(
    ("loop", "words"),
    [
        (wrong_name, r"nothing for the target 'u', and something for v: return a tensor of shape \(8, 1, 6\)"),
        (flat, r"the shape \(8, 6\) for the target 'u', expected \(8, 1, 6\)"),
        (bare, r"returned a Tensor: return a mapping .* targets u"),
    ],
)
def test_a_network_that_returns_something_else_is_told(surrogate: Surrogate, loop: object, words: str) -> None:
    with pytest.raises((TypeError, ValueError), match=words):
        run_loop(loop, TrainingStream(turns(1), surrogate=surrogate, recipe=TrainingRecipe()))  # type: ignore[arg-type]
