"""The API: JSON that commands, pages and scripts read and write."""
