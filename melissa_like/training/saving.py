"""A surrogate as a folder: a description in JSON from which it is built again, and its weights as safetensors."""

import json
import os
import platform
import shutil
import warnings
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_model, save_model

from melissa_like.plugins import factory_of
from melissa_like.records import FieldSpec, Layout, StudyWideField
from melissa_like.training.building import build_surrogate
from melissa_like.training.surrogate import Surrogate

__all__ = ["load_surrogate", "save_surrogate"]

_FORMAT = 2
_DESCRIPTION_FILE = "surrogate.json"
_WEIGHTS_FILE = "weights.safetensors"


def save_surrogate(surrogate: Surrogate, folder: str | os.PathLike[str], *, incomplete: str | None = None) -> None:
    """Write a surrogate as a folder: a description in JSON, weights and normalization as safetensors.

    The folder appears whole or not at all; one that is already there is replaced.

    Args:
        surrogate: as it is.
        folder: to be written.
        incomplete: why its training did not come to its end, for whoever loads it; None: it did.
    """
    target = Path(folder)
    aside, former = (target.with_name(f".{target.name}.{os.getpid()}.{word}") for word in ("new", "former"))
    aside.mkdir(parents=True)
    try:
        save_model(surrogate, str(aside / _WEIGHTS_FILE))
        (aside / _DESCRIPTION_FILE).write_text(
            json.dumps(_description(surrogate, incomplete), indent=2), encoding="utf-8"
        )
        if target.exists():
            target.rename(former)
        aside.rename(target)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    if former.exists():
        shutil.rmtree(former)


def load_surrogate(folder: str | os.PathLike[str]) -> Surrogate:
    """A saved surrogate, on the CPU, ready to predict; warns of one whose training did not come to its end.

    Imports and calls the model and the task that the folder names: load only folders that you trust.

    Raises:
        FileNotFoundError: the folder holds no surrogate.
        ConfigurationError: its model or its task cannot be imported here: install the package that it was trained with.
        ValueError: it was written in another format.
    """
    path = Path(folder)
    if not (path / _DESCRIPTION_FILE).exists():
        raise FileNotFoundError(f"{path} holds no {_DESCRIPTION_FILE}: give the folder that save_surrogate wrote")
    description = json.loads((path / _DESCRIPTION_FILE).read_text(encoding="utf-8"))
    if description.get("format") != _FORMAT:
        raise ValueError(
            f"{path} has the format {description.get('format')}, this version reads {_FORMAT}: use the version of "
            f"melissa-like that wrote it ({description.get('versions', {}).get('melissa-like')})"
        )
    if description.get("incomplete") is not None:
        warnings.warn(
            f"the surrogate in {path} was saved before its training had come to its end: {description['incomplete']}",
            stacklevel=2,
        )
    surrogate = build_surrogate(
        layout=_layout(description["layout"]),
        model=factory_of(description["model"], f"the model of {path}"),
        task=factory_of(description["task"], f"the task of {path}"),
    )
    load_model(surrogate, path / _WEIGHTS_FILE)
    return surrogate.eval()


def _description(surrogate: Surrogate, incomplete: str | None) -> dict[str, Any]:
    return {
        "format": _FORMAT,
        "complete": incomplete is None,
        "incomplete": incomplete,
        **surrogate.recipes,
        "layout": _written(surrogate.layout),
        "versions": {
            "melissa-like": version("melissa-like"),
            "python": platform.python_version(),
            "torch": torch.__version__,
        },
    }


def _written(layout: Layout) -> dict[str, Any]:
    return {
        "fields": [asdict(spec) for spec in layout.fields],
        "parameters": layout.parameters,
        "static": [asdict(spec) for spec in layout.static],
        "study_wide": [{"spec": asdict(wide.spec), "values": wide.values.tolist()} for wide in layout.study_wide],
    }


def _layout(written: Mapping[str, Any]) -> Layout:
    return Layout(
        fields=tuple(map(_spec, written["fields"])),
        parameters=tuple(written["parameters"]),
        static=tuple(map(_spec, written.get("static", ()))),
        study_wide=tuple(map(_study_wide, written.get("study_wide", ()))),
    )


def _spec(written: Mapping[str, Any]) -> FieldSpec:
    bounds = written["bounds"]
    return FieldSpec(
        **{**written, "shape": tuple(written["shape"]), "bounds": None if bounds is None else tuple(bounds)}
    )


def _study_wide(written: Mapping[str, Any]) -> StudyWideField:
    spec = _spec(written["spec"])
    return StudyWideField(spec=spec, values=np.array(written["values"], dtype=spec.numpy_dtype))
