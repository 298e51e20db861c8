-- A cron expression means local times of its zone: a gap fires once at the first valid instant, an overlap
-- once at the first, and what runs every hour runs once for each hour that passes.
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS etl;
SET TimeZone = 'UTC';
SET DateStyle = 'ISO, YMD';

-- slots(cron, zone, after, n): what next_runs says, as text in UTC
CREATE FUNCTION pg_temp.slots(cron text, zone text, after timestamptz, n int) RETURNS text[] LANGUAGE plpgsql AS $$
BEGIN
	PERFORM etl.define_schedule('t', cron => slots.cron, timezone => zone);
	RETURN ARRAY(SELECT to_char(s, 'YYYY-MM-DD HH24:MI:SS') FROM etl.next_runs('t', n, after) AS s);
END $$;

-- ---- written down by hand: rows appear where the answer differs ----
SELECT c.*, s.got
FROM (VALUES
	-- Berlin: 02:00 -> 03:00 at 01:00 UTC on 2026-03-29, 03:00 -> 02:00 at 01:00 UTC on 2026-10-25
	('30 2 * * *', 'Europe/Berlin', '2026-03-28 12:00Z', '{2026-03-29 01:00:00,2026-03-30 00:30:00}'),
	('*/15 2 * * *', 'Europe/Berlin', '2026-03-28 12:00Z', '{2026-03-29 01:00:00,2026-03-30 00:00:00}'),
	('30 2,3 * * *', 'Europe/Berlin', '2026-03-28 12:00Z', '{2026-03-29 01:00:00,2026-03-29 01:30:00,2026-03-30 00:30:00}'),
	('0 2-4 * * *', 'Europe/Berlin', '2026-03-28 12:00Z', '{2026-03-29 01:00:00,2026-03-29 02:00:00,2026-03-30 00:00:00}'),
	('0 3 * * *', 'Europe/Berlin', '2026-03-28 12:00Z', '{2026-03-29 01:00:00,2026-03-30 01:00:00}'),
	('30 2 * * *', 'Europe/Berlin', '2026-10-24 12:00Z', '{2026-10-25 00:30:00,2026-10-26 01:30:00}'),
	('*/30 2 * * *', 'Europe/Berlin', '2026-10-24 12:00Z', '{2026-10-25 00:00:00,2026-10-25 00:30:00,2026-10-26 01:00:00}'),
	('0 3 * * *', 'Europe/Berlin', '2026-10-24 12:00Z', '{2026-10-25 02:00:00,2026-10-26 02:00:00}'),
	-- asked for within the hour that comes a second time
	('30 2 * * *', 'Europe/Berlin', '2026-10-25 01:10Z', '{2026-10-26 01:30:00}'),
	('50 2 * * *', 'Europe/Berlin', '2026-10-25 00:40Z', '{2026-10-25 00:50:00,2026-10-26 01:50:00}'),
	('10 * * * *', 'Europe/Berlin', '2026-10-24 23:30Z', '{2026-10-25 00:10:00,2026-10-25 01:10:00,2026-10-25 02:10:00}'),
	('10 * * * *', 'Europe/Berlin', '2026-03-28 23:30Z', '{2026-03-29 00:10:00,2026-03-29 01:10:00,2026-03-29 02:10:00}'),
	-- New York: 07:00 UTC on 2026-03-08, 06:00 UTC on 2026-11-01
	('30 2 * * *', 'America/New_York', '2026-03-07 12:00Z', '{2026-03-08 07:00:00,2026-03-09 06:30:00}'),
	('30 1 * * *', 'America/New_York', '2026-10-31 12:00Z', '{2026-11-01 05:30:00,2026-11-02 06:30:00}'),
	-- Lord Howe moves by half an hour: back at 15:00 UTC on 2026-04-04, on at 15:30 UTC on 2026-10-03
	('15 2 * * *', 'Australia/Lord_Howe', '2026-10-03 00:00Z', '{2026-10-03 15:30:00,2026-10-04 15:15:00}'),
	('45 1 * * *', 'Australia/Lord_Howe', '2026-04-04 00:00Z', '{2026-04-04 14:45:00,2026-04-05 15:15:00}'),
	-- Havana has no midnight on that day
	('0 0 * * *', 'America/Havana', '2026-03-07 12:00Z', '{2026-03-08 05:00:00,2026-03-09 04:00:00}'),
	-- Dublin's winter is its daylight saving time, set back
	('30 1 * * *', 'Europe/Dublin', '2026-03-28 12:00Z', '{2026-03-29 01:00:00,2026-03-30 00:30:00}'),
	-- Apia had no 30 December 2011, a Friday
	('0 12 * * *', 'Pacific/Apia', '2011-12-29 00:00Z', '{2011-12-29 22:00:00,2011-12-30 10:00:00,2011-12-30 22:00:00}'),
	('0 12 * * fri', 'Pacific/Apia', '2011-12-29 00:00Z', '{2011-12-30 10:00:00,2012-01-05 22:00:00}'),
	('0 0 * * *', 'Asia/Kathmandu', '2026-01-01 00:00Z', '{2026-01-01 18:15:00,2026-01-02 18:15:00}'),
	-- fields
	('0 0 29 2 *', 'UTC', '2026-01-01 00:00Z', '{2028-02-29 00:00:00,2032-02-29 00:00:00}'),
	('0 0 29 2 *', 'UTC', '2097-01-01 00:00Z', '{2104-02-29 00:00:00}'),
	('0 0 31 * *', 'UTC', '2026-01-31 00:00Z', '{2026-03-31 00:00:00,2026-05-31 00:00:00}'),
	('0 0 L * *', 'UTC', '2026-01-31 00:00Z', '{2026-02-28 00:00:00,2026-03-31 00:00:00,2026-04-30 00:00:00}'),
	('0 0 L-2 * *', 'UTC', '2026-01-31 00:00Z', '{2026-02-26 00:00:00,2026-03-29 00:00:00}'),
	('0 9 LW * *', 'UTC', '2026-01-01 00:00Z', '{2026-01-30 09:00:00,2026-02-27 09:00:00,2026-03-31 09:00:00}'),
	('0 9 15W * *', 'UTC', '2026-01-31 00:00Z', '{2026-02-16 09:00:00,2026-03-16 09:00:00,2026-04-15 09:00:00}'),
	('0 9 1W * *', 'UTC', '2026-01-31 00:00Z', '{2026-02-02 09:00:00,2026-03-02 09:00:00}'),
	('0 9 * * fri#2', 'UTC', '2026-01-01 00:00Z', '{2026-01-09 09:00:00,2026-02-13 09:00:00}'),
	('0 9 * * 5#5', 'UTC', '2026-01-01 00:00Z', '{2026-01-30 09:00:00,2026-05-29 09:00:00}'),
	('0 9 * * 5L', 'UTC', '2026-01-01 00:00Z', '{2026-01-30 09:00:00,2026-02-27 09:00:00}'),
	('0 9 ? * FriL', 'UTC', '2026-01-30 09:00Z', '{2026-02-27 09:00:00}'),
	-- both days restricted: either suffices; one begins with *: both must fit
	('0 0 13 * fri', 'UTC', '2026-02-01 00:00Z', '{2026-02-06 00:00:00,2026-02-13 00:00:00,2026-02-20 00:00:00}'),
	('0 0 14 * fri', 'UTC', '2026-02-08 00:00Z', '{2026-02-13 00:00:00,2026-02-14 00:00:00,2026-02-20 00:00:00}'),
	('0 0 */2 * fri', 'UTC', '2026-02-01 00:00Z', '{2026-02-13 00:00:00,2026-02-27 00:00:00}'),
	('*/20 * * * * *', 'UTC', '2026-01-01 00:00:10Z', '{2026-01-01 00:00:20,2026-01-01 00:00:40,2026-01-01 00:01:00}'),
	('15 30 2 * * *', 'Europe/Berlin', '2026-03-28 12:00Z', '{2026-03-29 01:00:00,2026-03-30 00:30:15}'),
	('0 12 * jan-mar mon-fri', 'UTC', '2026-03-30 13:00Z', '{2026-03-31 12:00:00,2027-01-01 12:00:00}'),
	('0 0 * * 7', 'UTC', '2026-01-01 00:00Z', '{2026-01-04 00:00:00,2026-01-11 00:00:00}'),
	('0 0 * * sat-sun', 'UTC', '2026-01-01 00:00Z', '{2026-01-03 00:00:00,2026-01-04 00:00:00,2026-01-10 00:00:00}'),
	('5/20 * * * *', 'UTC', '2026-01-01 00:00Z', '{2026-01-01 00:05:00,2026-01-01 00:25:00,2026-01-01 00:45:00,2026-01-01 01:05:00}'),
	('1-10/4,30 8 * * *', 'UTC', '2026-01-01 00:00Z', '{2026-01-01 08:01:00,2026-01-01 08:05:00,2026-01-01 08:09:00,2026-01-01 08:30:00}'),
	('  @Weekly ', 'UTC', '2026-01-01 00:00Z', '{2026-01-04 00:00:00}'),
	('@hourly', 'UTC', '2026-01-01 00:59:59.999999Z', '{2026-01-01 01:00:00,2026-01-01 02:00:00}'),
	('@yearly', 'Pacific/Auckland', '2026-01-01 00:00Z', '{2026-12-31 11:00:00}')
) AS c (cron, zone, after, expected),
LATERAL (SELECT pg_temp.slots(cron, zone, after::timestamptz, cardinality(expected::text[])) AS got) AS s
WHERE s.got <> c.expected::text[];

-- ---- hours of the days on which clocks change ----
SELECT zone, day, cron, count(*)
FROM (VALUES
	('Europe/Berlin', date '2026-03-29'), ('Europe/Berlin', '2026-10-25'),
	('America/New_York', '2026-03-08'), ('America/New_York', '2026-11-01'),
	('Australia/Lord_Howe', '2026-10-04'), ('Australia/Lord_Howe', '2026-04-05')) AS d (zone, day),
	(VALUES ('0 * * * *'), ('45 * * * *'), ('@hourly'), ('*/15 0-23 * * *')) AS c (cron),
	LATERAL unnest(pg_temp.slots(cron, zone, (day::timestamp AT TIME ZONE zone) - interval '1 us', 200)) AS slot
WHERE (slot || 'Z')::timestamptz < (day + 1)::timestamp AT TIME ZONE zone
GROUP BY zone, day, cron ORDER BY zone, day, cron;

-- ---- against another way to compute the same: walls by the minute, mapped to the first instant that shows them or later ----
CREATE TEMP TABLE change (zone text, at timestamptz);
INSERT INTO change VALUES ('Europe/Berlin', '2026-03-29 01:00Z'), ('Europe/Berlin', '2026-10-25 01:00Z'),
	('America/New_York', '2026-03-08 07:00Z'), ('America/New_York', '2026-11-01 06:00Z'),
	('Australia/Lord_Howe', '2026-04-04 15:00Z'), ('Australia/Lord_Howe', '2026-10-03 15:30Z'),
	('America/Havana', '2026-03-08 05:00Z'), ('Africa/Casablanca', '2026-02-15 02:00Z'),
	('Africa/Casablanca', '2026-03-22 02:00Z'), ('Pacific/Apia', '2011-12-30 10:00Z'),
	('Antarctica/Troll', '2026-03-29 01:00Z'), ('America/St_Johns', '2026-11-01 04:30Z');
CREATE TEMP TABLE grid AS
	SELECT c.zone, c.at, i, i AT TIME ZONE c.zone AS wall,
		max(i AT TIME ZONE c.zone) OVER (PARTITION BY c.zone, c.at ORDER BY i) AS shown
	FROM change AS c, generate_series(c.at - interval '30 h', c.at + interval '30 h', '1 min') AS i;
CREATE INDEX ON grid (zone, at, shown, i);
ANALYZE grid;
WITH wanted AS (
	SELECT g.zone, g.at, x.minute, x.hour, w
	FROM (SELECT zone, at, min(wall) AS first, max(wall) AS last FROM grid GROUP BY 1, 2) AS g,
		(VALUES ('0', '0'), ('30', '1'), ('59', '1-2'), ('7,37', '2'), ('0,15,30,45', '1,2,3'), ('30', '23'), ('10', '0-5')) AS x (minute, hour),
		generate_series(g.first, g.last, '1 min') AS w
	WHERE extract(minute FROM w)::int IN (SELECT m::int FROM string_to_table(x.minute, ',') AS m)
		AND CASE WHEN x.hour LIKE '%-%' THEN extract(hour FROM w)::int BETWEEN split_part(x.hour, '-', 1)::int AND split_part(x.hour, '-', 2)::int
			ELSE extract(hour FROM w)::int IN (SELECT h::int FROM string_to_table(x.hour, ',') AS h) END
), expected AS (
	SELECT zone, at, minute, hour, array_agg(DISTINCT to_char(i, 'YYYY-MM-DD HH24:MI:SS')) AS slots
	FROM wanted AS w, LATERAL (SELECT g.i FROM grid AS g WHERE g.zone = w.zone AND g.at = w.at AND g.shown >= w.w ORDER BY g.shown, g.i LIMIT 1) AS f
	WHERE f.i > w.at - interval '29 h' AND f.i < w.at + interval '29 h'
	GROUP BY 1, 2, 3, 4
)
SELECT count(*) AS compared, count(*) FILTER (WHERE got <> slots) AS differ
FROM expected AS e, LATERAL (SELECT pg_temp.slots(minute || ' ' || hour || ' * * *', zone, at - interval '29 h', cardinality(slots)) AS got) AS s;

-- ---- what is wrong is refused, with the place and a way out ----
\set VERBOSITY default
SET client_min_messages = notice;
SELECT etl.define_schedule('t', cron => '60 * * * *');
SELECT etl.define_schedule('t', cron => '0 24 * * *');
SELECT etl.define_schedule('t', cron => '0 2 0 * *');
SELECT etl.define_schedule('t', cron => '0 2 * 13 *');
SELECT etl.define_schedule('t', cron => '0 2 * * 8');
SELECT etl.define_schedule('t', cron => '0 2 * *');
SELECT etl.define_schedule('t', cron => '');
SELECT etl.define_schedule('t', cron => '0 2 * * * * *');
SELECT etl.define_schedule('t', cron => '0 2 * * mon-');
SELECT etl.define_schedule('t', cron => '0 22-4 * * *');
SELECT etl.define_schedule('t', cron => '*/90 * * * *');
SELECT etl.define_schedule('t', cron => '*/0 * * * *');
SELECT etl.define_schedule('t', cron => '0 0 30 2 *');
SELECT etl.define_schedule('t', cron => '0 0 31 4,6,9,11 *');
SELECT etl.define_schedule('t', cron => '0 0 * * L');
SELECT etl.define_schedule('t', cron => '0 0 * * fri#6');
SELECT etl.define_schedule('t', cron => '? * * * *');
SELECT etl.define_schedule('t', cron => '@reboot');
SELECT etl.define_schedule('t', cron => 'é * * * *');
SELECT etl.define_schedule('t', cron => '0 2 * * mön');
SELECT etl.define_schedule('t', cron => '99999999999999999999 * * * *');
SELECT etl.define_schedule('t', cron => '0 2 * * *', timezone => 'Europe/Berln');
SELECT etl.define_schedule('t', cron => '0 2 * * *', timezone => 'UTC+2');
SELECT etl.define_schedule('t', cron => '0 2 * * *', timezone => '+02:00');

-- ---- strings of every kind are read or refused with ET001: the parser never does anything else ----
DO $$
DECLARE
	atoms CONSTANT text[] := ARRAY['*', '/', '-', ',', '#', 'L', 'W', '?', ' ', '  ', '0', '5', '7', '12', '31', '59', '99', 'mon', 'JAN', 'x', '@', 'é', E'\t', '*/5', '1-5', '%', '"', '\', ''];
	text_ text;
	taken int := 0;
	refused int := 0;
	state text;
	detail text;
	hint text;
BEGIN
	PERFORM setseed(0.42);
	FOR i IN 1..5000 LOOP
		SELECT string_agg(CASE WHEN random() < 0.5 THEN atoms[1 + floor(random() * array_length(atoms, 1))::int] ELSE '* ' END, '')
			INTO text_ FROM generate_series(1, 3 + (i % 12));
		BEGIN
			PERFORM etl.define_schedule('fuzz', cron => text_);
			PERFORM count(*) FROM etl.next_runs('fuzz', 3, '2026-01-01Z');
			taken := taken + 1;
		EXCEPTION WHEN OTHERS THEN
			GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
			refused := refused + 1;
			IF state <> 'ET001' OR detail NOT LIKE 'At character %' OR hint = '' THEN
				RAISE EXCEPTION 'cron "%" gave % (%) (%)', text_, state, detail, hint;
			END IF;
		END;
	END LOOP;
	IF taken < 20 OR refused < 1000 THEN
		RAISE EXCEPTION 'a poor sample: % taken, % refused', taken, refused;
	END IF;
END $$;
SELECT etl.drop_schedule('fuzz'), etl.drop_schedule('t');
