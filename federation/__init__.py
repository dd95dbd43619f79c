"""Between agencies: the coordinator, the requester's core, and how messages travel."""
