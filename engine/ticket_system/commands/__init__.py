"""The verbs of the `tickets` command. Each loads what it needs when it runs: `--help` answers at once."""
