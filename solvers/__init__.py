"""The bundled solvers, one folder each; each is a generator plug-in to copy. `seeds` makes functions from a number."""

__all__: list[str] = []
