"""The training loop, and nothing that the loop does not need. Yours is a function with the same argument."""

from collections.abc import Callable
from typing import TypeAlias

from torch import nn

from melissa_like.errors import TrainingDivergedError
from melissa_like.training.meters import LossMeter
from melissa_like.training.step import TrainingStep
from melissa_like.training.stream import TrainingStream
from melissa_like.training.surrogate import Surrogate

__all__ = ["Loop", "run_loop", "train"]

#: From a stream to what was trained: the stream's surrogate, or a module.
Loop: TypeAlias = Callable[[TrainingStream], nn.Module]


def train(stream: TrainingStream) -> Surrogate:
    """Our loop: one training step per turn, with the configured loss, optimizer and learning rate.

    Blocks in the turns and in the collectives of each step, as long as those let it. What they raise is raised.

    Raises:
        TypeError: the network returned no mapping of tensors, or the loss no tensor.
        ValueError: the network or the loss returned another shape, or a quantity came without usable statistics.
    """
    recipe, surrogate = stream.recipe, stream.surrogate
    optimizer = recipe.optimizer([*surrogate.network.parameters()])  # a list: it may be walked more than once
    learning_rate = recipe.learning_rate(optimizer)
    stream.keep("optimizer", optimizer)
    stream.keep("learning_rate", learning_rate)
    step = TrainingStep(
        stream.objective(),
        optimizer,
        weights=surrogate.network.parameters(),
        num_ranks=stream.group.size,
        gradient_clip=recipe.optimization.gradient_clip,
        observe=stream.observe,
    )
    meter = LossMeter(stream.device)

    def report() -> None:
        stream.report(loss=meter.read(), learning_rate=optimizer.param_groups[0]["lr"])

    for turn in stream.turns:
        learning_rate.before_step(turn.progress, stream.batches - 1)
        meter.add(step(turn), 0 if turn.batch is None else turn.batch.size)
        learning_rate.after_step()
        if stream.batches % recipe.report_interval == 0:
            report()
        if turn.validate:
            stream.validate()
    if stream.batches % recipe.report_interval:
        report()
    return surrogate


def run_loop(loop: Loop, stream: TrainingStream) -> nn.Module:
    """What a loop has trained, validated if nobody did since its last training step.

    Blocks as the loop does, and in the collective of the validation.

    Raises:
        TypeError: the loop returned no module.
        TrainingDivergedError: one with weights that are not finite: nothing could be predicted with it.
    """
    trained: object = loop(stream)
    name = getattr(getattr(loop, "func", loop), "__name__", type(loop).__name__)
    if not isinstance(trained, nn.Module):
        raise TypeError(
            f"the training loop {name} returned a {type(trained).__name__}: return stream.surrogate, or another "
            "torch.nn.Module"
        )
    lost = [path for path, weights in trained.named_parameters() if not weights.isfinite().all()]
    if lost:
        raise TrainingDivergedError(
            f"the training loop {name} returned weights that are not finite ({', '.join(lost[:6])}), so that nothing "
            "can be predicted with them: report the loss, which must be finite (stream.report), and lower the learning "
            "rate or clip the gradient"
        )
    if isinstance(trained, Surrogate) and not stream.validated:
        stream.validate(trained)
    return trained
