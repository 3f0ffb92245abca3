"""The bundled solvers, one folder each; each is a generator plug-in to copy."""

__all__: list[str] = []
