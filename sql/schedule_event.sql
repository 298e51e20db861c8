-- What a schedule waits for is read at its definition, whatever it is about exists or not; what is wrong is refused, named.
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS etl;
SELECT etl.define_schedule('e', on_event => '{"published": "raw.not_there_yet"}');
SELECT etl.define_schedule('e', on_event => '{"published": "Raw.\"Or ders\""}');
SELECT kind, argument FROM etl.schedule_event WHERE schedule = 'e';
SELECT etl.define_schedule('e', cron => '@daily', on_event => '{"all": [{"file": "raw.a"}, {"any": [{"notify": "Ch"}, {"sql": "SELECT true", "every": "5 min"}]}], "debounce": "10 s"}');
SELECT number, kind, argument, every FROM etl.schedule_event WHERE schedule = 'e' ORDER BY number;
SELECT next_due IS NOT NULL AS by_cron_too FROM etl.schedules WHERE name = 'e';
SELECT etl.define_schedule('e', cron => '@daily');
SELECT count(*) FROM etl.schedule_event WHERE schedule = 'e';
SELECT * FROM etl.options('event');

SELECT etl.define_schedule('e', on_event => '{}');
SELECT etl.define_schedule('e', on_event => '[]');
SELECT etl.define_schedule('e', on_event => '{"publishd": "raw.a"}');
\set VERBOSITY terse
SELECT etl.define_schedule('e', on_event => 'null');
SELECT etl.define_schedule('e', on_event => '{"published": ""}');
SELECT etl.define_schedule('e', on_event => '{"published": null}');
SELECT etl.define_schedule('e', on_event => '{"published": "a b"}');
SELECT etl.define_schedule('e', on_event => '{"published": "raw.a", "file": "raw.a"}');
SELECT etl.define_schedule('e', on_event => '{"published": "raw.a", "every": "1 min"}');
SELECT etl.define_schedule('e', on_event => '{"all": []}');
SELECT etl.define_schedule('e', on_event => '{"all": {"file": "raw.a"}}');
SELECT etl.define_schedule('e', on_event => '{"any": ["raw.a"]}');
SELECT etl.define_schedule('e', on_event => '{"any": [{"file": "raw.a", "debounce": "1 s"}]}');
SELECT etl.define_schedule('e', on_event => '{"file": "raw.a", "debounce": "-1 s"}');
SELECT etl.define_schedule('e', on_event => '{"file": "raw.a", "debounce": "soon"}');
SELECT etl.define_schedule('e', on_event => '{"sql": "DELETE FROM etl.run"}');
SELECT etl.define_schedule('e', on_event => '{"sql": "SELECT true; SELECT true"}');
SELECT etl.define_schedule('e', on_event => '{"sql": "SELECT true INTO x"}');
SELECT etl.define_schedule('e', on_event => '{"sql": "SELEC true"}');
SELECT etl.define_schedule('e', on_event => '{"sql": "SELECT true", "every": "10 ms"}');
SELECT etl.define_schedule('e', on_event => '{"notify": "a_channel_whose_name_is_much_longer_than_anything_that_postgresql_takes"}');
SELECT etl.define_schedule('e', on_event => '{"all": [{"all": [{"all": [{"all": [{"all": [{"all": [{"file": "raw.a"}]}]}]}]}]}]}');
SELECT etl.define_schedule('e', on_event => (SELECT jsonb_build_object('any', jsonb_agg('{"file": "raw.a"}'::jsonb)) FROM generate_series(1, 51)));

-- a condition is asked as the schedule's owner, with no more rights
CREATE SCHEMA se;
CREATE TABLE se.secret AS SELECT true AS yes;
CREATE ROLE se_owner NOLOGIN;
GRANT etl_developer TO se_owner;
GRANT ALL ON SCHEMA se TO se_owner;
SELECT etl.drop_schedule('e');
SET ROLE se_owner;
SELECT etl.define_schedule('reads', on_event => '{"sql": "SELECT yes FROM se.secret"}');
SELECT etl.define_schedule('number', on_event => '{"sql": "SELECT 1"}');
SELECT etl.define_schedule('nothing', on_event => '{"sql": "SELECT true WHERE false"}');
SELECT etl.define_schedule('who', on_event => '{"sql": "SELECT current_user = ''se_owner''"}');
RESET ROLE;
CALL etl.tick();
CALL etl.tick();
SELECT schedule, seen, happened_at FROM etl.schedule_event ORDER BY 1;
SELECT message FROM etl.logs WHERE message LIKE 'an event of schedule%' ORDER BY 1;
SELECT etl.drop_schedule(name) FROM etl.schedules;
DELETE FROM etl.run WHERE trigger = 'event';
DELETE FROM etl.schedule_slot;
DROP SCHEMA se CASCADE;
DROP OWNED BY se_owner;
DROP ROLE se_owner;
-- other tests look at all runs of schedules, and at all slots
DELETE FROM etl.schedule_slot;
DELETE FROM etl.run WHERE trigger = 'event';
