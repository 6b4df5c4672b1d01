"""From a webhook to the notifications of its incidents."""
