"""The demonstration: two official sanctions lists and three made registers, answered jointly with real keys."""
