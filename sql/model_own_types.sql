-- A type whose equality is called differently, or stands in a schema that nobody searches, is compared by it everywhere; a function is the one that the query means.
\set VERBOSITY terse
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS etl;
CREATE SCHEMA ot;
CREATE SCHEMA ot_types;
CREATE SCHEMA ot_operators;
CREATE SCHEMA ot_functions;

-- a version number: 1.0 equals 1, whatever its patch; the operators stand in one schema, their functions in another
CREATE TYPE ot_types.release AS (major int, patch int);
CREATE FUNCTION ot_functions.order_of(ot_types.release, ot_types.release) RETURNS int IMMUTABLE STRICT LANGUAGE sql RETURN btint4cmp(($1).major, ($2).major);
CREATE FUNCTION ot_functions.hash_of(ot_types.release) RETURNS int IMMUTABLE STRICT LANGUAGE sql RETURN hashint4(($1).major);
CREATE FUNCTION ot_functions.hash_of(ot_types.release, bigint) RETURNS bigint IMMUTABLE STRICT LANGUAGE sql RETURN hashint4extended(($1).major, $2);
CREATE FUNCTION ot_functions.below(ot_types.release, ot_types.release) RETURNS boolean IMMUTABLE STRICT LANGUAGE sql RETURN ($1).major < ($2).major;
CREATE FUNCTION ot_functions.upto(ot_types.release, ot_types.release) RETURNS boolean IMMUTABLE STRICT LANGUAGE sql RETURN ($1).major <= ($2).major;
CREATE FUNCTION ot_functions.alike(ot_types.release, ot_types.release) RETURNS boolean IMMUTABLE STRICT LANGUAGE sql RETURN ($1).major = ($2).major;
CREATE FUNCTION ot_functions.since(ot_types.release, ot_types.release) RETURNS boolean IMMUTABLE STRICT LANGUAGE sql RETURN ($1).major >= ($2).major;
CREATE FUNCTION ot_functions.above(ot_types.release, ot_types.release) RETURNS boolean IMMUTABLE STRICT LANGUAGE sql RETURN ($1).major > ($2).major;
CREATE OPERATOR ot_operators.<~ (LEFTARG = ot_types.release, RIGHTARG = ot_types.release, FUNCTION = ot_functions.below);
CREATE OPERATOR ot_operators.<=~ (LEFTARG = ot_types.release, RIGHTARG = ot_types.release, FUNCTION = ot_functions.upto);
CREATE OPERATOR ot_operators.=~ (LEFTARG = ot_types.release, RIGHTARG = ot_types.release, FUNCTION = ot_functions.alike, COMMUTATOR = OPERATOR(ot_operators.=~), HASHES, MERGES);
CREATE OPERATOR ot_operators.>=~ (LEFTARG = ot_types.release, RIGHTARG = ot_types.release, FUNCTION = ot_functions.since);
CREATE OPERATOR ot_operators.>~ (LEFTARG = ot_types.release, RIGHTARG = ot_types.release, FUNCTION = ot_functions.above);
CREATE OPERATOR CLASS ot_operators.release_order DEFAULT FOR TYPE ot_types.release USING btree AS
	OPERATOR 1 ot_operators.<~, OPERATOR 2 ot_operators.<=~, OPERATOR 3 ot_operators.=~, OPERATOR 4 ot_operators.>=~, OPERATOR 5 ot_operators.>~,
	FUNCTION 1 ot_functions.order_of(ot_types.release, ot_types.release);
CREATE OPERATOR CLASS ot_operators.release_hash DEFAULT FOR TYPE ot_types.release USING hash AS
	OPERATOR 1 ot_operators.=~, FUNCTION 1 ot_functions.hash_of(ot_types.release), FUNCTION 2 ot_functions.hash_of(ot_types.release, bigint);
CREATE EXTENSION citext SCHEMA ot_types;

CREATE TABLE ot.downloads (id int PRIMARY KEY, release ot_types.release, name ot_types.citext, n int);
SELECT etl.watch('ot.downloads');
INSERT INTO ot.downloads VALUES (1, (1, 0), 'Ada', 1), (2, (2, 0), 'Bob', 2), (3, (1, 5), 'ada', 3), (4, NULL, NULL, 4);
SELECT etl.define_model('ot.of_release', 'SELECT release, sum(n) AS n FROM ot.downloads GROUP BY release', 'incremental', '{release}');
SELECT etl.define_model('ot.of_name', 'SELECT name, sum(n) AS n FROM ot.downloads GROUP BY name', 'incremental', '{name}');
SELECT etl.define_model('ot.of_both', 'SELECT release, name, count(*) AS n FROM ot.downloads GROUP BY release, name', 'incremental', '{release,name}');
SELECT etl.define_model('ot.history', 'SELECT DISTINCT ON (name) name, n FROM ot.downloads ORDER BY name, id DESC', 'snapshot', '{name}', strategy => 'check');
SELECT etl.define_check('ot.of_name', 'unique', '{n}', on_fail => 'warn');
CALL etl.run('ot.*');
INSERT INTO ot.downloads VALUES (5, (1, 7), 'ADA', 10), (6, (3, 0), 'cyd', 20), (7, NULL, 'bob', 30), (8, (2, 1), NULL, 40);
DELETE FROM ot.downloads WHERE id = 2;
CALL etl.run('ot.*');
SELECT node, action, status, error FROM etl.tasks WHERE run_id = etl.last_run_id() AND kind = 'model' ORDER BY node COLLATE "C";
SELECT (release).major, n FROM ot.of_release ORDER BY 1, 2;
SELECT lower(name::text) AS name, n FROM ot.of_name ORDER BY 1;
SELECT (release).major, lower(name::text) AS name, n FROM ot.of_both ORDER BY 1, 2;
SELECT lower(name::text) AS name, n, is_current FROM ot.history ORDER BY 1, valid_from;

-- a function of PostgreSQL is what it is, although the search path has another one of its name before it
CREATE FUNCTION ot_functions.lower(text) RETURNS text IMMUTABLE LANGUAGE sql RETURN 'another ' || $1;
CREATE TABLE ot.people (id int PRIMARY KEY, name text, n int);
INSERT INTO ot.people SELECT i, 'Name' || i % 5, i FROM generate_series(1, 20) AS i;
SELECT etl.watch('ot.people');
SET search_path = ot_functions, pg_catalog;
SELECT etl.define_model('ot.by_name', 'SELECT pg_catalog.lower(name) AS name, sum(n) AS n FROM ot.people GROUP BY 1', 'incremental', '{name}');
SELECT etl.define_model('ot.by_another', 'SELECT lower(name) AS name, sum(n) AS n FROM ot.people GROUP BY 1', 'incremental', '{name}');
RESET search_path;
CALL etl.run('ot.by_*');
INSERT INTO ot.people VALUES (100, 'NAME1', 1000), (101, 'Name9', 9);
DELETE FROM ot.people WHERE id = 7;
CALL etl.run('ot.by_*');
SELECT node, action, status FROM etl.tasks WHERE run_id = etl.last_run_id() AND kind = 'model' ORDER BY node COLLATE "C";
SELECT * FROM ot.by_name ORDER BY name COLLATE "C";
SELECT * FROM ot.by_another ORDER BY name COLLATE "C";
SELECT etl.unwatch('ot.people');

-- so is one in the condition of a unique index: rows hand its values over to one another
CREATE FUNCTION ot_functions.abs(int) RETURNS int IMMUTABLE LANGUAGE sql RETURN 0;
CREATE TABLE ot.seats (id int PRIMARY KEY, seat int, n int);
INSERT INTO ot.seats SELECT i, nullif(i, 4), i FROM generate_series(1, 4) AS i;
SELECT etl.watch('ot.seats');
SET search_path = ot_functions, pg_catalog;
SELECT etl.define_model('ot.seated', 'SELECT id, seat, n FROM ot.seats', 'incremental', '{id}');
SELECT etl.define_model('ot.seated_oddly', 'SELECT id, seat, n FROM ot.seats', 'incremental', '{id}');
RESET search_path;
CALL etl.run('ot.seated*');
CREATE UNIQUE INDEX ON ot.seated (seat) WHERE pg_catalog.abs(n) > 0;
CREATE UNIQUE INDEX ON ot.seated_oddly (seat) WHERE ot_functions.abs(n) > 0;
UPDATE ot.seats SET seat = CASE id WHEN 1 THEN 2 WHEN 2 THEN 3 WHEN 3 THEN 1 ELSE 2 END, n = CASE id WHEN 4 THEN 0 ELSE -n END;
CALL etl.run('ot.seated*');
SELECT node, action, status, error FROM etl.tasks WHERE run_id = etl.last_run_id() AND kind = 'model' ORDER BY node COLLATE "C";
SELECT * FROM ot.seated ORDER BY id;
TABLE ot.seated_oddly EXCEPT ALL TABLE ot.seated;
UPDATE ot.seats SET n = 4 WHERE id = 4;
SET client_min_messages = error;
\set VERBOSITY sqlstate
CALL etl.run('ot.seated*');
SELECT node, action, status, error FROM etl.tasks WHERE run_id = etl.last_run_id() AND kind = 'model' ORDER BY node COLLATE "C";
SELECT etl.unwatch('ot.seats');

SELECT count(*) FROM etl.models WHERE target LIKE 'ot.%' AND etl.drop_model(target);
SELECT etl.unwatch('ot.downloads');
SET client_min_messages = error;
DROP SCHEMA ot, ot_types, ot_operators, ot_functions CASCADE;
