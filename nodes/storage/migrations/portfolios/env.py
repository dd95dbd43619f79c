"""Alembic's entry to the migrations of the portfolios database."""

from nodes.storage.migrations.run import run

run()
