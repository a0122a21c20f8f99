"""`python -m vinfra`."""

from vinfra.cli.main import main

main()
