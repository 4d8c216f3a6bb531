"""The chain over the audit log: whatever is done to an entry or a seal is named, here and in an exported file."""

import json

import psycopg
import pytest

from portal import doctor
from portal.infra import audit
from portal.infra.audit_seals import breaks, links, seal_by_clock
from portal.infra.db import transaction
from tests.factories import acting, at_once, make_organization


@pytest.fixture
def acme(app, clean_database):
    with acting(app):
        yield make_organization()


def act(organization, *actions: str) -> None:
    for action in actions:
        with transaction():
            audit.record(
                action,
                subject="test",
                subject_id=1,
                organization_id=organization.id,
                after={"é": [1, None]},
                reason="x",
            )


def chain() -> list[tuple[int, str]]:
    with transaction():
        return [(link.position, str(link.entry["action"])) for link in links()]


def found() -> list[str]:
    with transaction():
        return list(breaks(links()))


def test_entries_are_sealed_once_in_their_order(acme):
    act(acme, "one", "two")
    assert seal_by_clock() == 2
    assert seal_by_clock() == 0
    act(acme, "three")
    assert seal_by_clock() == 1
    assert chain() == [(1, "one"), (2, "two"), (3, "three")]
    assert found() == []


def test_two_clocks_at_once_seal_each_entry_once(app, acme):
    act(acme, *map(str, range(20)))
    assert sorted(at_once(app, seal_by_clock, seal_by_clock)) == [0, 20]
    assert found() == []


def test_an_entry_that_became_visible_late_is_sealed_behind_the_others(app, acme, owner_connection):
    """Its id was given before that of an entry which is sealed already."""
    with psycopg.connect(owner_connection.info.dsn, password=owner_connection.info.password) as slow:
        slow.execute("SET ROLE portal_system")
        slow.execute(
            "INSERT INTO audit_entries (actor_kind, actor_name, action, subject_kind) VALUES ('test', 'x', 'slow', 'y')"
        )
        act(acme, "quick")
        assert seal_by_clock() == 1
        slow.commit()
    assert seal_by_clock() == 1
    assert [action for _, action in chain()] == ["quick", "slow"]
    assert found() == []


def as_owner(connection, statement: str) -> None:
    """What only somebody can do who owns the tables: pass the triggers by."""
    for table in ("audit_entries", "audit_seals"):
        connection.execute(f"ALTER TABLE {table} DISABLE TRIGGER append_only")
    connection.execute("SET ROLE portal_system")
    connection.execute("RESET ROLE")
    connection.execute("ALTER TABLE audit_entries NO FORCE ROW LEVEL SECURITY")
    try:
        connection.execute(statement)
    finally:
        connection.execute("ALTER TABLE audit_entries FORCE ROW LEVEL SECURITY")
        for table in ("audit_entries", "audit_seals"):
            connection.execute(f"ALTER TABLE {table} ENABLE TRIGGER append_only")


@pytest.mark.parametrize(
    ("statement", "sentence"),
    [
        ("UPDATE audit_entries SET reason = 'y' WHERE action = 'two'", "(seal 2) is not what was sealed"),
        ("UPDATE audit_entries SET after = '{\"é\": [2, null]}' WHERE action = 'two'", "(seal 2) is not"),
        ("UPDATE audit_entries SET at = at + interval '1 microsecond' WHERE action = 'two'", "(seal 2) is not"),
        ("DELETE FROM audit_seals WHERE position = 2", "Seal 2 is missing."),
        ("UPDATE audit_seals SET sha256 = sha256(sha256) WHERE position = 2", "(seal 2) is not"),
        ("UPDATE audit_seals SET position = position + 10 WHERE position = 3", "Seal 3 is missing."),
    ],
)
def test_whatever_is_changed_is_named(acme, owner_connection, statement, sentence):
    act(acme, "one", "two", "three")
    seal_by_clock()
    as_owner(owner_connection, statement)
    assert any(sentence in each for each in found()), found()
    with transaction():
        [finding] = [each for each in doctor.examine() if each.code == "I16"]
    assert finding.broken


def test_nobody_changes_a_seal(acme, owner_connection):
    act(acme, "one")
    seal_by_clock()
    for statement in ("UPDATE audit_seals SET position = 7", "DELETE FROM audit_seals"):
        with pytest.raises(psycopg.errors.RestrictViolation):
            owner_connection.execute(statement)


def test_the_doctor_names_what_is_not_sealed_for_long(acme, owner_connection):
    act(acme, "one")
    as_owner(owner_connection, "UPDATE audit_entries SET at = at - interval '11 minutes'")
    with transaction():
        [finding] = [each for each in doctor.examine() if each.code == "I16"]
    assert finding.broken[0].endswith("has no seal.")


@pytest.fixture
def exported(acme, runner, tmp_path):
    act(acme, "one", "two", "three")
    file = tmp_path / "audit.jsonl"
    result = runner.invoke(args=["audit", "export", "--to", str(file)])
    assert result.exit_code == 0, result.output
    return file


def verify(runner, file, *words: str):
    result = runner.invoke(args=["audit", "verify", str(file), *words])
    return result.exit_code, result.output


def test_an_export_agrees_and_names_its_last_seal(runner, exported):
    lines = exported.read_text().splitlines()
    code, output = verify(runner, exported)
    assert code == 0, output
    assert "3 entries agree" in output
    assert json.loads(lines[-1])["sha256"] in output
    assert verify(runner, exported, "--ends-with", json.loads(lines[1])["sha256"])[0] == 0


def test_a_changed_export_does_not_agree(runner, exported):
    exported.write_text(exported.read_text().replace('"two"', '"too"'))
    code, output = verify(runner, exported)
    assert code == 1
    assert "(seal 2) is not what was sealed" in output


def test_a_chain_that_was_made_anew_lacks_the_seal_of_the_earlier_export(runner, exported):
    code, output = verify(runner, exported, "--ends-with", "00" * 32)
    assert code == 1
    assert "is not in the file" in output


def test_a_file_that_is_no_export_is_refused_in_a_sentence(runner, tmp_path):
    file = tmp_path / "x.jsonl"
    file.write_text('{"position": 1}\n')
    code, output = verify(runner, file)
    assert code == 1
    assert "Line 1 is no line of an export." in output
    assert "Traceback" not in output
