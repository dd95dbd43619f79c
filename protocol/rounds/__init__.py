"""The four roles as sans-I/O state machines: each step returns `(state, message)`; state stays home."""
