from __future__ import annotations

from pathlib import Path

import apsw
import pytest

from tollway.store.migrate import FOLDER, StoreTooNew, migrate


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "0001_a.sql").write_text("CREATE TABLE a (n); INSERT INTO a VALUES (1);")
    (tmp_path / "0002_b.sql").write_text("CREATE TABLE b (n);")
    return tmp_path


def tables(connection: apsw.Connection) -> set[str]:
    return {name for (name,) in connection.execute("SELECT name FROM sqlite_schema")}


def test_migrations_are_applied_once_and_in_order(folder: Path) -> None:
    connection = apsw.Connection(":memory:")
    assert migrate(connection, folder) == [1, 2]
    assert migrate(connection, folder) == []
    assert connection.execute("SELECT count(*) FROM a").get == 1
    (folder / "0003_c.sql").write_text("DROP TABLE b;")
    assert migrate(connection, folder) == [3]
    assert "b" not in tables(connection)
    recorded = connection.execute("SELECT number, name FROM migration").fetchall()
    assert recorded == [(1, "0001_a.sql"), (2, "0002_b.sql"), (3, "0003_c.sql")]


def test_a_migration_that_fails_leaves_nothing_of_itself(folder: Path) -> None:
    (folder / "0002_b.sql").write_text("CREATE TABLE b (n); INSERT INTO nowhere VALUES (1);")
    connection = apsw.Connection(":memory:")
    with pytest.raises(apsw.SQLError):
        migrate(connection, folder)
    assert tables(connection) >= {"a", "migration"}
    assert "b" not in tables(connection)
    (folder / "0002_b.sql").write_text("CREATE TABLE b (n);")
    assert migrate(connection, folder) == [2]


def test_a_newer_database_is_refused_untouched(folder: Path) -> None:
    connection = apsw.Connection(":memory:")
    migrate(connection, folder)
    (folder / "0002_b.sql").unlink()
    with pytest.raises(StoreTooNew, match="migration 2, this Tollway knows up to 1"):
        migrate(connection, folder)


@pytest.mark.parametrize("name", ["0001_again.sql", "x.sql"])
def test_a_badly_numbered_file_is_refused(folder: Path, name: str) -> None:
    (folder / name).write_text("SELECT 1")
    with pytest.raises(ValueError, match=name):
        migrate(apsw.Connection(":memory:"), folder)


def test_two_connections_starting_at_once_migrate_once(folder: Path, tmp_path: Path) -> None:
    path = str(tmp_path / "t.db")
    first, second = apsw.Connection(path), apsw.Connection(path)
    assert migrate(first, folder) == [1, 2]
    assert migrate(second, folder) == []
    assert second.execute("SELECT count(*) FROM a").get == 1


def test_every_table_of_ours_is_strict() -> None:
    connection = apsw.Connection(":memory:")
    migrate(connection)
    lax = connection.execute(
        "SELECT name FROM pragma_table_list WHERE type = 'table' AND NOT strict"
        " AND name NOT LIKE 'sqlite_%'"
    ).fetchall()
    assert lax == []
    assert (FOLDER / "0001_ledger.sql").exists()
