-- Objects inside JSON records: one jsonb column, or a column for each value inside, as told path by path.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS etl;
\set VERBOSITY terse
SELECT etl.define_source('ne_push', 'push');

SELECT etl.define_stream('ne.x', 'ne_push', '{"nested": "flat"}');
SELECT etl.define_stream('ne.x', 'ne_push', '{"nested": ["a"]}');
SELECT etl.define_stream('ne.x', 'ne_push', '{"nested": {"a": "flatten", "b": 1}}');
SELECT etl.define_source('ne_files', 'file');
SELECT etl.define_stream('ne.x', 'ne_files', '{"path": "/x/*.csv", "nested": "flatten"}');

-- as it is, all flattened, and by path
SELECT etl.define_stream('ne.as_is', 'ne_push'), etl.define_stream('ne.flat', 'ne_push', '{"nested": "flatten"}'),
	etl.define_stream('ne.paths', 'ne_push', '{"nested": {"customer": "flatten", "customer.tags": "jsonb"}}');
SELECT '[{"id": 1, "customer": {"name": "Ann", "address": {"city": "Rome", "ZIP Code": "00184"}, "tags": {"vip": true}}, "items": [{"sku": "a"}]},
	{"id": 2, "customer": {"name": "Bob", "address": {}, "tags": null}, "meta": {"n": 1.50, "big": 12345678901234567890}},
	{"id": 3, "customer": null}, {"id": 4, "customer": "nobody"}]' AS records \gset
SELECT count(etl.ingest(t, :'records')) FROM unnest('{ne.as_is,ne.flat,ne.paths}'::text[]) AS t;
SELECT attrelid::regclass AS stream, string_agg(attname || ' ' || format_type(atttypid, NULL), ', ' ORDER BY attnum) AS columns
FROM pg_attribute WHERE attrelid IN ('ne.as_is'::regclass, 'ne.flat'::regclass, 'ne.paths'::regclass) AND attnum > 2 GROUP BY 1 ORDER BY 1;
SELECT to_jsonb(r) - '_etl_load_id' AS r FROM ne.flat AS r ORDER BY _etl_row;
SELECT to_jsonb(r) - '_etl_load_id' AS r FROM ne.paths AS r ORDER BY _etl_row;

-- deeper than others, new keys later, and names that meet
SELECT etl.ingest('ne.flat', '{"id": 5, "customer": {"address": {"geo": {"lat": 1.5, "lon": -2}}}}') > 0 AS loaded;
SELECT id, customer__address__geo__lat, customer__address__geo__lon FROM ne.flat WHERE id = 5;
SELECT etl.ingest('ne.flat', '[{"id": 6, "customer__name": "x", "customer": {"name": "y"}}, {"id": 7, "customer": {"name": "Cy"}}]') > 0 AS loaded;
SELECT position, record, reasons FROM etl.rejects WHERE target = 'ne.flat';
SELECT id, customer__name FROM ne.flat WHERE id > 5;

-- with transforms, which see the flattened fields; merge by a nested key
SELECT etl.define_stream('ne.keyed', 'ne_push', '{"nested": "flatten", "transform": {"user__mail": "drop", "user__id": {"cast": "int"}}}', key => '{user__id}', mode => 'merge');
SELECT etl.ingest('ne.keyed', '[{"user": {"id": 1, "mail": "a@b"}, "v": 1}, {"user": {"id": 2}, "v": 2}]') > 0 AS loaded;
SELECT etl.ingest('ne.keyed', '[{"user": {"id": 1, "mail": "a@b"}, "v": 3}]') > 0 AS loaded;
SELECT user__id, pg_typeof(user__id), v FROM ne.keyed ORDER BY 1;
SELECT count(*) FROM pg_attribute WHERE attrelid = 'ne.keyed'::regclass AND attname ~ 'mail';

-- many records, many shapes: the same values as jsonb has
SELECT etl.define_stream('ne.many', 'ne_push', '{"nested": "flatten"}'), etl.define_stream('ne.many_jsonb', 'ne_push', columns => 'id int, o jsonb');
SELECT jsonb_agg(jsonb_build_object('id', i, 'o', jsonb_strip_nulls(jsonb_build_object('a', CASE WHEN i % 2 = 0 THEN i END,
	'b', CASE WHEN i % 3 = 0 THEN jsonb_build_object('c', 'é' || i, 'd', CASE WHEN i % 5 = 0 THEN jsonb_build_object('e', i / 8.0) END) END)))) AS records
FROM generate_series(1, 3000) AS i \gset
SELECT etl.ingest('ne.many', :'records') > 0, etl.ingest('ne.many_jsonb', :'records') > 0;
SELECT count(*), count(o__a) AS a, count(o__b__c) AS c, count(o__b__d__e) AS e FROM ne.many;
SELECT count(*) AS different FROM ne.many AS f JOIN ne.many_jsonb AS j USING (id)
WHERE (f.o__a, f.o__b__c, f.o__b__d__e) IS DISTINCT FROM ((j.o->>'a')::int, j.o#>>'{b,c}', (j.o#>>'{b,d,e}')::numeric);

SELECT etl.drop_source('ne_push', cascade => true, drop_relation => true), etl.drop_source('ne_files');
DROP SCHEMA ne CASCADE;
