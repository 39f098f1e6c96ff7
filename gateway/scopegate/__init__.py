"""Scopegate: an API-key authorization gateway."""
