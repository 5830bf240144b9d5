"""The clock: what is promised, and what became of it. Pure; `now` is always an argument."""
