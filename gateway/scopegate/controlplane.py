"""The composition of the control plane: settings in, an application out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scopegate.admin.entrance import Entrance
from scopegate.admin.health import Health
from scopegate.admin.oidc import CALLBACK
from scopegate.admin.oidcsignin import OidcSignIn
from scopegate.admin.plane import ControlPlane, guarded_api, scim_api
from scopegate.admin.sessioncookie import SessionCookie
from scopegate.admin.signin import identified, identified_by_token
from scopegate.admin.visit import Office
from scopegate.administration import Authentication
from scopegate.app import create_sourced_access
from scopegate.store import Store
from scopegate.sweeper import Sweeper

if TYPE_CHECKING:
    from scopegate.metrics import MetricsArea
    from scopegate.settings import Settings
    from scopegate.store.location import Location


def create_control_plane(settings: Settings, redis: Location, area: MetricsArea) -> ControlPlane:
    """The administration API, health and metrics of the instance whose store is at `redis`."""
    store = Store.at(redis, audit_retention=settings.audit_retention)
    office = Office(
        store,
        key_prefix=settings.key_prefix,
        pepper=settings.pepper_bytes,
        privileges=create_sourced_access(settings, store),
    )
    authentication = Authentication(store, pepper=settings.pepper_bytes)
    entrance = Entrance(
        authentication, SessionCookie(settings.public_admin_url), _oidc(settings, store, authentication)
    )
    health = Health(redis, area, max_lag=settings.max_lag)
    api = guarded_api(identified(office, entrance), entrance)
    scim = scim_api(identified_by_token(office, authentication), settings.public_admin_url)
    return ControlPlane(api, scim, health, office, entrance)


def create_sweeper(settings: Settings, redis: Location) -> Sweeper:
    """What enters the expiries and the deletions of keys in the instance whose store is at `redis`."""
    return Sweeper(Store.at(redis, audit_retention=settings.audit_retention))


def _oidc(settings: Settings, store: Store, authentication: Authentication) -> OidcSignIn | None:
    registration = settings.oidc
    if registration is None:
        return None
    # It needs packages of an extra; serve() has made sure of them.
    from scopegate.admin.oidcprovider import Provider  # noqa: PLC0415

    provider = Provider(registration, settings.public_admin_url + CALLBACK)
    return OidcSignIn(provider, store, authentication, trusts_email=registration.trusts_email)
