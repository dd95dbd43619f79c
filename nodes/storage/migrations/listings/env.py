"""Alembic's entry to the migrations of the listings database."""

from nodes.storage.migrations.run import run

run()
