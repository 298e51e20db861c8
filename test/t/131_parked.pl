# Only a crash counts as a crash: a run whose process is told to end is never parked; a chore that crashes the server is, after three times.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../perl";

use Etl::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $cluster = Etl::Cluster->new('parked', conf => "etl.max_workers = 2\n");
my $node = $cluster->node;

$cluster->define_models;
$cluster->sql(q(
	SELECT etl.define_channel('bell', 'notify', '{"channel": "bell"}');
	SELECT etl.define_alert('ops', '{worker}', '{bell}')));

# at_work waits until the slow model is at work for the n-th time and returns the process that leads its run.
sub at_work
{
	my ($run, $attempt) = @_;

	ok(defined $cluster->poll("SELECT count(*) FROM etl.tasks WHERE run_id = $run AND status = 'running' AND attempt = $attempt",
		1, 60), "attempt $attempt is at work");
	return $cluster->sql("SELECT pid FROM etl.status() WHERE detail LIKE 'leads run $run%'");
}

# ---- told to end: however often, it goes on ----

my $run = $cluster->submit('m.slow');
for my $n (1 .. 4)
{
	$cluster->kill_process('TERM', at_work($run, $n));
}
is($cluster->sql("SELECT crashes FROM etl.run WHERE run_id = $run"), '0', 'four times SIGTERM is no crash') if at_work($run, 5);
for my $n (5 .. 7)
{
	at_work($run, $n);
	$node->restart('fast');
	$cluster->wait_up(30);
}
at_work($run, 8);
is($cluster->sql("SELECT crashes FROM etl.run WHERE run_id = $run"), '0', 'neither are three shutdowns');
my ($well, undef, $error) = $cluster->try_sql('ALTER DATABASE postgres RENAME TO renamed', 'template1');
ok($well, 'the database is renamed') or diag($error);
ok(defined $cluster->poll("SELECT count(*) FROM etl.tasks WHERE run_id = $run AND status = 'running' AND attempt = 9", 1, 60, 'renamed'),
	'the run goes on there');
($well, undef, $error) = $cluster->try_sql('ALTER DATABASE renamed RENAME TO postgres', 'template1');
ok($well, 'and back') or diag($error);
$cluster->wait_up(30);
my $pid = at_work($run, 10);
is($cluster->sql("SELECT crashes FROM etl.run WHERE run_id = $run"), '0', 'nor is that');
is($cluster->sql('SELECT count(*) FROM etl.alerts'), '0', 'and nobody is told');

# ---- a crash is one, and is told ----

$cluster->kill_process('KILL', $pid);
$cluster->wait_up(30);
$pid = at_work($run, 11);
is($cluster->sql("SELECT crashes FROM etl.run WHERE run_id = $run"), '1', 'SIGKILL is a crash');
is($cluster->sql("SELECT event || ' ' || state FROM etl.alerts"), 'worker resolved', 'which is told, and over');
$cluster->sql('UPDATE m.pause SET seconds = 0');
$cluster->kill_process('TERM', $pid);
is($cluster->wait_run($run), 'succeeded', 'the run ends well');
$cluster->sql('UPDATE m.pause SET seconds = 60');

# ---- a chore that crashes the server ----

$cluster->sql(q(
	CREATE TABLE m.poison AS SELECT true AS deadly;
	CREATE FUNCTION m.poisoned() RETURNS boolean LANGUAGE plpgsql AS
	$$BEGIN
		IF (SELECT deadly FROM m.poison) THEN
			COPY (SELECT 1) TO PROGRAM 'kill -9 $PPID';
		END IF;
		RETURN true;
	END$$;
	SELECT etl.define_schedule('trap', 'm.quick', on_event => '{"sql": "SELECT m.poisoned()", "every": "1 s"}')));
ok(defined $cluster->poll(q(SELECT detail LIKE 'conditions: the server crashed 3 times%' FROM etl.status() WHERE process = 'chore'), 't', 120),
	'a chore that crashes the server three times in a row is parked');
is($cluster->sql(q(SELECT state || ' ' || pg_postmaster_start_time()::text FROM etl.status() WHERE process = 'chore')) =~ /^parked/, 1, 'as etl.status() says');
is($cluster->sql(q(SELECT object || ', ' || state || ', ' || occurrences || ', ' || what FROM etl.alerts WHERE event = 'worker' AND object = 'conditions' AND what LIKE '%died%')),
	'conditions, resolved, 2, the process that did conditions died; it is begun again', 'each crash was told');
is($cluster->sql(q(SELECT object || ', ' || state || ', ' || remedy FROM etl.alerts WHERE event = 'worker' AND state = 'firing')),
	q(conditions, firing, SELECT etl.resume('chore:conditions');), 'an alert names it, and what to do');
like($cluster->sql(q(SELECT string_agg(message, ' ') FROM etl.logs WHERE level = 'error')), qr/conditions is parked/, 'and so does the log');
is($cluster->run('m.quick'), 'succeeded', 'the server stands, and runs are done');
my $since = $cluster->sql('SELECT min(backend_start) FROM pg_stat_activity WHERE backend_type = \'checkpointer\'');
(my $resumed) = $cluster->try_sql(q(SELECT etl.resume('chore:nonsense')));
ok(!$resumed, 'only a chore can be resumed');
$cluster->sql('CALL etl.tick()');
is($cluster->sql('SELECT min(backend_start) FROM pg_stat_activity WHERE backend_type = \'checkpointer\''), $since,
	'a tick does not do it either');
$cluster->sql('UPDATE m.poison SET deadly = false');
$cluster->sql(q(SELECT etl.resume('chore:conditions')));
ok(defined $cluster->poll(q(SELECT count(*) > 0 FROM etl.runs WHERE trigger_name = 'trap' AND status = 'succeeded'), 't', 60),
	'resumed, it works');
is($cluster->sql(q(SELECT count(*) FROM etl.status() WHERE process = 'chore')), '0', 'and is parked no more');
is($cluster->sql(q(SELECT DISTINCT state FROM etl.alerts WHERE object = 'conditions')), 'resolved', 'the alert is over');

# ---- a chore at work while something else crashes the server is innocent ----

$cluster->sql(q(SELECT etl.drop_schedule('trap')));
$cluster->sql(q(
	CREATE FUNCTION m.dozes() RETURNS boolean LANGUAGE plpgsql AS $$BEGIN PERFORM pg_sleep(60); RETURN false; END$$;
	SELECT etl.define_schedule('dozing', 'm.quick', on_event => '{"sql": "SELECT m.dozes()", "every": "1 s", "timeout": "70 s"}')));
$run = $cluster->submit('m.slow');
for my $n (1 .. 3)
{
	$cluster->poll("SELECT count(*) FROM etl.run WHERE run_id = $run AND status = 'running' AND crashes = $n - 1", 1, 60);
	$cluster->poll("SELECT count(*) FROM etl.tasks WHERE run_id = $run AND status = 'running'", 1, 60);
	$pid = $cluster->sql("SELECT pid FROM etl.status() WHERE detail LIKE 'leads run $run%'");
	$cluster->poll("SELECT count(*) FROM etl.status() WHERE detail = 'does conditions' AND state = 'busy'", 1, 60);
	$cluster->kill_process('KILL', $pid);
	$cluster->wait_up(30);
}
is($cluster->wait_run($run), 'failed', 'a run that crashes three times is parked');
ok(defined $cluster->poll("SELECT count(*) FROM etl.status() WHERE detail = 'does conditions' AND state = 'busy'", 1, 60),
	'but not a chore that was at work meanwhile');

done_testing();
