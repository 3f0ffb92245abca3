"""Row 6: training fed by the stream, against the same network trained on batches drawn from one tensor by index.

Ours is a server rank: reception, a full reservoir, the loader, the trainer. The peer is a loop as one writes it by
hand: random indices into tensors in memory, the same network, normalization, loss and optimizer; meanwhile the same
producers stream at the same rate into the same reception, which drops what it has assembled. One torch thread each.
"""

import time
from typing import Any

import numpy as np
import torch

from melissa_like.buffer import SampleBuffer
from melissa_like.config import Config, as_config, layout_of
from melissa_like.loading import Batch, Loader, LocalState, SoloCollective
from melissa_like.records import SampleKey
from melissa_like.server.build import make_buffer, make_consumer, make_terms
from melissa_like.server.build_training import make_loop, make_stream, make_surrogate, window_of
from melissa_like.server.freed_memory import keep_freed_memory
from melissa_like.training import TrainingSummary, run_loop
from tests.benchmarks.measure import Row, interleave, print_rows, ratio, shown
from tests.benchmarks.producers import DEADLINE_S
from tests.benchmarks.streams import Discard, composed, producers, reception, some_fields, study

ROUNDS = 5
NUM_PRODUCERS = 2
CPU = torch.device("cpu")
AUTOREGRESSIVE = "training.task._target_=melissa_like.training.Autoregressive"
#: What the case is, the overrides that make it, time steps per second of each producer, training steps per run.
CASES = (
    ("32 x 32 cells, batch 64", ("buffer.views_per_sample=null", "buffer.capacity=4000"), 500.0, 1000),
    ("100 x 100 cells, batch 10 (SC'23 laptop)", ("experiment=sc23_laptop",), 50.0, 150),
    *(
        (
            f"windows of {length} steps, 32 x 32 cells, batch 16",
            (
                AUTOREGRESSIVE,
                "+training.task.residual=false",  # so that bounds normalize, and no statistics are needed
                f"+training.task.horizon={length - 1}",
                "buffer.views_per_sample=null",
                "buffer.capacity=800",
                "training.batch_size=16",
            ),
            500.0,
            num_batches,
        )
        for length, num_batches in ((2, 600), (5, 400), (20, 150))
    ),
)


def full_reservoir(config: Config) -> SampleBuffer:
    """The study's buffer, full of samples that were seen."""
    buffer = make_buffer(config, 0, CPU, window_of(config))
    fields = list(some_fields(layout_of(config.solver), 0).values())  # of a window each step is the same
    for number in range(config.buffer.capacity):
        parameters = np.full(len(config.solver.parameters), 300.0)
        buffer.put(SampleKey(-1 - number, 0), fields, time=0.0, parameters=parameters, timeout_s=DEADLINE_S)
    while buffer.population().unseen:
        buffer.settle(buffer.draw(config.buffer.capacity))
    return buffer


def streamed(setting: Any, rate: float, summaries: list[TrainingSummary]) -> float:
    """Samples per second of a server rank's training."""
    config = as_config(setting)
    window, layout = window_of(config), layout_of(config.solver)
    buffer = full_reservoir(config)
    surrogate = make_surrogate(config, CPU)
    loader = Loader(
        buffer,
        make_terms(config, 10**9),
        state=lambda: LocalState(delivered=buffer.population().puts),
        collective=SoloCollective(),
        batches_done=0,
    )
    training = make_stream(config, loader, surrogate=surrogate)
    puts = buffer.population().puts
    with (
        study(setting) as run,
        reception(run, make_consumer(config, buffer, layout, run.run_dir, 0, window).first, window) as endpoint,
        producers(run, endpoint, count=NUM_PRODUCERS, rate=rate),
    ):
        with loader:
            run_loop(make_loop(config), training)
        summary = training.summary()
        arrived = buffer.population().puts - puts
    check_rate(arrived * (1 if window is None else window.hop), summary.seconds, rate)
    summaries.append(summary)
    return summary.samples_per_second


def by_index(setting: Any, rate: float) -> float:
    """Samples per second of the loop written by hand."""
    config = as_config(setting)
    layout = layout_of(config.solver)
    surrogate = make_surrogate(config, CPU)
    network, scale, batch_size = surrogate.network, surrogate.normalization, config.training.batch_size
    optimizer = torch.optim.Adam(
        network.parameters(),
        lr=config.training.optimizer["lr"],
        weight_decay=config.training.optimizer["weight_decay"],
    )
    ((name, values),) = some_fields(layout, 0).items()
    capacity, window = config.buffer.capacity, window_of(config)
    axes = (capacity,) if window is None else (capacity, window.length)
    fields = torch.from_numpy(values).float().expand(*axes, *values.shape).contiguous()
    parameters = torch.full((capacity, len(layout.parameters)), 300.0, dtype=torch.float64)
    steps, times = torch.full((capacity,), 30), torch.full(axes, 30.0)
    consumer = Discard(layout)
    assert config.training.max_batches is not None
    with (
        study(setting) as run,
        reception(run, consumer) as endpoint,
        producers(run, endpoint, count=NUM_PRODUCERS, rate=rate),
    ):
        started = time.monotonic()
        for _ in range(config.training.max_batches):
            index = torch.randint(capacity, (batch_size,))
            optimizer.zero_grad(set_to_none=True)
            batch = Batch(
                simulations=index,
                steps=steps[index],
                times=times[index],
                parameters=parameters[index],
                fields={name: fields[index]},
            )
            predictions, targets = surrogate.task.compare(network, scale, batch, 1.0)
            torch.nn.functional.mse_loss(predictions[name], targets[name]).backward()
            optimizer.step()
        seconds = time.monotonic() - started
        arrived = consumer.num_samples
    check_rate(arrived, seconds, rate)
    return config.training.max_batches * batch_size / seconds


def check_rate(arrived: int, seconds: float, rate: float) -> None:
    """The producers must have been as fast as is stated, or the run shows nothing."""
    if arrived < 0.8 * NUM_PRODUCERS * rate * seconds:
        raise RuntimeError(f"{arrived} samples in {seconds:.2f} s, {NUM_PRODUCERS} x {rate:g} per second were stated")


def main() -> None:
    """The table."""
    torch.set_num_threads(1)
    keep_freed_memory()  # as a server rank does; both sides get it, so that the ratio is of the stream alone
    rows = []
    for name, overrides, rate, num_batches in CASES:
        setting = composed(*overrides, f"training.max_batches={num_batches}", "training.validation_interval=0")
        summaries: list[TrainingSummary] = []
        rates = interleave(
            {
                "ours": lambda c=setting, r=rate, s=summaries: streamed(c, r, s),
                "index": lambda c=setting, r=rate: by_index(c, r),
            },
            ROUNDS,
        )
        rows.append(
            Row(
                {
                    "case": name,
                    "producers": f"{NUM_PRODUCERS} x {rate:g}/s",
                    "ours samples/s": shown(rates["ours"]),
                    "by index samples/s": shown(rates["index"]),
                    "ours / by index": ratio(rates, "ours", "index"),
                    "input wait %": shown([100 * summary.input_wait_fraction for summary in summaries]),
                    "target": "0.95; 1 %",
                }
            )
        )
    print_rows("training from the stream, reservoir full; the same from a tensor by index, the producers at work", rows)
