"""What is installed only with an extra: the client alone needs numpy, pyzmq and msgspec."""

__all__ = ["missing_package"]

#: Packages by the name under which they are imported.
_LAUNCH = frozenset(("hydra", "omegaconf", "rich", "scipy"))
_TRAIN = frozenset(("h5py", "matplotlib", "omegaconf", "rich", "safetensors", "scipy", "tensorboard", "torch"))


def missing_package(error: ModuleNotFoundError, what: str) -> str | None:
    """One sentence that says what to install; None if the module is of no extra, so that something else is wrong.

    Args:
        error: raised by an import.
        what: needs it.
    """
    package = (error.name or "").partition(".")[0]
    if package not in _LAUNCH | _TRAIN:
        return None
    return f"{what} needs the package {package}, which is not installed here: pip install 'melissa-like[all]'"
