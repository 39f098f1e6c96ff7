"""What is kept of the system as a whole: its tenants, its administrators and their tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scopegate.core.tenants import SYSTEM_TENANT
from scopegate.store.administrators import AdministratorStore
from scopegate.store.admintokens import TokenStore
from scopegate.store.audit import AuditLog
from scopegate.store.signins import SignInStore
from scopegate.store.tenants import TenantRegistry

if TYPE_CHECKING:
    from scopegate.store.audit import Journal
    from scopegate.store.servers import Servers


class SystemStore:
    """Everything that is no tenant's. Each change is entered in the audit log of the system."""

    def __init__(self, redis: Servers, journal: Journal) -> None:
        self.tenants = TenantRegistry(redis, journal)
        self.administrators = AdministratorStore(redis, journal)
        self.tokens = TokenStore(redis, journal)
        self.sign_ins = SignInStore(redis)
        self.audit = AuditLog(redis, SYSTEM_TENANT)
