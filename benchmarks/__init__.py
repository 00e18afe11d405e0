"""aftercar against the usual ways to do the same: `make bench`."""
