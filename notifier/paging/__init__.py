"""The stages of a page, each a module: intake, planning, sending. Each resumes from the store."""
