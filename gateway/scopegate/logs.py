"""Where lines of logs go."""

from __future__ import annotations

# Lines of logs go where all that is not data goes.
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"plain": {"format": "%(levelname)s %(name)s: %(message)s"}},
    "handlers": {
        "stderr": {"class": "logging.StreamHandler", "formatter": "plain", "stream": "ext://sys.stderr"}
    },
    "loggers": {
        name: {"handlers": ["stderr"], "level": level, "propagate": False}
        for name, level in (("_granian", "ERROR"), ("granian.access", "ERROR"), ("scopegate", "WARNING"))
    },
}
