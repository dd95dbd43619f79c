"""The agreement as a pure document: model, validator, what follows from it, and the roster of keys that binds it."""
