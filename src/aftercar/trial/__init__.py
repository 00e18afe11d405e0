"""Trials of virtual patients: what a design would find, and how often, before anybody is asked to take part."""
