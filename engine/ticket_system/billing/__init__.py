"""What is billed, pure: usage facts and their windows, what becomes of a delivery, plans and what they cost."""
