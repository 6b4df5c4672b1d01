"""The text of an SMS, and phone numbers."""
