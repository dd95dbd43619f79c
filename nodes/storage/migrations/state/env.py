"""Alembic's entry to the migrations of the state database."""

from nodes.storage.migrations.run import run

run()
