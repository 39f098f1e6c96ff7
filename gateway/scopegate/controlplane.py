"""The composition of the control plane: settings in, an application out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scopegate.admin.health import Health
from scopegate.admin.plane import ControlPlane, guarded_api
from scopegate.admin.signin import identified
from scopegate.admin.visit import Office
from scopegate.administration import Authentication
from scopegate.store import Store
from scopegate.sweeper import Sweeper

if TYPE_CHECKING:
    from scopegate.metrics import MetricsArea
    from scopegate.settings import Settings
    from scopegate.store.location import Location


def create_control_plane(settings: Settings, redis: Location, area: MetricsArea) -> ControlPlane:
    """The administration API, health and metrics of the instance whose store is at `redis`."""
    store = Store.at(redis, audit_retention=settings.audit_retention)
    office = Office(store, key_prefix=settings.key_prefix, pepper=settings.pepper_bytes)
    authentication = Authentication(store, pepper=settings.pepper_bytes)
    health = Health(redis, area, max_lag=settings.max_lag)
    return ControlPlane(guarded_api(identified(office, authentication), authentication), health, office)


def create_sweeper(settings: Settings, redis: Location) -> Sweeper:
    """What enters the expiries and the deletions of keys in the instance whose store is at `redis`."""
    return Sweeper(Store.at(redis, audit_retention=settings.audit_retention))
