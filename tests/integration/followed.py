"""A program that nobody edits, and a study that follows it."""

import sys
from pathlib import Path

__all__ = ["followed"]

#: Prints nothing of a study, and knows nothing of one: numbers from its input file, a file per time step.
PROGRAM = """
import os, signal, subprocess, sys, time

told = dict(line.split("=") for line in open("input.txt"))
number, simulation, attempt = float(told["number"]), int(told["simulation"]), int(told["attempt"])
rank, size = int(os.environ.get("PMI_RANK", 0)), int(os.environ.get("PMI_SIZE", 1))
for step in range(6):
    if step == 3 and attempt == 1 and len(sys.argv) > 1:
        if simulation == 1:
            print("the residual is NaN")
            sys.exit(3)
        if simulation == 2:
            os.kill(os.getppid(), signal.SIGKILL)
            time.sleep(1000)
        if simulation == 3:
            subprocess.run([sys.executable, "-c", "import time; time.sleep(1000)"])
    if rank == 0:
        with open(f"{step}.new", "w") as file:
            file.write(" ".join(str(number / 1000 + step / 10 + size / 100) for _ in range(32)) + " " * 20000)
        os.rename(f"{step}.new", f"{step}.txt")
"""


def followed(folder: Path, *overrides: str, arguments: str = "") -> list[str]:
    """Overrides for a study of the program: 32 numbers per time step."""
    (folder / "program.py").write_text(PROGRAM)
    (folder / "input.template").write_text("number={number:.1f}\nsimulation={simulation}\nattempt={attempt}\n")
    return [
        "solver=empty",
        "solver.name=program",
        f"solver.command=[{sys.executable},'{{started_in}}/program.py'{arguments}]",
        "+solver.files={input.txt:input.template}",
        "+solver.reader._target_=tests.plugins.readers.numbered",
        "+solver.reader.field=mark",
        "+solver.fields.mark={shape:[32],bounds:[-1,1]}",
        "+solver.parameters.number._target_=tests.plugins.sampling.Number",
        "sampling=monte_carlo",
        "sampling.design._target_=tests.plugins.sampling.Counting",
        "solver.num_ranks=1",
        "solver.num_steps=6",
        "study.num_simulations=4",
        "study.num_validation_simulations=0",
        "buffer.capacity=16",
        "training.batch_size=4",
        "launcher.max_jobs=2",
        "monitoring.figures=false",
        "monitoring.tensorboard=false",
        *overrides,
    ]
