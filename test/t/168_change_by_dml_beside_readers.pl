# A table that cannot be swapped (foreign keys, triggers, publications, partitions, versions, kept columns, the transaction of the caller) gets its columns when the new rows have been computed: readers are not held up while the query runs, and a column of another type keeps what it was granted.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('change_by_dml');
$node->init;
$node->append_conf('postgresql.conf', "fsync = off\nwal_level = logical\nclient_min_messages = error\netl.publish_lock_timeout = '120s'\n");
$node->start;

# What builds waits at the gate until the test opens it; readers pass.
$node->safe_psql('postgres', q{
	CREATE EXTENSION etl; CREATE SCHEMA m; CREATE ROLE reader;
	CREATE FUNCTION m.gate(n int, v int) RETURNS int LANGUAGE plpgsql IMMUTABLE PARALLEL UNSAFE AS
		$$BEGIN IF current_setting('application_name') = 'builder' THEN PERFORM pg_advisory_xact_lock(n); END IF; RETURN v; END$$;
	CREATE FUNCTION m.note() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
	CREATE DOMAIN m.small AS int CHECK (VALUE < 100000);
	CREATE TABLE m.input AS SELECT i AS id, i % 10 AS k, i AS v FROM generate_series(1, 1000) AS i;
});

# ask returns what a query answers; a request that waits is an error.
sub ask
{
	my ($sql) = @_;

	return $node->safe_psql('postgres', "SET lock_timeout = '900ms'; $sql");
}

# is_at waits until the run is at the gate.
sub is_at
{
	return $node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted});
}

# The cases: kind and arguments of the model, its query before and after, what stands in the way of a swap, what it is then.
my $before = 'SELECT id, k, v, 1 AS gone FROM m.input';
my $after = 'SELECT m.gate(1, id) AS id, k, v::text AS v, v + 1 AS w FROM m.input';
my $result = '1000|500500|501500|text';
my $check = q{SELECT count(*), sum(v::int), sum(w), min(pg_typeof(v)::text) FROM m.t};
my %case = (
	'a trigger' => { hinder => 'CREATE TRIGGER users AFTER UPDATE ON m.t FOR EACH ROW EXECUTE FUNCTION m.note()' },
	'a foreign key' => { options => '"constraints": ["PRIMARY KEY (id)"], ', hinder => 'CREATE TABLE m.child (id int REFERENCES m.t); INSERT INTO m.child VALUES (7)' },
	'a publication' => { options => '"constraints": ["PRIMARY KEY (id)"], ', hinder => 'CREATE PUBLICATION p FOR TABLE m.t' },
	'a column that is part of the key' => { hinder => 'CREATE TRIGGER users AFTER UPDATE ON m.t FOR EACH ROW EXECUTE FUNCTION m.note()',
		key => '{id,v}' },
	'no key' => { key => '', hinder => 'CREATE TRIGGER users AFTER UPDATE ON m.t FOR EACH ROW EXECUTE FUNCTION m.note()' },
	'a type that PostgreSQL rewrites the table for' => { hinder => 'CREATE TRIGGER users AFTER UPDATE ON m.t FOR EACH ROW EXECUTE FUNCTION m.note()',
		after => 'SELECT m.gate(1, id) AS id, k, v::m.small AS v, v + 1 AS w FROM m.input', result => '1000|500500|501500|m.small', gate => 0 },
	'partitions' => { options => '"partition_by": {"list": "k"}, ', key => '{id,k}' },
	'kept columns' => { options => '"on_schema_change": "append", ', before => 'SELECT id, k, v, 1 AS gone FROM m.input',
		after => 'SELECT m.gate(1, id) AS id, k, v, v + 1 AS w FROM m.input', result => '1000|500500|501500|integer' },
	'a transaction of the caller' => { run => q{BEGIN; CALL etl.run('m.t'); COMMIT} },
	'publishing together' => { run => q{CALL etl.run('m.*', publish => 'together')} },
	'versions' => { kind => 'snapshot', before => 'SELECT id, k, v FROM m.input', after => 'SELECT m.gate(1, id) AS id, k, v::bigint AS v, v + 1 AS w FROM m.input',
		result => '1000|500500|501500|bigint', check => "$check WHERE is_current" },
	'an increment' => { kind => 'incremental', before => 'SELECT id, k, m.gate(1, v) AS v FROM m.input', options => '"backfill": false, ', watch => 1,
		after => 'SELECT id, k, m.gate(1, v) AS v, v + 1 AS w FROM m.input', result => '1001|502501|2002|integer' },
	'only another index' => { hinder => 'CREATE TRIGGER users AFTER UPDATE ON m.t FOR EACH ROW EXECUTE FUNCTION m.note()', more => '"unique": [["v"]], ',
		after => 'SELECT m.gate(1, id) AS id, k, v, 1 AS gone FROM m.input', check => 'SELECT count(*), sum(v), sum(gone), min(pg_typeof(v)::text) FROM m.t',
		result => '1000|500500|1000|integer' },
);

for my $name (sort keys %case)
{
	my $case = $case{$name};
	my $key = $case->{key} // '{id}';
	my $options = ($case->{options} // '') . '"retry": {"attempts": 1}';
	my $define = sub {
		my ($query, $more) = @_;
		$key = "key => '$key'," if $key =~ /^\{/;
		return qq{SELECT etl.define_model('m.t', '$query', '} . ($case->{kind} // 'table') . qq{', $key options => '{$more$options}');};
	};
	my $look = q{SELECT array_agg(attname || ' ' || atttypid::regtype ORDER BY attname) FROM pg_attribute WHERE attrelid = 'm.t'::regclass AND attnum > 0 AND NOT attisdropped;
		SELECT count(*), sum(id), sum(v::bigint) FROM m.t; SELECT count(*) FROM m.above};
	my $words = q{SELECT col_description(attrelid, attnum), (SELECT string_agg(grantee::regrole || ' ' || privilege_type, ', ' ORDER BY privilege_type) FROM aclexplode(attacl)) FROM pg_attribute
		WHERE attrelid = 'm.t'::regclass AND attname = 'v'};

	$node->safe_psql('postgres', ($case->{watch} ? q{SELECT etl.watch('m.input');} : '') . $define->($case->{before} // $before, $case->{more} // '') .
		qq{SELECT etl.define_model('m.above', 'SELECT id, v FROM m.t'); CALL etl.run();} . ($case->{hinder} // '') .
		q{; GRANT SELECT (v), UPDATE (v) ON m.t TO reader; COMMENT ON COLUMN m.t.v IS 'its value'});
	my $oid = ask(q{SELECT 'm.t'::regclass::oid});
	my $was = ask($look);
	my $said = ask($words);
	like($said, qr/^its value\|reader SELECT, reader UPDATE$/, "$name: users have a say");
	ask('INSERT INTO m.input VALUES (1001, 1, 2001)') if $case->{watch};

	# what fails its check leaves everything
	ask($define->($case->{after} // $after, ''));
	ask(q{SELECT etl.define_check('m.t', 'row_count', options => '{"max": 5}')});
	$node->psql('postgres', q{CALL etl.run('m.t')});
	is(ask(q{SELECT sqlstate FROM etl.tasks WHERE node = 'm.t' ORDER BY task_id DESC LIMIT 1}), 'ET011', 'a check fails');
	is(ask($look) . ask($words), $was . $said, 'the table is as it was');
	ask(q{SELECT etl.drop_check('m.t', 'row_count')});

	my $gate = $node->background_psql('postgres');
	my $run = $node->background_psql('postgres', on_error_stop => 0);
	$gate->query_safe('SELECT pg_advisory_lock(1)');
	$run->query_until(qr/begun/, "\\echo begun\nSET application_name = 'builder'; " . ($case->{run} // q{CALL etl.run('m.t')}) . ";\n");
	ok(is_at(), 'the query runs');
	is(ask($look), $was, 'readers go on, with the columns of before');
	is(ask(qq{SELECT count(*) FROM pg_locks WHERE relation = $oid AND mode = 'AccessExclusiveLock'}), 0, 'nobody asks for the lock');
	$gate->query_safe('SELECT pg_advisory_unlock(1)');
	$run->query('SELECT 1');
	$_->quit for $gate, $run;
	is(ask($case->{check} // $check), $case->{result} // $result, 'the new rows are there');
	is(ask(q{SELECT count(*) FROM m.above}), ask(q{SELECT count(*) FROM m.t}), 'and the view above them');
	is(ask($words), $said, 'a column keeps what it was granted, and what is said of it');
	is(ask(q{SELECT 'm.t'::regclass::oid}), $oid, 'it is the same table');
	$node->safe_psql('postgres', q{DROP TABLE IF EXISTS m.child; DROP PUBLICATION IF EXISTS p; SELECT etl.drop_model('m.above', drop_relation => true);
		SELECT etl.drop_model('m.t', drop_relation => true); DELETE FROM m.input WHERE id > 1000});
}

$node->stop;
done_testing();
