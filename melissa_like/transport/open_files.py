"""How many connections a process may have: each is an open file."""

import resource

__all__ = ["RESERVED", "most_open_files", "raise_open_file_limit"]

#: More than any study needs; some systems allow a billion, and programs that walk all of them then take for ever.
_WANTED = 2**16
#: What a process opens besides the connections of its peers: files, libraries, threads' pipes, other sockets.
RESERVED = 256


def most_open_files() -> int:
    """How many files this process can have open, once it has raised its limit."""
    present, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(present, _WANTED if most == resource.RLIM_INFINITY else min(most, _WANTED))


def raise_open_file_limit() -> None:
    """Let this process open so many: the usual limit of 1024 is fewer than the ranks of a large study."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most_open_files(), most))
