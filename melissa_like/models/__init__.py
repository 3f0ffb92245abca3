"""Networks: `torch.nn.Module`s and nothing else, on tensors of their natural shapes.

Your own needs no base class. Name it by import path (`model: {_target_: mine.Network, width: 64}`): it is called with
the `Problem` and your options, `Network(problem, width=64)`. Its `forward` is called by keyword with what the problem
lists (`fields`, `parameters`, `time`, `static`), all normalized, and returns a mapping by target field, [B, C, *grid]
each. On points whose number differs between simulations a field is [ΣN, C], and `offsets` tell the samples apart.
Whatever thread trains or predicts runs it. Never imported here: zmq, mpi4py, and the rest of melissa_like.

Six families, a file each: `MLP`, `FNO`, `UNet`, `DeepONet`, `MessagePassing`, and on meshes that differ
`MeshMessagePassing`. Each refuses a problem that it cannot serve when it is built. A *conditioning* tells a network on
a grid its parameters and the time: `ConstantChannels`, `ScaleAndShift`, `CAPE`, or yours. What depends on the grid
alone (coordinates, neighbours, the matrices of transforms) is computed when a network is built and is not part of its
state_dict.
"""

from melissa_like.models.cape import CAPE
from melissa_like.models.conditioning import Conditioned, Conditioning, ConstantChannels, ScaleAndShift
from melissa_like.models.deeponet import DeepONet
from melissa_like.models.fno import FNO
from melissa_like.models.mesh_message_passing import MeshMessagePassing
from melissa_like.models.message_passing import MessagePassing
from melissa_like.models.mlp import MLP
from melissa_like.models.problem import FieldShape, Problem, StaticShape
from melissa_like.models.unet import UNet

__all__ = [
    "CAPE",
    "FNO",
    "MLP",
    "Conditioned",
    "Conditioning",
    "ConstantChannels",
    "DeepONet",
    "FieldShape",
    "MeshMessagePassing",
    "MessagePassing",
    "Problem",
    "ScaleAndShift",
    "StaticShape",
    "UNet",
]
