"""A task that learns from two consecutive steps."""

from collections.abc import Mapping
from typing import Any

from melissa_like.models import FieldShape, Problem
from melissa_like.records import Layout, Window


class NextStep:
    """From a field to what it will be one step later."""

    window = Window(length=2)

    def __init__(self, layout: Layout) -> None:
        fields = {f.name: FieldShape(components=f.components, grid=f.grid) for f in layout.fields}
        self.problem = Problem(fields=fields, targets=fields)
        self.quantities: Mapping[str, int] = {f.name: f.components for f in layout.fields}

    def _not_asked(self, *arguments: Any, **options: Any) -> Any:
        raise AssertionError("it is refused before anything is asked of it")

    measure = targets = advance = restore = truth = request = _not_asked
