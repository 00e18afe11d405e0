"""`python -m aftercar`."""

from aftercar.serve.cli import main

main()
