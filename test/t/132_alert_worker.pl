# Who is told of processes and channels: a shortage that lasts, a helper that is lost, a channel that does not deliver; each is over by itself.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../perl";

use Etl::Cluster;
use Etl::HttpServer;
use PostgreSQL::Test::Utils;
use Test::More;

my $receiver = Etl::HttpServer->new;
my $url = $receiver->url;
my $cluster = Etl::Cluster->new('alert_worker', conf => "etl.max_workers = 1\n");

$cluster->define_models;
$cluster->sql(q(
	SELECT etl.define_channel('bell', 'notify', '{"channel": "bell"}');
	SELECT etl.define_alert('ops', '{worker, channel_failed}', '{bell}')));

# alerts lists object, state and count of what was told.
sub alerts
{
	return $cluster->sql("SELECT string_agg(concat_ws(' ', event, object, state, occurrences), ', ' ORDER BY alert_id) FROM etl.alerts");
}

# clock sets the clock of the server.
sub clock
{
	my ($to) = @_;

	$cluster->sql($to eq '' ? 'ALTER SYSTEM RESET etl.test_now' : "ALTER SYSTEM SET etl.test_now = '$to'");
	$cluster->sql('SELECT pg_reload_conf()');
	return;
}

# ---- all workers are at work, and go on being it ----

my ($run, $pid) = $cluster->begin_slow;
my $second = $cluster->submit('m.quick');
ok(defined $cluster->poll("SELECT state FROM etl.status() WHERE process = 'scheduler'", 'waiting', 30), 'a run waits for a worker');
my ($soon, $late) = split /\|/, $cluster->sql("SELECT now() + interval '4 min', now() + interval '6 min'");
clock($soon);
$cluster->submit('m.quick');
$cluster->poll("SELECT detail LIKE '2 runs%' FROM etl.status() WHERE process = 'scheduler'", 't', 30);
is(alerts(), '', 'for four minutes nobody is told');
clock($late);
ok(defined $cluster->poll("SELECT count(*) FROM etl.alerts", 1, 30), 'after five somebody is');
is(alerts(), 'worker workers firing 1', 'once, of the workers');
like($cluster->sql('SELECT what || $$ | $$ || remedy FROM etl.alerts'),
	qr/^2 runs wait for a worker.* \| ALTER SYSTEM SET etl.max_workers = 2; SELECT pg_reload_conf\(\);$/, 'with what ends it');
$cluster->sql($_) for split /; /, $cluster->sql('SELECT remedy FROM etl.alerts');
is($cluster->wait_run($second), 'succeeded', 'and the remedy ends it');
ok(defined $cluster->poll("SELECT state FROM etl.alerts", 'resolved', 30), 'it is over then');
clock('');
$cluster->sql("SELECT etl.cancel($run)");
$cluster->wait_run($run);

# ---- a channel that does not deliver ----

$cluster->sql(qq(
	SELECT etl.define_channel('hook', 'webhook', '{"url": "$url/plain", "retry": {"base": "50 ms", "cap": "50 ms", "deadline": "1 h"}}');
	SELECT etl.define_alert('failures', '{run_failed, channel_failed}', '{hook, bell}', options => '{"cooldown": "1 s"}');
	SELECT etl.define_model('m.bad', 'SELECT 1 / seconds::int AS x FROM m.pause', 'table');
	UPDATE m.pause SET seconds = 0));
$receiver->rules({ path => '/plain', times => 4, do => 'status', status => 500 });
$cluster->run('m.bad');
ok(defined $cluster->poll("SELECT status FROM etl.deliveries WHERE channel = 'hook' ORDER BY delivery_id DESC LIMIT 1", 'delivered', 60),
	'four tries fail, the fifth does not');
is($cluster->sql("SELECT count(*) FROM etl.alerts WHERE event = 'channel_failed'"), '0', 'which is nothing to tell');

$receiver->rules({ path => '/plain', times => 7, do => 'status', status => 500 });
$cluster->sql('UPDATE m.pause SET seconds = 1');
$cluster->run('m.bad');
ok(defined $cluster->poll("SELECT count(*) FROM etl.alerts WHERE event = 'channel_failed'", '2', 60), 'five in a row are told, to each rule');
is($cluster->sql("SELECT DISTINCT object FROM etl.alerts WHERE event = 'channel_failed'"), 'hook', 'it names the channel');
is($cluster->sql("SELECT string_agg(DISTINCT channel, ' ') FROM etl.deliveries d JOIN etl.alerts a USING (alert_id) WHERE a.event = 'channel_failed'"),
	'bell', 'and is told to the others');
ok(defined $cluster->poll("SELECT string_agg(DISTINCT state, ' ') FROM etl.alerts WHERE event = 'channel_failed'", 'resolved', 60),
	'it is over when something is delivered');
is($cluster->sql("SELECT string_agg(DISTINCT occurrences::text, ' ') FROM etl.alerts WHERE event = 'channel_failed'"), '1', 'and was told once');

$receiver->rules({ path => '/plain', times => 1, do => 'status', status => 404 });
$cluster->sql('UPDATE m.pause SET seconds = 0');
$cluster->run('m.bad');
ok(defined $cluster->poll("SELECT string_agg(DISTINCT state, ' ') FROM etl.alerts WHERE event = 'channel_failed'", 'firing', 60),
	'a message that is given up is told at once');
like($cluster->sql("SELECT DISTINCT what FROM etl.alerts WHERE event = 'channel_failed'"), qr/hook does not deliver: a message was given up/, 'as such');
$cluster->sql("SELECT etl.redeliver('hook')");
ok(defined $cluster->poll("SELECT string_agg(DISTINCT state, ' ') FROM etl.alerts WHERE event = 'channel_failed'", 'resolved', 60),
	'it is over when it was delivered after all');

# ---- a helper that is lost while the leader goes on ----

$cluster->sql(q(SELECT etl.drop_alert('failures'); DELETE FROM etl.alert; DELETE FROM etl.alert_open));
$cluster->sql(q(
	UPDATE m.pause SET seconds = 60;
	SELECT etl.define_model('m.nap1', 'SELECT pg_sleep(seconds)::text AS nap FROM m.pause', 'table');
	SELECT etl.define_model('m.nap2', 'SELECT pg_sleep(seconds)::text AS nap FROM m.pause', 'table')));
$run = $cluster->submit('m.nap1 m.nap2');
ok(defined $cluster->poll("SELECT count(*) FROM etl.status() WHERE detail LIKE 'helps run $run, m.nap%'", '1', 60), 'a helper is at work');
$pid = $cluster->sql("SELECT pid FROM etl.status() WHERE detail LIKE 'helps run $run%'");
$cluster->sql('UPDATE m.pause SET seconds = 0');
$cluster->sql("SELECT pg_terminate_backend($pid)");
$cluster->poll("SELECT count(*) FROM pg_stat_activity WHERE pid = $pid", '0', 30);
is(alerts(), '', 'a helper that is told to end is no news');
$cluster->sql("SELECT etl.cancel($run)");
$cluster->wait_run($run);

done_testing();
