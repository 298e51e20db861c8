-- What a build is not seen to read, or reads from an opened body, counts as much as what its query shows.
\set VERBOSITY terse
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS etl;
SET client_min_messages = warning;
CREATE SCHEMA iu;
SELECT '/tmp/etl_incremental_unseen_' || system_identifier AS dir FROM pg_control_system() \gset
\set command 'cat > /dev/null; rm -rf ' :dir ' && mkdir -p ' :dir
COPY (SELECT) TO PROGRAM :'command';
SET etl.allowed_directories = :'dir';
SELECT etl.define_source('iu_files', 'file', jsonb_build_object('root', :'dir'));
SELECT etl.define_stream('iu.orders', 'iu_files', '{"path": "orders*.csv"}', 'csv', columns => 'id int, amount numeric');
SELECT etl.define_stream('iu.rates', 'iu_files', '{"path": "rates*.csv"}', 'csv', columns => 'at int, rate numeric');

-- deliver writes a file of one row
CREATE FUNCTION iu.deliver(stream text, file int, header text, line text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('COPY (SELECT unnest(ARRAY[%L, %L])) TO %L', header, line,
		'/tmp/etl_incremental_unseen_' || (SELECT system_identifier FROM pg_control_system()) || '/' || stream || file || '.csv');
END $$;
CREATE VIEW iu.last AS
	SELECT node, action, reason FROM etl.tasks
	WHERE run_id = etl.last_run_id() AND kind = 'model' ORDER BY node;

-- a function that etl cannot open reads one input, the query the other, or both
CREATE FUNCTION iu.rate() RETURNS numeric STABLE LANGUAGE plpgsql AS
	$$ BEGIN RETURN (SELECT rate FROM iu.rates ORDER BY at DESC LIMIT 1); END $$;
SELECT etl.define_model('iu.priced', 'SELECT id, amount * iu.rate() AS v FROM iu.orders', 'incremental', '{id}', options => '{"depends_on": ["iu.rates"]}');
SELECT etl.define_model('iu.joined', 'SELECT o.id, o.amount * iu.rate() AS v, r.rate FROM iu.orders o JOIN iu.rates r ON r.at = o.id', 'incremental', '{id}', options => '{"depends_on": ["iu.rates"]}');
SELECT iu.deliver('orders', 1, 'id,amount', '1,10'), iu.deliver('rates', 1, 'at,rate', '1,1');
CALL etl.run('iu.*');
SELECT iu.deliver('orders', 2, 'id,amount', '2,10'), iu.deliver('rates', 2, 'at,rate', '2,2');
CALL etl.run('iu.*');
TABLE iu.last;
SELECT * FROM iu.priced ORDER BY id;
SELECT * FROM iu.joined ORDER BY id;
-- orders alone have a place
SELECT iu.deliver('orders', 3, 'id,amount', '3,10');
CALL etl.run('iu.*');
TABLE iu.last;
SELECT * FROM iu.priced ORDER BY id;

-- through a view of etl's, too
SELECT etl.define_model('iu.seen', 'SELECT at, rate, iu.rate() AS now FROM iu.rates', options => '{"depends_on": ["iu.rates"]}');
SELECT etl.define_model('iu.above', 'SELECT * FROM iu.seen', 'incremental', '{at}');
CALL etl.run('iu.seen iu.above');
SELECT iu.deliver('rates', 3, 'at,rate', '3,3');
CALL etl.run('iu.*');
SELECT * FROM iu.last WHERE node = 'iu.above';
SELECT * FROM iu.above ORDER BY at;
-- what changed is recorded in words that mean the same under any search path
CREATE TABLE iu.w (id int PRIMARY KEY, r regclass);
INSERT INTO iu.w VALUES (1, 'iu.orders');
SELECT etl.watch('iu.w');
SELECT etl.define_model('iu.of_w', 'SELECT id, r FROM iu.w', 'incremental', '{id}');
CALL etl.run('iu.of_w');
SET search_path = iu;
INSERT INTO w VALUES (2, 'rates');
RESET search_path;
CALL etl.run('iu.of_w');
TABLE iu.last;
SELECT * FROM iu.of_w ORDER BY id;


SELECT count(etl.drop_model(target, drop_relation => true)) FROM etl.models WHERE target LIKE 'iu.%' AND target <> 'iu.seen';
SELECT etl.drop_model('iu.seen', drop_relation => true);
SELECT etl.unwatch('iu.w');
SET client_min_messages = error;
SELECT etl.drop_stream('iu.orders', drop_relation => true), etl.drop_stream('iu.rates', drop_relation => true), etl.drop_source('iu_files');
DROP SCHEMA iu CASCADE;
\set command 'cat > /dev/null; rm -r ' :dir
COPY (SELECT) TO PROGRAM :'command';
