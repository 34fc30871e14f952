"""Put finished runs side by side: `python compare.py --help`. The same as `semiseg compare`."""

import sys

from semiseg.cli import main

if __name__ == "__main__":
    main(["compare", *sys.argv[1:]])
