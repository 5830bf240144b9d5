"""What comes in over HTTP: Stripe's events, and readers who leave their reports."""
