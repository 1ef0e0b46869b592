"""`python -m consort` is the program `consort`."""

from consort.cli import main

if __name__ == "__main__":
    main()
