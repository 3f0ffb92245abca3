"""Ragged samples for the tests: a study whose meshes differ, and what its samples hold."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from melissa_like.records import FieldSpec, Layout, SampleKey, StaticFields, static_fields

#: Two components on the points, one on the edges, and a number without a grid; coordinates, edges and a material.
LAYOUT = Layout(
    fields=(
        FieldSpec(name="displacement", shape=(2, 0), components=2, extent="num_points"),
        FieldSpec(name="stress", shape=(0,), dtype="float64", extent="num_edges"),
        FieldSpec(name="peak", shape=(1,)),
    ),
    parameters=("load",),
    static=(
        FieldSpec(name="coordinates", shape=(2, 0), components=2, extent="num_points"),
        FieldSpec(name="edges", shape=(2, 0), components=2, extent="num_edges", dtype="int32", indexes="num_points"),
        FieldSpec(name="inflow", shape=(2,), dtype="int64", indexes="num_points"),
        FieldSpec(name="material", shape=(3, 2), dtype="uint8"),
    ),
)

#: Numbers of points and edges of a simulation.
Sizes = tuple[int, int]


def sized(sizes: Sizes) -> Layout:
    """The layout of one simulation."""
    return LAYOUT.sized(dict(zip(LAYOUT.extents, sizes, strict=True)))


def mesh_of(simulation: int, sizes: Sizes) -> StaticFields:
    """The static fields of a simulation: every value tells whose it is."""
    layout = sized(sizes)
    num_points, num_edges = sizes
    rng = np.random.default_rng([simulation, *sizes])
    return static_fields(
        layout,
        {
            "coordinates": simulation + rng.random((2, num_points), dtype=np.float32),
            "edges": rng.integers(0, num_points, (2, num_edges), dtype=np.int32),
            "inflow": rng.integers(0, num_points, 2),
            "material": np.full((3, 2), simulation % 256, np.uint8),
        },
    )


def fields_of(key: SampleKey, sizes: Sizes) -> tuple[np.ndarray, ...]:
    """The fields of a sample, as a solver has them."""
    rng = np.random.default_rng([key.simulation, key.step])
    return tuple(
        (1000 * key.simulation + key.step + rng.random(spec.shape)).astype(spec.dtype) for spec in sized(sizes).fields
    )


def expected_batch(
    keys: Sequence[SampleKey],
    meshes: Mapping[SampleKey, StaticFields],
    fields: Mapping[SampleKey, Sequence[np.ndarray]],
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Fields, offsets and static fields of a batch, put together sample by sample."""
    offsets = {extent: np.cumsum([0, *(meshes[key].extents[extent] for key in keys)]) for extent in LAYOUT.extents}
    made = {spec.name: joined([fields[key][number] for key in keys], spec) for number, spec in enumerate(LAYOUT.fields)}
    static = {}
    for spec in LAYOUT.static:
        arrays = [meshes[key].arrays[spec.name] for key in keys]
        if isinstance(spec.indexes, str):
            firsts = offsets[spec.indexes]
            arrays = [array.astype(np.int64) + first for array, first in zip(arrays, firsts, strict=False)]
        static[spec.name] = joined(arrays, spec)
    return made, offsets, static


def joined(arrays: Iterable[np.ndarray], spec: FieldSpec) -> np.ndarray:
    """Points one after the other, or samples where there are none."""
    if spec.extent is None:
        return np.stack([*arrays])
    return np.concatenate([array.reshape(spec.components, -1).T for array in arrays])
