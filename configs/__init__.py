"""The configuration groups, as YAML files; Hydra finds them under the import path `melissa_like.configs`."""

__all__: list[str] = []
