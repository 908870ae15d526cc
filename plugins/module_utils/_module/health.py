# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""health_info: several areas of a host in one trip, each by the operation of its own module."""

from __future__ import annotations

import contextlib
import importlib
import traceback
from dataclasses import replace
from functools import partial
from typing import Any, Callable, Mapping, Optional, Protocol

from .._core.errors import InvalidValue, OpsError
from .._core.health import combine, unread
from .._core.result import Decision, render_decision
from .._core.samples import APIS, AVAILABILITY, BACKUPS, DATABASE, HOST, INGESTION, LOGS, REDIS, SECURITY
from .._core.units import count_of
from .._io.as_user import UserProcess
from .._io.background import Background
from .info import InfoOperation
from .run import Operation, Task
from .secrets import secrets_of
from .spec import ArgumentSpec

Look = Callable[[], dict[str, Any]]


Start = Callable[[Task], Operation]


class Area(Protocol):
    """What an area is made of: the options of its module, and the operation."""

    def __call__(self) -> tuple[ArgumentSpec, Start]:
        """Import only now: most hosts need few of the areas."""


def _availability() -> tuple[ArgumentSpec, Start]:
    from .http_probe import HttpProbe, http_probe_spec

    return http_probe_spec(), HttpProbe


def _backups() -> tuple[ArgumentSpec, Start]:
    from .backup_catalog import CatalogInfo, catalog_spec
    from .repository import repository_spec

    return catalog_spec().merge(repository_spec()), CatalogInfo


def _database() -> tuple[ArgumentSpec, Start]:
    from .postgres import postgres_spec
    from .postgres_health import PostgresHealth, postgres_health_spec

    return postgres_health_spec().merge(postgres_spec()), PostgresHealth


def _external_apis() -> tuple[ArgumentSpec, Start]:
    from .external_api_probe import ExternalApiProbe, external_api_probe_spec

    return external_api_probe_spec(), ExternalApiProbe


def _host() -> tuple[ArgumentSpec, Start]:
    from .host_health import HostHealth, host_health_spec

    return host_health_spec(), HostHealth


def _ingestion() -> tuple[ArgumentSpec, Start]:
    from .ingestion import IngestionInfo, ingestion_spec
    from .postgres import postgres_spec

    return ingestion_spec().merge(postgres_spec()), IngestionInfo


def _logs() -> tuple[ArgumentSpec, Start]:
    from .log_errors import LogErrors, log_errors_spec

    spec = log_errors_spec()
    options = {name: option for name, option in spec.options.items() if name != "state_file"}  # a look writes nothing
    return replace(spec, options=options), lambda task: LogErrors(
        replace(task, params={**task.params, "state_file": None})
    )


def _redis() -> tuple[ArgumentSpec, Start]:
    from .redis_health import RedisHealth, redis_health_spec

    return redis_health_spec(), RedisHealth


def _security() -> tuple[ArgumentSpec, Start]:
    from .security_updates import SecurityUpdates, security_updates_spec

    return security_updates_spec(), SecurityUpdates


AREAS: Mapping[str, Area] = {
    AVAILABILITY: _availability,
    DATABASE: _database,
    REDIS: _redis,
    INGESTION: _ingestion,
    APIS: _external_apis,
    HOST: _host,
    LOGS: _logs,
    BACKUPS: _backups,
    SECURITY: _security,
}


def load_areas() -> None:
    """Import what all areas are made of, and the drivers that are there."""
    for area in AREAS.values():
        area()
    for driver in ("psycopg2", "redis"):
        with contextlib.suppress(ImportError):  # who needs it says that it is missing
            importlib.import_module(driver)


def health_spec() -> ArgumentSpec:
    """Return the module's own options; those of an area are the ones of its module."""
    return ArgumentSpec(
        {
            "areas": {"type": "dict", "required": True},
            "users": {"type": "dict", "default": {}},
            "validate_only": {"type": "bool", "default": False},
            "hosts": {"type": "dict", "default": {}},
        },
        opaque=True,
    )


class HealthInfo(InfoOperation):
    """Look at several areas at once: the slowest one takes as long as all together."""

    def __init__(self, task: Task) -> None:
        self._users = _users(task.params["users"])
        self._only_validate = task.params["validate_only"]
        self._operations = _operations(task.params["areas"], task)
        self._hosts = [_of_host(host, areas, task) for host, areas in _hosts(task.params).items()]

    def decide(self) -> Decision:
        """Look at all areas, each in a thread of its own, or in a process of the user that it asks for."""
        if self._only_validate:
            number = len(self._operations) + sum(map(len, self._hosts))
            return Decision(f"the options of {count_of(number, 'area')} can be meant")
        looks = {name: self._look_of(name, operation) for name, operation in self._operations.items()}
        begun = {name: Background(partial(_told, name, look)) for name, look in looks.items()}
        for work in begun.values():
            work.wait()  # for all, before any error is raised: no area is closed while it is still looked at
        return combine({name: {"area": name, **work.result()} for name, work in begun.items()})

    def _look_of(self, name: str, operation: Operation) -> Look:
        user = self._users.get(name)
        if user is None:
            return lambda: render_decision(operation.decide())
        try:
            return UserProcess(user, lambda: render_decision(operation.decide())).answer
        except OpsError as error:
            refusal = error
            return lambda: _refuse(refusal)

    def close(self) -> None:
        """Give back what the areas hold."""
        for operation in self._operations.values():
            operation.close()


def _told(name: str, look: Look) -> dict[str, Any]:
    """Return what an area says. Options that mean nothing are an error; everything else is told of this area only."""
    try:
        return look()
    except InvalidValue as error:
        raise _named(name, error) from error
    except OpsError as error:
        return render_decision(unread(name, error.code, error.message, error.hint or ""))
    except Exception as error:  # noqa: BLE001  (a defect in one area must not hide what the others say)
        where = " / ".join(line.strip() for line in traceback.format_exc().splitlines()[-3:])
        return render_decision(unread(name, "bug", f"unexpected {type(error).__name__}: {where}", "please report it"))


def _refuse(error: OpsError) -> dict[str, Any]:
    raise error


def _users(raw: Mapping[str, Any]) -> dict[str, str]:
    """Return as whom each area is looked at, where that is not the user of the module.

    Raises:
        InvalidValue: no such area.
    """
    unknown = sorted(set(map(str, raw)) - set(AREAS))
    if unknown:
        raise InvalidValue(f"users has no area {', '.join(unknown)}", hint=f"there are {', '.join(sorted(AREAS))}")
    return {name: str(user) for name, user in raw.items() if user}


def _named(name: str, error: OpsError) -> InvalidValue:
    return InvalidValue(f"areas.{name}: {error.message}", code=error.code, hint=error.hint, details=error.details)


def _wanted(raw: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return the areas with their options; null leaves one out.

    Raises:
        InvalidValue: no such area, or its options are no mapping.
    """
    unknown = sorted(set(map(str, raw)) - set(AREAS))
    if unknown:
        raise InvalidValue(f"areas has no {', '.join(unknown)}", hint=f"there are {', '.join(sorted(AREAS))}")
    for name, options in raw.items():
        if options is not None and not isinstance(options, Mapping):
            raise InvalidValue(f"areas.{name} must be a mapping of options, not {options!r}")
    return {name: raw[name] for name in AREAS if raw.get(name) is not None}


def _operations(areas: Mapping[str, Any], task: Task) -> dict[str, Operation]:
    return {name: _operation(name, options, task) for name, options in _wanted(areas).items()}


def _hosts(params: Mapping[str, Any]) -> Mapping[str, Any]:
    if params["hosts"] and not params["validate_only"]:
        raise InvalidValue("hosts are only for validate_only", hint="run the module on each host to look at it")
    return dict(params["hosts"])


def _of_host(host: str, areas: Any, task: Task) -> dict[str, Operation]:
    """Return the operations of another host, of which only the options are checked."""
    try:
        return _operations(areas if isinstance(areas, Mapping) else {"": areas}, task)
    except InvalidValue as error:
        raise InvalidValue(f"{host}: {error.message}", code=error.code, hint=error.hint) from error


def _operation(name: str, options: Mapping[str, Any], task: Task) -> Operation:
    spec, start = AREAS[name]()
    read = spec.validate(options)
    if read.error_messages:
        raise InvalidValue(
            f"areas.{name}: {'; '.join(read.error_messages)}",
            code="invalid_arguments",
            hint="the options are those of the area's module, see its documentation",
        )
    try:
        return start(replace(task, params=read.validated_parameters))
    except InvalidValue as error:
        raise _named(name, error) from error


def secrets_in_areas(params: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the secrets among the options of all areas: what their own modules declare, and what is known by name."""
    found: list[Optional[str]] = list(secrets_of(params))
    for name, options in (params.get("areas") or {}).items():
        if name in AREAS and isinstance(options, Mapping):
            found += sorted(map(str, AREAS[name]()[0].validate(options)._no_log_values))
    return tuple(dict.fromkeys(text for text in found if text))
