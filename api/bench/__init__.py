"""The benchmark: what Concordat costs, each figure beside its floor or peer of the same run (federation/docs)."""
