"""Batches of samples whose meshes differ: ours against PyTorch Geometric's and against memcpy of as many bytes.

A sample has two numbers on each point; its simulation has the coordinates of the points and six edges per point, once
for all its samples. PyTorch Geometric (extra `bench`) has a `Data` for each sample, whose coordinates and edges are
those of its simulation too, and makes a batch of samples drawn at random by `Batch.from_data_list`. Its edges are
int64, as it wants them; ours are int32 until they are in a batch.
"""

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from melissa_like.buffer import SampleBuffer, reservoir
from melissa_like.records import FieldSpec, Layout, SampleKey, StaticFields, static_fields
from tests.benchmarks.measure import Row, interleave, memcpy_rate, print_rows, rate_of, ratio, shown

ROUNDS, RUN_S = 5, 0.4
#: Points of a mesh, in the mean: from half of it to half more.
POINTS = (500, 5_000, 50_000)
BATCHES = (8, 32)
EDGES_PER_POINT, SAMPLES_PER_MESH, NUM_MESHES = 6, 10, 20
PARAMETERS = np.ones(5)
LAYOUT = Layout(
    fields=(FieldSpec(name="u", shape=(2, 0), components=2, extent="num_points"),),
    parameters=tuple("abcde"),
    static=(
        FieldSpec(name="coordinates", shape=(2, 0), components=2, extent="num_points"),
        FieldSpec(name="edges", shape=(2, 0), components=2, extent="num_edges", dtype="int32", indexes="num_points"),
    ),
)


def meshes_of(num_points: int) -> list[StaticFields]:
    """Coordinates and random edges of all simulations."""
    rng, made = np.random.default_rng(0), []
    for size in rng.integers(num_points // 2, 3 * num_points // 2, NUM_MESHES).tolist():
        num_edges = EDGES_PER_POINT * size
        arrays = {
            "coordinates": rng.random((2, size), dtype=np.float32),
            "edges": rng.integers(0, size, (2, num_edges), dtype=np.int32),
        }
        made.append(static_fields(LAYOUT.sized({"num_points": size, "num_edges": num_edges}), arrays))
    return made


def filled(meshes: list[StaticFields]) -> SampleBuffer:
    """A reservoir that holds all samples, all of them seen."""
    num_samples = SAMPLES_PER_MESH * len(meshes)
    nbytes = 2 * sum(mesh.nbytes * (1 + SAMPLES_PER_MESH) for mesh in meshes) + 10**6
    buffer = reservoir(LAYOUT, num_samples, watermark=0, capacity_nbytes=nbytes)
    for step in range(SAMPLES_PER_MESH):
        for number, mesh in enumerate(meshes):
            values = [np.ones((2, mesh.extents["num_points"]), np.float32)]
            given: dict[str, Any] = {"time": 0.0, "parameters": PARAMETERS, "static": mesh}
            buffer.put(SampleKey(number, step), values, timeout_s=1.0, **given)
    while buffer.population().unseen:
        buffer.settle(buffer.draw(num_samples))
    return buffer


def drawing(buffer: SampleBuffer, batch_size: int) -> Callable[[], None]:
    """One batch: draw, gather into reused memory, settle."""
    memory = buffer.batch_memory(batch_size, pinned=False)

    def work() -> None:
        draw = buffer.draw(batch_size)
        buffer.gather(draw, memory)
        buffer.settle(draw)

    return work


def collating(meshes: list[StaticFields], batch_size: int) -> Callable[[], None] | None:
    """PyTorch Geometric, where it is installed."""
    try:
        from torch_geometric.data import Batch, Data
    except ImportError:
        return None
    held = []
    for mesh in meshes:
        points = torch.from_numpy(np.ascontiguousarray(mesh.arrays["coordinates"].T))
        edges = torch.from_numpy(mesh.arrays["edges"].astype(np.int64))
        for _ in range(SAMPLES_PER_MESH):
            parameters = torch.from_numpy(PARAMETERS)[None]
            held.append(Data(x=torch.ones(len(points), 2), pos=points, edge_index=edges, parameters=parameters))

    def work() -> None:
        Batch.from_data_list(random.choices(held, k=batch_size))

    return work


def mesh_batches() -> None:
    """The table."""
    rows = []
    for num_points in POINTS:
        meshes = meshes_of(num_points)
        buffer = filled(meshes)
        nbytes = round(np.mean([mesh.extents["num_points"] for mesh in meshes])) * (16 + 16 * EDGES_PER_POINT)
        total = nbytes * NUM_MESHES
        for batch_size in BATCHES:
            contestants = {"ours": drawing(buffer, batch_size)}
            collate = collating(meshes, batch_size)
            if collate is not None:
                contestants["pyg"] = collate
            amount = nbytes * batch_size
            rates = interleave(
                {
                    **{
                        name: (lambda work=work, a=amount: rate_of(work, a, at_least_s=RUN_S))
                        for name, work in contestants.items()
                    },
                    "memcpy": lambda a=amount, t=total: memcpy_rate(a, out_of_nbytes=max(4 * a, t), at_least_s=RUN_S),
                },
                ROUNDS,
            )
            rows.append(
                Row(
                    {
                        "points": f"{num_points:,}",
                        "batch": str(batch_size),
                        "ours batches/s": shown(rates["ours"], amount),
                        "ours MiB/s": shown(rates["ours"], 2**20),
                        "ours / memcpy": ratio(rates, "ours", "memcpy"),
                        "ours / PyTorch Geometric": ratio(rates, "ours", "pyg") if collate else "not installed",
                    }
                )
            )
    print_rows("batches of samples whose meshes differ, one thread", rows)
