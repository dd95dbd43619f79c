"""A node's two databases; nothing else in `nodes` queries."""
