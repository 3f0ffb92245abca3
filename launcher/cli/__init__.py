"""The command `melissa-like`: what its words mean, and a file for each of its commands.

`command` looks at the first word, `options` parts the others, `composing` has Hydra compose the configuration. What a
command does is elsewhere in the launcher, and imported when it is wanted: `melissa-like --help` waits for none of it.
"""

from melissa_like.launcher.cli.command import main

__all__ = ["main"]
