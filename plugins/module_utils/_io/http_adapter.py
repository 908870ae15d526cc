# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""requests, with the connection in our own hands: which address, how long for each phase, whose certificate."""

from __future__ import annotations

import http.client
import ssl
from functools import partial
from typing import Any, Callable, Mapping, Optional

from .._core.http_address import kind_of
from .network import Deadline, NoAnswer, connect_to, resolve

try:
    import requests
    import urllib3
    from requests.adapters import HTTPAdapter
    from urllib3.connection import HTTPConnection, HTTPSConnection
except ImportError:
    requests = urllib3 = None  # type: ignore[assignment]
    HTTPAdapter = HTTPConnection = HTTPSConnection = object  # type: ignore[assignment,misc]
    ERRORS: tuple[type[Exception], ...] = (OSError, ValueError, http.client.HTTPException)
else:
    ERRORS = (OSError, ValueError, http.client.HTTPException, urllib3.exceptions.HTTPError)
    # That nobody checks the certificate was decided in the inventory; said on stderr it would only break the result.
    urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)


def is_there() -> bool:
    """Tell whether requests is installed, 2.32 or newer, with urllib3 2: older ones check no address's certificate."""
    new = hasattr(HTTPAdapter, "get_connection_with_tls_context")
    return requests is not None and new and int(str(getattr(urllib3, "__version__", 0)).partition(".")[0]) >= 2


def prepared(method: str, url: str, headers: Mapping[str, str], body: Optional[bytes]) -> Any:
    """Return a request as it is sent, without what a session would add (.netrc, cookies)."""
    return requests.Request(method, url, headers=dict(headers), data=body).prepare()


def environment_proxies(url: str) -> dict[str, str]:
    """Return the proxies that the environment names for an address."""
    return dict(requests.utils.get_environ_proxies(url))


class Trip:
    """One connection: made to an address that may be reached, watched until the deadline, timed by phases."""

    def __init__(
        self,
        deadline: Deadline,
        monotonic: Callable[[], float],
        refusal: Callable[[str], Optional[str]],
        fixed: Mapping[str, str],
    ) -> None:
        self.phases: dict[str, float] = {}
        self.address = ""
        self.certificate: Optional[bytes] = None
        self._deadline, self._monotonic = deadline, monotonic
        self._refusal, self._fixed = refusal, {name.lower(): address for name, address in fixed.items()}

    def open(self, host: str, port: int) -> Any:
        """Return a connection to a host; only addresses that were checked are connected to, so no name can change.

        Raises:
            NoAnswer: no address may be reached, or none answers.
        """
        began = self._monotonic()
        name = self._fixed.get(host.strip("[]").rstrip(".").lower(), host)
        candidates = resolve(name, port, "any", self._deadline.left())
        resolved = self._monotonic()
        self.phases["dns"] = resolved - began
        refusals = {address: self._refusal(address[0]) for _family, address in candidates}
        allowed = tuple(one for one in candidates if refusals[one[1]] is None)
        if not allowed:
            raise NoAnswer(next((text for text in refusals.values() if text), "the name has no address"))
        connection = connect_to(allowed, self._deadline)
        self.address = str(connection.getpeername()[0])
        self.phases["connect"] = self._monotonic() - resolved
        return connection

    def encrypted(self, connection: Any, began: float) -> None:
        """Note the certificate of an encrypted connection and how long the handshake took."""
        self.phases["tls"] = self._monotonic() - began
        self.certificate = connection.getpeercert(binary_form=True)

    def now(self) -> float:
        """Return the time of the clock that everything is measured with."""
        return self._monotonic()

    @property
    def kind(self) -> str:
        """Return the kind of the address that was reached."""
        return kind_of(self.address)


class _PlainConnection(HTTPConnection):
    def __init__(self, *args: Any, trip: Trip, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._trip = trip

    def _new_conn(self) -> Any:
        return self._trip.open(self.host, self.port)


class _EncryptedConnection(HTTPSConnection):
    def __init__(self, *args: Any, trip: Trip, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._trip, self._connected = trip, 0.0

    def _new_conn(self) -> Any:
        connection = self._trip.open(self.host, self.port)
        self._connected = self._trip.now()
        return connection

    def connect(self) -> None:
        """Connect, and note what the handshake showed."""
        super().connect()
        self._trip.encrypted(self.sock, self._connected)


class TripAdapter(HTTPAdapter):
    """Sends one request by one trip. Only ``send`` is used: a session would follow, store and read without bounds."""

    def __init__(self, trip: Trip, context: Optional[ssl.SSLContext]) -> None:
        self._trip, self._context = trip, context
        super().__init__(pool_connections=1, pool_maxsize=1)

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **kwargs: Any) -> None:
        """Use our context: its authorities are the system's or the inventory's, not those of a package."""
        super().init_poolmanager(connections, maxsize, block, **kwargs, **self._tls())

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        """Use the same context through a proxy."""
        return super().proxy_manager_for(proxy, **kwargs, **self._tls())

    def _tls(self) -> dict[str, Any]:
        return {} if self._context is None else {"ssl_context": self._context}

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> Any:
        """Return the pool, with our connections."""
        return self._own(super().get_connection_with_tls_context(*args, **kwargs))

    def _own(self, pool: Any) -> Any:
        own = _EncryptedConnection if pool.scheme == "https" else _PlainConnection
        pool.ConnectionCls = partial(own, trip=self._trip)
        return pool

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """Leave the check to the context; the package's list of authorities is not added to it."""
        del url, cert
        conn.cert_reqs = "CERT_REQUIRED" if verify else "CERT_NONE"
