"""A tablespace of a test's own, in a folder of the server's."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator

from psycopg2 import sql

from tests.support.servers import Server, administer, random_name
from tools.embedded_postgres import give_to_server_account


@contextlib.contextmanager
def tablespace(server: Server, name: str = "") -> Iterator[str]:
    """Give a tablespace until the end of the block; what was put into it must be out of it by then."""
    name = name or random_name("space")
    place = server.directory / random_name("place")
    place.mkdir()
    give_to_server_account(place)
    words = sql.SQL("CREATE TABLESPACE {} LOCATION {}")
    administer(server, words.format(sql.Identifier(name), sql.Literal(str(place))))
    try:
        yield name
    finally:
        administer(server, sql.SQL("DROP TABLESPACE {}").format(sql.Identifier(name)))
        shutil.rmtree(place)
