"""CDS Hooks 2.0: cards for a record system, with the grade of a patient, options with their sources, and doses against their limits."""
