# A model that becomes another kind of relation is made beside the old one: until everything is built and checked readers go on with what they had, then they wait a moment and no error meets them; what failed leaves the old relation, whole.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('another_kind');
$node->init;
$node->append_conf('postgresql.conf', "fsync = off\nclient_min_messages = error\netl.publish_lock_timeout = '120s'\n");
$node->start;

# ask returns what a query answers; a request that waits is an error.
sub ask
{
	my ($sql) = @_;

	return $node->safe_psql('postgres', "SET lock_timeout = '900ms'; $sql");
}

# What builds waits at a gate until the test opens it; readers pass.
$node->safe_psql('postgres', q{
	CREATE EXTENSION etl; CREATE SCHEMA m; CREATE ROLE reader;
	GRANT USAGE ON SCHEMA m TO reader;
	CREATE FUNCTION m.gate(n int, v anyelement) RETURNS anyelement LANGUAGE plpgsql IMMUTABLE PARALLEL UNSAFE AS
		$$BEGIN IF v IS NOT NULL AND current_setting('application_name') = 'builder' THEN PERFORM pg_advisory_xact_lock(n); END IF; RETURN v; END$$;
	CREATE TABLE m.input AS SELECT i AS id, i % 10 AS k FROM generate_series(1, 1000) AS i;
	CREATE TABLE m.halt (); CREATE TABLE m.waits (ms float);
	CREATE PROCEDURE m.read() LANGUAGE plpgsql AS $$
	DECLARE before timestamptz; n int; worst float := 0;
	BEGIN
		WHILE NOT EXISTS (SELECT FROM m.halt) LOOP
			before := clock_timestamp();
			SELECT count(*) INTO n FROM m."t ""x";
			worst := greatest(worst, extract(epoch FROM clock_timestamp() - before) * 1000);
			IF n <> 1000 THEN RAISE EXCEPTION '% rows', n; END IF;
			COMMIT;
			PERFORM pg_sleep(0.001);
		END LOOP;
		INSERT INTO m.waits VALUES (worst);
	END $$;
	SELECT etl.define_check('m."t ""x"', 'expression', options => '{"expression": "m.gate(2, id) > 0"}', name => 'gated');
});

# How each kind is made, and what it is then.
my %kind = (
	view => [ 'view', '', '{%s}', 'v' ],
	table => [ 'table', "key => '{id}',", '{"indexes": ["m.gate(3, k)"]%s}', 'r' ],
	incremental => [ 'incremental', "key => '{id}',", '{"indexes": ["m.gate(3, k)"]%s}', 'r' ],
	materialized_view => [ 'materialized_view', "key => '{id}',", '{"indexes": ["m.gate(3, k)"]%s}', 'm' ],
	partitioned => [ 'table', "key => '{id,k}',", '{"indexes": ["m.gate(3, k)"], "partition_by": {"list": "k"}%s}', 'p' ],
);
my $times = 0;

# define defines the model as another kind of relation.
sub define
{
	my ($what) = @_;
	my ($kind, $key, $options) = @{ $kind{$what} };

	$times++;
	$options = sprintf($options, ($options eq '{%s}' ? '' : ', ') . '"retry": {"attempts": 1}');
	ask(qq{SELECT etl.define_model('m."t ""x"', 'SELECT m.gate(1, id) AS id, k, $times AS v FROM m.input', '$kind', $key options => '$options')});
}

# what_is tells everything about the relation that is served.
sub what_is
{
	return ask(q{SELECT c.oid, relkind, relowner::regrole, relacl, obj_description(c.oid, 'pg_class'), col_description(c.oid, 1),
			pg_get_viewdef(c.oid), (SELECT string_agg(pg_get_indexdef(indexrelid), '; ' ORDER BY pg_get_indexdef(indexrelid)) FROM pg_index WHERE indrelid = c.oid)
		FROM pg_class c WHERE c.oid = 'm."t ""x"'::regclass;
		SELECT count(*), sum(v) FROM m."t ""x"});
}

# words tells what users have said and granted.
sub words
{
	return ask(q{SELECT obj_description(oid, 'pg_class'), col_description(oid, 1), has_table_privilege('reader', oid, 'SELECT'),
		has_table_privilege('reader', oid, 'DELETE'), has_column_privilege('reader', oid, 'k', 'REFERENCES')
		FROM pg_class WHERE oid = 'm."t ""x"'::regclass});
}

# is_at waits until the run is at a gate.
sub is_at
{
	my ($n) = @_;

	return $node->poll_query_until('postgres',
		"SELECT count(*) = 1 FROM pg_locks WHERE locktype = 'advisory' AND objid = $n AND NOT granted");
}

# begin starts something in a session of its own.
sub begin
{
	my ($sql) = @_;
	my $session = $node->background_psql('postgres', on_error_stop => 0);

	$session->query_until(qr/begun/, "\\echo begun\n$sql;\n");
	return $session;
}

# begin_run starts a run behind closed gates, and returns both sessions.
sub begin_run
{
	my $gates = $node->background_psql('postgres');

	$gates->query_safe('SELECT pg_advisory_lock(n) FROM generate_series(1, 3) AS n');
	return ($gates, begin(q{SET application_name = 'builder'; CALL etl.run('m."t ""x"')}));
}

# last_task tells how the newest task ended.
sub last_task
{
	return ask(q{SELECT concat_ws(' ', status, sqlstate) FROM etl.tasks WHERE node = 'm."t ""x"' ORDER BY task_id DESC LIMIT 1});
}

define('view');
$node->safe_psql('postgres', q{CALL etl.run();
	GRANT SELECT, DELETE ON m."t ""x" TO reader; GRANT REFERENCES (k) ON m."t ""x" TO reader;
	COMMENT ON VIEW m."t ""x" IS 'of users'; COMMENT ON COLUMN m."t ""x".id IS 'its id'});
my $words = words();
is($words, 'of users|its id|t|t|t', 'users have a say');

# Every way from one kind of relation to another.
my @way = qw(view table materialized_view view materialized_view incremental partitioned materialized_view partitioned table view partitioned view);
for my $i (1 .. $#way)
{
	my ($from, $to) = @way[ $i - 1, $i ];
	my $before = what_is();

	# what fails its check, after everything is built, changes nothing
	define($to);
	ask(q{SELECT etl.define_check('m."t ""x"', 'row_count', options => '{"max": 5}')});
	$node->psql('postgres', q{CALL etl.run('m."t ""x"')});
	is(last_task(), 'failed ET011', "$from -> $to: a check fails");
	is(what_is(), $before, 'the old relation is served, as it was');
	ask(q{SELECT etl.drop_check('m."t ""x"', 'row_count')});

	my @readers = map { begin(q{SET lock_timeout = '900ms'; CALL m.read()}) } 1 .. 2;
	my ($gates, $run) = begin_run();
	for my $n ($kind{$to}[3] eq 'v' ? (1 .. 2) : (1 .. 3))
	{
		ok(is_at($n), "the run is at gate $n");
		is(what_is(), $before, 'readers go on with the old relation');
		is(ask(q{SELECT count(*) FROM pg_locks WHERE relation = 'm."t ""x"'::regclass AND mode = 'AccessExclusiveLock'}), 0,
			'nobody asks for the lock');
		$gates->query_safe("SELECT pg_advisory_unlock($n)");
	}
	$run->query('SELECT 1');
	is(last_task(), 'succeeded', 'it is published');
	ask('INSERT INTO m.halt DEFAULT VALUES');
	$_->query('SELECT 1') for @readers;
	cmp_ok(ask('SELECT count(*) FROM m.waits'), '==', 2, 'no reader met an error');
	my $worst = ask('SELECT round(max(ms)::numeric, 1) FROM m.waits');
	note("longest read: $worst ms");
	cmp_ok($worst, '<', 900, 'or waited long');
	ask('TRUNCATE m.halt, m.waits');
	$_->quit for $gates, $run, @readers;
	is(ask(q{SELECT relkind, (SELECT sum(v) FROM m."t ""x") FROM pg_class WHERE oid = 'm."t ""x"'::regclass}), "$kind{$to}[3]|" . 1000 * $times,
		"it is of the new kind, with its rows");
	is(words(), $words, 'and what users granted and said');
	is(ask(q{SELECT count(*) FROM pg_class WHERE relname LIKE 'etl\_%' AND relnamespace = 'm'::regnamespace}), 0, 'nothing is left over');
}

# The names of indexes, constraints and partitions are those of a relation that was always there: the next run finds them.
define('partitioned');
$node->safe_psql('postgres', q{CALL etl.run('m."t ""x"')});
my $names = q{SELECT string_agg(relname, ' ' ORDER BY relname) FROM pg_class WHERE relnamespace = 'm'::regnamespace AND (relname LIKE 't "x%')};
my $had = ask($names);
like($had, qr/^t "x t "x_default_[0-9a-f]{8} .* t "x_etl_u[0-9a-f]{8}/, 'what belongs to it is called after it');
$node->safe_psql('postgres', q{CALL etl.run('m."t ""x"', full_refresh => true)});
is(ask($names), $had, 'and stays');

# Indexes of users come along, and are built before readers have to wait.
define('table');
$node->safe_psql('postgres', q{CALL etl.run('m."t ""x"'); CREATE INDEX mine ON m."t ""x" (m.gate(4, v) DESC) INCLUDE (id); CREATE INDEX part ON m."t ""x" (k) WHERE v > 0});
define('materialized_view');
my $gate = $node->background_psql('postgres');
$gate->query_safe('SELECT pg_advisory_lock(4)');
my $run = begin(q{SET application_name = 'builder'; CALL etl.run('m."t ""x"')});
ok(is_at(4), 'the index of a user is being built');
is(ask(q{SELECT relkind FROM pg_class WHERE oid = 'm."t ""x"'::regclass}), 'r', 'beside');
# one that is made meanwhile comes along, too
ask(q{CREATE INDEX late ON m."t ""x" (id, k)});
$gate->query_safe('SELECT pg_advisory_unlock(4)');
$run->query('SELECT 1');
is(ask(q{SELECT string_agg(indexrelid::regclass || ' ' || pg_get_indexdef(indexrelid, 1, true), ', ' ORDER BY indexrelid::regclass::text) FROM pg_index
	WHERE indrelid = 'm."t ""x"'::regclass AND indexrelid::regclass::text !~ '_etl_' AND indisvalid}),
	'm.late id, m.mine m.gate(4, v), m.part k', 'they have their names');
$_->quit for $gate, $run;

# A cancel, the death of the server, and a reader who stays.
my $before = what_is();
define('view');
my ($gates, $cancelled) = begin_run();
$gates->query_safe('SELECT pg_advisory_unlock(1)');
ok(is_at(2), 'a run checks a view');
$node->safe_psql('postgres', q{SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE application_name = 'builder'});
$cancelled->query('SELECT 1');
is(what_is(), $before, 'cancelled, it has changed nothing');
$_->quit for $gates, $cancelled;
define('table');
($gates, $run) = begin_run();
$gates->query_safe('SELECT pg_advisory_unlock(n) FROM generate_series(1, 2) AS n');
ok(is_at(3), 'another one builds an index');
$node->stop('immediate');
eval { $_->quit } for $gates, $run;
$node->start;
is(what_is(), $before, 'the death of the server changes nothing either');
my $reader = $node->background_psql('postgres');
$reader->query_safe('BEGIN; SELECT count(*) FROM m."t ""x"');
$run = begin(q{SET application_name = 'builder'; CALL etl.run('m."t ""x"')});
ok($node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE application_name = 'builder' AND state = 'active' AND wait_event = 'Extension'}),
	'a run waits for a reader who stays');
is(what_is(), $before, 'others who come read on');
$reader->query_safe('COMMIT');
$run->query('SELECT 1');
is(last_task(), 'succeeded', 'and it is published when he has gone');
$_->quit for $reader, $run;

$node->stop;
done_testing();
