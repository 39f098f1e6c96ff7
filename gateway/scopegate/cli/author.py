"""Who types the commands."""

from __future__ import annotations

import os
import pwd
import socket


def operator() -> str:
    """The operating system's user and machine, such as ``cli:maria@host``; no variable changes it."""
    user_id = os.getuid()
    try:
        user = pwd.getpwuid(user_id).pw_name
    except KeyError:  # a container's user often has no name
        user = str(user_id)
    return f"cli:{user}@{socket.gethostname()}"
