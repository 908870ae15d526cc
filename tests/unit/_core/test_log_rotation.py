"""What a directory of logs holds, and what is to be done about it: tables, and properties over any directory."""

from __future__ import annotations

import stat
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugins.module_utils._core.log_rotation import Entry, Holder, Holdings, Policy, Reopening, Survey, User, survey
from plugins.module_utils._core.log_rotation_decide import (
    CLEAN,
    COMPRESS,
    CREATE,
    ORDER,
    PRUNE,
    REMOVE,
    REOPEN,
    ROTATE,
    SETTLE,
    Work,
    candidates,
    plan_work,
)  # fmt: skip
from plugins.module_utils._core.log_rotation_names import OWN_PREFIX, generation_name, generation_of, matcher

HOUR, DAY = 3600.0, 86400.0
NOW = 1795247100.0
ROOT, SHOP = User(0), User(1000, frozenset({1000}))
ANY = matcher(["*.log"], [])
POLICY = Policy(ANY, max_age=20 * HOUR, create=False)
SIGNAL = Reopening("signal", "unit shop.service", "kill -HUP <MainPID of shop.service>")
COPYTRUNCATE = Reopening("copytruncate")
NETWORK = frozenset({1})  # the device of every entry below
NODE = Holder(12, "node", 100, writes=True, appends=True)
PLAIN_WRITER = replace(NODE, appends=False)
READER = replace(NODE, writes=False, appends=False)


def entry(name: str, **facts: Any) -> Entry:
    directory, _slash, short = name.rpartition("/")
    defaults: dict[str, Any] = {
        "device": 1, "inode": sum(map(ord, name)) + len(name) * 1000, "links": 1, "mode": stat.S_IFREG | 0o640,
        "uid": 1000, "gid": 1000, "size": 100, "mtime": NOW, "ctime": NOW,
    }  # fmt: skip
    return Entry(directory=directory, name=short, **{**defaults, **facts})


def rotated(age: float, tail: str = ".gz", log: str = "app.log", **facts: Any) -> Entry:
    moment = NOW - age
    return entry(generation_name(log, moment) + tail, **{"ctime": moment, "mtime": moment, **facts})


def work(*entries: Entry, policy: Policy = POLICY, holdings: Holdings | None = None, user: User = ROOT) -> Work:
    return plan_work(survey(entries, policy, user), holdings or Holdings(), policy, NOW, 0.25)


def kinds(found: Work) -> list[tuple[str, str]]:
    return [(operation.kind, operation.path) for operation in found.operations]


def held(*holders: Holder, name: str = "app.log") -> Holdings:
    return Holdings({entry(name).identity: holders})


# --- what belongs together ------------------------------------------------------------------------------------------


def test_a_log_and_its_generations_are_one_family_the_newest_first() -> None:
    found = survey(
        [rotated(DAY), entry("app.log"), rotated(2 * DAY), rotated(HOUR, ""), entry("web.log")], POLICY, ROOT
    )
    assert [family.path for family in found.families] == ["app.log", "web.log"]
    assert [generation.order for generation in found.families[0].generations] == [NOW - HOUR, NOW - DAY, NOW - 2 * DAY]


def test_a_log_of_one_directory_has_no_generations_in_another() -> None:
    found = survey([entry("a/app.log"), rotated(DAY, log="b/app.log")], POLICY, ROOT)
    assert [(family.path, len(family.generations)) for family in found.families] == [("a/app.log", 0), ("b/app.log", 1)]


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ({"mode": stat.S_IFLNK | 0o777}, "symbolic link"),
        ({"mode": stat.S_IFIFO | 0o644}, "named pipe"),
        ({"mode": stat.S_IFSOCK | 0o644}, "socket"),
        ({"mode": stat.S_IFCHR | 0o644}, "character device"),
        ({"mode": stat.S_IFBLK | 0o644}, "block device"),
        ({"mode": stat.S_IFDIR | 0o755}, "directory"),
        ({"links": 2}, "2 hard links"),
    ],
)
@pytest.mark.parametrize("name", ["app.log", "app.log-20261101T000000Z.gz", "app.log.1"])
def test_what_is_no_plain_file_of_one_name_is_left_alone(facts: dict[str, Any], reason: str, name: str) -> None:
    found = survey([entry(name, **facts)], POLICY, ROOT)
    assert (found.families, [refusal.path for refusal in found.refused]) == ((), [name])
    assert reason in found.refused[0].reason


@pytest.mark.parametrize(
    ("facts", "reason"), [({"uid": 0}, "belongs to user 0"), ({"gid": 4}, "belongs to group 4"), ({}, "")]
)
def test_an_ordinary_user_leaves_the_files_of_others_alone(facts: dict[str, Any], reason: str) -> None:
    found = survey([entry("app.log", **facts)], POLICY, SHOP)
    assert [refusal.reason.startswith(reason) for refusal in found.refused] == ([True] if reason else [])
    assert survey([entry("app.log", **facts)], POLICY, ROOT).refused == ()


def test_a_name_that_leaves_no_room_is_refused_but_not_as_a_generation() -> None:
    name = "a" * 250 + ".log"
    assert "too long" in survey([entry(name)], POLICY, ROOT).refused[0].reason


def test_files_that_no_pattern_names_and_compressed_ones_are_nobodys_business() -> None:
    policy = replace(POLICY, matches=matcher(["*"], []))
    others = [entry("keep.txt"), entry(".oncall-log-rotation.lock")]
    assert survey(others, POLICY, ROOT) == Survey()
    found = survey([entry("dump.gz"), entry("app.log.2.gz"), entry("app.log")], policy, ROOT)
    assert [family.path for family in found.families] == ["app.log"]


def test_a_closed_directory_is_reported_once_and_nothing_in_it_is_touched() -> None:
    entries = [entry("a/x.log"), entry("a/y.log"), entry("b/z.txt"), entry("c/z.log")]
    closed = {"a": "can be written by others", "b": "may not be written", "d": "cannot be opened"}
    found = survey(entries, POLICY, ROOT, closed, frozenset({"d"}))
    assert [refusal.path for refusal in found.refused] == ["a", "d"]
    assert [family.path for family in found.families] == ["c/z.log"]


# --- which logs are due ---------------------------------------------------------------------------------------------

DUE = {
    "never rotated": ([entry("app.log")], {}, True),
    "empty": ([entry("app.log", size=0)], {}, False),
    "too small": ([entry("app.log")], {"min_size": 101}, False),
    "large enough": ([entry("app.log")], {"min_size": 100}, True),
    "rotated lately": ([entry("app.log"), rotated(HOUR)], {}, False),
    "rotated long ago": ([entry("app.log"), rotated(DAY)], {}, True),
    "the newest generation counts": ([entry("app.log"), rotated(DAY), rotated(HOUR)], {}, False),
    "rotated lately, but too large": ([entry("app.log"), rotated(HOUR)], {"max_size": 100}, True),
    "rotated lately, not too large": ([entry("app.log"), rotated(HOUR)], {"max_size": 101}, False),
    "rotated by logrotate lately": ([entry("app.log"), entry("app.log.1", mtime=NOW - HOUR)], {}, False),
    "rotated by logrotate long ago": ([entry("app.log"), entry("app.log.1", mtime=NOW - DAY)], {}, True),
    "the clock was set back": ([entry("app.log"), rotated(-DAY)], {}, True),
    "rotated after the clock was set back": ([entry("app.log"), rotated(-DAY, ctime=NOW - HOUR)], {}, False),
    "an unfinished copy is no rotation": ([entry("app.log"), rotated(HOUR, ".copied")], {}, True),
    "only generations": ([rotated(DAY)], {}, False),
}


@pytest.mark.parametrize("case", DUE)
def test_a_log_is_due_by_size_and_by_age(case: str) -> None:
    entries, options, due = DUE[case]
    found = work(*entries, policy=replace(POLICY, **options))
    assert [operation.path for operation in found.of(ROTATE)] == (["app.log"] if due else [])


def test_a_rotated_log_is_compressed_after_its_rotation() -> None:
    found = work(entry("app.log"))
    assert kinds(found) == [(ROTATE, "app.log"), (COMPRESS, "app.log")]
    rotate, compress = found.operations
    assert (rotate.target, compress.follows) == (generation_name("app.log", NOW), rotate.id)
    assert (compress.target, compress.estimate) == (rotate.target + ".gz", 25)


def test_without_compression_nothing_is_compressed() -> None:
    policy = replace(POLICY, suffix="")
    assert kinds(work(entry("app.log"), rotated(DAY, ""), policy=policy)) == [(ROTATE, "app.log")]


def test_what_was_left_plain_is_compressed() -> None:
    plain = rotated(HOUR, "")
    assert kinds(work(entry("app.log"), plain)) == [(COMPRESS, plain.path)]


def test_delay_leaves_the_newest_generation_plain() -> None:
    policy = replace(POLICY, delay_compress=True)
    older, newest = rotated(2 * DAY, ""), rotated(DAY, "")
    assert kinds(work(entry("app.log", size=0), older, newest, policy=policy)) == [(COMPRESS, older.path)]
    found = work(entry("app.log"), newest, policy=policy)
    assert kinds(found) == [(ROTATE, "app.log"), (COMPRESS, newest.path)]


def test_a_new_name_is_later_than_all_that_are_there() -> None:
    ahead = rotated(-DAY, ctime=NOW - 2 * DAY)
    found = work(entry("app.log"), ahead)
    assert found.of(ROTATE)[0].target == generation_name("app.log", NOW + DAY + 1)


# --- who has it open ------------------------------------------------------------------------------------------------

OPEN = {
    "nobody": (Holdings(), Reopening(), True),
    "a reader": (held(READER), Reopening(), True),
    "a writer, no way to tell it": (held(NODE), Reopening(), False),
    "a writer that can be told": (held(NODE), SIGNAL, True),
    "a writer that appends": (held(NODE), COPYTRUNCATE, True),
    "a writer that does not append": (held(PLAIN_WRITER), COPYTRUNCATE, False),
    "one of two does not append": (held(NODE, replace(PLAIN_WRITER, pid=13)), COPYTRUNCATE, False),
    "an unseen writer": (Holdings(leases={entry("app.log").identity: True}, unseen=3), Reopening(), False),
    "an unseen writer, copied": (Holdings(leases={entry("app.log").identity: True}, unseen=3), COPYTRUNCATE, False),
    "an unseen writer that can be told": (Holdings(leases={entry("app.log").identity: True}, unseen=3), SIGNAL, True),
    "unseen processes, the kernel says nobody": (
        Holdings(leases={entry("app.log").identity: False}, unseen=3), Reopening(), True,
    ),
    "unseen processes, the kernel cannot tell": (
        Holdings(leases={entry("app.log").identity: None}, unseen=3), Reopening(), True,
    ),
    "a writer, on a network file system": (replace(held(NODE), shared=NETWORK), Reopening(), False),
    "a network file system, who knows whether another host has it": (Holdings(shared=NETWORK), SIGNAL, True),
}  # fmt: skip


@pytest.mark.parametrize("case", OPEN)
def test_a_log_that_is_held_open_is_rotated_only_when_its_writer_goes_along(case: str) -> None:
    holdings, reopening, rotates = OPEN[case]
    found = work(entry("app.log"), policy=replace(POLICY, reopening=reopening), holdings=holdings)
    assert bool(found.of(ROTATE)) is rotates
    assert bool(found.blocked) is not rotates
    asked = reopening.asks and "nobody" not in case and "reader" not in case
    assert bool(found.of(REOPEN)) is asked


@pytest.mark.parametrize(
    ("holdings", "who"),
    [(Holdings(unseen=3), "one of 3 processes"), (Holdings(shared=NETWORK), "another host")],
    ids=["hidden processes", "a network file system"],
)
def test_where_nobody_can_tell_the_file_is_not_compressed_before_it_is_quiet(holdings: Holdings, who: str) -> None:
    log = entry("app.log")
    found = work(log, holdings=replace(holdings, leases={log.identity: None}))
    assert kinds(found) == [(ROTATE, "app.log")]
    assert len(found.unclear) == 2
    assert who in found.unclear[0].reason
    for age, compressed in ((HOUR / 2, False), (2 * HOUR, True)):
        plain = rotated(age, "")
        found = work(plain, holdings=replace(holdings, leases={plain.identity: None}))
        assert bool(found.of(COMPRESS)) is compressed
    known = replace(holdings, leases={log.identity: False})
    assert kinds(work(log, holdings=known)) == [(ROTATE, "app.log"), (COMPRESS, "app.log")]


def test_an_idle_log_is_not_removed_where_another_host_may_have_it() -> None:
    policy, idle = replace(POLICY, prune_logs_age=7 * DAY), entry("app.log", mtime=NOW - 8 * DAY)
    assert kinds(work(idle, policy=policy)) == [(REMOVE, "app.log")]
    assert REMOVE not in dict(kinds(work(idle, policy=policy, holdings=Holdings(shared=NETWORK))))


def test_the_writer_is_asked_once_for_all_files() -> None:
    holdings = Holdings({entry(name).identity: (NODE,) for name in ("a.log", "b.log", "c.log")})
    found = work(*map(entry, ("a.log", "b.log", "c.log")), policy=replace(POLICY, reopening=SIGNAL), holdings=holdings)
    assert [operation.reason for operation in found.of(REOPEN)] == ["3 files held open for writing"]
    found = work(entry("a.log"), policy=replace(POLICY, reopening=SIGNAL), holdings=Holdings(shared=NETWORK))
    assert [operation.reason for operation in found.of(REOPEN)] == ["1 file perhaps held open for writing"]


def test_a_generation_that_is_still_written_to_is_asked_for_again_and_never_compressed_before() -> None:
    plain = rotated(HOUR, "")
    holdings = Holdings({plain.identity: (NODE,)}, {plain.identity: True})
    policy = replace(POLICY, prune_age=1.0)
    assert kinds(work(plain, policy=policy, holdings=holdings)) == []
    assert work(plain, policy=policy, holdings=holdings).blocked[0].path == plain.path
    found = work(plain, policy=replace(policy, reopening=SIGNAL), holdings=holdings)
    assert kinds(found) == [(REOPEN, SIGNAL.target), (COMPRESS, plain.path)]


# --- pruning --------------------------------------------------------------------------------------------------------


def test_the_new_generation_counts_among_those_that_are_kept() -> None:
    generations = [rotated(n * DAY) for n in (1, 2, 3)]
    found = work(entry("app.log"), *generations, policy=replace(POLICY, keep=3))
    assert [(o.path, o.needs) for o in found.of(PRUNE)] == [(generations[2].path, 1)]
    assert work(*generations, policy=replace(POLICY, keep=3)).of(PRUNE) == ()
    assert [o.path for o in work(*generations, policy=replace(POLICY, keep=1)).of(PRUNE)] == [
        g.path for g in generations[1:]
    ]


def test_generations_are_pruned_by_age() -> None:
    old, young = rotated(31 * DAY), rotated(29 * DAY)
    found = work(old, young, policy=replace(POLICY, prune_age=30 * DAY))
    assert [operation.path for operation in found.of(PRUNE)] == [old.path]


def test_a_stamp_in_the_future_is_never_too_old() -> None:
    assert work(rotated(-DAY, ctime=NOW), policy=replace(POLICY, prune_age=1.0)).of(PRUNE) == ()


@pytest.mark.parametrize("existing", [True, False])
def test_what_logrotate_left_is_pruned_only_when_that_is_wanted(existing: bool) -> None:
    others = [entry("app.log.1", mtime=NOW - DAY), entry("app.log.2.gz", mtime=NOW - 40 * DAY)]
    policy = replace(POLICY, prune_existing=existing, prune_age=30 * DAY, suffix="")
    assert [o.path for o in work(*others, policy=policy).of(PRUNE)] == (["app.log.2.gz"] if existing else [])
    by_count = replace(POLICY, prune_existing=existing, keep=1)
    assert [o.path for o in work(*others, policy=by_count).of(PRUNE)] == (["app.log.2.gz"] if existing else [])


def test_all_together_keep_a_limit_the_oldest_of_any_log_go_first() -> None:
    entries = [rotated(3 * DAY), rotated(2 * DAY, log="web.log"), rotated(DAY)]
    found = work(*entries, rotated(HOUR, log="web.log"), policy=replace(POLICY, max_total_size=250))
    assert [operation.path for operation in found.of(PRUNE)] == [entries[0].path, entries[1].path]
    assert found.total_size == 200


def test_the_limit_counts_what_compression_will_leave() -> None:
    entries = [entry("app.log", size=400), rotated(2 * DAY), rotated(3 * DAY)]
    found = work(*entries, policy=replace(POLICY, max_total_size=200))
    assert [operation.path for operation in found.of(PRUNE)] == [entries[2].path]
    assert found.total_size == 200


def test_a_generation_that_is_pruned_is_not_compressed_first() -> None:
    plain = rotated(40 * DAY, "")
    assert kinds(work(plain, policy=replace(POLICY, prune_age=30 * DAY))) == [(PRUNE, plain.path)]
    by_size = replace(POLICY, max_total_size=100)
    assert kinds(work(plain, rotated(DAY), policy=by_size)) == [(PRUNE, plain.path)]


def test_the_newest_generation_of_a_log_stays_whatever_the_limit() -> None:
    found = work(rotated(2 * DAY), rotated(DAY, log="web.log"), policy=replace(POLICY, max_total_size=1))
    assert (kinds(found), found.total_size) == ([], 200)


def test_a_log_that_nobody_wrote_for_long_is_removed_not_rotated() -> None:
    policy = replace(POLICY, prune_logs_age=7 * DAY)
    idle, busy = entry("import.log", mtime=NOW - 8 * DAY), entry("app.log", mtime=NOW - DAY)
    assert kinds(work(idle, busy, policy=policy)) == [
        (REMOVE, "import.log"),
        (ROTATE, "app.log"),
        (COMPRESS, "app.log"),
    ]
    opened = held(NODE, name="import.log")
    assert work(idle, policy=policy, holdings=opened).of(REMOVE) == ()


# --- what a killed run left -----------------------------------------------------------------------------------------


def test_leftovers_are_cleaned_before_anything_else() -> None:
    staging = entry(f"{OWN_PREFIX}12-ab.partial", mode=stat.S_IFDIR | 0o700, uid=0)
    reserved = rotated(HOUR, "", size=0)
    found = work(entry("app.log"), staging, reserved)
    assert kinds(found)[:2] == [(CLEAN, staging.path), (CLEAN, reserved.path)]
    assert found.of(ROTATE), "an empty reservation is no rotation"


@pytest.mark.parametrize("facts", [{"mode": stat.S_IFLNK | 0o777}, {"mode": stat.S_IFDIR | 0o700, "uid": 1000}, {}])
def test_what_only_bears_the_name_of_a_leftover_is_left_alone(facts: dict[str, Any]) -> None:
    found = survey([entry(f"{OWN_PREFIX}12-ab.partial", **{"uid": 0, **facts})], POLICY, ROOT)
    assert (found.staging, len(found.refused)) == ((), 1)


def test_a_generation_with_a_compressed_twin_is_settled_not_compressed_again() -> None:
    plain, packed = rotated(HOUR, ""), rotated(HOUR, ".gz", inode=77)
    assert kinds(work(plain, packed)) == [(SETTLE, plain.path)]
    empty = rotated(HOUR, ".gz", size=0, inode=77)
    assert kinds(work(plain, empty)) == [(CLEAN, empty.path), (COMPRESS, plain.path)]


def test_an_unfinished_copy_is_settled_and_then_compressed() -> None:
    copied = rotated(HOUR, ".copied")
    policy = replace(POLICY, reopening=COPYTRUNCATE)
    found = work(entry("app.log", size=0), copied, policy=policy)
    assert kinds(found) == [(SETTLE, copied.path), (COMPRESS, copied.path)]
    assert found.of(COMPRESS)[0].follows == found.of(SETTLE)[0].id


def test_a_copy_whose_log_still_has_all_its_lines_is_dropped() -> None:
    copied, old = rotated(HOUR, ".copied"), rotated(3 * DAY)
    policy = replace(POLICY, reopening=COPYTRUNCATE, keep=1)
    entries = [entry("app.log"), copied, old]
    found = plan_work(survey(entries, policy, ROOT), Holdings(), policy, NOW, 0.25, frozenset({copied.path}))
    assert kinds(found) == [(SETTLE, copied.path), (ROTATE, "app.log"), (PRUNE, old.path), (COMPRESS, "app.log")]
    assert [operation.needs for operation in found.of(PRUNE)] == [1]


def test_a_log_that_was_renamed_and_not_created_again_is_created() -> None:
    staging = entry(f"{OWN_PREFIX}12-ab.partial", mode=stat.S_IFDIR | 0o700, uid=0)
    plain = rotated(HOUR, "")
    creating = replace(POLICY, create=True)
    delayed = replace(creating, delay_compress=True)
    for policy, entries, created in (
        (creating, [plain], True),
        (creating, [rotated(HOUR)], False),
        (delayed, [plain], False),
        (delayed, [plain, staging], True),
        (POLICY, [plain, staging], False),
        (creating, [entry("app.log", size=0), plain, staging], False),
    ):
        assert ((CREATE, "app.log") in kinds(work(*entries, policy=policy))) is created
    assert work(plain, policy=creating).of(CREATE)[0].entry == plain, (
        "it gets the owner and the permissions of what was renamed"
    )


# --- properties -----------------------------------------------------------------------------------------------------


def entries_of_one_log(youngest: int = -100_000) -> st.SearchStrategy[list[Entry]]:
    tails = st.sampled_from(["", ".gz", ".zst"])
    generation = st.builds(
        lambda age, tail, size: rotated(float(age), tail, size=size, inode=age + 20_000_000),
        st.integers(youngest, 4_000_000), tails, st.integers(0, 10_000),
    )  # fmt: skip
    live = st.builds(lambda size, age: entry("app.log", size=size, mtime=NOW - age), st.integers(0, 10_000),
                     st.integers(0, 4_000_000))  # fmt: skip
    unique = st.lists(generation, max_size=8, unique_by=lambda found: found.name[:26])
    return st.builds(lambda lives, others: [*lives, *others], st.lists(live, max_size=1), unique)


POLICIES = st.builds(
    lambda keep, age, total, logs, delay, suffix: replace(
        POLICY, keep=keep, prune_age=age, max_total_size=total, prune_logs_age=logs, delay_compress=delay, suffix=suffix
    ),
    st.integers(0, 5), st.none() | st.floats(20 * HOUR, 4e6), st.none() | st.integers(1, 20_000),
    st.none() | st.floats(1, 4e6), st.booleans(), st.sampled_from(["", ".gz"]),
)  # fmt: skip


@given(entries_of_one_log(), POLICIES)
def test_the_work_is_in_order_and_names_each_file_and_kind_once(entries: list[Entry], policy: Policy) -> None:
    found = work(*entries, policy=policy)
    ranks = [ORDER.index(operation.kind) for operation in found.operations]
    assert ranks == sorted(ranks)
    ids = [operation.id for operation in found.operations]
    assert len(ids) == len(set(ids))
    for operation in found.operations:
        if operation.follows:
            assert ids.index(operation.follows) < ids.index(operation.id)


@given(entries_of_one_log(), POLICIES)
def test_the_newest_lines_are_never_pruned(entries: list[Entry], policy: Policy) -> None:
    """What this run rotates stays, and nothing is both removed and compressed."""
    found = work(*entries, policy=policy)
    gone = {operation.path for operation in found.operations if operation.kind in (PRUNE, REMOVE, CLEAN)}
    worked_on = {o.path for o in found.operations if o.kind in (ROTATE, COMPRESS)}
    assert not gone & worked_on
    stamps = [name.stamp for e in entries if (name := generation_of(e.name)) and name.stamp is not None]
    for operation in found.of(ROTATE):
        new = generation_of(operation.target)
        assert new and new.stamp is not None
        assert all(new.stamp > stamp for stamp in stamps)


def after(entries: list[Entry], found: Work) -> list[Entry]:
    """Carry the work out on paper."""
    left = {e.path: e for e in entries}
    made: dict[str, Entry] = {}
    for operation in found.operations:
        e = operation.entry
        assert e is not None
        if operation.kind in (PRUNE, REMOVE, CLEAN, SETTLE):
            del left[operation.path]
        elif operation.kind == ROTATE:
            left[operation.path] = e._replace(size=0, inode=e.inode + 1, mtime=NOW)
            made[operation.id] = e._replace(name=operation.target, ctime=NOW)
            left[operation.target] = made[operation.id]
        elif operation.kind == COMPRESS:
            source = made.get(operation.follows, e)
            del left[source.path]
            size = max(1, operation.estimate)  # a compressed file is never empty
            left[operation.target] = source._replace(name=operation.target, size=size, inode=source.inode + 5)
    return list(left.values())


@given(entries_of_one_log(youngest=0), POLICIES)
def test_a_second_run_has_nothing_to_do(entries: list[Entry], policy: Policy) -> None:
    first = work(*entries, policy=policy)
    left = after(entries, first)
    assert kinds(work(*left, policy=policy)) == []
    assert len([e for e in left if e.name != "app.log"]) == first.generations


def test_candidates_are_what_may_be_touched() -> None:
    idle, due, fresh = entry("i.log", mtime=NOW - 9 * DAY, size=0), entry("app.log"), entry("f.log", size=0)
    plain, packed = rotated(DAY, ""), rotated(2 * DAY)
    policy = replace(POLICY, prune_logs_age=7 * DAY)
    logs, waiting = candidates(survey([idle, due, fresh, plain, packed], policy, ROOT), policy, NOW)
    assert ([e.path for e in logs], [e.path for e in waiting]) == (["app.log", "i.log"], [plain.path])
