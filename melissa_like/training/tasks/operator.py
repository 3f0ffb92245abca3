"""From fields of a first step, and fields of the same step, to the fields of a later one."""

from collections.abc import Mapping, Sequence

from melissa_like.records import Layout
from melissa_like.training.tasks.fields import fields_named, inputs_and_targets
from melissa_like.training.tasks.from_first_step import FromFirstStep
from melissa_like.training.tasks.parameters import GivenParameters
from melissa_like.training.tasks.same_step import SameStep
from melissa_like.training.tasks.static import GivenStatic

__all__ = ["Operator"]


def Operator(  # noqa: N802  # a recipe of two classes, and named like them where it is configured
    layout: Layout,
    inputs: Sequence[str] = (),
    initial: Sequence[str] = (),
    targets: Sequence[str] | None = None,
    window: Mapping[str, int | None] | None = None,
    parameters: bool | Sequence[str] = True,
    static: bool | Sequence[str] = True,
) -> SameStep | FromFirstStep:
    """(Fields, parameters, time) to fields, in one call, for neural operators such as DeepONet and FNO.

    With `initial`, fields of a first step and the time since then give the fields of any later step; a sample is a
    window. Without, `inputs` give the other fields of the same step: a source the field it causes.

    Args:
        layout: of the study.
        inputs: names of the fields that are given at the step that is predicted; they are inputs only.
        initial: names of the fields that are given at the first step of a window.
        targets: names of the fields to be learned; None: all that are not in `inputs`.
        window: `length`, `stride` and `hop` of the windows; by default 2 steps, so a sample is a step and the next.
        parameters: whether the network is given the parameters, or the names of those that it is given.
        static: the same for the static data.

    Raises:
        ValueError: a name that is no field or parameter, a field that is both an input and something else, none that is
            given, none left to be learned, or a window where there is no first step.
    """
    given, learned = inputs_and_targets(layout, inputs, targets, needs_inputs=not initial)
    first = fields_named(layout, initial, "initial fields") if initial else {}
    if both := [name for name in first if name in given]:
        raise ValueError(f"{', '.join(both)} are inputs and initial fields: name each field once")
    if first:
        return FromFirstStep(
            layout, first, given, learned, GivenParameters(layout, parameters), GivenStatic(layout, static), window
        )
    if any(value is not None for value in (window or {}).values()):
        raise ValueError(
            f"the window is {dict(window or {})} but every field is of the same step: name the fields that are given "
            "at the first step of a window as initial, or leave the window out"
        )
    return SameStep(layout, given, learned, GivenParameters(layout, parameters), GivenStatic(layout, static))
