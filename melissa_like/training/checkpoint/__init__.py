"""Checkpoints as files: a shard per server rank, written piece by piece, complete when the manifest is there.

`CheckpointFolder` lists, completes and removes them; `write_shard` writes what one rank saves, a `Shard` reads it and
compares checksums. Whatever is said to be down is on the disk (fsync), and nothing that is half is ever taken for
complete. No thread here but that of `CheckpointWriter`, which keeps the writing off the training path.
"""

from melissa_like.training.checkpoint.folder import CheckpointFolder, Manifest
from melissa_like.training.checkpoint.pieces import Piece
from melissa_like.training.checkpoint.shard import Shard, ShardContent, read_shard, write_shard

__all__ = ["CheckpointFolder", "Manifest", "Piece", "Shard", "ShardContent", "read_shard", "write_shard"]
