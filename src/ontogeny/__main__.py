"""`python -m ontogeny` is the command line."""

from ontogeny.cli import main

if __name__ == "__main__":
    main()
