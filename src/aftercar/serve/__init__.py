"""Faces: the command line now. Thin: parse, call, show."""
