"""From an exception in the trial to a sentence for the user: which key is at fault, in which layer, at which line."""

import sysconfig
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import numpy
import safetensors
import torch
from torch import nn

import melissa_like
from melissa_like.errors import ConfigurationError, MelissaLikeError
from melissa_like.training.outputs import OutputError

__all__ = ["blaming", "layer_at", "story_of"]

_OURS = tuple(str(Path(path).resolve()) for path in melissa_like.__path__)
_LIBRARIES = tuple(str(Path(str(library.__file__)).resolve().parent) for library in (torch, numpy, safetensors))
_STANDARD = str(Path(sysconfig.get_path("stdlib")).resolve())
_INSTALLED = str(Path(sysconfig.get_path("purelib")).resolve())
_REMEDIES = {
    "Expected more than 1 value per channel": "batch normalization has nothing to average over: take nn.LayerNorm or "
    "nn.GroupNorm, or keep its running statistics and batches of more than one sample",
    "Expected more than 1 spatial element": "instance normalization has nothing to average over: take nn.LayerNorm or "
    "nn.GroupNorm",
    "does not require grad and does not have a grad_fn": "a prediction is made without gradients: take derivatives "
    "within torch.enable_grad()",
    "allocate memory": "lower training.batch_size, or take a smaller network or a machine with more memory",
    "out of memory": "lower training.batch_size, or take a smaller network or a device with more memory",
}


@contextmanager
def blaming(
    who: str, doing: str, network: nn.Module | None = None, *, outside: str | None = None, remedy: str = ""
) -> Iterator[None]:
    """Tell whatever is raised inside as a mistake of the configuration.

    Args:
        who: is at fault: a key of the configuration, with what it names.
        doing: what goes on inside, as in "is trained on 3 samples".
        network: in whose layers it may happen; then that layer is named.
        outside: who is at fault if it happens in none of these layers; None: the same.
        remedy: what to do about it, whatever is raised.

    Raises:
        ConfigurationError: the sentence, then the user's own lines of the traceback.
    """
    try:
        yield
    except MelissaLikeError:
        raise
    except (Exception, SystemExit) as error:  # a module that parses the arguments of a program of its own exits
        is_outside = network is not None and layer_at(error, network) is None and not isinstance(error, OutputError)
        if outside is not None and is_outside:
            who = outside
        advice = f"\n{remedy}" if remedy else ""
        raise ConfigurationError(f"{who} fails when it {doing}: {story_of(error, network)}{advice}") from error


def story_of(error: BaseException, network: nn.Module | None = None) -> str:
    """What was raised, in which layer, what to do where that is known, and the user's own lines of the traceback."""
    frames = list(traceback.walk_tb(error.__traceback__))
    said = str(error) or "it says no more"
    # A sentence of ours says what to do after a colon: the type of the exception would only be in the way.
    is_sentence = bool(frames) and _is_ours(frames[-1][0]) and ": " in said
    parts = [said if is_sentence else f"{type(error).__name__}: {said}"]
    layer = None if network is None else layer_at(error, network)
    if layer:
        parts.append(f", in the layer {layer}")
    parts += [f" ({remedy})" for sign, remedy in _REMEDIES.items() if sign in said]
    lines = traceback.StackSummary.extract(iter([(frame, line) for frame, line in frames if _is_users(frame)]))
    if lines:
        parts.append("\n" + "".join(lines.format()).rstrip())
    return "".join(parts)


def layer_at(error: BaseException, network: nn.Module) -> str | None:
    """The innermost layer of a network in whose call an exception was raised; "" is the network itself, None: none."""
    names = {id(module): name for name, module in network.named_modules()}
    found = None
    for frame, _ in traceback.walk_tb(error.__traceback__):
        module = frame.f_locals.get("self")
        if isinstance(module, nn.Module) and id(module) in names:
            name = names[id(module)]
            found = f"{name} ({type(module).__name__})" if name else ""
    return found


def _is_ours(frame: FrameType) -> bool:
    return _file_of(frame).startswith(_OURS)


def _is_users(frame: FrameType) -> bool:
    file = _file_of(frame)
    if file.startswith((*_OURS, *_LIBRARIES, "<frozen")):
        return False
    return not file.startswith(_STANDARD) or file.startswith(_INSTALLED)


def _file_of(frame: FrameType) -> str:
    name = frame.f_code.co_filename
    return name if name.startswith("<") else str(Path(name).resolve())
