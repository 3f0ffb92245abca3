"""Says where the files of the native client are: `melissa-like native`, where only the client is installed."""

import sys

from melissa_like.client.native.command import native

if __name__ == "__main__":
    sys.exit(native(sys.argv[1:]))
