"""The `concordat-v1` protocol: bytes and integers in, bytes and integers out.

Nothing here does I/O, reads a clock, an environment or a random source of its own; each is passed in.
The specification of what is built stands in `protocol/spec/`.
"""
