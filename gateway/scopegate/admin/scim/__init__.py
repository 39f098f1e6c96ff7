"""``/scim/v2``: identity providers keep the people and the groups of a tenant (SCIM 2.0)."""
