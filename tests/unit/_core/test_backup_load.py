"""What pg_restore says, line by line as versions 15 to 18 print it, and files of globals."""

from __future__ import annotations

import pytest

from plugins.module_utils._core.backup_load import (
    GlobalStatement,
    LoadError,
    Transcript,
    bootstrap_name,
    entries_to_repeat,
    globals_statements,
)

GLOBALS = r'''--
-- PostgreSQL database cluster dump
--

\restrict fy40HYrnLSAqhAkKRy6YYJ

SET default_transaction_read_only = off;

SET client_encoding = 'UTF8';

--
-- Roles
--

CREATE ROLE bob;
ALTER ROLE bob WITH NOSUPERUSER INHERIT NOCREATEROLE NOCREATEDB LOGIN NOREPLICATION NOBYPASSRLS PASSWORD 'a;\x--';
CREATE ROLE "O'Hara; ""x""";
COMMENT ON ROLE bob IS E'two
lines; with \' a quote';
CREATE ROLE admin;
ALTER ROLE admin WITH SUPERUSER INHERIT LOGIN;
ALTER ROLE bob SET search_path TO 'a', 'b''c;';


CREATE TABLESPACE fast OWNER bob LOCATION '/srv/fast';
GRANT CREATE ON TABLESPACE fast TO bob;
GRANT bob TO "O'Hara; ""x""" WITH INHERIT TRUE GRANTED BY admin;

\unrestrict fy40HYrnLSAqhAkKRy6YYJ
'''


def read(*lines: str) -> Transcript:
    transcript = Transcript()
    for line in lines:
        transcript.read(line)
    transcript.close()
    return transcript


def test_globals_are_split_at_the_semicolons_that_end_statements() -> None:
    found = list(globals_statements(GLOBALS))
    assert [one.creates for one in found if one.creates] == ["bob", 'O\'Hara; "x"', "admin"]
    assert [one.sql.split("\n")[0][:30] for one in found] == [
        "SET default_transaction_read_o",
        "CREATE ROLE bob",
        "ALTER ROLE bob WITH NOSUPERUSE",
        'CREATE ROLE "O\'Hara; ""x"""',
        "COMMENT ON ROLE bob IS E'two",
        "CREATE ROLE admin",
        "ALTER ROLE admin WITH SUPERUSE",
        "ALTER ROLE bob SET search_path",
        'GRANT bob TO "O\'Hara; ""x""" W',
    ]
    assert found[2].sql.endswith("PASSWORD 'a;\\x--'")
    assert found[4].sql.endswith("lines; with \\' a quote'")


@pytest.mark.parametrize("text", ["", "\n\n", "-- nothing\n", "\\restrict x\n\\unrestrict x", ";;"])
def test_nothing_is_no_statement(text: str) -> None:
    assert [one for one in globals_statements(text) if one.sql] == []


@pytest.mark.parametrize(
    ("statements", "name"),
    [
        ([], ""),
        (["ALTER ROLE app WITH SUPERUSER INHERIT"], "app"),
        (["ALTER ROLE app WITH SUPERUSER", "ALTER ROLE postgres WITH SUPERUSER"], "postgres"),
        (["ALTER ROLE postgres WITH NOSUPERUSER", "ALTER ROLE rdsadmin WITH SUPERUSER"], "rdsadmin"),
        (["ALTER ROLE postgres WITH SUPERUSER", 'ALTER ROLE "My-A" WITH SUPERUSER', 'GRANT a TO b GRANTED BY "My-A"'],
         "My-A"),
        (['ALTER ROLE "My""A" WITH SUPERUSER', 'GRANT a TO b GRANTED BY "My""A"'], ""),
        (["GRANT a TO b GRANTED BY nobody", "ALTER ROLE nobody WITH NOSUPERUSER"], ""),
    ],
)  # fmt: skip
def test_the_first_role_is_told_by_superusers_and_grantors(statements: list[str], name: str) -> None:
    assert bootstrap_name([GlobalStatement(sql) for sql in statements]) == name


def test_an_error_is_named_with_its_object() -> None:
    transcript = read(
        'pg_restore: creating TABLE "public.t"',
        "pg_restore: while PROCESSING TOC:",
        "pg_restore: from TOC entry 221; 1259 16385 TABLE t bob",
        'pg_restore: error: could not execute query: ERROR:  role "bob" does not exist',
        "Command was: ALTER TABLE public.t OWNER TO bob;",
        "",
        'pg_restore: error: COPY failed for table "u": ERROR:  x',
        "pg_restore: warning: errors ignored on restore: 2",
    )
    assert transcript.errors == [
        LoadError("221; 1259 16385 TABLE t bob", 'could not execute query: ERROR:  role "bob" does not exist'),
        LoadError("", 'COPY failed for table "u": ERROR:  x'),
    ]


HARMLESS = (
    'pg_restore: error: could not execute query: ERROR:  unrecognized configuration parameter "transaction_timeout"'
)


def test_a_setting_that_an_older_server_does_not_know_is_no_error() -> None:
    assert read(HARMLESS, "Command was: SET transaction_timeout = 0;").count == 0


def test_the_same_words_about_anything_else_are_an_error() -> None:
    command = "Command was: CREATE FUNCTION public.f() RETURNS void SET transaction_timeout = 0;"
    assert read(HARMLESS, command).count == 1
    assert read(HARMLESS).count == 1


def test_a_flood_of_errors_is_counted_and_not_kept() -> None:
    transcript = read(*[f"pg_restore: error: number {number}" for number in range(1000)])
    assert (transcript.count, len(transcript.errors)) == (1000, 100)


def test_a_quoted_line_of_a_command_is_no_error() -> None:
    assert read("Command was: CREATE FUNCTION x AS '", " error: nothing", "';").count == 0


@pytest.mark.parametrize(
    "lines",
    [
        ["pg_restore:pg_restore: error: role is gone", " finished item 7 INDEX i"],
        ["pg_restore: pg_restore:error: finished item 7 INDEX i", "role is gone"],
        ["pg_restore: error: pg_restore: creating INDEX public.i", "role is gone"],
    ],
)
def test_an_error_is_found_between_the_pieces_of_another_job(lines: list[str]) -> None:
    transcript = read("pg_restore: from TOC entry 9; 1259 1 TABLE t bob", *lines, "Command was: X", "Y")
    assert transcript.errors == [LoadError("9; 1259 1 TABLE t bob", "role is gone")]


def test_a_harmless_error_is_harmless_between_the_pieces_of_another_job() -> None:
    words = HARMLESS.partition("error: ")[2]
    torn = [
        "pg_restore: error: pg_restore: launching item 3 TABLE t",
        words,
        "Command was: SET transaction_timeout = 0;",
    ]
    assert read(*torn).count == 0


ATTACH = LoadError("3266; 0 0 INDEX ATTACH t_1_pkey bob", "could not execute query: ERROR:  deadlock detected")
KEY = LoadError("12; 2606 4 FK CONSTRAINT public u u_fkey bob", "could not execute query: ERROR:  no unique constraint")


@pytest.mark.parametrize(
    ("errors", "numbers"),
    [
        ([], ()),
        ([KEY], ()),
        ([ATTACH], (3266,)),
        ([ATTACH, KEY, KEY], (3266, 12)),
        ([ATTACH, LoadError("", "whose?")], ()),
        ([ATTACH] * 100, ()),  # there may be more, which nobody kept
    ],
)
def test_what_failed_is_repeated_when_jobs_were_in_each_others_way(
    errors: list[LoadError], numbers: tuple[int, ...]
) -> None:
    assert entries_to_repeat(errors) == numbers


def test_only_an_error_before_any_deadlock_is_the_end() -> None:
    def lines(error: LoadError) -> list[str]:
        return [f"pg_restore: from TOC entry {error.entry}", f"pg_restore: error: {error.message}"]

    assert not read(*lines(ATTACH), *lines(KEY)).is_lost() and not read().is_lost()
    assert read(*lines(KEY), *lines(ATTACH)).is_lost()


def test_done_objects_are_handed_over() -> None:
    done: list[str] = []
    transcript = Transcript(done.append)
    for line in (
        "pg_restore: processing item 7 SCHEMA x",
        "pg_restore: launching item 3408 TABLE DATA t",
        "pg_restore: finished item 3408 TABLE DATA t",
    ):
        transcript.read(line)
    assert done == ["SCHEMA x", "TABLE DATA t"]
