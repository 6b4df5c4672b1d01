"""The states of an incident, what a reply asks for, and which alerts are heartbeats."""
