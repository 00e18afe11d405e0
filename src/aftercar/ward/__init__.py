"""A ward: records that grow while people chart, graded at each entry, on SQLite or PostgreSQL."""
