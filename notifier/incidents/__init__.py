"""The states of an incident, the meaning of a reply, and the alerts that are heartbeats."""
