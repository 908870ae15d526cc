"""Databases and roles that a test makes on a real server, and their removal whatever the test left behind."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import Any

from psycopg2 import sql

from tools.embedded_postgres import (
    MAJORS,
    SUPERUSER,
    Install,
    PostgresUnavailable,
    Server,
    client_bin_dir,
    npm_install,
    wheel_install,
)

__all__ = [
    "MAJORS",
    "SUPERUSER",
    "Database",
    "Install",
    "PostgresUnavailable",
    "Roles",
    "Server",
    "client_bin_dir",
    "npm_install",
    "random_name",
    "wheel_install",
]


def random_name(prefix: str) -> str:
    return f"{prefix}_{uuid.uuid4().hex[:12]}"


@dataclass(frozen=True)
class Database:
    """A database of one test."""

    server: Server
    name: str

    def dsn(self, user: str = SUPERUSER) -> str:
        return self.server.dsn(self.name, user)

    def connect(self, user: str = SUPERUSER, autocommit: bool = True, **options: Any) -> Any:
        return self.server.connect(self.name, user, autocommit, **options)

    def execute(self, statement: str, *parameters: Any) -> None:
        """Run statements as the superuser, in a connection of their own."""
        connection = self.connect()
        try:
            connection.cursor().execute(statement, parameters or None)
        finally:
            connection.close()

    def fetch(self, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Return the rows of a query run as the superuser."""
        connection = self.connect()
        try:
            cursor = connection.cursor()
            cursor.execute(query, parameters or None)
            rows: list[tuple[Any, ...]] = cursor.fetchall()
            return rows
        finally:
            connection.close()

    @classmethod
    def create(cls, server: Server, name: str | None = None) -> Database:
        database = cls(server, name or random_name("db"))
        administer(server, sql.SQL("CREATE DATABASE {}").format(sql.Identifier(database.name)))
        return database

    def drop(self) -> None:
        """Drop it with its sessions, prepared transactions and replication slots."""
        prepared = self.fetch("SELECT gid FROM pg_prepared_xacts WHERE database = current_database()")
        connection = self.connect()
        for (gid,) in prepared:
            connection.cursor().execute("ROLLBACK PREPARED %s", (gid,))
        slots = "FROM pg_replication_slots WHERE database = current_database()"
        connection.cursor().execute(f"SELECT pg_terminate_backend(active_pid) {slots} AND active")
        connection.cursor().execute(f"SELECT pg_drop_replication_slot(slot_name) {slots}")
        connection.close()
        administer(self.server, sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(self.name)))


@dataclass
class Roles:
    """Makes roles that are not superusers: ``roles()``, ``roles("pg_monitor", createdb=True)``."""

    server: Server
    names: list[str] = field(default_factory=list)

    def __call__(
        self, *member_of: str, name: str | None = None, password: str | None = None, createdb: bool = False
    ) -> str:
        role = name or random_name("role")
        options = sql.SQL("CREATEDB") if createdb else sql.SQL("NOCREATEDB")
        statement = sql.SQL("CREATE ROLE {} LOGIN NOSUPERUSER {} PASSWORD {}")
        administer(self.server, statement.format(sql.Identifier(role), options, sql.Literal(password)))
        self.names.append(role)
        for group in member_of:
            administer(self.server, sql.SQL("GRANT {} TO {}").format(sql.Identifier(group), sql.Identifier(role)))
        return role

    def drop(self) -> None:
        """Drop the roles with the databases, the grants on shared objects and the sessions that are theirs."""
        for role in self.names:
            connection = self.server.connect()
            cursor = connection.cursor()
            cursor.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", (role,))
            cursor.execute("SELECT datname FROM pg_database WHERE pg_get_userbyid(datdba) = %s", (role,))
            for (database,) in cursor.fetchall():
                Database(self.server, database).drop()
            for statement in ("DROP OWNED BY {} CASCADE", "DROP ROLE {}"):
                cursor.execute(sql.SQL(statement).format(sql.Identifier(role)))
            connection.close()


def administer(server: Server, statement: sql.Composable) -> None:
    connection = server.connect()
    try:
        connection.cursor().execute(statement)
    finally:
        connection.close()
