"""What containers need beside the services: the agreement, the one-shot `setup`, a database's first start."""
