"""The pages for people: a module a page, rendered here, and kept current by a little JavaScript."""
