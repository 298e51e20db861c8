-- A selector picks exactly the nodes that dbt's grammar says, and refuses what it does not understand.
\set VERBOSITY terse
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS etl;
SET client_min_messages = warning;
CREATE SCHEMA sel;
CREATE SCHEMA "Sel Two";
CREATE TABLE sel.seed AS SELECT 1 AS id;
SELECT etl.define_model('sel.a', 'SELECT * FROM sel.seed', tags => '{core}');
SELECT etl.define_model('sel.b', 'SELECT * FROM sel.a', 'table', tags => '{core,daily}');
SELECT etl.define_model('sel.c', 'SELECT b.id FROM sel.b JOIN sel.x USING (id)', tags => '{daily}');
SELECT etl.define_model('sel.x', 'SELECT 1 AS id');
SELECT etl.define_model('"Sel Two"."odd, + ""name"""', 'SELECT * FROM sel.c');

CREATE FUNCTION pg_temp.picked(selector text, exclude text DEFAULT NULL) RETURNS text
LANGUAGE sql AS $$
	SELECT string_agg(replace(node, 'sel.', ''), ' ' ORDER BY step, node COLLATE "C") FROM etl.plan(selector, exclude)
	WHERE node LIKE 'sel.%' OR node LIKE '"Sel%'
$$;
SELECT s AS selector, pg_temp.picked(s) AS picked
FROM unnest(ARRAY['sel.*', 'sel.b', 'b', 'SEL.B', '+sel.b', 'sel.b+', 'sel.b+1', '1+sel.c', '2+sel.c', '1+sel.b+1', '@sel.b',
	'tag:core', 'tag:core,tag:daily', 'tag:d*,sel.c', 'sel.a sel.x', 'kind:model,sel.*', 'kind:stream,sel.*', 'sel.?',
	'"Sel Two"."odd, + ""name"""', '1+"Sel Two"."odd, + ""name"""', 'state:modified,sel.*', 'state:new,tag:core']) AS s;
SELECT pg_temp.picked('sel.*', 'sel.b+'), pg_temp.picked('sel.*', 'tag:daily sel.x');

-- what is not understood
SELECT pg_temp.picked('sel.bb');
SELECT pg_temp.picked('nothing_like_it_at_all');
SELECT pg_temp.picked('');
SELECT pg_temp.picked('sel.a,');
SELECT pg_temp.picked('@sel.a+');
SELECT pg_temp.picked('tags:core');
SELECT pg_temp.picked('kind:table');
SELECT pg_temp.picked('state:old');
SELECT pg_temp.picked('tag:');
SELECT pg_temp.picked('+');
SELECT pg_temp.picked('tag:nobody');

-- the plan has a row for every selected node, inputs before what reads them
SELECT step, node, kind, action, depends_on FROM etl.plan('sel.* "Sel Two".*') ORDER BY step, node COLLATE "C";
CALL etl.run('sel.* "Sel Two".*');
SELECT step, node, action FROM etl.plan('sel.* "Sel Two".*') ORDER BY step, node COLLATE "C";
SELECT pg_temp.picked('state:modified');
SELECT etl.define_model('sel.x', 'SELECT 1 AS id, 2 AS more');
SELECT pg_temp.picked('state:modified'), pg_temp.picked('state:modified+');

SELECT etl.drop_model('"Sel Two"."odd, + ""name"""', true, true), etl.drop_model('sel.c', true, true), etl.drop_model('sel.b', true, true),
	etl.drop_model('sel.a', true, true), etl.drop_model('sel.x', true, true);
DROP SCHEMA sel CASCADE;
DROP SCHEMA "Sel Two" CASCADE;
