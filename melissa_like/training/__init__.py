"""Training a surrogate from the stream, in plain PyTorch.

Nouns: a `Task` says what is learned; a `Surrogate` is a network that answers it in original units and can be saved; a
`TrainingStream` is what a training loop is given: turns of batches, the surrogate, held-out samples, the other ranks,
the configured recipe. `train` is the loop that is used unless another is named. Everything around it is a callable
named by an import path: the task, the model, a loss with one value per sample, the optimizer, the schedule, the loop.
`try_out` tries all of this, with samples that nobody sent, before a study starts.
With several ranks a training step has the gradient of the joined batch, however unevenly the samples are spread, and a
rank without samples takes part with weight zero.

The loop runs on the thread that calls it (the main thread of a server rank); the receiver's thread adds to the
validation set; a `RankGroup` holds one collective for the trainer's thread and one for the loader's. Never imported
here: zmq, mpi4py, hydra, and our transport and protocol.
"""

from melissa_like.training.building import build_surrogate
from melissa_like.training.distributed import (
    GlooCollective,
    RankGroup,
    connect_rendezvous,
    join_ranks,
    open_rendezvous,
)
from melissa_like.training.export import export_surrogate
from melissa_like.training.loop import Loop, run_loop, train
from melissa_like.training.losses import FieldLosses, Loss, PerSample, l1, mse, per_sample_mean, relative_l2
from melissa_like.training.modes import evaluating
from melissa_like.training.normalization import Normalization
from melissa_like.training.objective import Objective
from melissa_like.training.probe import Probe
from melissa_like.training.reports import RollOutReport, Spread, StepReport, TrainingSummary, ValidationReport
from melissa_like.training.saving import load_surrogate, save_surrogate
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
from melissa_like.training.step import Optimization, TrainingStep
from melissa_like.training.stream import OptimizerFactory, Stateful, TrainingRecipe, TrainingStream
from melissa_like.training.surrogate import Surrogate
from melissa_like.training.suspects import Suspects
from melissa_like.training.tasks import (
    Autoregressive,
    Compared,
    Direct,
    Operator,
    Predicts,
    RollsOut,
    Task,
    TaskFactory,
)
from melissa_like.training.trial import try_out
from melissa_like.training.validation import HeldOutSimulation, ValidationSet

__all__ = [
    "Autoregressive",
    "Compared",
    "Constant",
    "Cosine",
    "Direct",
    "FieldLosses",
    "GlooCollective",
    "HeldOutSimulation",
    "LearningRate",
    "LearningRateFactory",
    "Linear",
    "Loop",
    "Loss",
    "Normalization",
    "Objective",
    "Operator",
    "Optimization",
    "OptimizerFactory",
    "PerSample",
    "Predicts",
    "Probe",
    "RankGroup",
    "RollOutReport",
    "RollsOut",
    "Spread",
    "Stateful",
    "StepReport",
    "Surrogate",
    "Suspects",
    "Task",
    "TaskFactory",
    "TrainingRecipe",
    "TrainingStep",
    "TrainingStream",
    "TrainingSummary",
    "ValidationReport",
    "ValidationSet",
    "Warmup",
    "build_surrogate",
    "by_scheduler",
    "connect_rendezvous",
    "evaluating",
    "export_surrogate",
    "join_ranks",
    "l1",
    "load_surrogate",
    "mse",
    "on_batches",
    "on_samples",
    "open_rendezvous",
    "per_sample_mean",
    "relative_l2",
    "run_loop",
    "save_surrogate",
    "train",
    "try_out",
]
