"""The Brusselator by py-pde, which runs the time loop itself and calls back; one job runs many simulations."""

import numpy as np
from pde import PDE, CallbackTracker, CartesianGrid, FieldCollection, ScalarField

from melissa_like.client import Client, Session

GRID = CartesianGrid([[0, 64], [0, 64]], 32, periodic=True)
NUM_STEPS, INTERVAL = 20, 0.5
RATES = {"u": "laplace(u) + a - (1 + b) * u + v * u**2", "v": "0.1 * laplace(v) + b * u - v * u**2"}


def simulate(session: Session) -> None:
    """Two concentrations around their steady state (a, b / a), disturbed in the same way in every simulation."""
    a, b = session.parameters["a"], session.parameters["b"]
    noise = np.random.default_rng(0).normal(0, 0.1, (2, *GRID.shape))
    state = FieldCollection([ScalarField(GRID, a + noise[0]), ScalarField(GRID, b / a + noise[1])])

    def send(state: FieldCollection, time: float) -> None:
        session.send(round(time / INTERVAL), {"concentration": state.data}, time)

    PDE(RATES, consts={"a": a, "b": b}).solve(
        state,
        t_range=(NUM_STEPS - 1) * INTERVAL,
        dt=0.01,
        tracker=CallbackTracker(send, interrupts=INTERVAL),
        backend="numpy",
    )


with Client() as client:
    while (session := client.next_session()) is not None:
        with session:
            simulate(session)
