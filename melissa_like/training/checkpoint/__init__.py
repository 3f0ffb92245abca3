"""Checkpoints as files: a shard per server rank, written piece by piece, complete when the manifest is there.

`CheckpointFolder` lists, completes and removes them; `write_shard` writes what one rank saves, a `Shard` reads it and
compares checksums. Whatever is said to be down is on the disk (fsync), and nothing that is half is ever taken for
complete. No thread here but that of `CheckpointWriter`, which keeps the writing off the training path.
"""

from melissa_like.training.checkpoint.folder import CheckpointFolder, Manifest
from melissa_like.training.checkpoint.host import on_host, random_states, restore_random_states
from melissa_like.training.checkpoint.pieces import PIECE_NBYTES, Piece
from melissa_like.training.checkpoint.shard import Shard, ShardContent, read_shard, write_shard
from melissa_like.training.checkpoint.writer import CheckpointWriter

__all__ = [
    "PIECE_NBYTES",
    "CheckpointFolder",
    "CheckpointWriter",
    "Manifest",
    "Piece",
    "Shard",
    "ShardContent",
    "on_host",
    "random_states",
    "read_shard",
    "restore_random_states",
    "write_shard",
]
