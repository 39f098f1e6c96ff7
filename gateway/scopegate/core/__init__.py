"""The rules of the domain, pure: no I/O, no clock, no randomness, no framework."""
