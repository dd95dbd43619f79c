"""Worked agreements, as a start for one's own; federation/docs/agreements.md walks through them."""
