"""Train one system: `python train.py --help`. The same as `semiseg train`."""

import sys

from semiseg.cli import main

if __name__ == "__main__":
    main(["train", *sys.argv[1:]])
