"""The threads that move pages on. Each resumes from the store."""
