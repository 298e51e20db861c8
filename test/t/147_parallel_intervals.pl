# Intervals of one model are built by several processes at the same time, each once, and what fails is tried again alone.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../perl";

use Etl::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $cluster = Etl::Cluster->new('intervals_together', conf => "etl.max_workers = 3\ntimezone = 'UTC'\n");

# An interval is at work as long as somebody holds advisory lock 42: a gate.
$cluster->sql(q{
	CREATE SCHEMA m;
	CREATE FUNCTION m.gate(at timestamptz) RETURNS boolean LANGUAGE plpgsql STABLE AS
		$$BEGIN PERFORM pg_catalog.pg_advisory_xact_lock_shared(42); RETURN true; END$$;
	SELECT etl.define_source('push', 'push');
	SELECT etl.define_stream('m.ev', 'push', columns => 'id int, at timestamptz, d int');
	SELECT etl.ingest('m.ev', (SELECT jsonb_agg(jsonb_build_object('id', i, 'at', timestamptz '2026-03-01' + i * interval '2 hours', 'd', 1))
		FROM generate_series(0, 143) AS i));
	SELECT etl.define_model('m.rows', 'SELECT id, at, 10 / d AS v FROM m.ev WHERE m.gate(at)', 'incremental', event_time => 'at',
		batch_size => '1 day', options => '{"begin": "2026-03-01", "retry": {"attempts": 1}}');
	SELECT etl.define_model('m.days', $$SELECT date_trunc('day', at) AS day, count(*) AS n FROM m.ev WHERE m.gate(at) GROUP BY 1$$, 'incremental',
		'{day}', event_time => 'day', batch_size => '1 day', options => '{"begin": "2026-03-01"}');
	SELECT etl.define_model('m.keyed', 'SELECT id, at FROM m.ev WHERE m.gate(at)', 'incremental', '{id}', event_time => 'at', batch_size => '1 day',
		options => '{"begin": "2026-03-01"}');
	SELECT etl.define_check('m.days', 'range', '{n}', '{"min": 1}');
});
my $now = "SET etl.test_now = '2026-03-12 12:00Z';";
my $gate;

sub close_gate
{
	$gate = $cluster->node->background_psql('postgres');
	$gate->query_safe('SELECT pg_advisory_lock(42)');
	return;
}

# at_gate counts the processes that are at work on an interval; waits for so many when told.
my $at_gate = q{SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 42 AND classid = 0 AND NOT granted};

# begin runs a model with three processes in a session of its own; end waits for its end and returns what became of it.
sub begin
{
	my ($model) = @_;
	my $session = $cluster->node->background_psql('postgres', on_error_stop => 0);

	$session->query_until(qr/begun/, "\\echo begun\nSET client_min_messages = error; $now CALL etl.run('$model', workers => 3);\n");
	return $session;
}

sub end_of
{
	my ($session, $model) = @_;

	$gate->quit;
	$cluster->poll(q{SELECT count(*) FROM etl.runs WHERE status IN ('queued', 'running')}, '0');
	$session->quit;
	return $cluster->sql("SELECT status || ' ' || rows_inserted || ' ' || rows_updated || ' ' || rows_deleted FROM etl.tasks WHERE node = '$model' ORDER BY task_id DESC LIMIT 1");
}

# ---- without a key ----
close_gate();
my $session = begin('m.rows');
ok(defined $cluster->poll($at_gate, '3'), 'three processes build three intervals');
is($cluster->sql(q{SELECT count(*) FROM etl.intervals WHERE target = 'm.rows' AND status = 'due'}), '12', 'of twelve that are due');
is(end_of($session, 'm.rows'), 'succeeded 144 0 0', 'the run tells the rows of all');
is($cluster->sql('SELECT count(*) FROM (SELECT id, at FROM m.rows EXCEPT ALL SELECT id, at FROM m.ev) x') . ' ' . $cluster->sql('SELECT count(*) FROM m.rows'),
	'0 144', 'the model is what its query says');
is($cluster->sql(q{SELECT count(*) FILTER (WHERE status = 'done' AND rows = 12 AND attempts = 0) FROM etl.intervals WHERE target = 'm.rows'}), '12', 'each was built once');

# ---- a process is lost at work ----
close_gate();
$session = begin('m.days');
ok(defined $cluster->poll($at_gate, '3'), 'three processes build intervals of a model with a key that holds its event time');
my $helper = $cluster->sql(q{SELECT min(pid) FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE objid = 42 AND NOT granted AND backend_type = 'etl task'});
$cluster->sql("SELECT pg_terminate_backend($helper)");
ok(defined $cluster->poll("SELECT count(*) FROM pg_stat_activity WHERE pid = $helper", '0'), 'one of them is terminated');
is(end_of($session, 'm.days'), 'succeeded 12 0 0', 'the others build what it had not');
is($cluster->sql(q{SELECT string_agg(status || ' ' || evaluated, ', ') FROM etl.check_results WHERE target = 'm.days'}), 'pass 1', 'its checks are told');

# ---- where a key may move from interval to interval, one after the other ----
close_gate();
$session = begin('m.keyed');
ok(defined $cluster->poll($at_gate, '1'), 'one interval at a time');
is(end_of($session, 'm.keyed'), 'succeeded 144 0 0', 'of a model whose key does not hold its event time');

# ---- one fails ----
$cluster->sql(q{UPDATE m.ev SET d = 0 WHERE id = 30; UPDATE m.ev SET d = 5 WHERE id = 50; SELECT etl.reset_intervals('m.rows', '2026-03-01', '2026-03-13')});
close_gate();
$session = begin('m.rows');
ok(defined $cluster->poll($at_gate, '3'), 'three processes are at work');
like(end_of($session, 'm.rows'), qr/^failed /, 'the run fails');
is($cluster->sql(q{SELECT string_agg(extract(day FROM since)::text || ' ' || status || ' ' || sqlstate, ', ') FROM etl.intervals WHERE target = 'm.rows' AND status <> 'done'}),
	'3 failed 22012', 'because of one interval');
is($cluster->sql('SELECT v FROM m.rows WHERE id = 50'), '2', 'the others are built');
$cluster->sql('UPDATE m.ev SET d = 1 WHERE id = 30');
is($cluster->sql("$now SELECT reason FROM etl.plan('m.rows')"), '1 interval (failed before): [2026-03-03, 2026-03-04)', 'it is due again, alone');
$cluster->sql("SET client_min_messages = error; $now CALL etl.run('m.rows')");
is($cluster->sql(q{SELECT count(*) FROM etl.intervals WHERE status <> 'done'}), '0', 'and then done');
$cluster->no_leaks('in the end');
$cluster->node->stop;
done_testing();
