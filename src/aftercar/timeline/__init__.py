"""What happened: one long table, a row an event, and what was known of a subject at each time."""
