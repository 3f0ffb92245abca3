"""The whole examination: a folder that is removed, checks one after another, what is printed."""

import shutil
import signal
import sys
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import mkdtemp

from omegaconf import DictConfig

from melissa_like.config import Config
from melissa_like.errors import MelissaLikeError
from melissa_like.launcher.doctor.contact import Listener
from melissa_like.launcher.doctor.findings import Finding, bad, good, is_well, skipped, text_of
from melissa_like.launcher.doctor.here import existing, needed_bytes, own_host, ports
from melissa_like.launcher.doctor.jobs import Told, probes, send
from melissa_like.launcher.doctor.judging import Expected, judge_jobs
from melissa_like.launcher.doctor.judging_nodes import judge_nodes
from melissa_like.launcher.doctor.probe import sight
from melissa_like.launcher.doctor.reports import ERRAND_FILE, Errand, write
from melissa_like.launcher.doctor.scheduler import Site, look_at_site
from melissa_like.launcher.executors import Traits, log_tail
from melissa_like.launcher.exit_codes import INTERRUPTED
from melissa_like.launcher.parts import make_executor
from melissa_like.launcher.run import prepare
from melissa_like.transport.own_host import OwnHost

__all__ = ["examine"]

#: Of server ranks and of solver jobs; those of a plug-in under MPI need one more.
_PACKAGES = {
    "server": ("melissa-like", "msgspec", "numpy", "omegaconf", "pyzmq", "scipy", "torch"),
    "solver": ("melissa-like", "msgspec", "numpy", "pyzmq"),
}
_MOST_RANKS = 2
_LOG_LINES = 8


def examine(composed: DictConfig) -> int:
    """Look at everything and print it; gives the exit code: 0 if all is well. Nothing of it stays, however it ends.

    Blocks as long as the probes take, `launcher.start_timeout_s` at most.
    """
    findings = []
    try:
        with _signals() as go_on, closing(_findings(composed, go_on)) as found:
            for finding in found:
                findings.append(finding)
                sys.stdout.write(text_of(finding))
                sys.stdout.flush()
                go_on()
    except KeyboardInterrupt:
        sys.stderr.write("melissa-like doctor: interrupted; nothing of it is left\n")
        return INTERRUPTED
    return 0 if is_well(findings) else 1


@contextmanager
def _signals() -> Iterator[Callable[[], None]]:
    """Whatever ends this process ends the probes first; it runs on the main thread.

    Gives what raises KeyboardInterrupt after a signal. The signal itself raises nothing: that could be in the middle of
    anything, also where Python drops what is raised.
    """
    told = threading.Event()

    def go_on() -> None:
        if told.is_set():
            raise KeyboardInterrupt

    wanted = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, lambda number, frame: told.set()) for number in wanted}
    try:
        yield go_on
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)


def _findings(composed: DictConfig, go_on: Callable[[], None]) -> Generator[Finding, None, None]:
    try:
        config, _ = prepare(composed)
    except MelissaLikeError as error:
        yield bad("configuration", str(error), "change what it names; nothing else was looked at")
        return
    yield good("configuration", "can be run")
    executor = make_executor(config.launcher, lambda: None, Path(config.run_dir))
    own, reached = own_host(config, executor.traits)
    yield reached
    yield ports(config, own)
    site = look_at_site(config)
    yield from site.findings
    folder = Path(mkdtemp(prefix="melissa-like-doctor-", dir=existing(Path(config.run_dir).parent)))
    try:
        yield from _in_folder(config, executor.traits, own, site, folder, go_on)
    finally:
        shutil.rmtree(folder)


def _in_folder(
    config: Config, traits: Traits, own: OwnHost | None, site: Site, folder: Path, go_on: Callable[[], None]
) -> Iterator[Finding]:
    solver = config.solver
    uses_mpi = bool(solver.solve) and (bool(solver.launch.strip()) or traits.starts_ranks)
    packages = {**_PACKAGES, **({"solver": (*_PACKAGES["solver"], "mpi4py")} if uses_mpi else {})}
    num_ranks = min(_MOST_RANKS, solver.num_ranks)
    told, logs = Told(), dict[str, str]()
    seen = sight(folder, _PACKAGES["server"])

    def expected() -> Expected:
        return Expected(
            num_server_ranks=config.launcher.num_server_ranks,
            num_ranks=num_ranks,
            spans_nodes=site.spans_nodes,
            uses_mpi=uses_mpi,
            num_client_ranks=config.launcher.max_jobs * solver.num_ranks,
            packages=packages,
            needed_bytes=needed_bytes(config),
            sight=seen,
            logs=logs,
            patience_s=config.launcher.start_timeout_s,
        )

    if traits.in_process:
        yield skipped("jobs and connections", "all of the study runs in this process")
    elif not site.answers:
        yield skipped("jobs and connections", "the scheduler could not be told of any")
    elif own is None:
        yield skipped("jobs and connections", "nobody could reach the launcher")
    else:
        specs = probes(config, folder, starts_ranks=traits.starts_ranks, num_ranks=num_ranks)
        with Listener(own.address) as listener:
            errand = Errand(
                launcher=listener.endpoint,
                interface=config.transport.interface,
                num_server_ranks=config.launcher.num_server_ranks,
                device=config.training.device,
                packages=packages,
                patience_s=config.launcher.start_timeout_s,
            )
            write(folder / ERRAND_FILE, errand)
            told = send(
                lambda on_change: make_executor(site.launcher, on_change, folder),
                specs,
                folder,
                patience_s=config.launcher.start_timeout_s,
                grace_s=config.launcher.grace_s,
                go_on=go_on,
            )
        logs = {spec.name: log_tail(spec.log, _LOG_LINES) for spec in specs}
        yield from judge_jobs(told, expected())
    yield from judge_nodes(told, expected())
