-- What a unique check puts aside comes back when the row that it lost to changes or goes: an incremental model is what a full refresh would make it, and so are its open rejects.
\set VERBOSITY terse
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS etl;
CREATE SCHEMA mq;
SELECT etl.define_source('mq_push', 'push');
SELECT etl.define_stream('mq.people', 'mq_push', key => '{id}', mode => 'merge',
	columns => 'id int, email text, team text, nick varchar(20), score numeric(6,2)');
SELECT etl.define_stream('mq.teams', 'mq_push', key => '{team}', mode => 'merge', columns => 'team text, label text COLLATE "C"');

-- each model twice: i follows what changes, f is refreshed in full
CREATE FUNCTION mq.define(name text, query text, key text[], strategy text DEFAULT NULL, options jsonb DEFAULT '{}') RETURNS void LANGUAGE sql AS $$
	SELECT etl.define_model('mq.' || twin || '_' || name, query, 'incremental', key, strategy => strategy, options => options) FROM unnest('{i,f}'::text[]) AS twin $$;
CREATE FUNCTION mq.check(name text, kind text, columns text[], options jsonb DEFAULT '{}') RETURNS void LANGUAGE sql AS $$
	SELECT etl.define_check('mq.' || twin || '_' || name, kind, columns, options, on_fail => 'quarantine') FROM unnest('{i,f}'::text[]) AS twin $$;
SELECT mq.define('plain', 'SELECT id, email, score FROM mq.people', '{id}');
SELECT mq.check('plain', 'unique', '{email}');
SELECT mq.check('plain', 'range', '{score}', '{"min": 0}');
SELECT mq.define('ordered', 'SELECT id AS "an ""id", email, score FROM mq.people', '{"an \"id"}', 'delete_insert');
SELECT mq.check('ordered', 'unique', '{email}', '{"order_by": "score DESC NULLS LAST", "where": "email <> ''free''"}');
SELECT mq.define('composite', 'SELECT id, team, nick, score FROM mq.people', '{id}', 'merge');
SELECT mq.check('composite', 'unique', '{team,nick}', '{"order_by": "score"}');
-- who loses to one may have won over another
SELECT mq.define('two', 'SELECT id, email, team, nick FROM mq.people', '{id}');
SELECT mq.check('two', 'unique', '{email}');
SELECT mq.check('two', 'unique', '{team,nick}', '{"order_by": "id DESC"}');
SELECT mq.define('grouped', 'SELECT team, count(*) AS members, sum(score) AS total, max(email) AS email FROM mq.people GROUP BY team', '{team}');
SELECT mq.check('grouped', 'unique', '{email}', '{"order_by": "members DESC"}');
SELECT mq.check('grouped', 'range', '{members}', '{"max": 5}');
SELECT mq.define('labelled', 'SELECT p.id, p.nick, t.label FROM mq.people p LEFT JOIN mq.teams t USING (team)', '{id}');
SELECT mq.check('labelled', 'unique', '{label,nick}');
-- an index that refuses what the check puts aside
SELECT mq.define('indexed', 'SELECT id, lower(email) AS email, score FROM mq.people', '{id}', NULL, '{"unique": [["email"]]}');
SELECT mq.check('indexed', 'unique', '{email}', '{"order_by": "score"}');
-- keys of which not all columns tell what a change touches
SELECT mq.define('best', 'SELECT DISTINCT ON (team) team, id, email FROM mq.people ORDER BY team, score DESC, id', '{team,id}');
SELECT mq.check('best', 'unique', '{email}', '{"order_by": "id DESC"}');

CREATE VIEW mq.models AS SELECT split_part(target, '.i_', 2) AS name FROM etl.models WHERE target LIKE 'mq.i\_%';
CREATE FUNCTION mq.differences() RETURNS TABLE (model text, what text, twin text, "row" text) LANGUAGE plpgsql AS $$
DECLARE
	name text;
BEGIN
	FOR name IN SELECT m.name FROM mq.models m ORDER BY 1 LOOP
		RETURN QUERY EXECUTE format($q$
			WITH i AS (SELECT 'row' AS what, to_jsonb(x)::text AS r FROM mq.%1$I x UNION ALL
				SELECT 'reject', r.record || ' ' || r.reasons FROM etl.rejects r WHERE target = 'mq.' || %1$L AND status = 'open'),
			f AS (SELECT 'row' AS what, to_jsonb(x)::text AS r FROM mq.%2$I x UNION ALL
				SELECT 'reject', r.record || ' ' || r.reasons FROM etl.rejects r WHERE target = 'mq.' || %2$L AND status = 'open')
			SELECT %3$L, d.* FROM (SELECT what, 'only followed', r FROM (TABLE i EXCEPT ALL TABLE f) x UNION ALL
				SELECT what, 'only refreshed', r FROM (TABLE f EXCEPT ALL TABLE i) x) d ORDER BY 1, 2, 3, 4$q$,
			'i_' || name, 'f_' || name, name);
	END LOOP;
END $$;
CREATE FUNCTION mq.not_followed(OUT node text, OUT reason text) RETURNS SETOF record LANGUAGE sql AS $$
	SELECT node, reason FROM etl.tasks WHERE run_id = etl.last_run_id() AND action NOT IN ('incremental', 'unchanged') ORDER BY 1 $$;
\set settle 'CALL etl.run(\'mq.i_*\'); SELECT * FROM mq.not_followed(); CALL etl.run(\'mq.f_*\', full_refresh => true); SELECT * FROM mq.differences();'

-- three share an address; the one with the smallest key has it
SELECT etl.ingest('mq.teams', '[{"team": "red", "label": "one"}, {"team": "blue", "label": "two"}, {"team": "green", "label": "two"}]') > 0;
SELECT etl.ingest('mq.people', '[
	{"id": 1, "email": "a", "team": "red", "nick": "x", "score": 1}, {"id": 2, "email": "a", "team": "red", "nick": "x", "score": 2},
	{"id": 3, "email": "a", "team": "blue", "nick": "x", "score": 3}, {"id": 4, "email": "d", "team": "green", "nick": "x", "score": 4},
	{"id": 5, "email": null, "team": "green", "nick": null, "score": 5}, {"id": 6, "email": null, "team": "green", "nick": null, "score": -6}]') > 0;
CALL etl.run('mq.i_*');
CALL etl.run('mq.f_*', full_refresh => true);
SELECT * FROM mq.differences();
SELECT * FROM mq.i_plain ORDER BY id;
SELECT status, record, reasons -> 0 ->> 'check' AS check FROM etl.rejects WHERE target = 'mq.i_plain' ORDER BY record;

-- the first of them takes another one: the second comes in, the third does not
SELECT etl.ingest('mq.people', '[{"id": 1, "email": "b", "team": "red", "nick": "x", "score": 1}]') > 0;
:settle
SELECT * FROM mq.i_plain ORDER BY id;
SELECT status, record, reasons -> 0 ->> 'check' AS check FROM etl.rejects WHERE target = 'mq.i_plain' ORDER BY record, status;
SELECT check_name, status, evaluated, failed FROM etl.check_results WHERE target = 'mq.i_plain' AND run_id = (SELECT max(run_id) FROM etl.check_results WHERE target = 'mq.i_plain') ORDER BY 1;
SELECT rows_inserted, rows_updated, rows_deleted, rows_rejected FROM etl.tasks WHERE node = 'mq.i_plain' ORDER BY task_id DESC LIMIT 1;

-- the second goes, and the third comes in
DELETE FROM mq.people WHERE id = 2;
:settle
SELECT * FROM mq.i_plain ORDER BY id;

-- two swap what they have, and a third wants what one of them had
SELECT etl.ingest('mq.people', '[{"id": 1, "email": "a", "team": "red", "nick": "x", "score": 1}, {"id": 3, "email": "b", "team": "blue", "nick": "x", "score": 3}, {"id": 4, "email": "b", "team": "green", "nick": "x", "score": 40}]') > 0;
:settle

-- who lost is corrected; so is who was out of range
SELECT etl.ingest('mq.people', '[{"id": 4, "email": "e", "team": "green", "nick": "z", "score": 4}, {"id": 6, "email": "f", "team": "green", "nick": "w", "score": 6}]') > 0;
:settle
SELECT * FROM mq.i_plain ORDER BY id;
SELECT status, record FROM etl.rejects WHERE target = 'mq.i_plain' AND reasons @> '[{"check": "range_score"}]' ORDER BY reject_id;

-- who has it is out of range from now on, which makes room for who lost to it
SELECT etl.ingest('mq.people', '[{"id": 7, "email": "f", "team": "red", "nick": "w", "score": 7}]') > 0;
:settle
SELECT etl.ingest('mq.people', '[{"id": 6, "email": "f", "team": "green", "nick": "w", "score": -1}]') > 0;
:settle
SELECT * FROM mq.i_plain ORDER BY id;

-- only what decides between them changes
SELECT etl.ingest('mq.people', '[{"id": 8, "email": "f", "team": "red", "nick": "w", "score": 9}, {"id": 7, "email": "f", "team": "red", "nick": "w", "score": 1}]') > 0;
:settle
SELECT etl.ingest('mq.people', '[{"id": 8, "email": "f", "team": "red", "nick": "w", "score": 0.5}]') > 0;
:settle

-- an address that several may have, and one that nobody has
SELECT etl.ingest('mq.people', '[{"id": 7, "email": "free", "team": "red", "nick": "w", "score": 1}, {"id": 8, "email": "free", "team": null, "nick": "w", "score": 1}, {"id": 3, "email": null, "team": null, "nick": "w", "score": 1}]') > 0;
:settle

-- another label of a team
SELECT etl.ingest('mq.teams', '[{"team": "green", "label": "one"}, {"team": "red", "label": "two"}]') > 0;
:settle

-- and whatever else: sixteen steps of a dice
SELECT format($q$SELECT etl.ingest('mq.people', (SELECT jsonb_agg(jsonb_build_object('id', 1 + d[1] %% 12, 'email', (ARRAY['a', 'b', 'c', 'free', NULL])[1 + d[2] %% 5],
		'team', (ARRAY['red', 'blue', 'green', 'pink', NULL])[1 + d[3] %% 5], 'nick', (ARRAY['x', 'y', 'z'])[1 + d[4] %% 3], 'score', d[5] %% 9 - 1))
	FROM (SELECT ARRAY(SELECT abs(hashint8(%1$s * 1000 + n * 10 + k)) FROM generate_series(1, 5) AS k) AS d FROM generate_series(1, 4) AS n) x)) > 0$q$, step),
	format($q$DELETE FROM mq.people WHERE id = 1 + abs(hashint8(%1$s)) %% 12$q$, step),
	$q$CALL etl.run('mq.i_*')$q$, $q$SELECT * FROM mq.not_followed()$q$, $q$CALL etl.run('mq.f_*', full_refresh => true)$q$, $q$SELECT * FROM mq.differences()$q$
	FROM generate_series(1, 16) AS step
\set ECHO none
\t on
\gexec
\t off
\set ECHO all

-- it was no empty history: each model had rows aside, and let some back
SELECT target, count(*) FILTER (WHERE status = 'superseded') > 2 AS came_back
FROM etl.rejects WHERE target LIKE 'mq.i\_%' GROUP BY 1 ORDER BY 1;

SELECT count(etl.drop_model('mq.' || twin || '_' || name, drop_relation => true)) FROM mq.models, unnest('{i,f}'::text[]) AS twin;
SELECT etl.drop_stream('mq.people', drop_relation => true), etl.drop_stream('mq.teams', drop_relation => true), etl.drop_source('mq_push');
DROP SCHEMA mq CASCADE;
