"""Routes that cannot be made without saying what right they demand and whose data they show."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from fastapi import Depends, FastAPI, Request
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError
from starlette.routing import Mount

from assay.errors import AssayError
from assay.strictjson import strict_json
from assay_ui.errors import Refusal, problems, status_of
from assay_ui.identity import Person, own_page, person
from assay_ui.rights import Right, may_look, may_read, readable, reads_all, why_not_decide, why_not_promote

if TYPE_CHECKING:
    from assay.console import Console

Body = TypeVar("Body", bound=BaseModel)
Handler = TypeVar("Handler", bound=Callable[..., Any])


class About(StrEnum):
    """Whose data a route shows.

    `NOBODY`: none at all. `READABLE`: only what stands in the data sets of `Caller.datasets`. `DATASET`: of the data
    set that the path names. The others: of the data set that the thing of the path's `id` belongs to.
    """

    NOBODY = "nobody"
    READABLE = "readable"
    DATASET = "dataset"
    DELIVERY = "delivery"
    CASE = "case"
    RUN = "run"
    MODEL = "model"


_OF_NO_ONE = frozenset({About.NOBODY, About.READABLE})


@dataclass(frozen=True)
class Caller:
    """The person behind a request whose right was checked, and what they may see.

    Attributes:
        person: Who.
        opened: Opens the console, which a page's shell does without.
        datasets: The data sets that the answer may speak of; None: all.
        dataset: The data set that the route is about, where it is about one.
    """

    person: Person
    opened: Callable[[], Console]
    datasets: list[str] | None
    dataset: str

    @property
    def console(self) -> Console:
        """What Assay shows."""
        return self.opened()

    def speaks_of(self, dataset: str) -> bool:
        """Whether the answer may speak of a data set."""
        return self.datasets is None or dataset in self.datasets


class GuardedRoute(APIRoute):
    """A route with its right and its subject, for whoever walks `app.routes`."""

    right: Right
    about: About


class Routes:
    """Routes below one address; `mount` adds them to an application."""

    def __init__(self, prefix: str) -> None:
        """Start with none."""
        self._prefix = prefix
        self._made: list[tuple[str, str, Right, About, Callable[..., Any]]] = []

    def get(self, path: str, *, right: Right, about: About) -> Callable[[Handler], Handler]:
        """A route that changes nothing; it answers HEAD too."""
        return self._add("GET", path, right, about)

    def post(self, path: str, *, right: Right, about: About) -> Callable[[Handler], Handler]:
        """A route that may change something: never for another site's page."""
        return self._add("POST", path, right, about)

    def mount(self, app: FastAPI) -> None:
        """Add the routes to an application."""
        for method, path, right, about, handler in self._made:
            app.router.add_api_route(
                path,
                handler,
                methods=["GET", "HEAD"] if method == "GET" else [method],
                dependencies=[Depends(_guard(right, about))],
                response_model=None,
                route_class_override=GuardedRoute,
            )
            route = app.router.routes[-1]
            assert isinstance(route, GuardedRoute)
            route.right, route.about = right, about

    def _add(self, method: str, path: str, right: Right, about: About) -> Callable[[Handler], Handler]:
        def keep(handler: Handler) -> Handler:
            self._made.append((method, self._prefix + path, right, about, handler))
            return handler

        return keep


def refuse_unguarded(app: FastAPI, public: frozenset[str]) -> None:
    """Stop an application that has a way in beside the guarded routes and the named public mounts.

    Raises:
        RuntimeError: There is one; the message names it.
    """
    for route in app.routes:
        guarded = isinstance(route, GuardedRoute) and hasattr(route, "right") and hasattr(route, "about")
        if not guarded and not (isinstance(route, Mount) and route.path in public):
            raise RuntimeError(f"the route {getattr(route, 'path', route)} demands no right")


def caller(request: Request) -> Caller:
    """The caller that the route's guard let in."""
    found: Caller = request.state.assay_caller
    return found


CallerDep = Annotated[Caller, Depends(caller)]


def body_of(model: type[Body]) -> Callable[[Request], Any]:
    """A dependency that reads the body, after the guard has let the caller in."""

    async def read(request: Request) -> Body:
        data = await request.body()
        try:
            return model.model_validate(strict_json(data, depth=8), strict=True)
        except ValidationError as error:
            found = problems(error.errors(include_input=False, include_url=False, include_context=False))
            raise Refusal(400, "bad_request", found, state="nothing was changed") from None
        except ValueError as error:
            said = "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)[:200]
            raise Refusal(
                400, "bad_request", f"the body is no JSON: {said}", state="nothing was changed"
            ) from None

    return read


def _guard(right: Right, about: About) -> Callable[..., None]:
    def check(request: Request, someone: Annotated[Person, Depends(person)]) -> None:
        own_page(request, someone)
        if not may_look(someone):
            raise Refusal(403, "forbidden", "you may not see this Airflow's pages")
        opened = request.app.state.console
        dataset = "" if about in _OF_NO_ONE else _subject(request, someone, opened(), about)
        names: list[str] | None = [dataset] if dataset else []
        if about is About.READABLE:
            names = None if reads_all(someone) else readable(someone, opened().datasets())
        why = None
        if right is Right.DECIDE:
            why = why_not_decide(someone, dataset)
        elif right is Right.PROMOTE:
            why = why_not_promote(someone)
        if why is not None:
            raise Refusal(403, "forbidden", why, state="nothing was changed")
        request.state.assay_caller = Caller(someone, opened, names, dataset)

    return check


def _subject(request: Request, someone: Person, console: Console, about: About) -> str:
    """The data set that the route is about; one that the person may not read is answered as if it were not there.

    Raises:
        Refusal: 404.
    """
    name = request.path_params["dataset" if about is About.DATASET else "id"]
    found: str | None
    if about is About.DATASET:
        found = name if name in console.datasets() else None
    else:
        found = dataset_of(console, str(about), name)
    if not found or not may_read(someone, found):
        raise missing(about, name)
    return found


def dataset_of(console: Console, kind: str, name: str) -> str | None:
    """The data set that a thing belongs to; None where there is no such thing, or it belongs to none.

    Raises:
        AssayError: The registry could not be asked.
    """
    try:
        return console.dataset_of(kind, name)
    except AssayError as error:
        if status_of(error)[0] != 404:
            raise
        return None


def missing(kind: str, name: str) -> Refusal:
    """The one answer for what is not there and for what the person may not see."""
    return Refusal(404, "not_found", f"there is no {kind} {name[:100]!a}", next_step="look at the overview")
