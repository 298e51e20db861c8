# A database that was restored or copied does nothing by itself until etl.resume(): nothing fires twice, and what was queued in the original is left to it.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../perl";

use Etl::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my $cluster = Etl::Cluster->new('copies', extension => 0, conf => "etl.max_workers = 6\n");
my $node = $cluster->node;

# An original whose schedule fires every second, and with a run that is at work and one that is queued.
$cluster->sql('CREATE DATABASE original');
$cluster->sql('CREATE EXTENSION etl', 'original');
$cluster->define_models('original');
$cluster->wait_up(10, 'original');
$cluster->sql(q(
	SELECT etl.define_schedule('often', 'm.quick', every => '1 second', overlap => 'queue', misfire => 'all');
	SELECT etl.define_schedule('when_slow', 'm.quick', on_event => '{"published": "m.slow"}');
), 'original');
$cluster->poll("SELECT count(*) >= 2 FROM etl.runs WHERE trigger_name = 'often' AND status = 'succeeded'", 't', 30, 'original');
my ($slow) = $cluster->begin_slow('original');
my $queued = $cluster->submit('m.slow', 'original');

# looks_on asserts that a database comes up paused and stays so, and that resume sets it going.
sub looks_on
{
	my ($how, $database) = @_;
	my $history = "SELECT string_agg(run_id || ' ' || status, ', ' ORDER BY run_id) FROM etl.run";

	ok(defined $cluster->poll("SELECT state FROM etl.status() WHERE process = 'scheduler'", 'paused', 10, $database),
		"$how: the scheduler is paused");
	like($cluster->sql("SELECT detail FROM etl.status() WHERE process = 'scheduler'", $database), qr/etl\.resume\(\)/,
		"$how: and says what to do");
	my $before = $cluster->sql($history, $database);
	usleep(2_500_000);
	is($cluster->sql($history, $database), $before, "$how: no run begins, is taken up, or is queued");
	is($cluster->sql("SELECT count(*) FROM etl.status() WHERE process = 'task'", $database), '0', "$how: no worker is started");

	$cluster->sql('UPDATE m.pause SET seconds = 0', $database);
	my $resumed = $cluster->sql("SELECT now() - interval '1 second' FROM (SELECT etl.resume()) AS r", $database);
	my $newest = $cluster->sql('SELECT max(run_id) FROM etl.run', $database);
	ok(defined $cluster->poll("SELECT count(*) >= 2 FROM etl.runs WHERE trigger_name = 'often' AND status = 'succeeded'
		AND run_id > $newest", 't', 30, $database), "$how: etl.resume() sets it going");
	$cluster->back_at_work("$how: after etl.resume()", $database);
	is($cluster->sql("SELECT string_agg(status, ' ' ORDER BY run_id) FROM etl.runs WHERE run_id IN ($slow, $queued)", $database),
		'interrupted interrupted', "$how: what was queued or at work in the original is left to it");
	is($cluster->sql("SELECT count(*) FROM etl.schedule_slots WHERE schedule = 'often' AND status = 'fired'
		AND run_id > $newest AND due_at < '$resumed'", $database), '0',
		"$how: no slot of the past is made up for, the original did that");
	$cluster->sql("SELECT etl.pause()", $database);
	return;
}

# CREATE DATABASE ... TEMPLATE
$cluster->sql('CREATE DATABASE copy TEMPLATE original');
looks_on('a copy', 'copy');

# pg_dump and psql, into a server that has etl preloaded: the scheduler is there while the data comes
$cluster->wait_up(10, 'original');
my $dump = $cluster->files . '/original.sql';
command_ok([ 'pg_dump', '-d', $node->connstr('original'), '-f', $dump ], 'pg_dump works while etl is at work');
$cluster->sql('CREATE DATABASE restored');
command_ok([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('restored'), '-f', $dump ], 'psql restores it');
looks_on('a restored database', 'restored');

# In parallel, and in the order that suits pg_restore.
my $archive = $cluster->files . '/original.dump';
command_ok([ 'pg_dump', '-Fc', '-d', $node->connstr('original'), '-f', $archive ], 'pg_dump makes an archive');
$cluster->sql('CREATE DATABASE parallel');
command_ok([ 'pg_restore', '-e', '-j', '2', '-d', $node->connstr('parallel'), $archive ], 'pg_restore restores it in parallel');
looks_on('a database restored in parallel', 'parallel');

# Without any schedule, too: what was queued is the original's.
$cluster->sql('CREATE DATABASE plain');
$cluster->sql('CREATE EXTENSION etl', 'plain');
$cluster->define_models('plain');
$cluster->wait_up(10, 'plain');
my ($plain_slow) = $cluster->begin_slow('plain');
$cluster->sql('CREATE DATABASE plain_copy TEMPLATE plain');
ok(defined $cluster->poll("SELECT state FROM etl.status() WHERE process = 'scheduler'", 'paused', 10, 'plain_copy'),
	'a copy without schedules is paused as well');
usleep(1_000_000);
is($cluster->sql("SELECT status FROM etl.runs WHERE run_id = $plain_slow", 'plain_copy'), 'interrupted',
	'and leaves the run at work to its original');

# The original has gone on all the time.
$cluster->sql('UPDATE m.pause SET seconds = 0', 'original');
$cluster->sql("SELECT pg_terminate_backend(pid) FROM etl.status() WHERE process = 'task' AND state = 'busy'", 'original');
is($cluster->wait_run($_, 60, 'original'), 'succeeded', 'the original does what is its own') for $slow, $queued;
is($cluster->sql("SELECT count(*) - count(DISTINCT due_at) FROM etl.schedule_slots WHERE schedule = 'often'", 'original'), '0',
	'no slot has fired twice');
$node->stop;
done_testing();
