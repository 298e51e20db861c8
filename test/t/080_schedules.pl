# Schedules run by themselves: by the clock, when files arrive, rows are published, something notifies or a condition
# becomes true; each slot and event once, also across a restart.
use strict;
use warnings;

use lib 'test/perl';
use Etl::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $cluster = Etl::Cluster->new('schedules', conf => "etl.max_workers = 3\n");
my $files = $cluster->files;

# runs_of counts the runs of a schedule that succeeded.
sub runs_of
{
	my ($name) = @_;

	return "SELECT count(*) FROM etl.runs WHERE trigger_name = '$name' AND status = 'succeeded'";
}

# comes asserts that a count is reached, and says how long it took.
sub comes
{
	my ($sql, $expected, $what, $seconds) = @_;
	my $took = $cluster->poll($sql, $expected, $seconds // 30);

	return ok(defined $took, $what . (defined $took ? sprintf(' (%.2f s)', $took) : ''));
}

# stays asserts that nothing more happens until the scheduler has looked once more.
sub stays
{
	my ($name, $expected, $what) = @_;
	my $run = $cluster->run('s.other');

	is($cluster->sql("SELECT count(*) FROM etl.runs WHERE trigger_name = '$name'"), $expected, $what);
	return;
}

# drop_file makes a file appear whole, under its name.
sub drop_file
{
	my ($name, @ids) = @_;

	append_to_file("$files/$name.tmp", join("\n", 'id', @ids) . "\n");
	rename("$files/$name.tmp", "$files/$name") or die "$name: $!";
	return;
}

mkdir "$files/in" or die $!;
$cluster->sql(qq(
	CREATE SCHEMA s; CREATE SCHEMA raw;
	CREATE TABLE s.inbox (i int);
	SELECT etl.define_source('files', 'file', '{"root": "$files"}');
	SELECT etl.define_stream('raw.a', 'files', '{"path": "in/a_*.csv"}', columns => 'id bigint');
	SELECT etl.define_model('s.a', 'SELECT count(*) AS n FROM raw.a', 'table');
	SELECT etl.define_model('s.other', 'SELECT now() AS at', 'table');
	SELECT etl.define_model('s.m', 'SELECT now() AS at', 'table');
	SELECT etl.define_model('s.first', 'SELECT now() AS at', 'table');
));

# ---- the clock ----
$cluster->sql(q(SELECT etl.define_schedule('seconds', 's.m', cron => '* * * * * *')));
comes('SELECT count(*) >= 3 FROM etl.schedule_slots WHERE schedule = $$seconds$$ AND status = $$fired$$', 't',
	'every second');
$cluster->sql(q(SELECT etl.pause('seconds')));
is($cluster->sql(q(SELECT count(*) FROM etl.schedule_slots AS s WHERE status = 'fired' AND date_trunc('second', due_at) <> due_at)),
	'0', 'slots stand on the grid');
is($cluster->sql(q(SELECT count(*) = count(DISTINCT due_at) FROM etl.run WHERE trigger_name = 'seconds')), 't',
	'each slot has one run');
is($cluster->sql(q(SELECT count(*) FROM etl.run AS r JOIN etl.schedule_slots AS s USING (run_id, due_at)
	WHERE r.queued_at - s.due_at > interval '30 s' OR r.queued_at < s.due_at)), '0', 'none before its time');
$cluster->sql(q(SELECT etl.drop_schedule('seconds')));

# ---- files ----
$cluster->sql(q(SELECT etl.define_schedule('file', 'raw.a s.a', on_event => '{"file": "raw.a"}')));
$cluster->poll(q(SELECT count(*) FROM etl.schedule_event WHERE schedule = 'file' AND check_at IS NULL AND every IS NULL), '1');
drop_file('in/a_1.csv', 1, 2, 3);
comes('SELECT count(*) FROM raw.a', '3', 'a file that arrives is loaded');
comes('SELECT n FROM s.a', '3', 'with what is built on it');
comes(runs_of('file'), '1', 'by one run');
is($cluster->sql(q(SELECT trigger FROM etl.runs WHERE trigger_name = 'file')), 'event', 'whose trigger is the event');
drop_file('in/b_1.csv', 1);
stays('file', 1, 'a file of another name is nothing to it');
drop_file('in/a_2.csv', 4);
drop_file('in/a_3.csv', 5);
comes('SELECT count(*) FROM raw.a', '5', 'files that arrive together are loaded');

# a file is taken when nobody has written it for the settle time, without another event
$cluster->sql(qq(
	SELECT etl.define_stream('raw.slow', 'files', '{"path": "in/slow_*.csv", "settle": "2 s"}', columns => 'id bigint');
	SELECT etl.define_schedule('settles', 'raw.slow', on_event => '{"file": "raw.slow"}');
));
$cluster->poll(q(SELECT count(*) FROM etl.schedule_event WHERE schedule = 'settles' AND check_at IS NULL AND every IS NULL), '1');
append_to_file("$files/in/slow_1.csv", "id\n0\n");
for my $id (1 .. 4)
{
	sleep(0.6);
	append_to_file("$files/in/slow_1.csv", "$id\n");
}
comes('SELECT count(*) FROM raw.slow', '5', 'a file that is written slowly is loaded when it is complete', 20);
is($cluster->sql("SELECT count(*), bool_and(started_at >= (pg_stat_file(origin)).modification + interval '2 s') FROM etl.loads WHERE target = 'raw.slow'"),
	'1|t', 'once, and after the settle time');
drop_file('in/slow_2.csv', 9);
comes('SELECT count(*) FROM raw.slow', '6', 'so is the next one', 20);
$cluster->sql(q(SELECT etl.drop_schedule('settles')));

# in a directory that is not there yet; it is polled until it can be watched
$cluster->sql(qq(
	SELECT etl.define_stream('raw.deep', 'files', '{"path": "deep/*/x_*.csv"}', columns => 'id bigint');
	SELECT etl.define_schedule('deep', 'raw.deep', on_event => '{"file": "raw.deep"}');
));
$cluster->poll(q(SELECT count(*) FROM etl.schedule_event WHERE schedule = 'deep' AND every = '10 s'), '1');
mkdir "$files/deep" or die $!;
mkdir "$files/deep/one" or die $!;
drop_file('deep/one/x_1.csv', 1);
comes('SELECT count(*) FROM raw.deep', '1', 'a directory that comes later is found by polling');
$cluster->sql(q(SELECT etl.define_schedule('deep', 'raw.deep', on_event => '{"file": "raw.deep"}', description => 'wakes')));
$cluster->poll(q(SELECT count(*) FROM etl.schedule_event WHERE schedule = 'deep' AND every IS NULL AND check_at IS NULL), '1');
mkdir "$files/deep/two" or die $!;
drop_file('deep/two/x_2.csv', 2);
comes('SELECT count(*) FROM raw.deep', '2', 'then it is watched, with the directories that come below', 8);

# ---- published ----
$cluster->run('s.first');
$cluster->sql(q(SELECT etl.define_schedule('published', 's.m', on_event => '{"published": "s.first"}')));
stays('published', 0, 'what was published before does not count');
$cluster->run('s.first');
comes(runs_of('published'), '1', 'a publication starts a run');
drop_file('in/a_4.csv', 6);
$cluster->sql(q(SELECT etl.define_schedule('landed', 's.m', on_event => '{"published": "raw.a"}')));
drop_file('in/a_5.csv', 7);
comes('SELECT count(*) >= 1 FROM etl.runs WHERE trigger_name = $$landed$$', 't', 'so does a load');

# ---- notify ----
$cluster->sql(q(SELECT etl.define_schedule('notify', 's.m', on_event => '{"notify": "my Channel"}')));
$cluster->poll(q(SELECT count(*) >= 1 FROM pg_stat_activity WHERE backend_type = 'etl scheduler' AND state = 'idle'), 't');
$cluster->poll(q(SELECT 't' FROM pg_sleep(0.2)), 't');
$cluster->sql(q(NOTIFY "my Channel", 'x'; NOTIFY my_channel));
comes(runs_of('notify'), '1', 'a notification starts a run');
stays('notify', 1, 'one run for it');

# ---- sql ----
$cluster->sql(q(SELECT etl.define_schedule('sql', 's.m', on_event => '{"sql": "SELECT count(*) > 0 FROM s.inbox", "every": "1 s"}')));
stays('sql', 0, 'a condition that is not true starts nothing');
$cluster->sql(q(INSERT INTO s.inbox VALUES (1)));
comes(runs_of('sql'), '1', 'a condition that becomes true starts a run');
$cluster->poll(q(SELECT seen FROM etl.schedule_event WHERE kind = 'sql'), 'true');
stays('sql', 1, 'as long as it is true, no other');
$cluster->sql(q(DELETE FROM s.inbox));
$cluster->poll(q(SELECT seen FROM etl.schedule_event WHERE kind = 'sql'), 'false');
$cluster->sql(q(INSERT INTO s.inbox VALUES (1)));
comes(runs_of('sql'), '2', 'when it becomes true again, the next');
$cluster->sql(q(DROP TABLE s.inbox));
comes(q(SELECT count(*) FROM etl.logs WHERE message LIKE 'an event of schedule "sql" could not%'), '1', 'an error of it is told');
$cluster->sql(q(SELECT etl.drop_schedule('sql')));

# ---- all, any, debounce ----
$cluster->sql(q(
	SELECT etl.define_schedule('both', 's.m', on_event => '{"all": [{"notify": "one"}, {"any": [{"notify": "two"}, {"notify": "three"}]}]}');
	SELECT etl.define_schedule('calm', 's.m', on_event => '{"any": [{"notify": "one"}, {"notify": "two"}], "debounce": "2 s"}');
));
$cluster->run('s.other');
$cluster->sql('NOTIFY one');
$cluster->poll(q(SELECT count(*) FROM etl.schedule_event WHERE argument = 'one' AND happened_at IS NOT NULL), '2');
stays('both', 0, 'one of all is not enough');
stays('calm', 0, 'it is not calm yet');
$cluster->sql('NOTIFY three');
comes(runs_of('both'), '1', 'all of them are');
$cluster->sql('NOTIFY two');
comes(runs_of('calm'), '1', 'when it was calm, one run');
is($cluster->sql(q(SELECT count(*) FROM etl.schedule_slots WHERE schedule = 'calm' AND decided_at - due_at >= '0')), '1',
	'not before the pause was over');
$cluster->sql(q(SELECT etl.drop_schedule('both'), etl.drop_schedule('calm')));

# ---- an event that comes while a run is there waits for its end ----
$cluster->sql(q(
	CREATE TABLE s.pause (seconds float);
	INSERT INTO s.pause VALUES (3);
	SELECT etl.define_model('s.slow', 'SELECT pg_sleep(seconds)::text AS nap, now() AS at FROM s.pause', 'table');
	SELECT etl.define_schedule('slow', 's.slow', on_event => '{"notify": "slow"}');
));
$cluster->run('s.other');
$cluster->sql('NOTIFY slow');
comes(q(SELECT count(*) FROM etl.runs WHERE trigger_name = 'slow' AND status = 'running'), '1', 'a slow run');
$cluster->sql('NOTIFY slow');
$cluster->sql('NOTIFY slow');
comes(runs_of('slow'), '2', 'what came meanwhile is one run after it');
stays('slow', 2, 'and no third');

# ---- a transaction that stays open after a definition holds up nobody else ----
$cluster->sql(q(SELECT etl.define_schedule('free', 's.m', on_event => '{"published": "s.first"}')));
my $holder = IPC::Run::start(['psql', '-XqAt', '-d', $cluster->node->connstr('postgres'), '-c',
		q(SELECT etl.define_schedule('file', 's.other', on_event => '{"file": "raw.a", "debounce": "1 s"}');
		  SELECT etl.define_schedule('slow', 's.slow', on_event => '{"published": "s.first"}', cron => '* * * * * *');
		  SELECT pg_sleep(25), 'held'; SELECT 1/0)], '>', '/dev/null', '2>', '/dev/null');
$cluster->poll(q(SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND query LIKE '%held%'), '1');
drop_file('in/a_5b.csv', 70);
$cluster->run('s.first');
comes(runs_of('free'), '1', 'another schedule fires while a definition is not committed', 15);
is($cluster->sql(q(SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND query LIKE '%held%')), '1', 'it is still open');
$holder->finish;
$cluster->run('s.other');
comes('SELECT count(*) FROM raw.a WHERE id = 70', '1', 'a file that came meanwhile is loaded after it');

# ---- misfires across a restart, and a file that arrived while the server was down ----
$cluster->sql(qq(
	SELECT etl.drop_schedule(name) FROM etl.schedules WHERE name <> 'file';
	SELECT etl.define_schedule('down ' || m, 's.m', every => '1 s', misfire => m, options => '{"grace": "2 s"}', overlap => 'parallel')
	FROM unnest('{skip,once,all}'::text[]) AS m;
));
comes(q(SELECT count(DISTINCT schedule) FROM etl.schedule_slots WHERE schedule LIKE 'down%' AND status = 'fired'), '3',
	'three schedules run');
$cluster->node->stop('fast');
drop_file('in/a_6.csv', 8);
sleep 6;
$cluster->node->start;
$cluster->wait_up;
comes('SELECT count(*) FROM raw.a WHERE id = 8', '1', 'a file that arrived while the server was down is loaded');
comes(q(SELECT count(DISTINCT schedule) FROM etl.schedule_slots WHERE schedule LIKE 'down%' AND status = 'fired'
	AND due_at > pg_postmaster_start_time() + interval '3 s'), '3', 'they run again');
$cluster->sql(q(SELECT etl.pause('down ' || m) FROM unnest('{skip,once,all}'::text[]) AS m));
my $missed = q(FROM etl.schedule_slots AS o WHERE schedule = 'down %s' AND due_at < (SELECT pg_postmaster_start_time())
	AND due_at > (SELECT max(queued_at) FROM etl.runs WHERE trigger_name LIKE 'down%%' AND queued_at < pg_postmaster_start_time()));
is($cluster->sql('SELECT count(*) ' . sprintf($missed, 'skip') . q( AND status = 'fired')), '0', 'skip: none of the missed slots was run');
cmp_ok($cluster->sql('SELECT count(*) ' . sprintf($missed, 'once') . q( AND status = 'fired')), '<=', 1, 'once: at most one of them');
cmp_ok($cluster->sql('SELECT count(*) ' . sprintf($missed, 'all') . q( AND status = 'fired')), '>=', 4, 'all: each of them');
is($cluster->sql('SELECT count(*) ' . sprintf($missed, 'all') . q( AND status = 'skipped')), '0', 'and none skipped');
for my $misfire (qw(skip once all))
{
	is( $cluster->sql(qq(SELECT count(*) FROM (SELECT due_at - lag(due_at) OVER (ORDER BY due_at) AS step
		FROM etl.schedule_slots WHERE schedule = 'down $misfire') AS s WHERE step <> '1 s')),
		'0', "$misfire: every slot is accounted for");
}

# ---- everything paused ----
$cluster->sql('SELECT etl.pause()');
drop_file('in/a_7.csv', 9);
$cluster->run('s.other');
is($cluster->sql('SELECT count(*) FROM raw.a WHERE id = 9'), '0', 'paused: a file is not loaded');
$cluster->sql('SELECT etl.resume()');
comes('SELECT count(*) FROM raw.a WHERE id = 9', '1', 'resumed: it is');
$cluster->sql(q(SELECT etl.drop_schedule(name) FROM etl.schedules));
$cluster->no_leaks('at the end');
is($cluster->sql(q(SELECT count(*) FROM etl.runs WHERE status NOT IN ('succeeded'))), '0', 'every run succeeded');
$cluster->node->stop;
done_testing();
