"""The privacy audit: what Concordat claims, attacked, beside the same attack with a leak planted that it must find."""
