"""Bulk work on Dask (extra `scale`): partitions as tasks, within one party's own boundary (ADR 0009)."""
