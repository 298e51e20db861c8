-- A date or timestamp in any form of ISO 8601 lands as the moment that the standard means, and what no calendar has is refused.
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS etl;
\set VERBOSITY sqlstate
SET timezone = 'UTC';
SET datestyle = "ISO, YMD";
SELECT current_setting('data_directory') || '/etl_regress_xt' AS dir \gset
-- cat takes the line that COPY writes: a program that ends first would make it fail
SELECT 'cat > /dev/null; rm -rf ' || :'dir' || '; mkdir ' || :'dir' AS prepare, 'cat > /dev/null; rm -rf ' || :'dir' AS clean,
	'cat > /dev/null; printf %s ' AS printf, ' > ' || :'dir' || '/' AS into \gset
COPY (SELECT) TO PROGRAM :'prepare';
SELECT set_config('etl.allowed_directories', :'dir', false) <> '' AS allowed;
SELECT etl.define_source('xt_files', 'file', jsonb_build_object('root', :'dir'));
CREATE VIEW public.xt_rejects AS
	SELECT target, position, r->>'column' AS "column", r->>'message' AS message
	FROM etl.rejects, jsonb_array_elements(reasons) AS r WHERE target LIKE 'xt.%' ORDER BY target, position, r->>'column';

-- the second field is what the first means, written as PostgreSQL reads it
SELECT :'printf' || $$'written;means
2024-03-05T06:07:08Z;2024-03-05 06:07:08+00
2024-03-05t06:07:08z;2024-03-05 06:07:08+00
2024-03-05 06:07:08Z;2024-03-05 06:07:08+00
2024-03-05T06:07:08+02;2024-03-05 04:07:08+00
2024-03-05T06:07:08+0230;2024-03-05 03:37:08+00
2024-03-05T06:07:08+02:30;2024-03-05 03:37:08+00
2024-03-05T06:07:08-11:30;2024-03-05 17:37:08+00
2024-03-05T06:07:08-00:00;2024-03-05 06:07:08+00
2024-03-05T06:07:08.25Z;2024-03-05 06:07:08.25+00
2024-03-05T06:07:08,25Z;2024-03-05 06:07:08.25+00
2024-03-05T06:07:08.123456Z;2024-03-05 06:07:08.123456+00
2024-03-05T06:07:08.123456789Z;2024-03-05 06:07:08.123457+00
2024-12-31T23:59:59.9999999Z;2025-01-01 00:00:00+00
2024-03-05T06:07Z;2024-03-05 06:07:00+00
2024-03-05T06:07.5Z;2024-03-05 06:07:30+00
2024-03-05 06:07,25;2024-03-05 06:07:15+00
2024-03-05T06Z;2024-03-05 06:00:00+00
2024-03-05T06.5Z;2024-03-05 06:30:00+00
2024-03-05;2024-03-05 00:00:00+00
20240305T060708Z;2024-03-05 06:07:08+00
20240305T060708.25+0230;2024-03-05 03:37:08.25+00
20240305T060708,25-03;2024-03-05 09:07:08.25+00
20240305T0607Z;2024-03-05 06:07:00+00
20240305T0607.5;2024-03-05 06:07:30+00
20240305T06;2024-03-05 06:00:00+00
20240305T06:07:08Z;2024-03-05 06:07:08+00
20240305;2024-03-05 00:00:00+00
2024-W10-2;2024-03-05 00:00:00+00
2024-W10-2T06:07:08Z;2024-03-05 06:07:08+00
2024W102;2024-03-05 00:00:00+00
2024W102T060708Z;2024-03-05 06:07:08+00
2020-W53-5;2021-01-01 00:00:00+00
2026-W01-1;2025-12-29 00:00:00+00
2024-065;2024-03-05 00:00:00+00
2024-065T06:07:08Z;2024-03-05 06:07:08+00
2024065;2024-03-05 00:00:00+00
1990101;1990-04-11 00:00:00+00
2024366T060708Z;2024-12-31 06:07:08+00
2024-03-05T24:00:00Z;2024-03-06 00:00:00+00
20240305T2400Z;2024-03-06 00:00:00+00
1969-12-31T23:59:59.5Z;1969-12-31 23:59:59.5+00
1969-W01-1;1968-12-30 00:00:00+00
0001-01-01T00:00:00Z;0001-01-01 00:00:00+00
9999-12-31T23:59:59.999999Z;9999-12-31 23:59:59.999999+00
9999-12-31T24:00Z;10000-01-01 00:00:00+00
2024-02-29;2024-02-29 00:00:00+00
2000-02-29;2000-02-29 00:00:00+00'$$ || :'into' || 'forms.csv' AS make \gset
COPY (SELECT) TO PROGRAM :'make';
SELECT etl.define_stream('xt.forms', 'xt_files', '{"path": "forms.csv", "delimiter": ";"}', columns => 'written timestamptz, means timestamptz');
CALL etl.run('xt.forms');
SELECT count(*) AS forms, count(*) FILTER (WHERE written = means) AS right FROM xt.forms;
SELECT _etl_row, written, means FROM xt.forms WHERE written IS DISTINCT FROM means ORDER BY 1;
-- the same as timestamp and as date: the zone does not matter, the day is the one that is written
SELECT etl.define_stream('xt.local', 'xt_files', '{"path": "forms.csv", "delimiter": ";", "header": ["at", "x"], "skip_lines": 1}', columns => 'at timestamp, x text');
SELECT etl.define_stream('xt.days', 'xt_files', '{"path": "forms.csv", "delimiter": ";", "header": ["day", "x"], "skip_lines": 1}', columns => 'day date, x text');
CALL etl.run('xt.local');
CALL etl.run('xt.days');
SELECT count(*) AS forms, string_agg(d.day || ' for ' || l.at, ', ' ORDER BY l._etl_row) FILTER (WHERE d.day <> l.at::date) AS else FROM xt.local l JOIN xt.days d USING (_etl_row);
SELECT position, "column", message FROM public.xt_rejects;

-- what does not exist, in any form; what has none of the forms is read as PostgreSQL does
SELECT :'printf' || $$'what;t
leap second;2016-12-31T23:59:60Z
leap second, basic;20161231T235960Z
leap second, as PostgreSQL reads it;31 Dec 2016 23:59:60 UTC
no leap second either;2024-03-05 12:00:60
30 February;2024-02-30
30 February, basic;20240230
29 February;2023-02-29
29 February of a century;1900-02-29
month 13;2024-13-01
month 0;2024-00-10
day 0;2024-03-00
year 0;0000-01-01
week 53 of a year that has 52;2024-W53-1
week 0;2024-W00-1
day 8 of a week;2024-W10-8
day 366 of a year that has 365;2023-366
day 0 of a year;2023-000
25 o clock;2024-03-05T25:00Z
beyond the end of the day;2024-03-05T24:00:01Z
minute 60;2024-03-05T06:60Z
offset of 16 hours;2024-03-05T06:07:08+16
offset of 75 minutes;2024-03-05T06:07:08+00:75
no month;2024
no day;2024-03
no day of the week;2024-W10
no time;2024-03-05T
no fraction;2024-03-05T06:07:08.Z
half a zone;2024-03-05T06:07:08+1
two zones;2024-03-05T06:07:08Z+01
another time tomorrow;now'$$ || :'into' || 'refused.csv' AS make \gset
COPY (SELECT) TO PROGRAM :'make';
SELECT etl.define_stream('xt.refused', 'xt_files', '{"path": "refused.csv", "delimiter": ";"}', columns => 'what text, t timestamptz');
CALL etl.run('xt.refused');
SELECT _etl_row, what, t FROM xt.refused ORDER BY 1;
SELECT position, message FROM public.xt_rejects WHERE target = 'xt.refused';

-- times of day: the same rules
SELECT :'printf' || $$'t;z
06:07:08.25;06:07:08+02
06:07:08,25;060708,25+02:30
T06:07;T06:07Z
T060708;T06-03
06:07.5;06:07.5Z
24:00;24:00Z
23:59:60;00:00Z
06:07;23:59:60Z
24:01;00:00Z'$$ || :'into' || 'clock.csv' AS make \gset
COPY (SELECT) TO PROGRAM :'make';
SELECT etl.define_stream('xt.clock', 'xt_files', '{"path": "clock.csv", "delimiter": ";"}', columns => 't time, z timetz');
CALL etl.run('xt.clock');
SELECT _etl_row, t, z FROM xt.clock ORDER BY 1;
SELECT position, "column", message FROM public.xt_rejects WHERE target = 'xt.clock';

-- timestamps without a zone are read in the option timezone: in the gap of spring as if the clock had not been set forward, in
-- the overlap of autumn as standard time; the answer is PostgreSQL's own
SELECT :'printf' || $$'at
2024-03-31T01:59:59
2024-03-31T02:30:00
2024-03-31T03:00:00
20240331T0230
2024-W13-7T02:30
2024-10-27T01:59:59
2024-10-27T02:30:00
20241027T023000
2024-10-27T03:00:00
2024-10-27T02:30:00+02:00
1969-07-20T21:17:40
1940-06-15T12:00:00
1893-03-31T12:00:00
2024-10-26T24:00'$$ || :'into' || 'zone.csv' AS make \gset
COPY (SELECT) TO PROGRAM :'make';
SELECT etl.define_stream('xt.zone', 'xt_files', '{"path": "zone.csv", "timezone": "Europe/Berlin"}', columns => 'at timestamptz');
SELECT etl.define_stream('xt.zone_text', 'xt_files', '{"path": "zone.csv"}', columns => 'at text');
SET timezone = 'America/New_York';
CALL etl.run('xt.zone');
CALL etl.run('xt.zone_text');
SET timezone = 'UTC';
SELECT t.at AS written, z.at FROM xt.zone z JOIN xt.zone_text t USING (_etl_row) ORDER BY _etl_row;
SET timezone = 'Europe/Berlin';
SELECT count(*) AS "as PostgreSQL" FROM xt.zone z JOIN xt.zone_text t USING (_etl_row) WHERE t.at ~ '^\d+-\d\d-.*\d$' AND z.at = t.at::timestamptz;
SET timezone = 'UTC';

-- precision of the column rounds as PostgreSQL does, before 2000 too
SELECT :'printf' || $$'at
2024-03-05T06:07:08.4999996Z
2024-03-05T06:07:08.5Z
1969-12-31T23:59:59.4999Z
1969-12-31T23:59:59.5Z'$$ || :'into' || 'rounded.csv' AS make \gset
COPY (SELECT) TO PROGRAM :'make';
SELECT etl.define_stream('xt.rounded', 'xt_files', '{"path": "rounded.csv"}', columns => 'at timestamptz(0)');
SELECT etl.define_stream('xt.rounded_text', 'xt_files', '{"path": "rounded.csv"}', columns => 'at text');
CALL etl.run('xt.rounded');
CALL etl.run('xt.rounded_text');
SELECT t.at AS written, r.at, t.at::timestamptz(0) = r.at AS "as PostgreSQL" FROM xt.rounded r JOIN xt.rounded_text t USING (_etl_row) ORDER BY _etl_row;

-- without a type given only the common forms make a date or a timestamp; the others may be something else
SELECT :'printf' || $$'day,at,comma,basic,week,ordinal,leap,february
2024-03-05,2024-03-05T06:07:08+02,"2024-03-05T06:07:08,5Z",20240305,2024-W10-2,2024-065,2016-12-31T23:59:60Z,2024-02-30
1969-12-31,9999-12-31 23:59,2024-03-05,20240306,2024-W10-3,2024-066,2016-12-31T23:59:59Z,2024-02-29'$$ || :'into' || 'inferred.csv' AS make \gset
COPY (SELECT) TO PROGRAM :'make';
SELECT etl.define_stream('xt.inferred', 'xt_files', '{"path": "inferred.csv"}');
CALL etl.run('xt.inferred');
SELECT attname, format_type(atttypid, atttypmod) AS type FROM pg_attribute WHERE attrelid = 'xt.inferred'::regclass AND attnum > 2 ORDER BY attnum;

DROP VIEW public.xt_rejects;
SELECT etl.drop_source('xt_files', cascade => true, drop_relation => true);
DROP SCHEMA xt CASCADE;
COPY (SELECT) TO PROGRAM :'clean';
