"""What administrators can do, one operation a method, with no transport in sight."""

from __future__ import annotations

from scopegate.commands.audit import AuditCommands
from scopegate.commands.bulk import BulkCommands, Imported, Outcome
from scopegate.commands.drift import DriftCommands
from scopegate.commands.endpoints import EndpointCommands
from scopegate.commands.explaining import Explaining, Explanation
from scopegate.commands.groups import GroupCommands
from scopegate.commands.issuing import IssuedKey
from scopegate.commands.keys import EditedKey
from scopegate.commands.policies import PolicyCommands
from scopegate.commands.previewing import Previewing
from scopegate.commands.provisioning import ProvisioningCommands
from scopegate.commands.usage import UsageCommands
from scopegate.commands.users import UserCommands

__all__ = ["Commands", "EditedKey", "Explanation", "Imported", "IssuedKey", "Outcome"]


class Commands(
    Previewing,
    BulkCommands,
    Explaining,
    UsageCommands,
    UserCommands,
    ProvisioningCommands,
    GroupCommands,
    PolicyCommands,
    EndpointCommands,
    DriftCommands,
    AuditCommands,
):
    """The operations on one tenant."""
