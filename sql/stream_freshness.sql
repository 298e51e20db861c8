-- etl.freshness tells how far the events of a stream reach, from what its loads landed and still holds.
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS etl;
\set VERBOSITY terse
SET timezone = 'UTC'; SET datestyle = 'ISO';
SELECT current_setting('data_directory') || '/etl_regress_fr' AS dir \gset
SELECT 'cat > /dev/null; rm -rf ' || :'dir' || '; mkdir -p ' || :'dir' AS prepare, 'cat > /dev/null; rm -rf ' || :'dir' AS clean, :'dir' || '/a1.csv' AS a1, :'dir' || '/a2.csv' AS a2 \gset
COPY (SELECT) TO PROGRAM :'prepare';
SELECT set_config('etl.allowed_directories', :'dir', false) <> '' AS allowed;
SELECT etl.define_source('fr_files', 'file', jsonb_build_object('root', :'dir'));
SELECT etl.define_stream('fr.' || t, 'fr_files', '{"path": "a*.csv", "timezone": "Europe/Berlin"}', event_time => 'at', columns => c, key => '{id}', mode => m)
FROM (VALUES ('moment', 'id int, at timestamptz', 'append'), ('local', 'id int, at timestamp', 'append'), ('day', 'id int, at date', 'append'),
	('number', 'id int, at bigint', 'append'), ('word', 'id int, at text', 'append'), ('never', 'id int, at timestamptz', 'append'), ('guarded', 'id int UNIQUE, at timestamptz', 'append'),
	('checked', 'id int, at timestamptz', 'append'), ('merged', 'id int, at timestamptz', 'merge'), ('replaced', 'id int, at timestamptz', 'replace')) AS s(t, c, m);
SELECT etl.define_stream('fr.untimed', 'fr_files', '{"path": "a*.csv"}', columns => 'id int, at text');
SELECT etl.define_check('fr.checked', 'unique', '{id}', on_fail => 'quarantine');
CREATE VIEW public.fr_reach AS SELECT target, last_event_time, last_loaded_at IS NOT NULL AS loaded, state FROM etl.freshness WHERE target LIKE 'fr.%' ORDER BY target;

COPY (VALUES ('id,at'), ('1,2024-03-01'), ('2,2024-05-01'), ('3,'), ('2,2024-07-01'), ('4,infinity'), ('5,-infinity'), ('x,2030-01-01')) TO :'a1' (DELIMITER '|');
CALL etl.run('fr.*', exclude => 'fr.never');
SELECT * FROM public.fr_reach;
-- older events do not take it back, newer ones advance it
COPY (VALUES ('id,at'), ('7,2024-02-01')) TO :'a2' (DELIMITER '|');
CALL etl.run('fr.*', exclude => 'fr.never');
SELECT * FROM public.fr_reach WHERE target IN ('fr.moment', 'fr.merged', 'fr.replaced');
-- a file that is loaded again takes what it had with it
COPY (VALUES ('id,at'), ('1,2024-03-01'), ('2,2024-04-01')) TO :'a1' (DELIMITER '|');
CALL etl.run('fr.moment fr.local fr.checked');
SELECT * FROM public.fr_reach WHERE target IN ('fr.moment', 'fr.local', 'fr.checked');
-- a replayed record counts; another event time begins anew
SELECT status FROM etl.rejects WHERE target = 'fr.day' ORDER BY reject_id;
SELECT * FROM etl.replay('fr.day', patch => '{"id": 9}');
SELECT last_event_time FROM public.fr_reach WHERE target = 'fr.day';
SELECT etl.define_stream('fr.day', 'fr_files', '{"path": "a*.csv", "timezone": "Europe/Berlin"}', columns => 'id int, at date, seen date', key => '{id}', event_time => 'seen');
SELECT last_event_time FROM public.fr_reach WHERE target = 'fr.day';

DROP VIEW public.fr_reach;
SELECT etl.drop_source('fr_files', cascade => true, drop_relation => true) IS NOT NULL AS dropped;
DROP SCHEMA fr CASCADE;
COPY (SELECT) TO PROGRAM :'clean';
