# A worker that waits for a network, for the next attempt or for others has no transaction; a CALL has an empty one that holds nothing.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../perl";

use Etl::Cluster;
use Etl::HttpServer;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $server = Etl::HttpServer->new;
my $url = $server->url;
my $cluster = Etl::Cluster->new('waits');
my $node = $cluster->node;

$cluster->sql(qq(
	CREATE SCHEMA raw;
	CREATE SCHEMA m;
	SELECT etl.define_source('api', 'http', '{"url": "$url", "retry": {"base": "60 s", "cap": "60 s", "attempts": 3}}');
	SELECT etl.define_stream('raw.items', 'api', '{"path": "/page", "records": "data.items",
		"paginate": {"type": "page", "size_param": "per_page", "size": 10}}', 'json', columns => 'id bigint');
	SELECT etl.define_model('m.after', 'SELECT id, etl.param(''who'') AS who, now() AS at FROM raw.items', 'table')));

# what a process has open: its transaction, xmin and xid.
sub held
{
	my ($pid) = @_;
	return $cluster->sql("SELECT concat_ws(' ', state,
		CASE WHEN xact_start IS NOT NULL THEN 'transaction' END,
		CASE WHEN backend_xmin IS NOT NULL THEN 'xmin' END,
		CASE WHEN backend_xid IS NOT NULL THEN 'xid' END,
		(SELECT 'locks: ' || string_agg(locktype, ' ') FROM pg_locks AS l
		  WHERE l.pid = $pid AND locktype NOT IN ('virtualxid', 'advisory')))
		FROM pg_stat_activity WHERE pid = $pid");
}

# leader finds the worker that leads a run.
sub leader
{
	my ($run_id) = @_;
	$cluster->poll("SELECT count(*) FROM etl.status() WHERE detail LIKE 'leads run $run_id%'", '1', 30);
	return $cluster->sql("SELECT pid FROM etl.status() WHERE detail LIKE 'leads run $run_id%'");
}

# ---- a worker that waits for an answer ----

$server->rules({ path => '/page', query => 'page=2', times => 1, do => 'hold' });
my $run_id = $cluster->sql(q(SELECT etl.submit('raw.items m.after', params => '{"who": "me"}')));
ok($server->wait_held(1), 'the server holds the answer back');
my $pid = leader($run_id);
is(held($pid), 'active', 'a worker that waits for an answer has no transaction, snapshot, xid or lock');
is($cluster->sql("SELECT phase IS NOT NULL FROM etl.progress WHERE run_id = $run_id"), 't', 'and etl.progress shows it');
$server->release;
is($cluster->wait_run($run_id), 'succeeded', 'the run goes on when the answer comes');
is($cluster->sql('SELECT count(*) || min(who) FROM m.after'), '25me', 'with all rows and its parameters');
is($cluster->sql("SELECT at > (SELECT min(started_at) FROM etl.tasks WHERE run_id = $run_id AND node = 'm.after') - interval '1 s'
	FROM m.after LIMIT 1"), 't', 'now() is the time of the transaction, not of the process');

# ---- cancelled, ended and killed meanwhile ----

for my $how ('cancel', 'terminate', 'KILL')
{
	$server->reset_all;
	$server->rules({ path => '/page', times => 1, do => 'hold' });
	$cluster->sql(q(SELECT etl.reset('raw.items')));
	$run_id = $cluster->submit('raw.items');
	ok($server->wait_held(1), "$how: the server holds the answer back");
	$pid = leader($run_id);
	is(held($pid), 'active', "$how: the worker holds nothing");
	if ($how eq 'cancel')
	{
		$cluster->sql("SELECT etl.cancel($run_id)");
		is($cluster->wait_run($run_id), 'cancelled', 'a cancel meets it while it waits');
		is($cluster->sql("SELECT count(*) FROM etl.status() WHERE pid = $pid"), '1', 'and its process stays');
		next;
	}
	if ($how eq 'terminate')
	{
		$cluster->sql("SELECT pg_terminate_backend($pid)");
	}
	else
	{
		$cluster->kill_process('KILL', $pid);
		$cluster->wait_up(30);
	}
	is($cluster->wait_run($run_id), 'succeeded', "$how: the run goes on");
}

# a limit of time, too
$server->reset_all;
$server->rules({ path => '/page', times => 1, do => 'hold' });
$cluster->sql(qq(SELECT etl.define_stream('raw.limited', 'api', '{"path": "/page", "records": "data.items", "task_timeout": "1 s"}',
	'json', columns => 'id bigint')));
$run_id = $cluster->submit('raw.limited');
is($cluster->wait_run($run_id), 'failed', 'a limit of time ends the wait');
is($cluster->sql("SELECT sqlstate FROM etl.tasks WHERE run_id = $run_id"), '57014', 'as a failure of the task');

# ---- the time until a request, or a node, is tried again ----

$server->reset_all;
$server->rules({ path => '/page', times => 1, do => 'status', status => 503, headers => { 'Retry-After' => '60' } });
$run_id = $cluster->submit('raw.items');
$cluster->poll("SELECT count(*) > 1 FROM etl.tasks WHERE run_id = $run_id", 't', 30);
is(held(leader($run_id)), 'active', 'nor has one that waits to ask again');
$cluster->sql("SELECT etl.cancel($run_id)");
is($cluster->wait_run($run_id), 'cancelled', 'it is cancelled');

$cluster->sql(q(
	CREATE FUNCTION m.busy() RETURNS int LANGUAGE plpgsql AS $$BEGIN RAISE 'busy' USING ERRCODE = '40001'; END$$;
	SELECT etl.define_model('m.again', 'SELECT m.busy() AS x', 'table',
		options => '{"retry": {"attempts": 50, "base": "1 h", "cap": "1 h"}}')));
$run_id = $cluster->submit('m.again');
$cluster->poll("SELECT count(*) > 1 FROM etl.tasks WHERE run_id = $run_id", 't', 30);
$pid = leader($run_id);
ok(defined $cluster->poll("SELECT xact_start IS NULL AND backend_xmin IS NULL AND backend_xid IS NULL AND state = 'active'
	FROM pg_stat_activity WHERE pid = $pid", 't', 20), 'nor one whose node is to be tried again later');
$cluster->sql("SELECT etl.cancel($run_id)");
is($cluster->wait_run($run_id), 'cancelled', 'it is cancelled');

# ---- a leader that waits for its helper ----

$server->reset_all;
$server->rules({ path => '/page', times => 2, do => 'hold' });
$cluster->sql(q(SELECT etl.reset('raw.items');
	SELECT etl.define_stream('raw.more', 'api', '{"path": "/page?page=1", "records": "data.items"}', 'json', columns => 'id bigint')));
$run_id = $cluster->submit('raw.items raw.more');
ok($server->wait_held(2), 'two workers wait for two answers');
is($cluster->sql("SELECT count(*) || ' ' || count(xact_start) FROM pg_stat_activity
	WHERE backend_type = 'etl task' AND state = 'active'"), '2 0', 'neither has a transaction');
$server->release;
is($cluster->wait_run($run_id), 'succeeded', 'and both go on');

# ---- a message on its way to a receiver that is slow ----

$server->reset_all;
$server->rules({ path => '/plain', times => 1, do => 'hold' });
$cluster->sql(qq(SELECT etl.define_channel('slow', 'webhook', '{"url": "$url/plain"}');
	SELECT etl.define_alert('ops', '{run_failed}', '{slow}');
	SELECT etl.define_model('m.bad', 'SELECT 1 / 0 AS x', 'table')));
is($cluster->run('m.bad'), 'failed', 'a run fails');
ok($server->wait_held(1), 'the receiver holds its answer back');
is($cluster->sql("SELECT count(*) || ' ' || count(xact_start) || ' ' || count(backend_xmin) FROM pg_stat_activity
	WHERE backend_type = 'etl task' AND state = 'active'"), '1 0 0', 'who delivers has no transaction');
$server->release;
ok(defined $cluster->poll("SELECT count(*) FROM etl.deliveries WHERE status = 'delivered'", '1', 30), 'and delivers');

# ---- a CALL: an empty transaction ----

$server->reset_all;
$server->rules({ path => '/page', times => 1, do => 'hold' });
$cluster->sql(q(SELECT etl.reset('raw.items')));
my $child = fork();
if ($child == 0)
{
	$cluster->try_sql(q(CALL etl.run('raw.items')));
	require POSIX;
	POSIX::_exit(0);
}
ok($server->wait_held(1), 'a session waits for an answer');
$pid = $cluster->sql("SELECT pid FROM pg_stat_activity WHERE query LIKE 'CALL etl.run%' AND backend_type = 'client backend'");
is(held($pid), 'active transaction', 'a CALL has a transaction, but neither snapshot, xid nor lock');
$server->release;
waitpid($child, 0);
is($cluster->sql('SELECT status FROM etl.runs ORDER BY run_id DESC LIMIT 1'), 'succeeded', 'and goes on');

done_testing();
