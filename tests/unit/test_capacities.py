"""What the buffers of a study hold: in samples of a known size, or in bytes where sizes differ."""

import numpy as np
import pytest

from melissa_like.buffer.free_space import whole_units
from melissa_like.buffer.packing import packed
from melissa_like.config import (
    Config,
    capacity,
    capacity_nbytes,
    capacity_nbytes_per_rank,
    capacity_per_rank,
    check_memory,
    default_capacity,
    largest_mesh_nbytes,
    saves_buffer,
    watermark_per_rank,
)
from melissa_like.config.schema import BufferConfig, FieldConfig, StaticConfig
from melissa_like.errors import ConfigurationError
from melissa_like.records import FieldSpec, Layout, Window

RAGGED = Layout(fields=(FieldSpec(name="u", shape=(0,), extent="num_points"),), parameters=("a",))


def on_meshes(given: object, *, num_ranks: int = 1) -> Config:
    """Three numbers on each point, and coordinates."""
    config = Config()
    config.solver.fields = {"u": FieldConfig(shape=[3, "num_points"], components=3)}
    config.solver.static = {"x": StaticConfig(shape=[2, "num_points"], components=2)}
    config.buffer.capacity, config.launcher.num_server_ranks = given, num_ranks
    return config


def with_material(given: object, *, num_simulations: int, num_ranks: int = 1) -> Config:
    """Fixed sizes, and a material of each simulation."""
    config = Config()
    config.solver.fields = {"u": FieldConfig(shape=[100])}
    config.solver.static = {"material": StaticConfig(shape=[30], dtype="uint8")}
    config.buffer.capacity, config.launcher.num_server_ranks = given, num_ranks
    config.study.num_simulations = num_simulations
    return config


@pytest.mark.parametrize(
    ("given", "samples", "nbytes"), [("1 MiB", 2**20 // 256, 2**20), ("300 within 1 MiB", 300, 2**20)]
)
def test_a_capacity_of_meshes_is_in_bytes_and_shared_out(given: str, samples: int, nbytes: int) -> None:
    alone, two = on_meshes(given), on_meshes(given, num_ranks=2)
    assert capacity_per_rank(alone) in (samples, samples - 1)  # the static fields take the place of one
    assert capacity_per_rank(two) in (samples // 2, samples // 2 - 1)
    assert (capacity_nbytes_per_rank(alone), capacity_nbytes_per_rank(two)) == (nbytes, nbytes // 2)
    assert capacity_nbytes(alone) == capacity_nbytes(two) == nbytes


def test_a_number_of_samples_says_nothing_of_meshes() -> None:
    with pytest.raises(ConfigurationError, match=r"1000 samples, but each simulation says its own num_points.* 2 GiB"):
        capacity(BufferConfig(capacity=1000), RAGGED)


def test_bytes_stand_for_no_more_rows_than_can_be_looked_through() -> None:
    assert capacity_per_rank(on_meshes("1 TiB")) == 2**18
    assert capacity_per_rank(on_meshes(f"{2**20} within 1 TiB")) == 2**20


def test_a_number_of_samples_has_room_for_the_static_fields_of_all_simulations() -> None:
    config = with_material(1000, num_simulations=7)
    assert capacity_per_rank(config) == 1000
    layout = Layout(
        fields=(FieldSpec(name="u", shape=(100,)),),
        parameters=("a",),
        static=(FieldSpec(name="material", shape=(30,), dtype="uint8"),),
    )
    needed = 1000 * whole_units(packed(layout.fields, {}).nbytes) + 7 * whole_units(packed(layout.static, {}).nbytes)
    assert capacity_nbytes_per_rank(config) == needed
    assert capacity_nbytes_per_rank(with_material(4, num_simulations=7)) == 4 * 512 + 4 * 256


def test_windows_of_fixed_sizes_are_counted_with_all_their_steps() -> None:
    config = with_material(10, num_simulations=2)
    assert capacity_nbytes_per_rank(config, Window(length=5)) == 10 * 2048 + 2 * 256


def test_nothing_said_is_the_same_number_within_the_same_memory() -> None:
    assert default_capacity(RAGGED, 2**30) == f"4000 within {2**28} B"


def test_the_watermark_of_meshes_is_a_share_of_the_bytes_unless_it_is_said() -> None:
    config = on_meshes("1 MiB", num_ranks=2)
    assert watermark_per_rank(config) is None
    config.buffer.watermark = 31
    assert watermark_per_rank(config) == 16


def test_what_is_in_bytes_is_saved_and_fits_by_its_bytes() -> None:
    config = on_meshes("3 GiB", num_ranks=3)
    config.training.checkpoint.buffer_limit = "2 GiB"
    assert not saves_buffer(config)
    config.training.checkpoint.buffer_limit = "4 GiB"
    assert saves_buffer(config)
    check_memory(config, 2**30 + 2**20, num_ranks=1)  # does not raise
    with pytest.raises(ConfigurationError, match=r"3 GiB: 3 GiB, and one of each job, need 3 GiB, but 2 GiB of memory"):
        check_memory(config, 2**31, num_ranks=3)


def test_every_mesh_that_is_announced_as_fitting_fits() -> None:
    """The rows that bytes stand for are those of the smallest mesh."""
    config = on_meshes("10 KiB")
    smallest = packed((FieldSpec(name="u", shape=(3, 0), components=3, extent="num_points"),), {"num_points": 1})
    assert capacity_per_rank(config) == (10 * 1024 - 256) // whole_units(smallest.nbytes)
    assert np.isclose(capacity_nbytes_per_rank(config), 10 * 1024)


@pytest.mark.parametrize("nbytes", [2048, 2304, 5000, 10_240])
def test_the_largest_mesh_that_is_taken_finds_room(nbytes: int) -> None:
    """Three numbers of a field and two of the coordinates, four bytes each."""
    config = on_meshes(f"{nbytes} B")
    sizes = {"num_points": largest_mesh_nbytes(config) // 20}
    field = packed((FieldSpec(name="u", shape=(3, 0), components=3, extent="num_points"),), sizes)
    once = packed((FieldSpec(name="x", shape=(2, 0), components=2, extent="num_points"),), sizes)
    assert whole_units(field.nbytes) + whole_units(once.nbytes) <= nbytes // 256 * 256
