# A backfill of a model with an interval ledger survives kill -9, can be paused, lets live work overtake it, and builds no interval twice.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../perl";

use Etl::Cluster;
use Etl::Crash qw(begin_at_work);
use PostgreSQL::Test::Utils;
use Test::More;

my $cluster = Etl::Cluster->new('backfill', conf => "etl.max_workers = 2\ntimezone = 'UTC'\nautovacuum = off\n");

# An interval is built as long as somebody holds the advisory lock of its day: a gate.
$cluster->sql(q{
	CREATE SCHEMA m;
	CREATE FUNCTION m.gate(at timestamptz) RETURNS boolean LANGUAGE plpgsql STABLE AS $$
	BEGIN
		PERFORM pg_catalog.pg_advisory_lock_shared(extract(day FROM at)::int);
		PERFORM pg_catalog.pg_advisory_unlock_shared(extract(day FROM at)::int);
		RETURN true;
	END$$;
	SELECT etl.define_source('push', 'push');
	SELECT etl.define_stream('m.ev', 'push', columns => 'id int, at timestamptz, d int');
	SELECT etl.ingest('m.ev', (SELECT jsonb_agg(jsonb_build_object('id', i, 'at', timestamptz '2026-03-01' + i * interval '2 hours', 'd', 1))
		FROM generate_series(0, 143) AS i));
	SELECT etl.define_model('m.days', 'SELECT id, at, 10 / d AS v FROM m.ev WHERE m.gate(at)', 'incremental',
		event_time => 'at', batch_size => '1 day', key => '{id}', options => '{"begin": "2026-03-01", "retry": {"attempts": 1}}');
	SELECT etl.define_model('m.other', 'SELECT count(*) AS n FROM m.ev', 'table');
});

# close_gate holds the gates of days shut, in a session of its own, until open_gate.
sub close_gate
{
	my @days = @_;
	my $session = begin_at_work($cluster->node, join('', map { "SELECT pg_advisory_lock($_);\n" } @days));

	$cluster->poll('SELECT count(*) FROM pg_locks WHERE pid = ' . $session->{pid} . " AND locktype = 'advisory' AND granted", scalar(@days));
	return $session;
}

sub open_gate
{
	my ($session) = @_;

	$cluster->try_sql('SELECT pg_terminate_backend(' . $session->{pid} . ')');
	eval { $session->{session}->kill_kill; };
	$cluster->poll('SELECT count(*) FROM pg_stat_activity WHERE pid = ' . $session->{pid}, '0');
	return;
}

# days lists the days of March in the ledger with a status.
sub days
{
	my ($status) = @_;

	return $cluster->sql("SELECT string_agg(extract(day FROM since)::text, ' ' ORDER BY since) FROM etl.intervals
		WHERE target = 'm.days' AND since < '2026-03-13' AND status = '$status'");
}

# backfill queues one and returns its name.
sub backfill
{
	my ($arguments) = @_;

	$cluster->sql("SELECT count(*) FROM etl.backfill('m.days', '2026-03-01', '2026-03-13', $arguments)");
	return $cluster->sql("SELECT trigger_name FROM etl.runs WHERE trigger = 'backfill' ORDER BY run_id DESC LIMIT 1");
}

# equal tells whether the first twelve days are as the query says.
sub equal
{
	my ($what) = @_;

	is($cluster->sql(q{SELECT count(*), count(*) FILTER (WHERE d.id IS NULL OR e.id IS NULL OR d.v <> 10 / e.d)
		FROM (SELECT * FROM m.days WHERE at < '2026-03-13') AS d FULL JOIN m.ev AS e USING (id)}),
		$cluster->sql('SELECT count(*) FROM m.ev') . '|0', "$what: the model is what its query says");
	return;
}

# ---- it says what it would do ----
is($cluster->sql(q{SELECT string_agg(since::date || ' ' || status || ' ' || nodes::text, ', ')
	FROM etl.backfill('m.days', '2026-03-01', '2026-03-13', '3 days', dry_run => true)}),
	join(', ', map { sprintf('2026-03-%02d planned {m.days}', $_) } 1, 4, 7, 10), 'a dry run tells the steps');
is($cluster->sql(q{SELECT count(*) FROM etl.run}), '0', 'and queues nothing');

# ---- kill -9 in the middle ----
my $gate = close_gate(5);
my $name = backfill(q{'3 days'});
ok($cluster->poll(q{SELECT phase FROM etl.progress WHERE node = 'm.days'}, 'interval 2 of 3: [2026-03-05, 2026-03-06)'),
	'etl.progress tells the interval at work');
is(days('done'), '1 2 3 4', 'what came before it is done');
my $before = $cluster->sql(q{SELECT string_agg(done_at::text, ' ' ORDER BY since) FROM etl.intervals WHERE status = 'done'});
my $pid = $cluster->sql(q{SELECT pid FROM etl.status() WHERE process = 'task' AND detail LIKE '%m.days%'});
ok($cluster->kill_process('KILL', $pid), 'the worker is killed in the fifth interval');
eval { $gate->{session}->kill_kill; };
ok($cluster->poll("SELECT string_agg(DISTINCT status, ' ') FROM etl.runs WHERE trigger_name = '$name'", 'succeeded', 120),
	'the backfill goes on and succeeds');
is(days('done'), join(' ', 1 .. 12), 'every interval is done');
is($cluster->sql(q{SELECT string_agg(done_at::text, ' ' ORDER BY since) FROM etl.intervals WHERE status = 'done' AND since < '2026-03-05'}),
	$before, 'those that were done before the crash were not built again');
equal('after kill -9');
is($cluster->sql(q{SELECT string_agg(status, ' ') FROM etl.backfill('m.days', '2026-03-01', '2026-03-13', '3 days')}),
	'succeeded succeeded succeeded succeeded', 'nothing is missing, so nothing is queued');

# ---- pause and resume ----
$cluster->sql(q{SELECT etl.reset_intervals('m.days', '2026-03-01', '2026-03-13')});
$gate = close_gate(5);
$name = backfill(q{reprocess => 'missing'});
ok($cluster->poll(q{SELECT phase FROM etl.progress WHERE node = 'm.days'}, 'interval 5 of 12: [2026-03-05, 2026-03-06)'), 'a backfill of one step is at work');
$cluster->sql("SELECT etl.pause('$name')");
open_gate($gate);
ok($cluster->poll("SELECT status FROM etl.runs WHERE trigger_name = '$name'", 'queued'), 'paused, it goes back into the queue');
is(days('done'), '1 2 3 4 5', 'after the interval at work');
is($cluster->sql("SELECT status || ': ' || reason FROM etl.tasks WHERE run_id = (SELECT run_id FROM etl.runs WHERE trigger_name = '$name') AND attempt = 1"),
	'interrupted: paused after 5 of 12 intervals', 'its task tells so');
is($cluster->run('m.other'), 'succeeded', 'others work meanwhile');
is(days('done'), '1 2 3 4 5', 'and it does not');
$cluster->sql("SELECT etl.resume('$name')");
ok($cluster->poll("SELECT status FROM etl.runs WHERE trigger_name = '$name'", 'succeeded'), 'resumed, it goes on and succeeds');
is(days('done'), join(' ', 1 .. 12), 'every interval is done');
is($cluster->sql("SELECT sum(rows_written) FROM etl.runs WHERE trigger_name = '$name'"), '0', 'rows that did not differ were not written');

# ---- live work on the same model overtakes it ----
$gate = close_gate(3);
my $second = close_gate(4);
$name = backfill(q{reprocess => 'all'});
ok($cluster->poll(q{SELECT phase FROM etl.progress WHERE node = 'm.days'}, 'interval 3 of 12: [2026-03-03, 2026-03-04)'), 'a backfill is at work on what is done already');
# the rest of the year is live work, too
$cluster->sql(q{SELECT etl.ingest('m.ev', '[{"id": 200, "at": "2026-03-09T01:00:00Z", "d": 5}]')});
my $live = $cluster->sql(q{SELECT etl.submit('m.days')});
ok($cluster->poll(q{SELECT count(*) FROM pg_stat_activity AS a JOIN pg_locks AS l USING (pid) WHERE NOT l.granted AND l.locktype = 'advisory' AND l.objsubid = 69}, '1'),
	'a live run waits for it');
open_gate($gate);
is($cluster->wait_run($live, 120), 'succeeded', 'and goes before its next interval');
is($cluster->sql("SELECT status FROM etl.runs WHERE trigger_name = '$name'"), 'running', 'while the backfill is at work');
is($cluster->sql('SELECT v FROM m.days WHERE id = 200'), '2', 'the live row is there');
open_gate($second);
ok($cluster->poll("SELECT status FROM etl.runs WHERE trigger_name = '$name'", 'succeeded', 120), 'which then goes on and succeeds');
is($cluster->sql("SELECT string_agg(extract(day FROM since)::text, ' ' ORDER BY since) FROM etl.intervals WHERE since < '2026-03-13'
	AND run_id = (SELECT run_id FROM etl.runs WHERE trigger_name = '$name')"), join(' ', 1 .. 12), 'every interval was built by it');
equal('after being overtaken');

# ---- what fails is tried again alone ----
$cluster->sql(q{UPDATE m.ev SET d = 0 WHERE id = 72; SELECT etl.reset_intervals('m.days', '2026-03-01', '2026-03-13')});
$name = backfill(q{'4 days'});
ok($cluster->poll("SELECT string_agg(status, ' ' ORDER BY run_id) FROM etl.runs WHERE trigger_name = '$name'", 'succeeded failed succeeded'),
	'one step of three fails');
is(days('failed'), '7', 'because of one interval');
is(days('done'), '1 2 3 4 5 6 8 9 10 11 12', 'all others are done')
	or diag($cluster->sql(q{SELECT i FROM etl.intervals AS i WHERE since < '2026-03-13' ORDER BY since}) . $cluster->sql('SELECT t FROM etl.tasks AS t ORDER BY task_id DESC LIMIT 4'));
$cluster->sql(q{UPDATE m.ev SET d = 2 WHERE id = 72});
is($cluster->sql(q{SELECT string_agg(since::date || ' ' || status, ', ') FROM etl.backfill('m.days', '2026-03-01', '2026-03-13', '4 days', 'failed', true)}),
	'2026-03-01 succeeded, 2026-03-05 planned, 2026-03-09 succeeded', 'reprocess failed means that step');
$name = backfill(q{'4 days', 'failed'});
ok($cluster->poll("SELECT string_agg(status, ' ') FROM etl.runs WHERE trigger_name = '$name'", 'succeeded'), 'it succeeds');
like($cluster->sql("SELECT reason FROM etl.tasks WHERE run_id = (SELECT run_id FROM etl.runs WHERE trigger_name = '$name')"),
	qr/^1 interval \(failed before\): \[2026-03-07, 2026-03-08\)/, 'having built the one that failed');
equal('in the end');
$cluster->node->stop;
done_testing();
