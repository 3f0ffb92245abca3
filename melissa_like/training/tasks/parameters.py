"""Which parameters of a simulation a network is given."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from melissa_like.loading import Batch
from melissa_like.records import Layout
from melissa_like.training.normalization import Normalization

__all__ = ["GivenParameters"]


class GivenParameters:
    """All parameters of a study, some of them, or none.

    A seed is one that a network should not have: what was drawn from it is in the fields.

    Args:
        layout: of the study.
        wanted: True for all, False for none, or their names.

    Attributes:
        names: of those that are given, in the order of the layout.

    Raises:
        ValueError: a name that is no parameter, or an empty list.
    """

    def __init__(self, layout: Layout, wanted: bool | Sequence[str] = True) -> None:
        self._all = layout.parameters
        if isinstance(wanted, bool):
            self.names = self._all if wanted else ()
        elif isinstance(wanted, str) or not wanted or not set(wanted) <= set(self._all):
            named = wanted if isinstance(wanted, str) else list(wanted)
            raise ValueError(
                f"the parameters to be given are {named} and those of the solver are {', '.join(self._all)}: "
                "give a list of one or more of these, true for all, or false"
            )
        else:
            self.names = tuple(name for name in self._all if name in wanted)
        self._columns = [self._all.index(name) for name in self.names]

    def normalized(self, scale: Normalization, batch: Batch) -> dict[str, Tensor]:
        """The argument of a network: `parameters`, [B, number given], or nothing."""
        if not self.names:
            return {}
        values = scale.normalize_parameters(batch.parameters)
        return {"parameters": values if self.names == self._all else values[:, self._columns]}

    def of(self, parameters: Mapping[str, float]) -> Tensor:
        """Parameters by name as one row of a batch, float64 [1, P]; those that are not needed may be left out.

        Raises:
            ValueError: one is missing or unknown.
        """
        unknown = sorted(set(parameters) - set(self._all))
        missing = sorted(set(self.names) - set(parameters))
        if unknown or missing:
            parts = [
                f"{what}: {', '.join(names)}" for what, names in (("unknown", unknown), ("missing", missing)) if names
            ]
            raise ValueError(
                f"the parameters are {', '.join(parameters) or '(none)'}, but this surrogate was trained with "
                f"{', '.join(self.names) or 'none'} ({'; '.join(parts)}): give exactly these"
            )
        return torch.tensor([[float(parameters.get(name, 0.0)) for name in self._all]], dtype=torch.float64)
