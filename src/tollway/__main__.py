"""`python -m tollway` is the `tollway` command."""

from .cli import main

if __name__ == "__main__":
    main()
