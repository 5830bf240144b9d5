"""Reports, pure: their shapes and arithmetic, when they are due, and what becomes of their delivery."""
