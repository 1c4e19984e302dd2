"""Who is asking, and whether it was really their page that asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import urlsplit

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.base_user import BaseUser
from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager
from airflow.api_fastapi.core_api.security import bearer_scheme, get_user
from airflow.configuration import conf
from fastapi import Depends, HTTPException, Request
from fastapi.security import HTTPAuthorizationCredentials

from assay_ui.errors import Refusal

SAFE_METHODS = frozenset({"GET", "HEAD"})
_NOBODY = "Anonymous"  # the name that both of Airflow's auth managers give to whoever did not log in


@dataclass(frozen=True)
class Person:
    """Somebody who is logged in.

    Attributes:
        user: Airflow's user, as the auth manager knows it now.
        by_token: Whether the request carried a bearer token, which no other site's page can make a browser send.
    """

    user: BaseUser
    by_token: bool

    @property
    def name(self) -> str:
        """The name under which decisions are recorded."""
        return str(self.user.get_name())

    @property
    def named(self) -> bool:
        """Whether this is somebody: an Airflow without login lets everybody in under one name."""
        return bool(self.name.strip()) and self.name != _NOBODY


def login_url(request: Request) -> str:
    """The address of Airflow's login, which leads back to the page; from the API to the front page."""
    root = str(request.scope.get("root_path", ""))
    asked = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    back = f"{root}/" if request.url.path.startswith(f"{root}/api/") else asked
    return str(get_auth_manager().get_url_login(next_url=back))


async def person(
    request: Request,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer_scheme)] = None,
) -> Person:
    """The person behind the request: a bearer token goes before the cookie, as in Airflow's own API.

    Raises:
        Refusal: 401 without a valid login, or where the user was removed or disabled since.
    """
    by_token = credentials is not None and credentials.scheme.lower() == "bearer"
    try:
        user = await get_user(request, None, credentials)
        if request.method not in SAFE_METHODS:
            user = _read_anew(user)
    except HTTPException as error:
        raise _unknown(request, str(error.detail)) from None
    except ValueError as error:
        raise _unknown(request, str(error)) from None
    return Person(_as_of_now(request, user), by_token)


def _as_of_now(request: Request, user: BaseUser) -> BaseUser:
    """The user as the auth manager's own records have it now, not as a token had it when it was made."""
    manager = get_auth_manager()
    if isinstance(manager, SimpleAuthManager):
        if conf.getboolean("core", "simple_auth_manager_all_admins"):
            return user
        known = {each.username: each for each in manager.get_users()}
        if user.get_name() not in known:
            raise _unknown(request, "this user is no longer in [core] simple_auth_manager_users")
        return known[user.get_name()]
    if getattr(user, "is_anonymous", False):
        raise _unknown(request, "the pages are for people who are logged in, whatever role visitors have")
    return user


def _read_anew(user: BaseUser) -> BaseUser:
    """What changes something is judged by the rights of now: FAB's auth manager keeps users for a while."""
    manager: Any = get_auth_manager()
    if not hasattr(manager, "cache") or getattr(user, "is_anonymous", False):
        return user
    manager.cache.clear()
    read: BaseUser = manager.deserialize_user(manager.serialize_user(user))
    return read


def _unknown(request: Request, why: str) -> Refusal:
    return Refusal(
        401,
        "not_logged_in",
        "log in to Airflow first",
        found=why,
        next_step="log in and come back, or send a token from POST /auth/token",
        login_url=login_url(request),
    )


def own_page(request: Request, someone: Person) -> None:
    """Let a call that changes something pass only where no other site's page can have sent it.

    A cookie goes with a request whoever made the browser send it. Such a request needs a header that only a script of
    our own origin may set, a body of a type that no form can send, and the browser's word that it comes from our own
    pages: `Sec-Fetch-Site`, or, over plain HTTP where browsers leave that out, an `Origin` that is our own host.

    Raises:
        Refusal: 415 for another content type, 403 for a request that may come from elsewhere.
    """
    if request.method in SAFE_METHODS:
        return
    if request.headers.get("content-type", "").split(";")[0].strip().lower() != "application/json":
        raise Refusal(
            415, "wrong_type", "the body must be JSON", expected="Content-Type: application/json", found=None
        )
    if someone.by_token:
        return
    if request.headers.get("x-assay") != "1":
        raise _cross_site("the header X-Assay: 1", "no such header")
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        if site != "same-origin":
            raise _cross_site("Sec-Fetch-Site: same-origin", site)
        return
    origin = request.headers.get("origin")
    if origin is None or urlsplit(origin).netloc != request.headers.get("host"):
        raise _cross_site("an Origin that is this host", origin or "neither Sec-Fetch-Site nor Origin")


def _cross_site(expected: str, found: str) -> Refusal:
    return Refusal(
        403,
        "cross_site",
        "a request that changes something must come from Assay's own pages, or carry a bearer token",
        expected=expected,
        found=found[:200],
        state="nothing was changed",
    )
