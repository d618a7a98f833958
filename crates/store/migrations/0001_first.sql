-- Times are microseconds since 1970 in UTC. JSON is text.

CREATE TABLE versions (
    model      TEXT    NOT NULL,
    version    TEXT    NOT NULL,
    run_id     TEXT,
    artifact   TEXT,
    status     TEXT    NOT NULL,
    parent     TEXT,
    metrics    TEXT    NOT NULL DEFAULT '{}',
    created_at INTEGER NOT NULL,
    PRIMARY KEY (model, version)
) STRICT;
CREATE UNIQUE INDEX versions_by_run ON versions (model, run_id) WHERE run_id IS NOT NULL;

CREATE TABLE deployments (
    model            TEXT    NOT NULL PRIMARY KEY,
    generation       INTEGER NOT NULL,
    champion         TEXT,
    champion_since   INTEGER,
    champion_reason  TEXT,
    champion_by      TEXT,
    previous         TEXT,
    canary           TEXT,
    canary_percent   REAL,
    canary_since     INTEGER,
    canary_reason    TEXT,
    FOREIGN KEY (model, champion) REFERENCES versions (model, version),
    FOREIGN KEY (model, canary) REFERENCES versions (model, version)
) STRICT;

CREATE TABLE predictions (
    id            TEXT    NOT NULL PRIMARY KEY,
    model         TEXT    NOT NULL,
    version       TEXT    NOT NULL,
    role          TEXT    NOT NULL,
    text          TEXT    NOT NULL,
    label         TEXT    NOT NULL,
    confidence    REAL    NOT NULL,
    probabilities TEXT    NOT NULL,
    predicted_at  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX predictions_by_time ON predictions (predicted_at);

-- AUTOINCREMENT: a sequence number is never given again, so a cursor stays right after pruning.
CREATE TABLE feedback (
    sequence      INTEGER PRIMARY KEY AUTOINCREMENT,
    prediction_id TEXT    NOT NULL UNIQUE REFERENCES predictions (id) ON DELETE CASCADE,
    model         TEXT    NOT NULL,
    version       TEXT    NOT NULL,
    label         TEXT    NOT NULL,
    correct       INTEGER NOT NULL,
    given_at      INTEGER NOT NULL
) STRICT;
CREATE INDEX feedback_by_model ON feedback (model, sequence);
CREATE INDEX feedback_by_version ON feedback (model, version, sequence);

CREATE TABLE runs (
    id          TEXT    NOT NULL PRIMARY KEY,
    model       TEXT    NOT NULL,
    kind        TEXT    NOT NULL,
    status      TEXT    NOT NULL,
    reason      TEXT    NOT NULL,
    version     TEXT,
    detail      TEXT    NOT NULL DEFAULT '{}',
    started_at  INTEGER NOT NULL,
    finished_at INTEGER
) STRICT;
CREATE INDEX runs_by_model ON runs (model, started_at);

CREATE TABLE decisions (
    sequence   INTEGER PRIMARY KEY AUTOINCREMENT,
    model      TEXT    NOT NULL,
    key        TEXT    NOT NULL,
    kind       TEXT    NOT NULL,
    reason     TEXT    NOT NULL,
    evidence   TEXT    NOT NULL,
    decided_at INTEGER NOT NULL,
    UNIQUE (model, key)
) STRICT;

CREATE TABLE loop_state (
    model      TEXT    NOT NULL PRIMARY KEY,
    revision   INTEGER NOT NULL,
    state      TEXT    NOT NULL,
    changed_at INTEGER NOT NULL
) STRICT;

CREATE TABLE drift_snapshots (
    sequence     INTEGER PRIMARY KEY AUTOINCREMENT,
    model        TEXT    NOT NULL,
    version      TEXT    NOT NULL,
    observations INTEGER NOT NULL,
    drifted      INTEGER NOT NULL,
    features     TEXT    NOT NULL,
    taken_at     INTEGER NOT NULL
) STRICT;
CREATE INDEX drift_snapshots_by_version ON drift_snapshots (model, version, sequence);
