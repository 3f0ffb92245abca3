"""The schema: one dataclass per group of the configuration; Hydra checks names and types with it.

Whatever is pluggable is a mapping with an import path under `_target_`; its other keys are keyword arguments. The lines
under `Attributes` are what `melissa-like run --help` and configs/README.md show.
"""

from dataclasses import dataclass, field
from typing import Any

from melissa_like.config.limits import key
from melissa_like.records import STORAGE_DTYPES, Routing

__all__ = [
    "BufferConfig",
    "CheckpointConfig",
    "Config",
    "FieldConfig",
    "LauncherConfig",
    "MonitoringConfig",
    "SamplingConfig",
    "SolverConfig",
    "StaticConfig",
    "StudyConfig",
    "TrainingConfig",
    "TransportConfig",
    "WindowConfig",
]

_LAST_PORT = 65535
#: Seeds and numbers of time steps are kept in 64 bits.
_LARGEST = 2**63 - 1
_DEVICES = ("auto", "cpu", "cuda")


@dataclass(kw_only=True)
class StudyConfig:
    """Which simulations the study consists of.

    Attributes:
        name: of the study, as the live view shows it.
        num_simulations: simulations to train on.
        num_validation_simulations: held-out simulations, run first, kept in memory, never trained on.
        seed: of the design, the buffer and the weights.
    """

    name: str = "study"
    num_simulations: int = key(100, unit="simulations", least=1)
    num_validation_simulations: int = key(5, unit="simulations", least=0)
    seed: int = key(0, least=0, most=_LARGEST)


@dataclass(kw_only=True)
class FieldConfig:
    """One field that the solver sends.

    Attributes:
        shape: of a whole time step: the grid, or the components and then the grid. Where simulations differ in the
            number of points, a name of your choice stands for it, `[num_points]` or `[2, num_points]`: each simulation
            says its size when it begins, and fields with the same name are on the same points.
        dtype: in which it is sent and stored.
        components: numbers per point of the grid.
        bounds: (lowest, highest) value where they are known in advance; else the first samples decide how it is
            normalized.
        fill_value: what is sent and trained on where the solver's array is masked; null refuses masked entries.
    """

    shape: list[Any] = field(default_factory=list)
    dtype: str = key("float32", choices=[str(dtype) for dtype in STORAGE_DTYPES])
    components: int = key(1, least=1)
    bounds: list[float] | None = None
    fill_value: float | None = None


@dataclass(kw_only=True)
class StaticConfig:
    """One field that does not change with time: coordinates, connectivity, a mask, a material.

    Attributes:
        shape: as of a field that changes; where there is a `value`, it need not be given.
        dtype: in which it is sent and stored.
        components: numbers per point.
        indexes: the values are numbers of points, from 0: of the points of this extent, as in `num_points`, or of so
            many. So it is connectivity: edges, or the corners of cells.
        value: the path of an .npy file, or lists in lists: the same in all simulations, so that none sends it. null:
            each simulation sends it when it begins.
    """

    shape: list[Any] = field(default_factory=list)
    dtype: str = key("float32", choices=[str(dtype) for dtype in STORAGE_DTYPES])
    components: int = key(1, least=1)
    indexes: Any = None
    value: Any = None


@dataclass(kw_only=True)
class SolverConfig:
    """The solver: `solve`, a generator plug-in; or `command`, a program that connects; or, with `reader`, any program.

    Attributes:
        name: of the solver, as tables show it.
        solve: `_target_` is the import path of `solve(parameters, comm, **options)`; the other keys are the options.
        python: path of the Python that runs `solve` or `reader`, where the solver has an environment of its own;
            melissa-like must be installed there (the client is enough), and mpi4py for `solve` if `launch` is not
            empty. `launch` finds its command beside it first. Null: the launcher's.
        command: argument list of a program that calls `melissa_like.client.connect`; with `reader`, of any program,
            which is run in a folder of its own for each simulation: its parameters are written into the arguments where
            they stand as `{name}`, or `{name:.3f}` with a format of Python.
        launch: how a job of several ranks is started; `{num_ranks}` is filled in (`num_processes`, where it is set).
            Empty: the command itself.
        num_ranks: client ranks per job; 1 with `reader`.
        num_processes: places that a job reserves, and processes that `launch` starts, where these are not the client
            ranks: the program of `reader`; null: num_ranks.
        reader: by import path, what turns the files of a program that knows nothing of a study into time steps, while
            it runs; see `melissa_like.client.readers`.
        files: input files of that program, by their name in its folder: a template, relative to where the study is
            started, in which parameters stand as in `command`; or a folder of templates. Besides parameters there are
            `{simulation}`, `{attempt}`, `{seed}`, `{num_processes}`, `{folder}` (that of the simulation) and
            `{started_in}` (that of the study). Unknown placeholders, and parameters that stand nowhere, are refused.
        placeholder: how one looks, for files that are full of `{name}`: `@name@`, `<<name>>`.
        work_dir: where the folders of the simulations are made, on the job's host (`$TMPDIR`); null: in the run
            directory.
        keep_files: which of these folders stay when their simulation is over: `never`, `failed` or `always`.
        remove_sent_files: the files of a time step are removed as soon as it is sent.
        max_pending_bytes: of a simulation's folder, what may wait to be sent, in bytes or as text (`"4 GiB"`): beyond,
            the program is stopped (SIGSTOP) until it is sent; where it cannot be stopped, its attempt fails.
        num_steps: time steps per simulation; null for an adaptive solver, which says it at goodbye.
        end_time: number of the last time step that a simulation sends (the greatest `step`, about), from which the time
            is scaled for the network; null: num_steps - 1, or what the first simulation that ends has sent, for which
            the training waits, unless the network is not given the time.
        fields: what it sends, by name: the keys of each are listed under `solver.fields.NAME`.
        static: what does not change with time, by name: the keys of each are listed under `solver.static.NAME`. A
            simulation sends it once, or nobody does where there is a `value`.
        parameters: a distribution per parameter, by import path.
        environment: variables added to the job's environment.
        not_finite: what becomes of a time step with a value that is NaN or infinite: `fail_simulation` (its simulation
            fails as if the solver had raised: launcher.max_attempts, launcher.max_failed_fraction), `drop` (the step
            is left out and counted as given up, and so is each window that holds it), `accept` (nothing is looked at).
        deterministic: the same parameters give the same numbers to the last bit, whenever and wherever a simulation
            runs: then a window (`buffer.window`) that an attempt could not finish may be completed by the next one.
    """

    name: str = "???"
    solve: dict[str, Any] = field(default_factory=dict)
    python: str | None = None
    command: list[str] = field(default_factory=list)
    launch: str = "mpiexec -n {num_ranks}"
    num_ranks: int = key(2, unit="ranks", least=1)
    num_processes: int | None = key(None, unit="processes", least=1)
    reader: dict[str, Any] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    placeholder: str = "{name}"
    work_dir: str | None = None
    keep_files: str = key("failed", choices=("never", "failed", "always"))
    remove_sent_files: bool = False
    max_pending_bytes: Any = "4 GiB"
    num_steps: int | None = key(None, unit="time steps", least=1, most=10**12)
    end_time: float | None = key(None, unit="number of a time step", above=0, most=_LARGEST)
    # Not dict[str, FieldConfig]: Hydra's command line cannot add an entry to that.
    fields: dict[str, Any] = field(default_factory=dict)
    static: dict[str, Any] = field(default_factory=dict)
    parameters: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    not_finite: str = key("fail_simulation", choices=("fail_simulation", "drop", "accept"))
    deterministic: bool = False


@dataclass(kw_only=True)
class SamplingConfig:
    """Which parameters the simulations get.

    Attributes:
        design: where the points lie, by import path.
        sampler: by import path, what steers the study by what was learned; null walks along the design.
    """

    design: dict[str, Any] = field(default_factory=dict)
    sampler: dict[str, Any] | None = None


@dataclass(kw_only=True)
class TransportConfig:
    """How fields travel.

    Attributes:
        host: where the launcher is reached: `auto`, or a name or address (IPv4 or IPv6) of its host. `auto` is the
            loopback address where all jobs run on the launcher's host; else each process finds the address of its own
            host, launcher and server ranks alike.
        interface: by its name (`ib0`) or its network (`10.1.0.0/16`), the one whose address each process takes with
            `auto`, and over which server ranks average their gradients; null: the one on the way to the launcher.
        port: of the control socket for solver jobs; that for server ranks has the next one. 0 takes free ones.
        encryption: what is encrypted (CURVE), with keys made per study: the `control` messages; `all`, the fields too,
            which takes half of their rate; or `none`. What is not encrypted can be read by whoever can read the
            network, and they can speak as its sender.
        routing: `sample` spreads the steps of a simulation over the server ranks, `trajectory` keeps them together;
            null: `trajectory` where samples are windows of time steps, which cannot be made of steps that are spread,
            else `sample`.
        budget_bytes: memory in flight of one client rank.
        shared_memory: ranks of the server's own node hand large payloads over through shared memory.
        heartbeat_s: a client rank whose send stays blocked this long asks the launcher whether the study lives, and
            again each time it has passed without the send going on.
    """

    host: str = "auto"
    interface: str | None = None
    port: int = key(0, least=0, most=_LAST_PORT - 1)
    encryption: str = key("control", choices=("none", "control", "all"))
    routing: str | None = key(None, choices=[routing.name.lower() for routing in Routing])
    budget_bytes: int = key(32 * 2**20, least=1)
    shared_memory: bool = True
    heartbeat_s: float = key(2.0, above=0)


@dataclass(kw_only=True)
class WindowConfig:
    """The time steps of one sample, for a task that learns from several; null: as the task wants it.

    Attributes:
        length: time steps of a sample; as many as the simulation has: whole trajectories.
        stride: distance of these steps in the numbers of the solver.
        hop: distance of the first steps of two samples; 1 stores each step up to `length` times. By default what the
            task predicts with one sample.
    """

    length: int | None = key(None, unit="time steps", least=1)
    stride: int | None = key(None, unit="time steps", least=1)
    hop: int | None = key(None, unit="time steps", least=1)


@dataclass(kw_only=True)
class BufferConfig:
    """A recipe by import path and its settings; a setting that the recipe does not have stays null.

    Attributes:
        _target_: import path of the recipe.
        capacity: of all server ranks together, in samples, in bytes as text (`"2 GiB"`), or both (`"4000 within 2
            GiB"`: so many samples, or fewer if they take more); null: 4000 samples within a quarter of the memory that
            is free where the launcher runs. Where each simulation says its own sizes, bytes must be said; static fields
            count, once for all samples of their simulation.
        watermark: of all server ranks together, below which no batch is drawn; null: a fifth of the capacity.
        pseudo_epochs: draws after which FIRO removes a sample.
        views_per_sample: fixes draws per inserted sample, so that the number of batches does not depend on timing.
        device: where the samples lie: `cpu` (the host's memory), `cuda` (the memory of the device that trains on them,
            so that a batch need not be moved), or `auto` (wherever the training is).
        window: which time steps a sample holds; its keys are listed under `buffer.window`.
    """

    _target_: str = "???"
    capacity: Any = None
    watermark: int | None = key(None, unit="samples", least=0)
    pseudo_epochs: int | None = key(None, unit="draws", least=1)
    views_per_sample: int | None = key(None, unit="draws", least=1)
    device: str = key("cpu", choices=_DEVICES)
    window: WindowConfig = field(default_factory=WindowConfig)


@dataclass(kw_only=True)
class CheckpointConfig:
    """When the training is saved, so that lost server ranks, or a resumed study, can go on from there.

    Attributes:
        interval_s: between two checkpoints, each taken after a training step; one more is taken at the end, also when
            the study is stopped. Null: none at all, so a loss of the server ranks loses all that was trained.
        buffer_limit: a buffer of more bytes (of all server ranks together, at its capacity), as a number or as text
            (`"8 GiB"`), is left out, and what of it was not trained on yet is produced again; null: never. With
            `buffer.views_per_sample` it is always saved.
        num_kept: checkpoints that are kept, at least two: when the newest is damaged, the one before counts. While one
            is written there is one more on the disk.
    """

    interval_s: float | None = key(60.0, above=0)
    buffer_limit: Any = "16 GiB"
    num_kept: int = key(2, unit="checkpoints", least=2)


@dataclass(kw_only=True)
class TrainingConfig:
    """How the network is trained; everything with `_target_` may be your own import path.

    Attributes:
        batch_size: of one training step on one server rank.
        max_batches: stop after so many training steps; null: until the buffer is drained.
        validation_interval: training steps between validations; 0: only at the end.
        task: what is learned; called with the layout.
        loop: what trains; called with the stream.
        loss: `(prediction, target, per_sample) -> one value per sample`, of one field.
        field_weights: how much each target field counts; empty: by its number of elements.
        consumers: by a name of your choice, what looks at the training samples on their way into the buffer, the first
            one first; called with `then` (the next one) and, as far as they take them, `layout`, `run_dir` and `rank`.
        optimizer: called with the network's weights.
        schedule: learning-rate factor as a function of progress in [0, 1].
        schedule_on: what progress means: `samples` (fraction of the expected samples delivered; with
            `buffer.views_per_sample`, of the draws that they stand for) or `batches`.
        scheduler: instead of `schedule` (set that to null), a `torch.optim.lr_scheduler` by import path with its
            arguments; called with the optimizer, stepped per batch.
        gradient_clip: largest norm of the gradient of all weights together; null: not clipped.
        precision: of the network's arithmetic; `bf16` keeps the weights in float32.
        compile: compile the network with `torch.compile`, which takes a while and pays for a long training; the trial
            does it too, so `launcher.start_timeout_s` must allow for it.
        device: where the training is; `auto` takes a GPU if there is one.
        num_threads: that torch uses on each server rank.
        steps_per_agreement: training steps that the server ranks settle ahead at once.
        checkpoint: when the training is saved; its keys are listed under `training.checkpoint`.
    """

    batch_size: int = key(64, unit="samples", least=1)
    max_batches: int | None = key(None, unit="training steps", least=1)
    validation_interval: int = key(500, unit="training steps", least=0)
    task: dict[str, Any] = field(default_factory=dict)
    loop: dict[str, Any] = field(default_factory=dict)
    loss: dict[str, Any] = field(default_factory=dict)
    field_weights: dict[str, float] = field(default_factory=dict)
    consumers: dict[str, Any] = field(default_factory=dict)
    optimizer: dict[str, Any] = field(default_factory=dict)
    schedule: dict[str, Any] | None = None
    schedule_on: str = key("samples", choices=("samples", "batches"))
    scheduler: dict[str, Any] | None = field(default_factory=dict)
    gradient_clip: float | None = key(None, above=0)
    precision: str = key("float32", choices=("float32", "bf16"))
    compile: bool = False
    device: str = key("auto", choices=_DEVICES)
    num_threads: int = key(1, unit="threads", least=1, most=1024)
    steps_per_agreement: int = key(16, unit="training steps", least=1)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)


@dataclass(kw_only=True)
class LauncherConfig:
    """Where things run and when to give up.

    Attributes:
        executor: import path of what starts the processes; the other keys are its arguments.
        max_jobs: solver jobs alive at once.
        max_studies: of a sweep (`-m`), studies that run at the same time, each with a launcher, server ranks and jobs
            of its own.
        max_attempts: executions of one simulation before it is given up.
        max_failed_starts: jobs in a row that may end before they are given a simulation. When this many attempts, or
            max_attempts if that is more, have failed before the study's first sample was delivered, it fails as well.
        max_failed_fraction: of the simulations; when more are given up, the study fails. It fails as well when so many
            in a row are given up, while none completes or lives longer than those that failed, as chance does not bring
            together where this fraction fails: 3 at the beginning with 0.1, a few more later.
        max_server_restarts: how often the server ranks may be started again, when one was lost, without a
            checkpoint of more training steps in between. They go on from the newest one; what it lacks is produced
            again. Up to 30 that the machine has taken (a node failed, a preemption) do not count.
        num_server_ranks: processes that receive and train together, one per device.
        step_timeout_s: a running simulation without a new time step for so long is failed (the clock stands still
            while any server rank's put waits); a job that after its simulation neither asks for another nor ends for
            so long is ended.
        delivery_timeout_s: the same after goodbye, when parts are still missing, and for a job to end after it has
            told that its simulation failed.
        server_timeout_s: a server rank that reports nothing for so long has failed.
        orphan_timeout_s: jobs and server ranks to which a launcher that has died does not answer for so long end by
            themselves, server ranks after a last checkpoint. Those of this machine end at once.
        training_timeout_s: a training step (with what the loop does until it asks for the next batch; a validation
            counts by its batches) that takes longer hangs: the stacks of all threads go into the log of its server
            rank, and the server ranks are started again. The first one may take start_timeout_s longer, and a rank that
            waits for another one twice as long.
        start_timeout_s: for a submitted server rank or job that is running to say hello; server rank 0 tries the
            training before. Server ranks that are started again load a checkpoint within it, too.
        save_timeout_s: when a study has failed or is stopped, for the server ranks to validate, save the surrogate as
            it is and report; a second Ctrl-C does not wait for it.
        walltime: how long this launcher may run, in seconds, or as text (`"1:30:00"`, `"1-12:00:00"` with days); null:
            as long as it takes. The study is stopped so long before that the server ranks can save
            (launcher.save_timeout_s) and everything can end (launcher.grace_s); `melissa-like resume` goes on. Null
            inside a job of Slurm: until that ends.
        requeue: a launcher that is out of time, and runs in the script of a batch job of Slurm, has that job run again;
            the script of `--write-script` then goes on with the study. So does one that Slurm itself runs again.
        grace_s: between SIGTERM and SIGKILL.
        log_limit: of a job's log, in bytes or as text (`"10 MiB"`), at least 64 KiB; of a longer one the beginning and
            the end are kept.
    """

    executor: dict[str, Any] = field(default_factory=dict)
    max_jobs: int = key(1, unit="jobs", least=1)
    max_studies: int = key(1, unit="studies", least=1)
    max_attempts: int = key(3, unit="attempts", least=1)
    max_failed_starts: int = key(3, unit="jobs", least=1)
    max_failed_fraction: float = key(0.1, least=0)
    max_server_restarts: int = key(3, unit="restarts", least=0)
    num_server_ranks: int = key(1, unit="ranks", least=1)
    step_timeout_s: float = key(600.0, above=0)
    delivery_timeout_s: float = key(30.0, above=0)
    server_timeout_s: float = key(60.0, above=0)
    orphan_timeout_s: float = key(300.0, above=0)
    training_timeout_s: float = key(600.0, above=0)
    start_timeout_s: float = key(120.0, above=0)
    save_timeout_s: float = key(30.0, least=0)
    walltime: Any = None
    requeue: bool = False
    grace_s: float = key(5.0, least=0)
    log_limit: Any = "16 MiB"


@dataclass(kw_only=True)
class MonitoringConfig:
    """What is shown and kept.

    Attributes:
        interval_s: between two reports of a server rank.
        tensorboard: write TensorBoard events.
        figures: write PNGs at the end.
    """

    interval_s: float = key(0.5, above=0)
    tensorboard: bool = True
    figures: bool = True


@dataclass(kw_only=True)
class Config:
    """The whole configuration of a study.

    Attributes:
        run_dir: the folder that the study writes; in a sweep, one numbered folder below it per study.
        model: the network, by import path, called with the problem of the task; the other keys are its arguments.
    """

    run_dir: str = "???"
    study: StudyConfig = field(default_factory=StudyConfig)
    solver: SolverConfig = field(default_factory=SolverConfig)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    transport: TransportConfig = field(default_factory=TransportConfig)
    buffer: BufferConfig = field(default_factory=BufferConfig)
    model: dict[str, Any] = field(default_factory=dict)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    launcher: LauncherConfig = field(default_factory=LauncherConfig)
    monitoring: MonitoringConfig = field(default_factory=MonitoringConfig)
