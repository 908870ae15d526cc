"""What a run of log rotation says: plan, steps, files, findings and the one line, for a few files and for thousands."""

from __future__ import annotations

from plugins.module_utils._core.log_rotation import (
    DeletedFile,
    Entry,
    Family,
    Generation,
    Holder,
    Holdings,
    Policy,
    Refusal,
    Reopening,
    Survey,
)  # fmt: skip
from plugins.module_utils._core.log_rotation_decide import (
    CLEAN,
    COMPRESS,
    PRUNE,
    REOPEN,
    ROTATE,
    SETTLE,
    Operation,
    Work,
)  # fmt: skip
from plugins.module_utils._core.log_rotation_names import matcher
from plugins.module_utils._core.log_rotation_report import (
    FILES_LIMIT,
    FINDINGS_LIMIT,
    NOT_NEEDED,
    PLAN_LIMIT,
    Result,
    actions,
    done_message,
    files,
    findings,
    freed,
    planned_message,
    predicted,
    state,
    steps,
    total_size,
    trouble,
)  # fmt: skip
from plugins.module_utils._core.result import DONE, FAILED, SKIPPED

NOW = 1795247100.0
POLICY = Policy(matcher(["*.log"], []))
NODE = Holder(12, "node", 1, writes=True, appends=True)


def entry(path: str, size: int = 1000) -> Entry:
    directory, _slash, name = path.rpartition("/")
    return Entry(directory, name, 1, hash(path) & 0xFFFF, 1, 0o100640, 0, 0, size, NOW, NOW)


def rotation(path: str, size: int = 1000) -> list[Operation]:
    e = entry(path, size)
    rotate = Operation(ROTATE, path, "never rotated, 1.0 kB", e, f"{e.name}-20261121T074500Z", size, size, log=e.name)
    target = f"{rotate.target}.gz"
    return [rotate, Operation(COMPRESS, path, "rotated now", e, target, size, 250, follows=rotate.id, log=e.name)]


def work_on(*paths: str) -> Work:
    pairs = [rotation(path) for path in paths]
    return Work((*(pair[0] for pair in pairs), *(pair[1] for pair in pairs)))


def survey_of(*entries: Entry, refused: tuple[Refusal, ...] = ()) -> Survey:
    return Survey(tuple(Family(e.directory, e.name, e) for e in entries), (), refused)


def test_a_few_operations_are_listed_one_by_one() -> None:
    plan = actions(work_on("app.log"), POLICY)
    assert [(action.id, action.command) for action in plan] == [
        ("rotate:app.log", "mv app.log app.log-<time>; create app.log"),
        ("compress:app.log", "gzip app.log-<time>"),
    ]


def test_the_command_says_what_will_be_done() -> None:
    copying = Policy(POLICY.matches, reopening=Reopening("copytruncate"), suffix=".zst")
    assert [action.command for action in actions(work_on("app.log"), copying)] == [
        "cp app.log app.log-<time>; truncate app.log", "zstd app.log-<time>",
    ]  # fmt: skip
    others = [Operation(kind, "x.log-1", "why", entry("x.log-1"), "kill -HUP 1", log="x.log")
              for kind in (CLEAN, PRUNE, REOPEN, SETTLE)]  # fmt: skip
    commands = [action.command for action in actions(Work(tuple(others)), POLICY)]
    assert commands[:3] == ["rm x.log-1", "rm x.log-1", "kill -HUP 1"]
    assert "compare" in commands[3]


def test_many_operations_are_summed_up_by_kind_and_directory() -> None:
    paths = [f"web/{number}.log" for number in range(PLAN_LIMIT)] + ["app.log"]
    work = work_on(*paths)
    plan = actions(work, POLICY)
    assert [action.id for action in plan] == ["rotate:web/*", "rotate:app.log", "compress:web/*", "compress:app.log"]
    assert plan[0].reason.startswith(f"{PLAN_LIMIT} files with 195.3 kB, for example web/0.log: never rotated")


def test_the_steps_have_the_ids_of_the_plan_and_one_entry_for_each_outcome() -> None:
    paths = [f"web/{number}.log" for number in range(PLAN_LIMIT)] + ["app.log"]
    work = work_on(*paths)
    results = [Result(o, DONE, seconds=0.01) for o in work.operations]
    results[1] = Result(work.operations[1], FAILED, "No space left on device", code="disk_full")
    results[PLAN_LIMIT + 2] = Result(work.operations[PLAN_LIMIT + 2], SKIPPED, "its log was not rotated")
    found = steps(results, len(work.operations))
    assert {step.id for step in found} == {action.id for action in actions(work, POLICY)}
    outcomes = {(step.id, step.status): step.detail for step in found}
    assert outcomes["rotate:web/*", DONE] == f"{PLAN_LIMIT - 1} of {PLAN_LIMIT}"
    assert outcomes["rotate:web/*", FAILED].endswith("for example web/1.log: No space left on device")
    assert outcomes["compress:web/*", SKIPPED].startswith("1 of")


def test_a_hostile_name_is_printable_and_the_same_in_plan_and_steps() -> None:
    work = work_on("\x1b[31m\n\udcff.log")
    plan = actions(work, POLICY)
    found = steps([Result(operation, DONE) for operation in work.operations], len(work.operations))
    assert [action.id for action in plan] == [step.id for step in found]
    assert all(text.isprintable() for action in plan for text in (action.id, action.target, action.command))


def test_files_with_trouble_come_first_and_the_list_is_limited() -> None:
    work = work_on(*[f"{number}.log" for number in range(FILES_LIMIT)])
    results = [Result(operation, DONE, size=1) for operation in work.operations]
    results[-1] = Result(work.operations[-1], FAILED, "broken")
    rows = files(work, results)
    assert (len(rows), rows[0]["status"], rows[0]["detail"]) == (FILES_LIMIT, FAILED, "broken")
    assert {row["status"] for row in files(work)} == {"planned"}


def test_what_is_given_back_is_counted_by_what_was_done() -> None:
    rotate, compress = rotation("app.log")
    prune = Operation(PRUNE, "old", "why", entry("old"), size=700)
    twin = Operation(SETTLE, "app.log-20261121T074500Z", "why", entry("x"), size=300)
    copy = Operation(SETTLE, "app.log-20261121T074500Z.copied", "why", entry("x"), size=300)
    assert [freed(o, 250) for o in (rotate, compress, prune, twin, copy)] == [0, 750, 700, 300, 0]
    assert Result(prune, SKIPPED).freed == 0


def test_the_line_of_a_plan() -> None:
    survey = survey_of(entry("app.log"), refused=(Refusal("pipe.log", "named pipe"),))
    assert planned_message(survey, work_on("app.log")) == (
        "1 log to rotate, 1 file to compress; about 750 B freed, 1 left alone (pipe.log: named pipe)"
    )
    assert planned_message(survey_of(entry("app.log")), Work()) == "nothing to do: 1 log, none due"


def test_the_line_of_a_run() -> None:
    work = work_on("app.log", "web.log")
    results = [Result(o, DONE, size=250 if o.kind == COMPRESS else o.size) for o in work.operations]
    survey = survey_of(entry("app.log"))
    text = "2 logs rotated, 2 files compressed (2.0 kB became 500 B); 1.5 kB freed"
    assert done_message(survey, work, results) == text
    results[-1] = Result(work.operations[-1], SKIPPED, "another file by now")
    assert done_message(survey, work, results).endswith("1 not done (another file by now)")
    results[-1] = Result(work.operations[-1], SKIPPED, "nothing was left", code=NOT_NEEDED)
    assert "not done" not in done_message(survey, work, results)


def test_what_was_not_done_is_a_finding_unless_there_was_nothing_to_do() -> None:
    rotate, compress = rotation("app.log")
    found = trouble([Result(rotate, FAILED, "x"), Result(compress, SKIPPED, "y")])
    assert [(finding.status, finding.msg) for finding in found] == [
        ("warning", "app.log: y"),
        ("critical", "app.log: x"),
    ]
    assert trouble([Result(compress, SKIPPED, "z", code=NOT_NEEDED), Result(rotate, DONE)]) == ()


def by_check(holdings: Holdings, survey: Survey | None = None, work: Work | None = None, policy: Policy = POLICY):  # type: ignore[no-untyped-def]
    found = findings(survey or survey_of(entry("app.log")), work or Work(), holdings, policy, NOW)
    return {finding.check: finding for finding in found}


def test_deleted_files_name_their_holders_and_their_size() -> None:
    lost = DeletedFile("/var/log/shop/a.log", 5_000_000, (NODE,), inside=True)
    finding = by_check(Holdings(deleted=(lost,)))["deleted_open"]
    assert (finding.status, finding.value, finding.unit) == ("warning", 5_000_000, "bytes")
    assert finding.msg == "/var/log/shop/a.log is deleted, but node (pid 12) still holds 4.8 MB of it"


def test_deleted_files_elsewhere_are_summed_up() -> None:
    small = DeletedFile("/tmp/x", 4096, (NODE,), inside=False)
    large = DeletedFile("/tmp/y", 2 * 1024**3, (NODE,) * 5, inside=False)
    assert by_check(Holdings(deleted=(small,)))["deleted_open_elsewhere"].status == "ok"
    finding = by_check(Holdings(deleted=(small, large)))["deleted_open_elsewhere"]
    assert (finding.status, finding.warning) == ("warning", 1024**3)
    assert "/tmp/y" in finding.msg and "and 2 more" in finding.msg
    assert "deleted_open_elsewhere" not in by_check(
        Holdings(deleted=(DeletedFile("/tmp/z", 0, (NODE,), inside=False),))
    )


def test_what_could_not_be_looked_at_is_unknown() -> None:
    found = findings(survey_of(), Work(), Holdings(unseen=3), POLICY, NOW)
    assert [finding.status for finding in found if finding.check == "deleted_open"] == ["unknown"]
    assert by_check(Holdings())["deleted_open"].status == "ok"


def test_findings_of_one_kind_are_limited() -> None:
    refused = tuple(Refusal(f"{number}.log", "named pipe") for number in range(FINDINGS_LIMIT + 5))
    found = findings(survey_of(refused=refused), Work(), Holdings(), POLICY, NOW)
    lines = [finding.msg for finding in found if finding.check == "refused"]
    assert (len(lines), lines[-1]) == (FINDINGS_LIMIT + 1, "and 5 more")


def test_a_stamp_that_lies_ahead_is_a_warning() -> None:
    ahead = Generation(entry("app.log-x"), NOW, NOW + 3600, ours=True, tail=".gz")
    survey = Survey((Family("", "app.log", None, (ahead,)),))
    assert by_check(Holdings(), survey)["clock"].value == 3600
    soon = Survey((Family("", "app.log", None, (Generation(ahead.entry, NOW, NOW + 5, ours=True, tail=".gz"),)),))
    assert "clock" not in by_check(Holdings(), soon)


def test_the_limit_of_all_generations_is_compared_with_what_will_be_left() -> None:
    policy = Policy(POLICY.matches, max_total_size=1000)
    assert by_check(Holdings(), work=Work(total_size=1000), policy=policy)["total_size"].status == "ok"
    assert by_check(Holdings(), work=Work(total_size=1001), policy=policy)["total_size"].status == "warning"


def test_the_prediction_counts_the_logs_that_will_be_there() -> None:
    survey, work = survey_of(entry("app.log"), entry("web.log")), Work(work_on("app.log").operations, generations=1)
    assert state(survey, work) == {
        "logs": 2, "logs_due": 1, "generations": 0, "to_compress": 1, "to_remove": 0, "leftovers": 0,
    }  # fmt: skip
    assert predicted(survey, work, POLICY)["logs"] == 2
    assert predicted(survey, work, Policy(POLICY.matches, create=False))["logs"] == 1
    copying = Policy(POLICY.matches, create=False, reopening=Reopening("copytruncate"))
    assert predicted(survey, work, copying)["logs"] == 2
    assert total_size(survey) == 2000
