"""The trial: what cannot work is refused with the key at fault, and what works leaves no trace."""

import random
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_module
from hydra.core.config_store import ConfigStore
from torch import nn

from melissa_like.config import Config, as_config
from melissa_like.errors import ConfigurationError, StudyFailedError
from melissa_like.server.build_training import make_surrogate
from melissa_like.server.memory import check_fits, states_per_weight
from melissa_like.server.results import keep
from melissa_like.server.trial import try_training
from melissa_like.training import OptimizerFactory

pytestmark = pytest.mark.filterwarnings("ignore")  # a user's process does not end at a warning of torch
UNFIT = "tests.plugins.unfit"
CPU = torch.device("cpu")
BASE = [
    "run_dir=somewhere",
    "solver=empty",
    "solver.name=tried",
    "solver.num_steps=10",
    "+solver.fields.u.shape=[16]",
    "+solver.parameters.a={_target_:melissa_like.sampling.Uniform,low:0,high:1}",
    "training.batch_size=8",
    "buffer.capacity=64",
]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def configured(*overrides: str) -> Config:
    ConfigStore.instance().store(name="schema", node=Config)
    with initialize_config_module(version_base="1.3", config_module="melissa_like.configs"):
        return as_config(compose("config", overrides=[*BASE, *overrides]))


def model(name: str) -> list[str]:
    return [f"model._target_={UNFIT}.{name}", "~model.hidden"]


def refusal(folder: Path, *overrides: str) -> str:
    with pytest.raises(ConfigurationError) as refused:
        try_training(configured(*overrides), CPU, folder)
    return str(refused.value)


NO_OPTIONS = ["~training.optimizer.lr", "~training.optimizer.weight_decay"]
INPUTS = "+training.task.inputs=[v]"
SPARSE = [*model("SparseGradient"), NO_OPTIONS[1]]
ONE_CYCLE = [
    "training.schedule=null",
    "+training.scheduler._target_=torch.optim.lr_scheduler.OneCycleLR",
    "+training.scheduler.max_lr=0.1",
    "+training.scheduler.total_steps=1",
]
PARTIAL = "+training.schedule._partial_=true"
TWO_RANKS = "launcher.num_server_ranks=2"


@pytest.mark.parametrize(
    ("network", "words"),
    [
        ("OneColumn", ["is trained on 8 samples", "the shape (8, 1, 1) for the target 'u', expected (8, 1, 16)"]),
        ("OneTooMany", ["the shape (8, 1, 17) for the target 'u', expected (8, 1, 16)"]),
        ("ViewsOneTooMany", ["RuntimeError", "unfit.py", "flat.view"]),
        ("WithoutComponents", ["the shape (8, 16)", "(8, 1, 16): samples, components, then the grid"]),
        ("AnotherAxis", ["(8, 1, 1, 16)"]),
        ("Pair", ["returned a tuple", "a mapping with a tensor for each of the targets u"]),
        ("Bare", ["returned a Tensor"]),
        ("Nothing", ["returned a NoneType"]),
        ("Integers", ["torch.int64", "floating-point"]),
        ("Detached", ["does not depend on its weights"]),
        ("Raises", ["RuntimeError", "unfit.py", "torch.zeros(3, 3)"]),
        ("OnlyInTraining", ["(8, 1, 3)"]),
        ("OnlyInEvaluation", ["fails when it"]),
        ("Squeezes", ["a single sample", "(1, 16)"]),
        ("Lazy", ["between.weight", "lazily initialised", "problem.num_inputs"]),
        ("Weightless", ["weights where torch does not find them (layers[0].weight", "nn.ModuleList"]),
        ("AllFrozen", ["no weights to train"]),
        ("BatchNormWithoutMemory", ["a single sample", "in the layer between (BatchNorm1d)", "nn.LayerNorm"]),
        ("Forgetful", ["predicts something else for u", "register_buffer"]),
        ("Grows", ["fails when it is"]),
        ("NotFinite", ["is trained on 8 samples", "not finite for 'u'"]),
        ("Complex", ["complex64", "real numbers"]),
        ("Double", ["in the layer between (Linear)", "RuntimeError"]),
        ("RemembersBatch", ["a single sample"]),
        ("AnotherCall", ["is trained on 8 samples", "unexpected keyword argument"]),
        ("two", ["returned a list", "return a torch.nn.Module"]),
        ("InAList", ["weights where torch does not find them (more[0].weight, more[0].bias)", "nn.ModuleList"]),
        ("InAMapping", ["weights where torch does not find them (scales['last'][0])"]),
        ("BareTensor", ["weights where torch does not find them (scale)", "nn.Parameter"]),
        ("MixesSamples", ["something else for u of a sample when other samples are in its batch", "axis 0"]),
        ("ReshapesSamples", ["when other samples are in its batch"]),
        ("FirstForAll", ["when other samples are in its batch"]),
        ("BatchStatistics", ["when other samples are in its batch"]),
        ("Exits", ["SystemExit: 2", "unfit.py", "raise SystemExit(2)"]),
        ("ExitsLater", ["is trained on 8 samples", "SystemExit: not for this problem"]),
        ("RootOfZero", ["is differentiated with 8 samples", "gradients of first.weight", "training.loss"]),
        ("ShareOfABuffer", ["is saved after the training", ".clone() of a view"]),
        ("SparseBuffer", ["is saved after the training", "to_dense() of what is sparse"]),
        ("DoubleComplex", ["is saved after the training", "complex64 for complex128"]),
        ("GrowingBuffer", ["is loaded again", "size mismatch for network.seen", "the names and sizes"]),
        ("Slope", ["is evaluated on 2 samples", "within torch.enable_grad()"]),
    ],
)
def test_a_network_that_cannot_work_is_refused(tmp_path: Path, network: str, words: list[str]) -> None:
    said = refusal(tmp_path, *model(network))
    assert said.startswith(f"model ({UNFIT}.{network}) ")
    for word in words:
        assert word in said
    assert "site-packages" not in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["training.loss._target_={unfit}.scalar"], ["training.loss", "the shape ()", "one value per sample"]),
        (["training.loss._target_={unfit}.elementwise"], ["training.loss", "the shape (8, 1, 16)"]),
        (["training.loss._target_={unfit}.number"], ["training.loss", "returned a float"]),
        (["training.loss._target_={unfit}.cut_off"], ["training.loss", "can be differentiated"]),
        (["training.loss._target_={unfit}.complex_numbers"], ["training.loss", "torch.complex64", "real numbers"]),
        (["training.loss._target_={unfit}.Weighted"], ["training.loss", "weights (weight)", "requires_grad_(False)"]),
        (["training.loss._target_={unfit}.two_arguments"], ["training.loss", "takes 2 positional arguments"]),
        (["training.loss._target_={unfit}.divides_by_deviation"], ["training.loss", "a single sample", "nan"]),
        (["training.loss._target_={unfit}.raises"], ["training.loss", "KeyError: 'weight'", 'return {{}}["weight"]']),
        (["training.loss._target_={unfit}.nope"], ["training.loss is", "has no 'nope'"]),
        (["training.loss._target_=torch.nn.functional.mse_los"], ["the nearest: mse_loss"]),
        (["training.loss._target_=torch.nn.MSELoss"], ["training.loss", "fails when it is given 8 samples"]),
        (["training.optimizer._target_=torch.optim.Adm"], ["torch.optim has no 'Adm' (the nearest: Adam"]),
        (["+training.optimizer.momentum=0.9"], ["training.optimizer has the options momentum", "betas"]),
        (["+training.optimizer.lrr=0.9"], ["the nearest: lr"]),
        (["training.optimizer.lr=-1"], ["training.optimizer (torch.optim.Adam)", "Invalid learning rate"]),
        (["training.optimizer.lr=fast"], ["training.optimizer (torch.optim.Adam)"]),
        (
            ["training.optimizer._target_=torch.optim.LBFGS", "~training.optimizer.weight_decay"],
            ["training.optimizer (torch.optim.LBFGS) fails when it steps", "closure"],
        ),
        (
            ["training.optimizer._target_={unfit}.no_optimizer", *NO_OPTIONS],
            ["made a list: name a torch.optim.O"],
        ),
        (
            ["training.optimizer._target_={unfit}.ruins", *NO_OPTIONS],
            ["training.optimizer", "made weights that are not finite (layers.0.weight"],
        ),
        (
            ["training.optimizer._target_=torch.optim.SGD", "training.optimizer.lr=1e37"],
            ["model", "not finite for 'u' after one step: lower training.optimizer.lr"],
        ),
        (["training.schedule._target_=melissa_like.training.Cosin"], ["training.schedule is", "the nearest: Cosine"]),
        (["+training.schedule.flor=1"], ["training.schedule has the options flor", "the nearest: floor"]),
        (
            ["training.schedule._target_={unfit}.negative", PARTIAL],
            ["training.schedule", "the learning rate [-"],
        ),
        (["training.schedule._target_={unfit}.text", PARTIAL], ["training.schedule", "TypeError: can't multiply"]),
        (
            ["training.schedule=null", "+training.scheduler._target_=torch.optim.lr_scheduler.ReduceLROnPlateau"],
            ["training.scheduler (torch.optim.lr_scheduler.ReduceLROnPlateau)", "metrics"],
        ),
        (
            ["training.schedule=null", "+training.scheduler._target_=torch.optim.lr_scheduler.StepLR"],
            ["training.scheduler", "step_size"],
        ),
        (["training.gradient_clip=-1"], ["training.gradient_clip is -1", "a norm above 0"]),
        (["+training.field_weights.v=1"], ["training.field_weights", "the target fields are u"]),
        (["+training.field_weights.u=0"], ["a weight above 0", "training.task.targets"]),
        (["training.loop._target_={unfit}.forgets_to_return"], ["training.loop", "returned a NoneType"]),
        (
            ["training.loop._target_={unfit}.loses_its_weights"],
            ["training.loop", "returned weights that are not finite (network.layers.0.weight"],
        ),
        (["training.loop._target_={unfit}.takes_nothing"], ["training.loop", "took none of the turns"]),
        (["training.loop._target_={unfit}.misspelt"], ["training.loop", "'reprot'", "unfit.py", "stream.reprot("]),
        (["training.loop._target_={unfit}.nope"], ["training.loop is", "has no 'nope'"]),
        (["training.loop._target_={unfit}.needs_a_batch", TWO_RANKS], ["training.loop", "'NoneType' object has no"]),
        (
            ["training.task._target_={unfit}.Peeking"],
            ["training.task", "reads the field 'u'", "Operator does"],
        ),
        (["training.loop._target_={unfit}.yields"], ["training.loop", "returned a generator"]),
        (["training.loop._target_={unfit}.waits"], ["training.loop", "returned a coroutine"]),
        (
            ["training.loop._target_={unfit}.keeps_what_has_no_state"],
            ["training.loop", "'list' object has no"],
        ),
        (["training.loop._target_={unfit}.wants_three_turns"], ["training.loop", "StopIteration", "unfit.py"]),
        (["training.loop._target_={unfit}.keeps_a_path"], ["training.loop", "keeps as 'place'", "let its state_dict"]),
        (["training.task._target_={unfit}.NoTargets", "model.hidden=[]"], ["of the MLP have the widths"]),
        (SPARSE, ["training.optimizer (torch.optim.Adam) fails when it steps", "sparse"]),
        (["training.optimizer._target_=torch.optim.SparseAdam", NO_OPTIONS[1]], ["training.optimizer", "dense grad"]),
        (["training.task._target_={unfit}.TooFew"], ["training.task", "targets gave {{}}"]),
        (["training.task._target_={unfit}.OtherUnits"], ["training.task", "restore", "in other units"]),
        (["training.task._target_={unfit}.Misdeclared"], ["training.task", "{{'u': 1}}, expected {{'u': 3}}"]),
        (["training.task._target_={unfit}.RaisesInMeasure"], ["training.task", "KeyError: 'v'", "unfit.py"]),
        (["training.task._target_={unfit}.NoTask"], ["training.task", "has no attribute 'window'"]),
        (["training.task._target_=melissa_like.training.Direkt"], ["the nearest: Direct"]),
        (["+training.task.targets=[w]"], ["training.task", "the targets are ['w'] and the solver sends u"]),
        (["+training.task.targets=[]"], ["training.task", "the targets are []"]),
        (["+training.task.targets=u"], ["training.task", "give a list"]),
        (["model._target_=melissa_like.models.MPL"], ["model is", "the nearest: MLP"]),
        (["+model.hiden=[8]"], ["model has the options hiden", "the nearest: hidden"]),
        (["model.hidden=[0]"], ["model (melissa_like.models.MLP)", "widths"]),
        (["model.hidden=many"], ["model (melissa_like.models.MLP)"]),
    ],
)
def test_whatever_else_cannot_work_is_refused(tmp_path: Path, overrides: list[str], words: list[str]) -> None:
    said = refusal(tmp_path, *(override.format(unfit=UNFIT) for override in overrides))
    for word in words:
        assert word.format() in said
    assert "site-packages" not in said


def test_a_field_that_is_validated_and_never_trained_is_refused(tmp_path: Path) -> None:
    said = refusal(tmp_path, "+solver.fields.v.shape=[3]", f"training.task._target_={UNFIT}.Untold")
    assert "training.task" in said
    assert "truth gave" in said


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (model("Idle"), ["weights that take no part in the loss (spare.weight, spare.bias)", "the layers spare"]),
        (model("Lazy"), ["lazily initialised"]),
        (model("BatchNormWithoutMemory"), ["nn.LayerNorm"]),
        (model("SparseBuffer"), ["model (tests.plugins.unfit.SparseBuffer)", "joined for 2 server ranks", "sparse"]),
    ],
)
def test_what_several_server_ranks_cannot_join_is_refused(
    tmp_path: Path, overrides: list[str], words: list[str]
) -> None:
    said = refusal(tmp_path, TWO_RANKS, *overrides)
    for word in words:
        assert word in said
    assert not torch.distributed.is_initialized()


def test_batches_of_one_sample_alone_are_nothing_for_batch_normalization(tmp_path: Path) -> None:
    said = refusal(tmp_path, *model("BatchNorm"), "training.batch_size=1")
    assert "in the layer between (BatchNorm1d)" in said
    assert "nn.LayerNorm" in said


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        [TWO_RANKS],
        model("Sound"),
        [*model("BatchNorm"), TWO_RANKS],
        [*model("Frozen"), TWO_RANKS],
        model("Idle"),
        model("Remembering"),
        model("Dropout"),
        model("SaysMore"),
        model("Transposed"),
        model("WithTeacher"),
        model("Noisy"),
        [*model("InFourierSpace"), TWO_RANKS],
        ["training.loss._target_=tests.plugins.unfit.Perceptual"],
        ["training.optimizer._target_=tests.plugins.unfit.decays_matrices_alone", *NO_OPTIONS],
        [f"training.loop._target_={UNFIT}.validates_always"],
        ["training.precision=bf16"],
        ["training.gradient_clip=1"],
        ["training.batch_size=1"],
        ["solver.num_steps=1"],
        ["solver.num_steps=null"],
        [f"training.loop._target_={UNFIT}.own_network", TWO_RANKS],
        [f"training.task._target_={UNFIT}.AsksForMore"],
        ["+solver.fields.v={shape:[2,3,4],components:2,dtype:uint8,bounds:[0,255]}"],
        [
            "+solver.fields.v={shape:[2,3]}",
            "training.task._target_=melissa_like.training.Operator",
            "+training.task.inputs=[v]",
        ],
        ["+solver.fields.v={shape:[2,3]}", "+training.task.targets=[v]"],
        ["+solver.fields.u.bounds=[1000000,1000010]"],
        ["+solver.fields.u.bounds=[-3e38,3e38]", "+solver.fields.u.dtype=float64"],
        ["training.schedule=null"],
        ONE_CYCLE,
        ["training.schedule_on=batches", "training.max_batches=1"],
        ["training.optimizer._target_=torch.optim.SGD", "+training.optimizer.momentum=0.9"],
    ],
)
def test_what_works_is_not_refused_and_leaves_no_trace(tmp_path: Path, overrides: list[str]) -> None:
    config = configured(*overrides)
    expected = make_surrogate(config, CPU).state_dict()
    drawn_next = (torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist())  # type: ignore[index]
    try_training(config, CPU, tmp_path)
    assert torch.equal(torch.get_rng_state(), drawn_next[0])
    assert random.getstate() == drawn_next[1]
    assert np.random.get_state()[1].tolist() == drawn_next[2]  # type: ignore[index]
    torch.testing.assert_close(make_surrogate(config, CPU).state_dict(), expected, rtol=0, atol=0, equal_nan=True)
    assert list(tmp_path.iterdir()) == []
    assert not torch.distributed.is_initialized()


@pytest.mark.parametrize(
    ("optimizer", "expected"),
    [
        (torch.optim.Adam, 2),
        (torch.optim.SGD, 0),
        (partial(torch.optim.SGD, lr=0.1, momentum=0.9), 1),
        (partial(torch.optim.Adam, amsgrad=True), 3),
    ],
)
def test_what_an_optimizer_keeps_of_a_weight(optimizer: OptimizerFactory, expected: int) -> None:
    assert states_per_weight(optimizer) == expected


def test_a_training_that_does_not_fit_is_refused_with_both_numbers() -> None:
    config = configured("solver.fields.u.shape=[4000000]", "training.batch_size=64", "buffer.capacity=100")
    network = nn.Linear(256, 4_000_000, device="meta")
    with pytest.raises(ConfigurationError) as refused:
        check_fits(config, network, torch.optim.Adam, 64, available=2**34)
    for words in ("needs at least 19.7 GiB more", "11.5 GiB for gradients", "but 16 GiB are free", "batch_size"):
        assert words in str(refused.value)
    check_fits(config, network, torch.optim.Adam, 64, available=2**35)
    check_fits(config, network, torch.optim.SGD, 64, available=2**34)


@pytest.mark.parametrize("launcher", ["local", "inline"])
def test_server_ranks_that_share_a_machine_share_its_memory(launcher: str) -> None:
    size = ["solver.fields.u.shape=[4000000]", "training.batch_size=64", "buffer.capacity=100", f"launcher={launcher}"]
    network = nn.Linear(256, 4_000_000, device="meta")
    with pytest.raises(ConfigurationError) as refused:
        check_fits(configured(*size, TWO_RANKS), network, torch.optim.Adam, 64, available=2**35)
    for words in ("needs at least 41.7 GiB more memory for 2 server ranks on this machine", "but 32 GiB are free"):
        assert words in str(refused.value)
    check_fits(configured(*size, TWO_RANKS), network, torch.optim.Adam, 64, available=2**36)
    elsewhere = "launcher.executor._target_=tests.plugins.scheduler.SpoolExecutor"
    check_fits(configured(*size, TWO_RANKS, elsewhere), network, torch.optim.Adam, 64, available=2**35)


def test_what_can_be_saved_no_more_at_the_end_is_told(tmp_path: Path) -> None:
    network = nn.Linear(2, 2)
    network.register_buffer("matrix", torch.eye(2).to_sparse())
    with pytest.raises(StudyFailedError, match=r"cannot be saved in .* \(RuntimeError: .* plain tensors"):
        keep(network, tmp_path, incomplete=None)


def test_a_place_without_room_is_not_blamed_on_the_network(tmp_path: Path) -> None:
    def folder_full(*arguments: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("melissa_like.training.trial.save_surrogate", folder_full)
        said = refusal(tmp_path)
    assert said.startswith(f"what was trained cannot be saved in {tmp_path} ([Errno 28] No space left on device)")
