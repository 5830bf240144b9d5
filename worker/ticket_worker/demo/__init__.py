"""A whole fleet at work, to look at."""
