"""Stripe: the calls that go out, and the events that come in. Nothing else in the house knows its SDK."""
