"""`Surrogate`: a network with everything that turns parameters, and what else a task asks for, into fields."""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, device, nn

from melissa_like.loading import Batch, field_of_sample
from melissa_like.records import Layout
from melissa_like.training.export import export_surrogate
from melissa_like.training.modes import evaluating
from melissa_like.training.normalization import Normalization
from melissa_like.training.tasks import Predicts, RollsOut, Task

__all__ = ["Surrogate"]


class Surrogate(nn.Module):
    """A network between original units. Use `build_surrogate` or `load_surrogate` to make one.

    Attributes:
        task: what the network is asked.
        network: on normalized values.
        normalization: of what the task measures, of the parameters and the time.
        layout: fields and parameters of the study.
        recipes: of the `model` and the `task`, as `melissa_like.plugins.recipe_of` writes them: to build it again.
    """

    def __init__(
        self,
        task: Task,
        network: nn.Module,
        normalization: Normalization,
        *,
        layout: Layout,
        recipes: Mapping[str, Mapping[str, Any]],
    ) -> None:
        super().__init__()
        self.task = task
        self.network = network
        self.normalization = normalization
        self.layout = layout
        self.recipes = recipes

    @property
    def device(self) -> device:
        """Where it computes."""
        return self.normalization.device

    def forward(self, batch: Batch) -> Mapping[str, Tensor]:
        """The target fields of a batch in original units, float32, by name: [B, *shape] or [B, K, *shape].

        Those on an extent are [ΣN, C] or [ΣN, K, C].
        """
        predictions = self.task.advance(self.network, self.normalization, batch)
        return self.task.restore(self.normalization, batch, predictions)

    def predict(self, parameters: Mapping[str, float], **asked: Any) -> dict[str, npt.NDArray[np.float32]]:
        """The fields of one sample.

        Args:
            parameters: by name, in original units.
            asked: what the task needs to know besides; the direct surrogate `step`, the index of the time step, and
                `static`, if there are static data: the coordinates of a mesh, its connectivity.

        Returns:
            By name, float32 arrays of the fields' global shapes, in original units; on an extent as many points as
            the static data have.

        Raises:
            ValueError: a parameter is missing or unknown, or the task reads a field that its `request` does not give.
            TypeError: the task needs something else to be asked, or cannot be asked for one sample.
        """
        if not isinstance(self.task, Predicts):
            raise TypeError(
                f"{type(self.task).__name__} has no request, so it cannot be asked for one sample: "
                "call rollout(fields, parameters, num_steps)"
            )
        batch = self.task.request(parameters, **asked).to(self.device)
        try:
            with evaluating(self):
                return {name: self._of_one(name, values) for name, values in self(batch).items()}
        except KeyError as error:
            unknown = [f.name for f in self.layout.fields if error.args == (f.name,) and f.name not in batch.fields]
            if not unknown:
                raise
            raise ValueError(
                f"the task reads the field {unknown[0]!r}, which nobody can know where only parameters are given: let "
                "its request take the field and put it into the batch, as melissa_like.training.Operator does, or let "
                "advance and restore do without it"
            ) from error

    def rollout(
        self,
        fields: Mapping[str, npt.ArrayLike],
        parameters: Mapping[str, float],
        num_steps: int,
        *,
        step: int = 0,
        static: Mapping[str, npt.ArrayLike] | None = None,
    ) -> dict[str, npt.NDArray[np.float32]]:
        """The time steps that follow on some that are known, each predicted from those before it.

        Args:
            fields: by name, in original units: [h, *shape] for a history of h steps, the earliest first, or [*shape]
                for one. A field that is an input only is given at the steps that follow too.
            parameters: by name, in original units.
            num_steps: to be predicted.
            step: number of the first time step that is given, for a network that is given the time.
            static: what the network is given of a simulation's static data, by name: [*grid] or [components, *grid].

        Returns:
            By name, float32 arrays [num_steps, *shape], in original units.

        Raises:
            ValueError: a parameter or a field is missing or unknown, a field has another shape, or no step is wanted.
            TypeError: the task does not roll out, as a direct surrogate.
        """
        if not isinstance(self.task, RollsOut):
            raise TypeError(
                f"{type(self.task).__name__} predicts time steps by themselves and has no roll_out: call "
                "predict(parameters, step=...)"
            )
        if num_steps < 1:
            raise ValueError(f"num_steps is {num_steps}: give 1 or more")
        once = {} if static is None else {"static": static}  # a task of the user's may know nothing of it
        batch = self.task.begin(fields, parameters, num_steps, step=step, **once).to(self.device)
        with evaluating(self):
            pieces = [*self.task.roll_out(self.network, self.normalization, batch, num_steps)]
        return {name: self._of_one(name, torch.cat([piece[name] for piece in pieces], dim=1)) for name in pieces[0]}

    def _of_one(self, name: str, values: Tensor) -> npt.NDArray[np.float32]:
        """A field of a batch of one, without the axis of samples: [*shape], with time steps [K, *shape]."""
        spec = next((field for field in self.layout.fields if field.name == name), None)
        array = values.cpu().numpy()
        return array[0] if spec is None else field_of_sample(array, spec)

    def export(self, path: str | os.PathLike[str]) -> None:
        """Write it as a program that torch alone can load and call; see `export_surrogate` for its arguments.

        Raises:
            ValueError: it cannot be exported; the message says why.
            TypeError: its task says nothing that could be exported.
        """
        export_surrogate(self, path)
