"""What is done to tenants, administrators and their tokens, with no transport in sight."""

from scopegate.administration.authentication import Authentication
from scopegate.administration.bootstrap import offer_bootstrap
from scopegate.administration.commands import Administration, AdministratorChanges, Identity, IssuedToken

__all__ = [
    "Administration",
    "AdministratorChanges",
    "Authentication",
    "Identity",
    "IssuedToken",
    "offer_bootstrap",
]
