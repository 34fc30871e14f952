"""`python -m semiseg VERB`."""

from semiseg.cli import main

if __name__ == "__main__":
    main()
