"""Networks: `torch.nn.Module`s and nothing else.

Your own needs no base class. Name it by import path (`model: {_target_: mine.Network, _partial_: true, width: 64}`): it
is called with `num_inputs` and `num_outputs` besides your options, and must map normalized inputs [B, num_inputs] to
normalized outputs [B, num_outputs], the fields of a time step flattened and concatenated in the order of the layout. A
network that works on a grid reshapes inside its `forward`. Whatever thread trains or predicts runs it. Never imported
here: zmq, mpi4py, and the rest of melissa_like.
"""

from melissa_like.models.mlp import MLP

__all__ = ["MLP"]
