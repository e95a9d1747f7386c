"""`python -m retrain`: the same as the command `retrain`."""

import sys

from retrain.cli.start import main

if __name__ == "__main__":
    sys.exit(main())
