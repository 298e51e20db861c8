# Somebody who keeps alerts locked holds up no run and no chore, and nothing is lost: it is told when the lock is gone, in the order it happened.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../perl";

use Etl::Cluster;
use Etl::Crash qw(begin_at_work);
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my $cluster = Etl::Cluster->new('alert_locked', conf => "etl.max_workers = 2\n");
my $node = $cluster->node;

$cluster->sql(q(
	CREATE SCHEMA m; CREATE TABLE m.input AS SELECT 0 AS n;
	SELECT etl.define_channel('bell', 'notify', '{"channel": "bell"}');
	SELECT etl.define_alert('ops', '{run_failed, check_failed, rejects, worker}', '{bell}');
	SELECT etl.define_model('m.a', 'SELECT 1 / n AS x FROM m.input', 'table');
	SELECT etl.define_model('m.b', 'SELECT 1 / n AS x FROM m.input', 'table');
	SELECT etl.define_model('m.c', 'SELECT n AS x FROM m.input', 'table');
	SELECT etl.define_check('m.c', 'range', '{x}', '{"max": 0}', on_fail => 'warn')));

# alerts lists objects, their states and counts.
my $alerts = "SELECT string_agg(concat_ws(' ', event, object, state, occurrences), ', ' ORDER BY object) FROM etl.alerts";

# lock begins a session that has every alert locked; unlock ends it.
sub lock_alerts
{
	my $session = begin_at_work($node, 'BEGIN; SELECT count(*) FROM (SELECT 1 FROM etl.alert_open FOR UPDATE) AS x; SELECT 1 FROM pg_sleep(0);');

	$cluster->poll("SELECT count(*) FROM pg_stat_activity WHERE pid = $session->{pid} AND state = 'idle in transaction'", '1', 30);
	return $session;
}

sub unlock
{
	my ($session) = @_;

	$session->{stdin} .= "COMMIT;\n\\q\n";
	$session->{session}->finish;
	return;
}

is($cluster->run('m.*'), 'failed', 'two nodes fail');
is($cluster->sql($alerts), 'run_failed m.a firing 1, run_failed m.b firing 1', 'and are told');

my $session = lock_alerts();
my $begin = time;
is($cluster->run('m.*'), 'failed', 'they fail again while somebody has the alerts locked');
my $took = time - $begin;
cmp_ok($took, '<', 3, sprintf('the run is not held up (%.1f s)', $took));
is($cluster->sql($alerts), 'run_failed m.a firing 1, run_failed m.b firing 1', 'nothing is told yet');
cmp_ok($cluster->sql('SELECT count(*) FROM etl.alert_report'), '>=', 1, 'but it is kept');

# what comes later waits behind it, and what it has to say is not changed
$cluster->sql('UPDATE m.input SET n = 1');
$begin = time;
is($cluster->run('m.*'), 'succeeded', 'then they succeed, and a check finds something');
is(eval { $cluster->sql('CALL etl.run()'); 1 }, 1, 'so they do in a session');
cmp_ok(time - $begin, '<', 3, 'nobody waits');

# promises are judged meanwhile, and what the chores cannot do now they do not wait for
$cluster->sql(q(SELECT etl.define_model('m.d', 'SELECT pg_sleep(60) IS NULL AS x', 'table');
	SELECT etl.define_alert('late', '{sla_missed}', '{bell}'); SELECT etl.define_sla('soon', 'm.d', max_duration => '500 ms')));
my $slow = $cluster->submit('m.d');
ok(defined $cluster->poll("SELECT count(*) FROM etl.alerts WHERE rule = 'late'", '1', 30), 'which is told: no chore is held up');
$cluster->sql("SELECT etl.cancel($slow)");
is($cluster->wait_run($slow), 'cancelled', 'a run is cancelled meanwhile');
$cluster->sql(q(SELECT etl.drop_model('m.d', true); SELECT etl.drop_alert('late'); SELECT etl.drop_sla('soon'); DELETE FROM etl.alert WHERE rule = 'late'));

unlock($session);
ok(defined $cluster->poll('SELECT count(*) FROM etl.alert_report', '0', 30), 'when the lock is gone all is told');
is($cluster->sql($alerts), 'run_failed m.a resolved 2, run_failed m.b resolved 2, check_failed m.c firing 2', 'in the order it happened');
is($cluster->sql("SELECT count(*) FROM etl.alerts AS a JOIN etl.tasks AS t ON t.run_id = 3 AND t.node = 'm.c'
	WHERE a.object = 'm.c' AND a.since BETWEEN t.started_at AND t.finished_at + interval '3 s'"), '1', 'with the time it happened');
is($cluster->sql("SELECT string_agg(message || ' ' || n, ', ' ORDER BY message) FROM (SELECT d.message, count(*) AS n FROM etl.deliveries AS d
	JOIN etl.alerts AS a USING (alert_id) WHERE a.event = 'run_failed' GROUP BY 1) AS x"), 'firing 2, resolved 2', 'and who is to know is told');

# in a transaction block, too; rolled back it never was
$session = lock_alerts();
$cluster->try_sql('BEGIN; UPDATE m.input SET n = 1; CALL etl.run(\'m.c\', full_refresh => true); ROLLBACK;');
is($cluster->sql('SELECT count(*) FROM etl.alert_report'), '0', 'what is rolled back is not told');

# a crash of the server while something waits
$cluster->sql('UPDATE m.input SET n = 0');
is($cluster->run('m.a'), 'failed', 'one fails again');
is($cluster->sql('SELECT count(*) FROM etl.alert_report'), '1', 'which waits');
$cluster->kill_process('KILL', $cluster->pid('scheduler'));
eval { $session->{session}->kill_kill; };
$cluster->wait_up(30);
ok(defined $cluster->poll("SELECT count(*) FROM etl.alerts WHERE object = 'm.a' AND state = 'firing'", '1', 30), 'a crash loses nothing');

done_testing();
