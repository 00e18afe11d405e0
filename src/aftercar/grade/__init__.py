"""State into grade bounds: one module a published scale, one machinery for all."""
