"""REST and CDS Hooks; each module has a `router`."""
