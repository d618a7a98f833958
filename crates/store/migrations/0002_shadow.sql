-- A version that gets a copy of the traffic and answers nobody. A foreign key of two columns needs the table made anew.

CREATE TABLE deployments_with_shadow (
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
    shadow           TEXT,
    shadow_percent   REAL,
    shadow_since     INTEGER,
    shadow_reason    TEXT,
    FOREIGN KEY (model, champion) REFERENCES versions (model, version),
    FOREIGN KEY (model, canary) REFERENCES versions (model, version),
    FOREIGN KEY (model, shadow) REFERENCES versions (model, version)
) STRICT;
INSERT INTO deployments_with_shadow SELECT *, NULL, NULL, NULL, NULL FROM deployments;
DROP TABLE deployments;
ALTER TABLE deployments_with_shadow RENAME TO deployments;
