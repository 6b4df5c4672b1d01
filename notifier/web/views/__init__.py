"""What pages show, made of what is stored and configured. Nothing is read or done here."""
