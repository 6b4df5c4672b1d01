"""From a notification to the text of an SMS."""
