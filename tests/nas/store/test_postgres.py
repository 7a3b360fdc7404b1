"""The store on a PostgreSQL server: who is let in, and what happens when the server goes away."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from postgres import Postgres, plain

from nas.store import Store, StoreAway, StoreError, Writer, queries

SECRET = "geheim"


@pytest.fixture
def store(database: str) -> Iterator[Store]:
    made = Store.open(database, create=True)
    yield made
    made.engine.dispose()


def add(writer: Writer, number: int) -> int:
    return writer.add_trial(number, {"width": number}, f"identity {number}", f"key {number}", seed=2**63 - 1)


def test_connections_say_who_they_are_and_notice_a_cut_link(store: Store) -> None:
    ask = "SELECT application_name FROM pg_stat_activity WHERE pid = pg_backend_pid()"
    with store.engine.connect() as connection:
        assert connection.execute(sa.text(ask)).scalar() == "nas"
        options = connection.connection.dbapi_connection.info.get_parameters()  # type: ignore[union-attr]
    assert options["connect_timeout"] == "10" and options["tcp_user_timeout"] == "30000"
    named = Store.open(f"{store.address}?application_name=mine&connect_timeout=3")
    with named.engine.connect() as connection:
        assert connection.execute(sa.text(ask)).scalar() == "mine"
    named.engine.dispose()


def test_the_largest_seed_is_kept(store: Store) -> None:
    study = store.add_study("one", {})
    with store.writing(study) as writer:
        add(writer, 0)
    assert queries.trials(store, study)[0].seed == 2**63 - 1


def with_password(url: str) -> str:
    return url.replace("postgres@", f"postgres:{SECRET}@")


REFUSED = {
    "no such database": (lambda url: f"{with_password(url)}x", "there is no database '.*x'; make it with `createdb "),
    "no such user": (lambda url: url.replace("postgres@", f"nobody:{SECRET}@"), "see that the user is right, and give"),
    "no database": (lambda url: with_password(url).rpartition("/")[0], "names no database: write it as postgresql://"),
    "another driver": (lambda url: with_password(url).replace(":", "+psycopg2:", 1), "a driver that is not supported"),
    "another scheme": (lambda url: with_password(url).replace("ql:", ":", 1), "is not supported: .*postgresql://USER"),
    "no port": (lambda url: with_password(url).replace("127.0.0.1:", "127.0.0.1:x"), "is not a database URL"),
    "empty": (with_password, "there is no store in .*, which is empty: start one with `nas search`"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_opened_is_said_in_a_line_without_the_password(database: str, case: str) -> None:
    make, message = REFUSED[case]
    with pytest.raises(StoreError, match=message) as raised:
        Store.open(make(database))
    assert "\n" not in str(raised.value) and SECRET not in str(raised.value) and ":***@" in str(raised.value)
    assert plain(database, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'") == []


def test_a_server_that_asks_for_a_password_says_so_without_it(postgres: Postgres, database: str) -> None:
    rules = postgres.folder / "data" / "pg_hba.conf"
    before = rules.read_text()
    plain(database, f"CREATE ROLE careful LOGIN PASSWORD '{SECRET}'")
    rules.write_text("host all careful 127.0.0.1/32 scram-sha-256\n" + before)
    try:
        plain(database, "SELECT pg_reload_conf()")
        time.sleep(0.2)
        for given in ("careful", "careful:wrong"):
            with pytest.raises(StoreError, match="the password in the URL, in PGPASSWORD or in ~/") as it:
                Store.open(database.replace("postgres@", f"{given}@"), create=True)
            assert "wrong" not in str(it.value)
        with pytest.raises(StoreError, match=r"permission denied.*let its user make tables there.*createdb --own"):
            Store.open(database.replace("postgres@", f"careful:{SECRET}@"), create=True)
        plain(database, "GRANT CREATE ON SCHEMA public TO careful")
        made = Store.open(database.replace("postgres@", f"careful:{SECRET}@"), create=True)
        assert SECRET not in made.url and SECRET not in made.place and made.url == made.place
        assert queries.studies(Store.open(made.address)) == []
        with pytest.raises(StoreError) as raised:
            queries.study(made, "none")
        assert SECRET not in str(raised.value) and made.url in str(raised.value)
    finally:
        rules.write_text(before)
        plain(database, "SELECT pg_reload_conf()")


def test_without_psycopg_the_extra_is_named() -> None:
    code = (
        "import sys; sys.modules['psycopg'] = None\n"
        "from nas.store import Store, StoreError\n"
        "try:\n    Store.open('postgresql://me@host/nas')\nexcept StoreError as error:\n    print(error)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said == "store 'postgresql://me@host/nas' needs psycopg: pip install 'nas[postgres]'\n"


def test_another_programs_database_and_one_that_cannot_hold_every_text_are_refused(
    postgres: Postgres, database: str
) -> None:
    plain(database, "CREATE TABLE users (name TEXT)")
    with pytest.raises(StoreError, match="another program's database: give another one with --store"):
        Store.open(database, create=True)
    latin = postgres.create("ENCODING LATIN1 LOCALE 'C' TEMPLATE template0")
    with pytest.raises(StoreError, match="is encoded in LATIN1, which does not hold every text: make its database"):
        Store.open(latin, create=True)


def test_an_older_schema_is_changed_only_on_demand_and_never_under_a_driver(store: Store) -> None:
    study = store.add_study("one", {})
    plain(store.address, "UPDATE alembic_version SET version_num = '0002'")
    with pytest.raises(StoreError, match=r"an older nas \(revision 0002\): end what runs on it, then `nas store upgr"):
        Store.open(store.address, create=True)
    driver = f"({study}, 'search', 'there:7', '', 7, 0, {{lease}}, {{ended}})"
    add_driver = "INSERT INTO driver (study_id, plan, name, home, pid, started, lease, ended) VALUES "
    plain(store.address, add_driver + driver.format(lease="extract(epoch from now()) + 60", ended="NULL"))
    plain(store.address, add_driver + driver.format(lease="extract(epoch from now()) - 1", ended="NULL"))
    with pytest.raises(StoreError, match="is in use by there:7: end that first, then `nas store upgrade"):
        Store.open(store.address, upgrade=True)
    plain(store.address, "DROP TABLE driver")
    plain(store.address, "ALTER TABLE trial DROP COLUMN forked_at, DROP COLUMN driver")
    plain(store.address, "CREATE TABLE driver (name TEXT, ended FLOAT, lease FLOAT)")
    with pytest.raises(sa.exc.ProgrammingError, match="already exists"):
        Store.open(store.address, upgrade=True)
    assert plain(store.address, "SELECT version_num FROM alembic_version") == [("0002",)]


def test_a_newer_schema_is_refused(store: Store) -> None:
    plain(store.address, "UPDATE alembic_version SET version_num = '9999'")
    for upgrade in (False, True):
        with pytest.raises(StoreError, match=r"made by a newer nas .*: upgrade nas to open it"):
            Store.open(store.address, upgrade=upgrade)


def test_a_server_that_stops_is_away_and_the_same_store_goes_on_when_it_is_back(
    postgres: Postgres, store: Store
) -> None:
    study = store.add_study("one", {})
    with pytest.raises(StoreAway, match=r"is away \(.*\): see that its server runs"), store.writing(study) as writer:
        add(writer, 0)
        postgres.stop()
        add(writer, 1)
    try:
        reason = store.ready()
        assert reason is not None and "refused" in reason and "\n" not in reason
        for doing in (lambda: store.add_study("two", {}), lambda: queries.studies(store), lambda: store.folder("x")):
            with pytest.raises(StoreAway, match="Connection refused"):
                doing()
        with pytest.raises(StoreAway, match="Connection refused"):
            Store.open(store.address)
    finally:
        postgres.start()
    assert store.ready() is None
    assert queries.trials(store, study) == []
    with store.writing(study) as writer:
        add(writer, 0)


def test_a_server_that_crashes_keeps_what_it_has_acknowledged(postgres: Postgres, store: Store) -> None:
    study = store.add_study("one", {})
    for number in range(5):
        with store.writing(study) as writer:
            add(writer, number)
    postgres.stop("immediate")
    postgres.start()
    with store.writing(study) as writer:
        add(writer, 5)
    assert [row.number for row in queries.trials(store, study)] == [0, 1, 2, 3, 4, 5]


def test_a_session_that_is_ended_by_the_server_is_away(store: Store) -> None:
    study = store.add_study("one", {})
    end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'nas'"
    with pytest.raises(StoreAway), store.writing(study) as writer:
        add(writer, 0)
        plain(store.address, end + " AND datname = current_database()")
        add(writer, 1)
    assert queries.count(store, study) == 0 and store.ready() is None


def test_a_server_that_takes_no_writes_is_not_ready(store: Store) -> None:
    name = store.address.rpartition("/")[2]
    plain(store.address, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    store.engine.dispose()
    assert store.ready() == "cannot execute UPDATE in a read-only transaction"
    with pytest.raises(StoreAway):
        store.add_study("two", {})
