# Where nothing of etl is preloaded: pg_cron runs etl.run on its own schedule, and one job that calls etl.tick drives
# every schedule of etl; a copied or restored database starts nothing until it is resumed.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my $files = PostgreSQL::Test::Utils::tempdir();
my $node = PostgreSQL::Test::Cluster->new('plain');
$node->init;
my $libdir = qx($ENV{PG_CONFIG} --pkglibdir);
chomp $libdir;
my $has_pg_cron = -e "$libdir/pg_cron.so";
my $socket = $node->host;
$node->append_conf('postgresql.conf', "fsync = off\nlog_min_messages = warning\netl.allowed_directories = '$files'\n");
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'pg_cron'\ncron.database_name = 'postgres'\n"
	  . "cron.host = '$socket'\n") if $has_pg_cron;
$node->start;

sub answer
{
	my ($sql, $database) = @_;

	return $node->safe_psql($database // 'postgres', $sql);
}

# comes asserts that a query gives an answer within so many seconds.
sub comes
{
	my ($sql, $expected, $what, $seconds) = @_;
	my $begin = time;
	my $out = '';

	while (time - $begin < ($seconds // 60))
	{
		$out = answer($sql);
		last if $out eq $expected;
		usleep(100_000);
	}
	return is($out, $expected, $what);
}

sub drop_file
{
	my ($name, @ids) = @_;

	append_to_file("$files/$name.tmp", join("\n", 'id', @ids) . "\n");
	rename("$files/$name.tmp", "$files/$name") or die "$name: $!";
	return;
}

answer(qq(
	CREATE EXTENSION etl;
	CREATE SCHEMA raw; CREATE SCHEMA mart;
	CREATE TABLE mart.inbox (i int);
	SELECT etl.define_source('files', 'file', '{"root": "$files"}');
	SELECT etl.define_stream('raw.items', 'files', '{"path": "items_*.csv"}', columns => 'id bigint', contract => '{"delivery": "stream"}');
	SELECT etl.define_model('mart.items', 'SELECT count(*) AS n FROM raw.items', 'table', tags => '{nightly}');
	SELECT etl.define_model('mart.tick', 'SELECT now() AS at', 'table');
));

# ---- tick, called by hand ----
drop_file('items_1.csv', 1, 2, 3);
answer('CALL etl.tick()');
is(answer('SELECT count(*) FROM raw.items'), '3', 'a tick loads the files of a stream with delivery: stream');
is(answer(q(SELECT trigger || ' ' || trigger_name FROM etl.runs)), 'stream raw.items', 'in a run that says why');
answer('CALL etl.tick()');
is(answer('SELECT count(*) FROM etl.runs'), '1', 'without new files there is no run');

answer(q(
	SELECT etl.define_schedule('file', 'mart.tick', on_event => '{"file": "raw.items"}');
	SELECT etl.define_schedule('published', 'mart.tick', on_event => '{"published": "raw.items"}');
	SELECT etl.define_schedule('sql', 'mart.tick', on_event => '{"sql": "SELECT count(*) > 0 FROM mart.inbox", "every": "1 h"}');
));
answer('CALL etl.tick()');
is(answer(q(SELECT count(*) FROM etl.runs WHERE trigger = 'event')), '0', 'nothing has happened yet');
drop_file('items_2.csv', 4);
answer('INSERT INTO mart.inbox VALUES (1)');
answer('CALL etl.tick()');
is(answer(q(SELECT string_agg(trigger_name || ' ' || status, ', ' ORDER BY trigger_name) FROM etl.runs WHERE trigger = 'event')),
	'file succeeded, published succeeded, sql succeeded',
	'one tick sees a file, a condition, and what the runs that it makes publish');
answer('CALL etl.tick()');
is(answer(q(SELECT count(*) FROM etl.runs WHERE trigger = 'event')), '3', 'each of them once');
answer(q(SELECT etl.drop_schedule(name) FROM etl.schedules));

# two ticks at once run nothing twice
answer(q(SELECT etl.define_schedule('s' || i, 'mart.tick', every => '1 h', overlap => 'parallel', misfire => 'all') FROM generate_series(1, 8) AS i));
my @ticks = map {
	IPC::Run::start(['psql', '-XqAt', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('postgres'), '-c', 'SET client_min_messages = error',
			'-c', q(SELECT set_config('etl.test_now', (now() + interval '3 h')::text, false)), '-c', 'CALL etl.tick()'],
		'>', '/dev/null')
} 1 .. 4;
ok($_->finish, 'a tick among others') for @ticks;
is(answer(q(SELECT count(*) || ' ' || count(DISTINCT (schedule, due_at)) FROM etl.schedule_slots WHERE schedule LIKE 's_')), '24 24', 'slots of four ticks at once');
comes(q(SELECT count(*) FROM etl.runs WHERE trigger_name LIKE 's_' AND status = 'succeeded'), '24', 'have one run each');
answer(q(SELECT etl.drop_schedule(name) FROM etl.schedules));

# ---- a copy of the database, and a restored dump ----
answer(q(SELECT etl.define_schedule('every', 'mart.tick', every => '1 min')));
$node->command_ok(['pg_dump', '-Fc', '-f', "$files/dump", $node->connstr('postgres')], 'a dump');
answer('CREATE DATABASE restored');
$node->command_ok(['pg_restore', '-d', $node->connstr('restored'), "$files/dump"], 'is restored');
for my $database ('restored', 'copy')
{
	answer('CREATE DATABASE copy TEMPLATE restored') if $database eq 'copy';
	answer(q(INSERT INTO etl.run (selector, status, led_by, requested_by) VALUES ('mart.tick', 'queued', 'queue', 'postgres')), $database);
	my $before = answer('SELECT count(*) FROM etl.runs', $database);
	$node->safe_psql($database, 'CALL etl.tick()');
	is(answer(q(SELECT bool_and(paused) FROM etl.schedules), $database), 't', "$database: its schedules are paused");
	drop_file('items_3.csv', 5);
	$node->safe_psql($database, 'CALL etl.tick()');
	is(answer('SELECT count(*) FROM etl.runs', $database), $before, "$database: nothing is started there");
	is(answer(q(SELECT count(*) FROM etl.runs WHERE status = 'queued'), $database), '1', "$database: not even what was queued");
	answer('CALL etl.tick()');
	is(answer('SELECT count(*) FROM raw.items WHERE id = 5'), '1', "$database: the original goes on");
	answer('SELECT etl.resume()', $database);
	is(answer(q(SELECT bool_or(paused) FROM etl.schedules), $database), 'f', "$database: until it is resumed");
	is(answer(q(SELECT count(*) FROM etl.runs WHERE status = 'queued'), $database), '0', "$database: without the runs that came along");
	$node->safe_psql($database, 'CALL etl.tick()');
	is(answer('SELECT count(*) FROM raw.items WHERE id = 5', $database), '1', "$database: then it loads, too");
}
answer(q(SELECT etl.drop_schedule(name) FROM etl.schedules));

# ---- pg_cron ----
SKIP:
{
	skip 'pg_cron is not installed', 6 unless $has_pg_cron;

	answer('CREATE EXTENSION pg_cron');
	answer(q(SELECT cron.schedule('nightly', '0 2 * * *', $$CALL etl.run('tag:nightly')$$)));
	is(answer(q(SELECT schedule || ' ' || command FROM cron.job)), q(0 2 * * * CALL etl.run('tag:nightly')), 'pg_cron takes a nightly run');
	# pg_cron 1.4 knows no seconds: both jobs are due at the next minute
	answer(q(SELECT etl.define_schedule('cron ' || i, 'mart.tick', every => '1 s', overlap => 'parallel') FROM generate_series(1, 5) AS i));
	drop_file('items_4.csv', 6);
	answer(q(SELECT cron.unschedule('nightly');
		SELECT cron.schedule('often', '* * * * *', $$CALL etl.run('tag:nightly')$$);
		SELECT cron.schedule('etl', '* * * * *', 'CALL etl.tick()')));
	comes(q(SELECT count(*) >= 1 FROM etl.runs WHERE trigger = 'manual' AND selector = 'tag:nightly' AND status = 'succeeded'), 't',
		'a job of pg_cron runs a selection', 150);
	comes(q(SELECT count(*) >= 1 FROM cron.job_run_details WHERE status = 'succeeded' AND command LIKE '%nightly%'), 't', 'pg_cron sees it succeed', 60);
	comes('SELECT count(*) FROM raw.items WHERE id = 6', '1', 'one job drives streams', 60);
	comes(q(SELECT count(DISTINCT trigger_name) FROM etl.runs WHERE trigger_name LIKE 'cron %' AND status = 'succeeded'), '5', 'and every schedule', 100);
	answer(q(SELECT cron.unschedule('often')));
	answer(q(SELECT cron.unschedule('etl')));
	is(answer(q(SELECT count(*) = count(DISTINCT (schedule, due_at)) FROM etl.schedule_slots)), 't', 'each slot once');
}
$node->stop;
done_testing();
