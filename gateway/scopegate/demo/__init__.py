"""The demo: a sample API with users, policies and keys, so that a newcomer sees decisions at once."""
