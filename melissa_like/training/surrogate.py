"""`Surrogate`: a network with everything that turns parameters and a step into fields, saved and loaded as a folder."""

import json
import os
import platform
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_model, save_model
from torch import nn

from melissa_like.loading import Batch
from melissa_like.records import FieldSpec, Layout
from melissa_like.training.modes import evaluating
from melissa_like.training.normalization import FieldNormalization, InputNormalization
from melissa_like.training.recipes import callable_of, recipe_of
from melissa_like.training.transforms import Transform, direct

__all__ = ["Surrogate", "build_surrogate", "load_surrogate"]

_FORMAT = 1
_DESCRIPTION_FILE = "surrogate.json"
_WEIGHTS_FILE = "weights.safetensors"
#: An adaptive solver does not say how many steps there will be; only the scale of one input depends on it.
_ASSUMED_NUM_STEPS = 100


class Surrogate(nn.Module):
    """A network between two normalizations. Use `build_surrogate` or `load_surrogate` to make one.

    Attributes:
        layout: fields and parameters of the study.
        network: from normalized inputs [B, I] to normalized outputs [B, N].
        input_normalization: of what the transform makes of a batch.
        output_normalization: of the fields, flattened and concatenated.

    Args:
        model: called with `num_inputs` and `num_outputs`; must be importable, so that it can be built again.
        transform: the hook `batch -> (inputs, targets)`; must be importable too.

    Raises:
        TypeError: the model or the transform cannot be imported under a name, or the model is no module.
    """

    def __init__(
        self, *, layout: Layout, num_inputs: int, model: Callable[..., nn.Module], transform: Transform = direct
    ) -> None:
        super().__init__()
        self.layout = layout
        self._num_inputs = num_inputs
        self._num_outputs = sum(field.size for field in layout.fields)
        self._transform = transform
        self._recipes = {"model": recipe_of(model), "transform": recipe_of(transform)}
        network = model(num_inputs=num_inputs, num_outputs=self._num_outputs)
        if not isinstance(network, nn.Module):
            raise TypeError(f"the model {model} returned a {type(network).__name__}: return a torch.nn.Module")
        self.network = network
        self.input_normalization = InputNormalization(num_inputs)
        self.output_normalization = FieldNormalization(layout)

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.input_normalization.shift.device

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Raw inputs [B, I] to predictions in original units [B, N], fields flattened and concatenated."""
        return self.output_normalization.restore(self.normalized(inputs))

    def normalized(self, inputs: torch.Tensor) -> torch.Tensor:
        """Raw inputs [B, I] to predictions in normalized units [B, N]."""
        outputs: torch.Tensor = self.network(self.input_normalization(inputs))
        return outputs

    def examples(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """What the transform makes of a batch, checked: raw inputs [B, I] and targets in original units [B, N].

        Raises:
            ValueError: other shapes, or fields in another order than the layout's.
        """
        if tuple(batch.fields) != tuple(field.name for field in self.layout.fields):
            raise ValueError(f"the batch has the fields {list(batch.fields)}, the layout {self.layout.fields}")
        inputs, targets = self._transform(batch)
        for name, values, width in (("inputs", inputs, self._num_inputs), ("targets", targets, self._num_outputs)):
            if values.shape != (batch.size, width):
                raise ValueError(
                    f"the transform returned {name} of shape {tuple(values.shape)}, expected {(batch.size, width)}: "
                    f"return one row per sample; targets hold all fields, flattened, in the order of the layout"
                )
        return inputs, targets

    @torch.no_grad()
    def predict(
        self, parameters: Mapping[str, float], step: int, *, time: float | None = None
    ) -> dict[str, npt.NDArray[np.float32]]:
        """The fields of one time step.

        Args:
            parameters: by name, in original units.
            step: index of the time step.
            time: physical time, where the transform looks at it; the step index by default.

        Returns:
            By name, float32 arrays of the fields' global shapes, in original units.

        Raises:
            ValueError: a parameter is missing or unknown.
        """
        names = self.layout.parameters
        if set(parameters) != set(names):
            raise ValueError(
                f"the parameters are {', '.join(parameters)}, but this surrogate was trained with {', '.join(names)} "
                f"({_difference(parameters, names)}): give exactly these"
            )
        values = [[float(parameters[name]) for name in names]]
        with evaluating(self):
            inputs, _ = self.examples(
                _probe(self.layout, values, [step], [step if time is None else time], self.device)
            )
            flat = self(inputs)[0].float().cpu().numpy()
        parts = np.split(flat, np.cumsum([field.size for field in self.layout.fields])[:-1])
        return {f.name: part.reshape(f.shape) for f, part in zip(self.layout.fields, parts, strict=True)}

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write it as a folder: a description in JSON, weights and normalizations as safetensors.

        The folder appears complete or not at all; one that is already there is replaced.
        """
        target = Path(folder)
        aside, former = (target.with_name(f".{target.name}.{os.getpid()}.{word}") for word in ("new", "former"))
        aside.mkdir(parents=True)
        try:
            save_model(self, str(aside / _WEIGHTS_FILE))
            (aside / _DESCRIPTION_FILE).write_text(json.dumps(self._description(), indent=2), encoding="utf-8")
            if target.exists():
                target.rename(former)
            aside.rename(target)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        if former.exists():
            shutil.rmtree(former)

    def _description(self) -> dict[str, Any]:
        return {
            "format": _FORMAT,
            "num_inputs": self._num_inputs,
            **self._recipes,
            "layout": asdict(self.layout),
            "versions": {
                "melissa-like": version("melissa-like"),
                "python": platform.python_version(),
                "torch": torch.__version__,
            },
        }


def build_surrogate(
    *,
    layout: Layout,
    parameter_bounds: Mapping[str, tuple[float, float]],
    num_steps: int | None,
    model: Callable[..., nn.Module],
    transform: Transform = direct,
) -> Surrogate:
    """An untrained surrogate.

    The bounds of the inputs are what the transform makes of the two corners of the study: all parameters at their
    lower bounds and the first step, all at their upper bounds and the last (physical times are step indices there).

    Args:
        layout: fields and parameters of the study.
        parameter_bounds: (low, high) of each parameter, from its distribution.
        num_steps: time steps per simulation; None (an adaptive solver) assumes 100, which only sets a scale.
        model: called with `num_inputs` and `num_outputs`.
        transform: the hook `batch -> (inputs, targets)`.

    Raises:
        TypeError: the model or the transform cannot be imported under a name, or the model is no module.
        ValueError: a parameter has no finite bounds, or the transform returned wrong shapes.
    """
    missing = [name for name in layout.parameters if name not in parameter_bounds]
    if missing:
        raise ValueError(f"the parameters {', '.join(missing)} have no bounds: give a (low, high) for each")
    corners = [[float(parameter_bounds[name][side]) for name in layout.parameters] for side in (0, 1)]
    steps = [0, (num_steps or _ASSUMED_NUM_STEPS) - 1]
    inputs, _ = transform(_probe(layout, corners, steps, steps, torch.device("cpu")))
    if inputs.ndim != 2:
        raise ValueError(
            f"the transform returned inputs of shape {tuple(inputs.shape)} for 2 samples: return one row of features "
            f"per sample, and let the network reshape"
        )
    surrogate = Surrogate(layout=layout, num_inputs=inputs.shape[1], model=model, transform=transform)
    surrogate.input_normalization.set_bounds(inputs.amin(0).tolist(), inputs.amax(0).tolist())
    return surrogate


def load_surrogate(folder: str | os.PathLike[str]) -> Surrogate:
    """A saved surrogate, on the CPU, ready to predict.

    Imports and calls the model and the transform that the folder names: load only folders that you trust.

    Raises:
        FileNotFoundError: the folder holds no surrogate.
        ImportError: its model or its transform cannot be imported here.
        ValueError: it was written in another format.
    """
    path = Path(folder)
    if not (path / _DESCRIPTION_FILE).exists():
        raise FileNotFoundError(f"{path} holds no {_DESCRIPTION_FILE}: give the folder that Surrogate.save wrote")
    description = json.loads((path / _DESCRIPTION_FILE).read_text(encoding="utf-8"))
    if description.get("format") != _FORMAT:
        raise ValueError(
            f"{path} has the format {description.get('format')}, this version reads {_FORMAT}: use the version of "
            f"melissa-like that wrote it ({description.get('versions', {}).get('melissa-like')})"
        )
    surrogate = Surrogate(
        layout=_layout(description["layout"]),
        num_inputs=description["num_inputs"],
        model=callable_of(description["model"]),
        transform=callable_of(description["transform"]),
    )
    load_model(surrogate, path / _WEIGHTS_FILE)
    return surrogate.eval()


def _layout(written: Mapping[str, Any]) -> Layout:
    fields = [
        FieldSpec(
            name=field["name"],
            shape=tuple(field["shape"]),
            dtype=field["dtype"],
            bounds=tuple(field["bounds"]) if field["bounds"] is not None else None,
        )
        for field in written["fields"]
    ]
    return Layout(fields=tuple(fields), parameters=tuple(written["parameters"]))


def _probe(
    layout: Layout,
    parameters: list[list[float]],
    steps: list[int],
    times: list[float] | list[int],
    device: torch.device,
) -> Batch:
    """A batch that no simulation sent: fields of zeros, without memory of their own."""
    size = len(steps)
    zero = torch.zeros((), device=device)
    return Batch(
        simulations=torch.zeros(size, dtype=torch.int64, device=device),
        steps=torch.tensor(steps, dtype=torch.int64, device=device),
        times=torch.tensor(times, dtype=torch.float64, device=device),
        parameters=torch.tensor(parameters, dtype=torch.float64, device=device),
        fields={field.name: zero.expand(size, *field.shape) for field in layout.fields},
    )


def _difference(received: Mapping[str, float], expected: tuple[str, ...]) -> str:
    unknown = sorted(set(received) - set(expected))
    missing = sorted(set(expected) - set(received))
    parts = [
        ("unknown: " + ", ".join(unknown)) if unknown else "",
        ("missing: " + ", ".join(missing)) if missing else "",
    ]
    return "; ".join(part for part in parts if part)
