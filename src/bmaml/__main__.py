"""`python -m bmaml`: the command line, where its script is not on the path."""

from bmaml.cli import main

if __name__ == "__main__":
    main()
