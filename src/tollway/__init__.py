"""Tollway: one API endpoint for every AI model, that anyone can host."""

__version__ = "0.1.0"
