"""The trial on a CUDA device: what works on the CPU works there, and what does not is named there too."""

from pathlib import Path

import pytest
import torch

from melissa_like.errors import ConfigurationError
from melissa_like.server.trial import try_training
from tests.unit.test_trial import TWO_RANKS, configured, model

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


@pytest.mark.parametrize(
    "overrides", [[], [TWO_RANKS], ["training.precision=bf16"], [*model("BatchNorm"), TWO_RANKS], model("Dropout")]
)
def test_what_works_is_not_refused_and_leaves_the_random_state(tmp_path: Path, overrides: list[str]) -> None:
    before = torch.cuda.get_rng_state(0)
    try_training(configured(*overrides), torch.device("cuda", 0), tmp_path)
    assert torch.equal(torch.cuda.get_rng_state(0), before)
    assert not torch.distributed.is_initialized()


def test_a_network_of_another_device_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"OnTheHost.* is trained on 8 samples: RuntimeError"):
        try_training(configured(*model("OnTheHost")), torch.device("cuda", 0), tmp_path)
