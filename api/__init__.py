"""Delivery: the command line, the demonstration, and the set-up of a federation."""
