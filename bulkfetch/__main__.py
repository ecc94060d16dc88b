"""`python -m bulkfetch` and the installed command."""

from bulkfetch.cli import main

if __name__ == "__main__":
    main()
