"""Batches on a CUDA device: what arrives there is what was put, though copies overlap with training."""

import numpy as np
import pytest
import torch

from melissa_like.buffer import reservoir
from melissa_like.loading import AgreementTerms, Loader, LocalState, Measurement, SoloCollective
from melissa_like.records import FieldSpec, Layout, SampleKey

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


@pytest.mark.parametrize("home", ["cpu", "cuda"])
def test_batches_on_the_device_are_what_was_put(home: str) -> None:
    layout = Layout(fields=(FieldSpec(name="u", shape=(256, 256)),), parameters=("a",))
    buffer = reservoir(layout, 200, watermark=0, views_per_sample=8, device=home)
    for number in range(200):
        values = [np.full((256, 256), number, np.float32)]
        buffer.put(SampleKey(number, 1), values, time=0.5, parameters=np.array([number / 2]), timeout_s=1.0)
    buffer.end_reception()
    terms = AgreementTerms(batch_size=16, expected_samples=200)
    loader = Loader(
        buffer,
        terms,
        state=lambda: LocalState(delivered=200),
        collective=SoloCollective(),
        device="cuda",
        measurement=Measurement(quantities={"u": 1}, measure=lambda batch: {"u": batch.fields["u"].unsqueeze(1)}),
    )
    drawn = 0
    with loader:
        for turn in loader:
            assert turn.batch is not None
            assert turn.batch.fields["u"].is_cuda
            work = turn.batch.fields["u"].square().mean(dim=(1, 2)).sqrt()  # the device is busy with this slot
            torch.testing.assert_close(work, turn.batch.simulations.float())
            torch.testing.assert_close(turn.batch.parameters[:, 0], turn.batch.simulations.double() / 2)
            drawn += turn.batch.size
    assert drawn == 8 * 200
