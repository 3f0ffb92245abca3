"""What of a study's configuration may be another when it is resumed, and why the rest may not."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from omegaconf import OmegaConf

from melissa_like.errors import ConfigurationError

__all__ = ["MAY_CHANGE", "changed_keys", "refuse_changes"]

#: These keys, and all below them. The rest of a group is under what it would break.
MAY_CHANGE = (
    "launcher",
    "monitoring",
    "transport",
    "study.name",
    "study.num_simulations",
    "solver.name",
    "solver.launch",
    "solver.num_ranks",
    "solver.num_processes",
    "solver.work_dir",
    "solver.keep_files",
    "solver.remove_sent_files",
    "solver.max_pending_bytes",
    "solver.environment",
    "solver.not_finite",
    "solver.deterministic",
    "training.max_batches",
    "training.validation_interval",
    "training.checkpoint",
    "training.device",
    "training.num_threads",
    "training.steps_per_agreement",
    "buffer.capacity",
    "buffer.device",
)
#: Looked at in this order: what is above a key says why if nothing says it for the key itself.
_WHY_NOT = (
    ("run_dir", "the study stays in its folder; a folder that was moved is named as it is called now"),
    ("transport.routing", "the samples that were received lie on the server ranks by it"),
    ("study.seed", "what was drawn with it would be drawn again otherwise"),
    ("study.num_validation_simulations", "validation before and after must be on the same simulations"),
    ("study", "it says which simulations the study consists of"),
    ("solver.fields", "what was received has these fields"),
    ("solver.static", "what was received has these fields, and what was learned depends on them"),
    ("solver.parameters", "what was drawn is of these distributions, and the network is scaled by them"),
    ("solver", "the simulations that have run, and those to come, must be of one solver"),
    ("sampling", "the parameters that were drawn were drawn with it"),
    ("buffer", "the checkpoint holds the buffer's content by it"),
    ("model", "the checkpoint holds the weights of this network"),
    ("training", "the checkpoint holds a training that was begun with it"),
)


def changed_keys(before: Any, after: Any) -> dict[str, tuple[Any, Any]]:
    """The values that differ between two composed configurations, by their key with dots; None where there is none."""
    old, new = (dict(_leaves(OmegaConf.to_container(composed, resolve=True))) for composed in (before, after))
    return {
        key: (old.get(key), new.get(key))
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key) or (key in old) != (key in new)
    }


def _leaves(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Lists are values; an empty mapping is one too."""
    if not isinstance(value, Mapping) or not value:
        yield key, value
        return
    for name, item in value.items():
        yield from _leaves(item, f"{key}.{name}" if key else str(name))


def refuse_changes(changes: Mapping[str, tuple[Any, Any]]) -> None:
    """Refuse what a resumed study cannot have otherwise.

    Args:
        changes: as `changed_keys` gives them.

    Raises:
        ConfigurationError: the key, what it was, and why it stays.
    """
    for key, (before, after) in changes.items():
        reason = reason_to_refuse(key, before, after)
        if reason is not None:
            raise ConfigurationError(
                f"{key} is {before!r} in this study and cannot become {after!r} when it is resumed: {reason}. Leave it "
                "out, or run a new study"
            )


def reason_to_refuse(key: str, before: Any, after: Any) -> str | None:
    """Why a key cannot change from one value to another, or None if it can."""
    if key == "study.num_simulations" and isinstance(after, int) and isinstance(before, int) and after < before:
        return "simulations can be added, but those that were drawn stay"
    why = next((why for above, why in _WHY_NOT if _is_in(key, [above])), "nothing says that it may")
    exact = any(above == key for above, _ in _WHY_NOT)
    return None if _is_in(key, MAY_CHANGE) and not exact else why


def _is_in(key: str, above: Sequence[str]) -> bool:
    return any(key == name or key.startswith(f"{name}.") for name in above)
