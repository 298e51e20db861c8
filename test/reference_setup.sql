-- The world in which the examples of docs/reference.md are run: each in its own copy of this database.
CREATE EXTENSION etl;
SELECT 1;
