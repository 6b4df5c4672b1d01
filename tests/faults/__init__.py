"""Faults: the service as a real process, what is done to it, and what became of every alert."""
