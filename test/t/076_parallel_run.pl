# Several processes at work on one run do each node once, the longest way first, and end together when one of them is lost.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../perl";

use Etl::Cluster;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my $cluster = Etl::Cluster->new('parallel', conf => "etl.max_workers = 3\n");
my $node = $cluster->node;

$cluster->sql(q{
	CREATE SCHEMA p;
	CREATE TABLE p.calls (name text, pid int DEFAULT pg_backend_pid(), began timestamptz DEFAULT clock_timestamp());
	CREATE FUNCTION p.slow(seconds float) RETURNS float LANGUAGE plpgsql AS
	$$BEGIN PERFORM pg_sleep(seconds); RETURN seconds; END$$;
	CREATE FUNCTION p.gate() RETURNS int LANGUAGE plpgsql AS
	$$BEGIN PERFORM pg_advisory_xact_lock_shared(42); RETURN 1; END$$;
});

# define makes a table model that sleeps; below names what it reads.
sub define
{
	my ($name, $seconds, $below, $options) = @_;
	my $from = $below ? " FROM $below" : '';

	$cluster->sql("SELECT etl.define_model('$name', 'SELECT p.slow($seconds) AS s$from', 'table', options => '"
		  . ($options // '{}') . "')");
	return;
}

# last_run returns a column of the newest run.
sub last_run
{
	my ($what) = @_;
	return $cluster->sql("SELECT $what FROM etl.runs ORDER BY run_id DESC LIMIT 1");
}

# overlap tells how many tasks of the newest run were at work at once, at most.
sub overlap
{
	my ($like) = @_;
	return $cluster->sql("SELECT max(n) FROM (SELECT count(*) AS n FROM etl.tasks a JOIN etl.tasks b USING (run_id)
		WHERE run_id = (SELECT max(run_id) FROM etl.runs) AND a.node LIKE '$like' AND b.node LIKE '$like'
			AND b.started_at <= a.started_at AND b.finished_at > a.started_at GROUP BY a.task_id) AS x");
}

# open_gate, close_gate hold or let go everybody who calls p.gate().
my $gate;
sub close_gate
{
	$gate = $node->background_psql('postgres');
	$gate->query_safe('SELECT pg_advisory_lock(42)');
	return;
}

sub open_gate
{
	$gate->quit;
	return;
}

# ---- the longest way first, from history ----

define("p.t$_", $_ == 5 ? 4 : 1) for 1 .. 5;
$cluster->sql("CALL etl.run('p.t*', workers => 2)");
$cluster->sql("CALL etl.run('p.t*', workers => 2, full_refresh => true)");
cmp_ok(last_run('extract(epoch FROM finished_at - started_at)'), '<=', 4.6,
	'tasks of 1, 1, 1, 1 and 4 s end on two workers in 4.6 s');
is(last_run('status || nodes_succeeded || rows_written'), 'succeeded55', '... and the run says what it did');
is(overlap('p.t%'), 2, '... two at a time');

my ($out, $err);
$node->psql('postgres', "CALL etl.run('p.t1 p.t2', workers => 2, full_refresh => true)", stderr => \$err);
is(scalar(() = $err =~ /^.*NOTICE:  p\.t\d: 1 row in/mg), 2, 'the session tells of every task, its own and those of helpers');

# ---- pools ----

define("p.q$_", 0.3, undef, '{"pool": "narrow"}') for 1 .. 4;
$cluster->sql("CALL etl.run('p.q*', workers => 3)");
is(overlap('p.q%'), 1, 'a pool that nobody has defined has one place');
$cluster->sql("SELECT etl.define_pool('narrow', 2)");
my @runs = map { $cluster->submit('p.q*') } 1;
$cluster->sql("CALL etl.run('p.q1 p.q2 p.q3 p.q4', workers => 3, full_refresh => true)");
cmp_ok(overlap('p.q%'), '<=', 2, 'a pool bounds its nodes over all runs');
is($cluster->wait_run($_), 'succeeded', '... none of which is stuck') for @runs;

# ---- a graph: parents first, failures stop what is below, groups publish together ----

$cluster->sql(q{
	SELECT etl.define_model('p.root', 'SELECT 1 AS x', 'table');
	SELECT etl.define_model('p.left' || i, format('SELECT x + p.slow(0.05)::int AS x FROM p.%s', CASE WHEN i = 1 THEN 'root' ELSE 'left' || i - 1 END), 'table')
		FROM generate_series(1, 10) AS i;
	SELECT etl.define_model('p.right' || i, format('SELECT x + p.slow(0.05)::int AS x FROM p.%s', CASE WHEN i = 1 THEN 'root' ELSE 'right' || i - 1 END), 'table')
		FROM generate_series(1, 10) AS i;
	SELECT etl.define_model('p.both', 'SELECT l.x + r.x AS x FROM p.left10 l, p.right10 r', 'table');
	SELECT etl.define_model('p.broken', 'SELECT 1 / (x - 1) AS x FROM p.root', 'table');
	SELECT etl.define_model('p.below' || i, format('SELECT x FROM p.%s', CASE WHEN i = 1 THEN 'broken' ELSE 'below' || i - 1 END), 'table')
		FROM generate_series(1, 3) AS i;
});
my $run = $cluster->submit('p.root+');
is($cluster->wait_run($run), 'failed', 'a run with a failed node fails');
is($cluster->sql("SELECT nodes_succeeded || ' ' || nodes_failed || ' ' || nodes_skipped || ' ' || error FROM etl.runs WHERE run_id = $run"),
	'22 1 3 failed: p.broken', '... and counts what became of each');
is($cluster->sql("SELECT count(*) FROM etl.tasks c JOIN etl.dependencies d USING (node) JOIN etl.tasks p ON p.node = d.depends_on AND p.run_id = c.run_id
	WHERE c.run_id = $run AND c.status = 'succeeded' AND c.started_at < p.finished_at"), 0, 'nothing begins before what it reads is done');
is($cluster->sql("SELECT count(DISTINCT node) FROM etl.tasks WHERE run_id = $run") . ' '
	  . $cluster->sql("SELECT count(*) FROM etl.tasks WHERE run_id = $run"), '26 26', 'each node is worked on once');
$cluster->sql("SELECT etl.retry($run)");
is($cluster->wait_run($run + 1), 'failed', 'its retry');
is(last_run('nodes_total'), 4, '... has exactly what did not succeed');

# models that are analyzed only when their inputs have been made change the graph for everybody
$cluster->sql(q{
	SELECT etl.define_model('p.u' || i, format('SELECT * FROM p.w%s', i), 'table') FROM generate_series(1, 8) AS i;
	SELECT etl.define_model('p.w' || i, format('SELECT x, p.slow(0.02) AS s FROM p.v%s', i)) FROM generate_series(1, 8) AS i;
	SELECT etl.define_model('p.v' || i, 'SELECT 1 AS x, p.slow(0.02) AS s', 'table') FROM generate_series(1, 8) AS i;
});
$run = $cluster->submit('p.u* p.v* p.w*');
is($cluster->wait_run($run), 'succeeded', 'unresolved models in a parallel run');
is($cluster->sql("SELECT count(*) FROM etl.tasks WHERE run_id = $run AND status = 'succeeded'"), 24, '... are all built');

# two runs over the same nodes at once
@runs = map { $cluster->sql("SELECT etl.submit('p.left* p.right* p.both', full_refresh => true)") } 1 .. 2;
is($cluster->wait_run($_), 'succeeded', 'two runs over the same nodes') for @runs;

# ---- somebody is lost ----

$cluster->sql("SELECT etl.define_model('p.g' || i, 'SELECT p.gate() AS x', 'table', options => '{\"retry\": {\"base\": \"1 ms\"}}') FROM generate_series(1, 3) AS i");

# at_work waits until so many tasks of a run are at work.
sub at_work
{
	my ($id, $n) = @_;
	return $cluster->poll("SELECT count(*) FROM etl.tasks WHERE run_id = $id AND status = 'running'", $n);
}

# pids lists the processes that work on a run: those that wait at the gate.
sub pids
{
	return split /\n/, $cluster->sql("SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND objid = 42 AND NOT granted ORDER BY pid");
}

close_gate();
$run = $cluster->submit('p.g*');
ok(defined at_work($run, 3), 'three processes are at work');
my $leader = $cluster->sql("SELECT pid FROM etl.status() WHERE detail LIKE 'leads run $run%'");
my ($helper) = grep { $_ != $leader } pids();
$cluster->sql("SELECT pg_terminate_backend($helper)");
ok(defined $cluster->poll("SELECT count(*) FROM pg_stat_activity WHERE pid = $helper", 0, 10), 'a helper is terminated');
open_gate();
is($cluster->wait_run($run), 'succeeded', '... and the run succeeds');
is($cluster->sql("SELECT string_agg(status || coalesce(' ' || sqlstate, ''), ', ' ORDER BY attempt) FROM etl.tasks WHERE run_id = $run
	AND node = (SELECT node FROM etl.tasks WHERE run_id = $run AND attempt = 2)"), 'failed 57P01, succeeded',
	'... by a second attempt at what it was at');

close_gate();
$run = $cluster->sql("SELECT etl.submit('p.g*', full_refresh => true)");
ok(defined at_work($run, 3), 'three processes are at work');
$leader = $cluster->sql("SELECT pid FROM etl.status() WHERE detail LIKE 'leads run $run%'");
$cluster->sql("SELECT pg_terminate_backend($leader)");
ok(defined $cluster->poll("SELECT count(*) FROM etl.tasks WHERE run_id = $run AND status = 'interrupted'", 3), 'the leader is terminated');
open_gate();
is($cluster->wait_run($run), 'succeeded', '... and another one continues the run');
is($cluster->sql("SELECT nodes_succeeded FROM etl.runs WHERE run_id = $run"), 3, '... to its end');
is($cluster->sql("SELECT crashes FROM etl.run WHERE run_id = $run"), 0, '... which counts as no crash');

# ---- cancelled ----

close_gate();
$run = $cluster->sql("SELECT etl.submit('p.g* p.t1', full_refresh => true)");
ok(defined at_work($run, 3), 'three processes are at work');
$cluster->sql("SELECT etl.cancel($run)");
is($cluster->wait_run($run, 10), 'cancelled', 'a cancelled run ends, helpers and all');
is(scalar(pids()), 0, '... and nobody goes on');
is($cluster->sql("SELECT string_agg(DISTINCT status, ',') FROM etl.tasks WHERE run_id = $run"), 'cancelled', '... its tasks say so');

my $session = $node->background_psql('postgres', on_error_stop => 0);
$session->query_until(qr/go/, "\\echo go\nCALL etl.run('p.g*', workers => 3, full_refresh => true);\n");
$run = $cluster->poll("SELECT count(*) FROM etl.tasks t JOIN etl.runs r USING (run_id) WHERE r.status = 'running' AND t.status = 'running'", 3);
ok(defined $run, 'a session and its helpers are at work');
$cluster->sql("SELECT etl.cancel(max(run_id)) FROM etl.runs WHERE status = 'running'");
is($cluster->poll("SELECT status FROM etl.runs ORDER BY run_id DESC LIMIT 1", 'cancelled', 10) ? 1 : 0, 1, '... and cancelled together');
is(scalar(pids()), 0, '... all of them');

# a CALL whose session is terminated takes its helpers with it
$session->query_until(qr/go/, "\\echo go\nCALL etl.run('p.g*', workers => 3, full_refresh => true);\n");
$cluster->poll("SELECT count(*) FROM etl.tasks t JOIN etl.runs r USING (run_id) WHERE r.status = 'running' AND t.status = 'running'", 3);
$cluster->sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'client backend' AND query LIKE 'CALL etl.run%' AND pid <> pg_backend_pid()");
ok(defined $cluster->poll("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 42 AND NOT granted", 0, 10),
	'nobody works on for a session that is gone');
is(last_run('status'), 'interrupted', '... whose run was interrupted');
open_gate();
eval { $session->{run}->finish };

# ---- nothing is left behind ----

ok(defined $cluster->poll("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'", 0, 10), 'no lock is left');
is($cluster->wait_run($cluster->submit('p.t1')), 'succeeded', 'and runs go on');

$node->stop('fast');
unlike(slurp_file($node->logfile), qr/PANIC|TRAP|was terminated by signal/, 'no process has crashed');
done_testing();
