"""What is said: the data messages byte by byte (`wire`) and the control messages (`control`, `link`).

How a process finds the launcher is in `connection`, by what it is known in `keys`.

Nothing here opens a socket, starts a thread or reads a clock. `README.md` in this folder specifies both, for a client
in another language. Never imports torch.
"""

from melissa_like.protocol.connection import Connection, read_connection, write_connection

__all__ = ["Connection", "read_connection", "write_connection"]
