# A run that is killed or cancelled between or within its nodes is told as such, and the next run goes on exactly.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../perl";

use Etl::Crash qw(wait_until_up);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('run_crash');
$node->init;
$node->append_conf('postgresql.conf', "fsync = off\nrestart_after_crash = on\nlog_min_messages = error\n");
$node->start;
$node->safe_psql('postgres', q(
	CREATE EXTENSION etl;
	CREATE SCHEMA m;
	CREATE TABLE m.seed AS SELECT generate_series(1, 100) AS id;
	CREATE TABLE m.pause (seconds float);
	INSERT INTO m.pause VALUES (30);
));
$node->safe_psql('postgres', q(
	SELECT etl.define_model('m.a_first', 'SELECT id FROM m.seed', 'table');
	SELECT etl.define_model('m.b_slow', 'SELECT id, pg_sleep(seconds)::text AS nap FROM m.a_first, m.pause WHERE id = 1', 'table');
	SELECT etl.define_model('m.c_last', 'SELECT count(*) AS n FROM m.b_slow', 'table');
));

# answer returns one value.
sub answer
{
	my ($sql) = @_;

	return $node->safe_psql('postgres', $sql);
}

# start_run starts a run of everything and waits until its slow node is at work; returns the session and its pid.
sub start_run
{
	my $session = $node->background_psql('postgres', on_error_stop => 0);
	my $pid = $session->query_safe('SELECT pg_backend_pid()');

	$session->query_until(qr/started/, "\\echo started\nCALL etl.run('m.*');\n");
	$node->poll_query_until('postgres',
		"SELECT count(*) = 1 FROM etl.tasks WHERE node = 'm.b_slow' AND status = 'running'")
	  or die 'the slow node never started';
	return ($session, $pid);
}

# Cancelled: the run says so, what was finished stays.
my ($session, $pid) = start_run();
is(answer("SELECT status, nodes_succeeded FROM etl.runs"), 'running|1', 'a run at work shows how far it has come');
is(answer("SELECT pg_cancel_backend($pid)"), 't', 'cancelled');
ok($node->poll_query_until('postgres', "SELECT status = 'cancelled' FROM etl.runs"), 'the run is cancelled');
is(answer("SELECT string_agg(node || ' ' || status, ', ' ORDER BY node) FROM etl.tasks"),
	'm.a_first succeeded, m.b_slow cancelled, m.c_last cancelled', 'and so are its open tasks');
is(answer("SELECT string_agg(coalesce(sqlstate, '-'), ' ' ORDER BY node) FROM etl.tasks"), '- 57014 57014',
	'with the SQLSTATE of a cancel');
is(answer('SELECT count(*) FROM m.a_first'), 100, 'what was finished stays');
is(answer("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"), 0, 'no lock stays');
is($session->query("SELECT count(*) FROM etl.explain_run()"), 2, 'the session goes on, and can ask why');
$session->quit;

# Killed: the whole server restarts; the run shows as interrupted at once, and the next run writes it down.
($session, $pid) = start_run();
kill 'KILL', $pid;
$session->{run}->finish;
wait_until_up($node, $pid);
is(answer('SELECT status FROM etl.runs ORDER BY run_id DESC LIMIT 1'), 'interrupted', 'a dead run shows as interrupted');
is(answer("SELECT string_agg(DISTINCT status, ', ') FROM etl.explain_run()"), 'interrupted', 'and is explained');
my $killed = answer('SELECT max(run_id) FROM etl.runs');
$node->safe_psql('postgres', 'UPDATE m.pause SET seconds = 0');
my ($code, $out, $err) = $node->psql('postgres', "CALL etl.run(retry_of => $killed)");
is($code, 0, 'it can be retried') or diag($err);
is(answer('SELECT n FROM m.c_last'), 1, 'and the work is done');
is(answer("SELECT status FROM etl.run WHERE run_id = $killed"), 'interrupted', 'the dead run is written down');
is(answer("SELECT count(*) FROM etl.task WHERE status IN ('queued', 'running')"), 0, 'no task is left open');
is(answer("SELECT string_agg(node, ' ' ORDER BY node) FROM etl.tasks WHERE run_id > $killed"), 'm.b_slow m.c_last',
	'exactly what did not succeed was run');

$node->stop;
done_testing();
