"""Everything that is kept: the schema, every SQL statement, and the one thread that writes."""
