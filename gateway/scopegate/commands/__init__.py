"""What administrators can do, one operation a method, with no transport in sight."""

from __future__ import annotations

from scopegate.commands.audit import AuditCommands
from scopegate.commands.explaining import Explaining, Explanation
from scopegate.commands.issuing import IssuedKey, KeyIssuing
from scopegate.commands.keys import EditedKey, KeyChanging
from scopegate.commands.policies import PolicyCommands
from scopegate.commands.usage import UsageCommands
from scopegate.commands.users import UserCommands

__all__ = ["Commands", "EditedKey", "Explanation", "IssuedKey"]


class Commands(
    KeyIssuing, KeyChanging, Explaining, UsageCommands, UserCommands, PolicyCommands, AuditCommands
):
    """The operations on one tenant."""
