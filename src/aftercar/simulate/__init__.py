"""The mechanism, virtual patients and what a ward would chart of them."""
