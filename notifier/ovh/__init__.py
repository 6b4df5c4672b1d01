"""Everything that is said to OVHcloud."""
