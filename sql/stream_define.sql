-- What can be judged without data is refused at definition, with the key at fault; the same definition again is unchanged.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS etl;
SELECT etl.define_source('sd_files', 'file', '{"root": "/nonexistent"}');
SELECT etl.define_stream('sd.orders', 'sd_files', '{"path": "orders/*.csv"}', columns => 'id bigint, amount numeric(12,2) CHECK (amount >= 0)', key => '{id}', mode => 'merge');
SELECT etl.define_stream('sd.orders', 'sd_files', '{"path": "orders/*.csv"}', columns => 'id bigint, amount numeric(12,2) CHECK (amount >= 0)', key => '{id}', mode => 'merge');
SELECT etl.define_stream('sd.orders', 'sd_files', '{"path": "orders/*.csv", "max_rejects": "1%"}', key => '{id}', mode => 'merge');
SELECT target, format, mode, key, columns, version FROM etl.streams WHERE target = 'sd.orders';
-- hostile names
SELECT etl.define_stream('"Weird ""S"""."Tab;le"', 'sd_files', '{"path": "x.ndjson.gz"}');
SELECT target, format FROM etl.streams WHERE source = 'sd_files' ORDER BY target COLLATE "C";
-- unknown keys, bad values, bad combinations
SELECT etl.define_stream('sd.x', 'sd_files', '{"path": "x.csv", "delimitr": ";"}');
SELECT etl.define_stream('sd.x', 'sd_files', '{"path": "x.csv", "on_change": "ignore"}');
SELECT etl.define_stream('sd.x', 'sd_files', '{"path": "x.csv", "on_change": "replace"}', key => '{id}', mode => 'merge');
SELECT etl.define_stream('sd.x', 'sd_files', '{"path": "x.csv"}', mode => 'merge');
SELECT etl.define_stream('sd.x', 'sd_files', '{"path": "x.csv"}', mode => 'upsert');
SELECT etl.define_stream('sd.x', 'sd_files', '{"path": "x.csv"}', key => '{id,id}');
SELECT etl.define_stream('sd.x', 'sd_files', '{"path": "x.csv"}', key => '{id,NULL}');
SELECT etl.define_stream('sd.x', 'sd_files', '{"path": "x.dat"}');
SELECT etl.define_stream('sd.x', 'sd_files', '{"path": "x.dat"}', format => 'parquet');
SELECT etl.define_stream('sd.x', 'sd_fils', '{"path": "x.csv"}');
SELECT etl.define_stream('sd.x', 'sd_files', '{"path": "x.csv"}', schema_policy => 'frozen');
SELECT etl.define_stream('sd.x', 'sd_files', '{"path": "x.csv"}', schema_policy => '{"column": "freeze"}');
SELECT etl.define_stream('sd.x', 'sd_files', '{"path": "x.csv"}', contract => '{"delivery": "sometimes"}');
SELECT etl.define_stream('sd.x', 'sd_files', '{"path": "x.csv", "path_columns": {"day": "("}}');
SELECT etl.define_stream('sd.x', 'sd_files', '{"path": "x.csv", "path_columns": "day"}');
SELECT etl.define_stream('a.b.c.d', 'sd_files', '{"path": "x.csv"}');
SELECT etl.define_stream(NULL, 'sd_files');
-- columns is a column definition list and nothing else
SELECT etl.define_stream('sd.x', 'sd_files', '{"path": "x.csv"}', columns => 'id bigint) TABLESPACE pg_default --');
SELECT etl.define_stream('sd.x', 'sd_files', '{"path": "x.csv"}', columns => 'id bigint); DROP TABLE y; CREATE TABLE z (i int');
SELECT etl.define_stream('sd.x', 'sd_files', '{"path": "x.csv"}', columns => 'LIKE pg_class');
SELECT etl.define_stream('sd.x', 'sd_files', '{"path": "x.csv"}', columns => '');
SELECT etl.define_stream('sd.x', 'sd_files', '{"path": "x.csv"}', columns => 'id no_such_type');
SELECT etl.define_stream('sd.x', 'sd_files', '{"path": "x.csv"}', columns => 'id anyelement');
SELECT etl.define_stream('sd.x', 'sd_files', '{"path": "x.csv"}', columns => '_etl_row int');
-- a stream belongs to the role that defined it, and to its members
CREATE ROLE sd_owner;
CREATE ROLE sd_member;
CREATE ROLE sd_other;
GRANT sd_owner TO sd_member;
GRANT etl_developer TO sd_owner, sd_member, sd_other;
SET ROLE sd_owner;
SELECT etl.define_stream('sd.mine', 'sd_files', '{"path": "x.csv"}');
SET ROLE sd_member;
SELECT etl.define_stream('sd.mine', 'sd_files', '{"path": "y.csv"}');
SET ROLE sd_other;
SELECT etl.define_stream('sd.mine', 'sd_files', '{"path": "z.csv"}');
SELECT etl.drop_stream('sd.mine');
SELECT etl.discard('sd.mine');
RESET ROLE;
SELECT target, owner, version FROM etl.streams WHERE target = 'sd.mine';
-- drop
SELECT etl.drop_stream('sd.mine'), etl.drop_stream('sd.mine');
SELECT etl.drop_source('sd_files');
SELECT etl.drop_source('sd_files', cascade => true);
SELECT count(*) FROM etl.streams WHERE source = 'sd_files';
DROP ROLE sd_member;
DROP ROLE sd_other;
DROP ROLE sd_owner;
