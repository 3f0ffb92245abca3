"""Training a surrogate from the stream, in plain PyTorch.

Nouns: a `Surrogate` is a network between two normalizations and can be saved; a `Trainer` takes one training step per
turn of the loader; a `ValidationSet` holds samples that are never trained on. Everything around them is a callable
named by an import path: the model, the hook `batch -> (inputs, targets)`, a loss with one value per sample, the
optimizer, the schedule. With several ranks a training step has the gradient of the joined batch, however unevenly the
samples are spread, and a rank without samples takes part with weight zero.

The trainer runs on the thread that calls it (the main thread of a server rank); the receiver's thread adds to the
validation set; a `RankGroup` holds one collective for the trainer's thread and one for the loader's. Never imported
here: zmq, mpi4py, hydra, and our transport and protocol.
"""

from melissa_like.training.distributed import GlooCollective, RankGroup, join_ranks
from melissa_like.training.losses import Loss, l1, mse, relative_l2
from melissa_like.training.reports import StepReport, TrainingSummary, ValidationReport
from melissa_like.training.schedules import (
    Constant,
    Cosine,
    LearningRate,
    LearningRateFactory,
    Linear,
    Warmup,
    by_scheduler,
    on_batches,
    on_samples,
)
from melissa_like.training.step import Optimization
from melissa_like.training.surrogate import Surrogate, build_surrogate, load_surrogate
from melissa_like.training.trainer import Trainer
from melissa_like.training.transforms import direct
from melissa_like.training.validation import HeldOutSimulation, ValidationSet

__all__ = [
    "Constant",
    "Cosine",
    "GlooCollective",
    "HeldOutSimulation",
    "LearningRate",
    "LearningRateFactory",
    "Linear",
    "Loss",
    "Optimization",
    "RankGroup",
    "StepReport",
    "Surrogate",
    "Trainer",
    "TrainingSummary",
    "ValidationReport",
    "ValidationSet",
    "Warmup",
    "build_surrogate",
    "by_scheduler",
    "direct",
    "join_ranks",
    "l1",
    "load_surrogate",
    "mse",
    "on_batches",
    "on_samples",
    "relative_l2",
]
