"""Verbs that this room brings along to the `tickets` command."""
