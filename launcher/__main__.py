"""`python -m melissa_like.launcher` is the command `melissa-like`."""

import os
import sys

if __name__ == "__main__":
    if sys.path[0] == os.getcwd():  # put there by -m: a file of the user's must not hide what is imported from now on
        del sys.path[0]
    from melissa_like.launcher.cli import main

    main()
