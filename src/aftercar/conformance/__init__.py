"""Worked cases as data: every file here is part of `aftercar conformance --suite`."""
