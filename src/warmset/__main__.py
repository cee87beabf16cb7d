"""`python -m warmset`: the same as the command `warmset`."""

from warmset.cli.app import main

if __name__ == "__main__":
    main()
