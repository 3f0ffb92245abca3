"""`python -m melissa_like.launcher` is the command `melissa-like`."""

from melissa_like.launcher.cli import main

if __name__ == "__main__":
    main()
