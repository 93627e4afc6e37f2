"""Migrations of the app ``sojourn``."""
