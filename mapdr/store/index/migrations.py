"""From each schema of the index to the next, in statements that both databases take.

An index that an earlier MAPDR made is brought up to date when it is opened, in one transaction.
"""

from __future__ import annotations

from sqlalchemy import Connection

from mapdr.store.index import schema

STEPS: dict[str, tuple[str, ...]] = {
    "1": (
        "ALTER TABLE source ADD COLUMN protocol TEXT NOT NULL DEFAULT 'dicom'",
        "ALTER TABLE source ADD COLUMN credential TEXT NOT NULL DEFAULT ''",
        "DROP INDEX source_whole",
        "CREATE UNIQUE INDEX source_whole"
        " ON source (receiver, calling_ae, called_ae, address, protocol, credential)",
        "UPDATE fact SET value = '2' WHERE name = 'schema'",
    ),
    "2": (
        "ALTER TABLE delivery RENAME COLUMN lane TO priority",
        "ALTER TABLE attempt ADD COLUMN credential BIGINT",
        "UPDATE fact SET value = '3' WHERE name = 'schema'",
    ),
    "3": (
        "ALTER TABLE outbox ADD COLUMN study BIGINT",
        "ALTER TABLE outbox ADD COLUMN shown TEXT",
        "ALTER TABLE outbox ADD COLUMN tried_at FLOAT",
        "ALTER TABLE outbox ADD COLUMN asked_at FLOAT",
        "CREATE INDEX outbox_order ON outbox (hook, id) WHERE state < 2",
        "CREATE INDEX outbox_study ON outbox (hook, study) WHERE state < 2",
        "UPDATE fact SET value = '4' WHERE name = 'schema'",
    ),
    # A study of two modalities was counted for each: of earlier days their sum is the most that it can be.
    "4": (
        "ALTER TABLE tally ADD COLUMN bytes_received BIGINT NOT NULL DEFAULT 0",
        "ALTER TABLE tally ADD COLUMN bytes_sent BIGINT NOT NULL DEFAULT 0",
        "INSERT INTO tally (day, destination, origin, modality, images, studies, repeats, versions)"
        " SELECT day, destination, origin, -1, 0, sum(studies), 0, 0"
        " FROM tally GROUP BY day, destination, origin",
        "INSERT INTO tallied (study, destination, origin, modality)"
        " SELECT DISTINCT study, destination, origin, -1 FROM tallied",
        "UPDATE fact SET value = '5' WHERE name = 'schema'",
    ),
}
"""Version of a schema -> what makes the next one of it, which it says in `fact` itself."""


def migrate(connection: Connection) -> str:
    """Bring the index up to date, as far as there are steps; the version of its schema then."""
    query = schema.fact.select().where(schema.fact.c.name == "schema")
    while (version := str(connection.execute(query).one().value)) in STEPS:
        for statement in STEPS[version]:
            connection.exec_driver_sql(statement)
    return version
