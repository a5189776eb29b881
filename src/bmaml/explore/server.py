"""The server of the pages, on the user's own machine: what it serves, to whom, and what it refuses."""

from __future__ import annotations

import errno
import socket
import warnings
from collections.abc import Callable, Sequence
from typing import Any
from weakref import WeakValueDictionary

from bokeh.application import Application
from bokeh.application.handlers.function import FunctionHandler
from bokeh.document import Document
from bokeh.server.server import BaseServer
from bokeh.server.tornado import BokehTornado
from tornado.httpserver import HTTPServer
from tornado.ioloop import IOLoop
from tornado.web import HTTPError, RequestHandler

from bmaml.errors import InputError
from bmaml.explore.files import points_csv, predictions_csv
from bmaml.explore.inference_page import InferencePage
from bmaml.explore.page import Page
from bmaml.explore.subjects import AbstractSubject
from bmaml.explore.warm import Warmth

_FILES: dict[str, Callable[[Page], str]] = {"points": points_csv, "predictions": predictions_csv}
_LOOPBACK = ("127.0.0.1", "localhost")
Pages = WeakValueDictionary[str, Page]


class Download(RequestHandler):
    """Answers a link of a page with a file. Only who knows the page's secret token gets it."""

    def initialize(self, pages: Pages) -> None:
        """Remember all open `pages` by their tokens."""
        self.pages = pages

    def get(self, name: str) -> None:
        """Answer with the file called `name`.

        Raises: HTTPError 404 for a page that is not open.
        """
        page = self.pages.get(self.get_query_argument("page", ""))
        if page is None:
            raise HTTPError(404)
        self.set_header("Content-Type", "text/csv; charset=utf-8")
        self.set_header("Content-Disposition", f'attachment; filename="{name}.csv"')
        self.set_header("X-Content-Type-Options", "nosniff")
        self.finish(_FILES[name](page))


class ExploreServer:
    """The pages of some models, served until `stop`.

    The server listens on loopback alone unless another `host` is given. A web socket from another origin than the page's own
    is refused, so that no page of the internet can drive this one. `url` is the address to open.
    """

    def __init__(
        self, subjects: Sequence[AbstractSubject], *, host: str = "127.0.0.1", port: int = 0, warmth: Warmth | None = None
    ):
        """Listen, and begin to compile.

        - `subjects`: one model, or two to compare.
        - `host`, `port`: where to listen; port 0 takes any free one.
        - `warmth`: what compiles the programs of the models (None: a thread that begins at once).

        Raises: InputError if the place is taken, or for two models of different inputs.
        """
        self.subjects = matched(subjects)
        sockets = _listening(host, port)
        self.port = sockets[0].getsockname()[1]
        self.pages: Pages = WeakValueDictionary()
        names = _LOOPBACK if host in _LOOPBACK else (host,)
        self.url = f"http://{'localhost' if host in _LOOPBACK else host}:{self.port}/"
        application = BokehTornado(
            {"/": _application(self._open), "/inference": _application(_open_inference)},
            extra_websocket_origins=[f"{name}:{self.port}" for name in names],
            extra_patterns=[(rf"/download/({'|'.join(_FILES)})\.csv", Download, {"pages": self.pages})],
            use_index=False,
        )
        self.loop = _loop()
        http = HTTPServer(application)
        http.add_sockets(sockets)
        self._server = BaseServer(self.loop, application, http)
        self.warmth = Warmth(self.subjects).start() if warmth is None else warmth

    def _open(self, document: Document) -> None:
        page = Page(self.subjects, self.warmth, '<a href="inference">Inference alone</a>')
        self.pages[page.token] = page
        document.template_variables["page"] = page  # Keeps the page as long as the window is open.
        page.open(document)

    def run(self) -> None:
        """Serve until the process is interrupted."""
        self._server.start()
        try:
            self.loop.start()
        except KeyboardInterrupt:
            pass
        finally:
            self.stop()

    def stop(self) -> None:
        """Close all windows' sessions, and listen no longer."""
        self._server.stop()


def _loop() -> IOLoop:
    """Return the thread's event loop, a new one if it has none. From Python 3.12 on Tornado warns of the latter."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return IOLoop.current()


def _application(open_document: Callable[[Document], None]) -> Application:
    return Application(FunctionHandler(open_document))


def _open_inference(document: Document) -> None:
    InferencePage('<a href="./">A model</a>').open(document)


def matched(subjects: Sequence[AbstractSubject]) -> tuple[AbstractSubject, ...]:
    """Return `subjects`, all with the ranges of the first one's inputs.

    Raises: InputError if they have inputs or outcomes of other kinds.
    """
    first, *others = subjects
    kinds = [(axis.name, axis.form, axis.levels, axis.log) for axis in (*first.inputs, first.outcome)]
    for other in others:
        if [(axis.name, axis.form, axis.levels, axis.log) for axis in (*other.inputs, other.outcome)] != kinds:
            raise InputError(
                f"{other.title} has other columns than {first.title}: put a model of the same inputs and outcome beside it."
            )
        other.inputs = first.inputs
    return tuple(subjects)


def _listening(host: str, port: int) -> Any:
    from tornado.netutil import bind_sockets

    try:
        return bind_sockets(port, address=host, family=socket.AF_INET)
    except (OSError, OverflowError) as error:
        if isinstance(error, socket.gaierror):
            raise InputError(
                f"cannot listen on {host} ({error.strerror}): give an address of this machine as --host."
            ) from error
        taken = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
        why = "something listens there already" if taken else str(error)
        raise InputError(
            f"cannot listen on {host}, port {port} ({why}): give another --port, or 0 for any free one."
        ) from error
