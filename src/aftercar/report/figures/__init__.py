"""Figures of a cohort in the habits of the field, each with the table of what it draws."""
