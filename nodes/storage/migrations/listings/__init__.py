"""Migrations of the listings database."""
