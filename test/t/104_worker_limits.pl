# Idle costs nothing; what cannot be done (no free worker, an owner that is gone, a definition that always fails) waits or fails alone, and is said once.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../perl";

use Etl::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

# ---- idle: begun first, measured last ----

my $idle_seconds = $ENV{ETL_IDLE_SECONDS} // 120;
my $idle = Etl::Cluster->new('idle', conf => "shared_preload_libraries = 'etl, pg_stat_statements'\nautovacuum = off\n");
$idle->define_models;
$idle->sql(q(
	CREATE EXTENSION pg_stat_statements;
	SELECT count(etl.define_schedule('yearly_' || i, 'm.quick', cron => '0 0 1 1 *', timezone => 'Europe/Berlin'))
	FROM generate_series(1, 40) AS i;
	SELECT count(etl.define_schedule('daily_' || i, 'm.quick', every => '1 day')) FROM generate_series(1, 8) AS i;
	SELECT etl.define_schedule('told', 'm.quick', on_event => '{"notify": "news"}');
	SELECT etl.define_schedule('after', 'm.quick', on_event => '{"published": "m.slow"}');
));
is($idle->run('m.quick'), 'succeeded', 'a run before the silence');

# ticks adds up the CPU time of the processes of etl, in ticks of 10 ms.
sub ticks
{
	my $ticks = 0;

	for my $line ($idle->children)
	{
		my ($pid) = split(' ', $line);
		my $stat = slurp_file("/proc/$pid/stat");
		my @fields = split(' ', $stat =~ s/^.*\) //sr);
		$ticks += $fields[11] + $fields[12];
	}
	return $ticks;
}

# what etl's processes have asked since the last reset; this session's own statements mention the view
my $asked = q(SELECT count(*) FROM pg_stat_statements WHERE query NOT LIKE '%pg_stat_statements%'
	AND query NOT LIKE '%etl.status()%');
$idle->poll("SELECT count(*) FROM etl.status() WHERE state IN ('starting', 'busy')", '0', 30);
# the worker of the run leaves after a minute; until then it is part of what is idle
for (1 .. 100)
{
	$idle->sql('SELECT pg_stat_statements_reset()');
	usleep(500_000);
	last if $idle->sql($asked) eq '0';
}
my $ticks = ticks();
my $idle_since = time;

# ---- more runs than etl.max_workers ----

my $cluster = Etl::Cluster->new('limits', conf => "etl.max_workers = 1\n");
my $node = $cluster->node;
$cluster->define_models;
my ($slow) = $cluster->begin_slow;
my @queued = map { $cluster->submit('m.quick') } 1 .. 3;
ok(defined $cluster->poll("SELECT state FROM etl.status() WHERE process = 'scheduler'", 'waiting', 10),
	'without a free worker the scheduler waits');
is($cluster->sql("SELECT string_agg(DISTINCT status, ',') FROM etl.runs WHERE run_id > $slow"), 'queued', 'the runs are queued');
like($cluster->sql("SELECT detail FROM etl.status() WHERE process = 'scheduler'"), qr/3 runs are queued: no worker is free/,
	'etl.status() says so');
my ($pid) = $cluster->pid('task');
$cluster->sql('UPDATE m.pause SET seconds = 0');
$cluster->sql("SELECT pg_terminate_backend($pid)");
is($cluster->wait_run($_), 'succeeded', 'a queued run is done later') for @queued, $slow;
my $said = () = slurp_file($node->logfile) =~ /All 1 workers \(etl\.max_workers\) are at work/g;
is($said, 1, 'that they had to wait is in the log once');

# etl.max_workers may be changed at any time; 0 stops all work
$cluster->sql('ALTER SYSTEM SET etl.max_workers = 0');
$node->reload;
$cluster->poll('SHOW etl.max_workers', '0', 10);
$cluster->sql("SELECT pg_terminate_backend(pid) FROM etl.status() WHERE process = 'task'");
my $run_id = $cluster->submit('m.quick');
$cluster->poll("SELECT state FROM etl.status() WHERE process = 'scheduler'", 'waiting', 10);
is($cluster->sql("SELECT status FROM etl.runs WHERE run_id = $run_id"), 'queued', 'with etl.max_workers = 0 runs wait');
$cluster->sql('ALTER SYSTEM SET etl.max_workers = 1');
$node->reload;
is($cluster->wait_run($run_id), 'succeeded', 'until it is raised');
$cluster->back_at_work('after there was no place for a worker');

# Two databases share one worker, though one of them always has work.
$cluster->sql('CREATE DATABASE neighbour');
$cluster->sql('CREATE EXTENSION etl', 'neighbour');
$cluster->define_models('neighbour');
$cluster->wait_up(10, 'neighbour');
$cluster->submit('m.quick') for 1 .. 30;
is($cluster->run('m.quick', 20, 'neighbour'), 'succeeded', 'a database that always has work does not keep others from it');
is($cluster->run('m.quick', 60), 'succeeded', 'nor is it kept from its own');

# ---- an owner that is gone ----

$cluster->sql(q(
	CREATE ROLE passing; GRANT etl_developer TO passing;
	SET ROLE passing;
	SELECT etl.define_model('m.orphan', 'SELECT 1 AS one', 'table');
	SELECT etl.define_schedule('orphan', 'm.orphan', every => '1 second');
	RESET ROLE;
	DROP ROLE passing;
));
$cluster->poll("SELECT count(*) > 0 FROM etl.runs WHERE trigger_name = 'orphan' AND status = 'failed'", 't', 30);
$cluster->back_at_work('with a schedule and a model whose owner is gone');
is($cluster->run('m.orphan'), 'failed', 'a run of that model fails');
like($cluster->sql("SELECT error FROM etl.tasks WHERE node = 'm.orphan' ORDER BY task_id DESC LIMIT 1"),
	qr/role "passing".* does not exist/, 'and says why');
my $scheduler = $cluster->pid('scheduler');
$cluster->sql("SELECT etl.drop_schedule('orphan')");

# ---- definitions that always fail ----

$cluster->sql(q(
	SELECT etl.define_model('m.broken', 'SELECT 1 / (id - id) AS x FROM m.seed', 'table');
	SELECT etl.define_schedule('broken', 'm.broken', every => '1 second');
	SELECT etl.define_schedule('healthy', 'm.quick', every => '1 second');
	SELECT etl.define_schedule('corrupt', 'm.quick', every => '1 second');
	UPDATE etl.schedule SET timezone = 'Nowhere/Nothing' WHERE name = 'corrupt';
));
$cluster->poll("SELECT count(*) >= 2 FROM etl.runs WHERE trigger_name = 'broken' AND status = 'failed'", 't', 30);
ok(defined $cluster->poll("SELECT count(*) >= 2 FROM etl.runs WHERE trigger_name = 'healthy' AND status = 'succeeded'", 't', 30),
	'a schedule that always fails, and one that cannot even be read, keep no other from firing');
$cluster->back_at_work('beside schedules that always fail');
is($cluster->pid('scheduler'), $scheduler, 'the scheduler lives');
$cluster->sql("SELECT etl.drop_schedule(name) FROM etl.schedule");

# A step of the scheduler that always fails: logged once, tried again later and later, the others go on.
my $log_end = -s $node->logfile;
$cluster->sql('ALTER TABLE etl.schedule RENAME TO schedule_elsewhere');
is($cluster->run('m.quick'), 'succeeded', 'runs go on while schedules cannot be read');
usleep(4_000_000);
is($cluster->run('m.quick'), 'succeeded', 'for a while');
is($cluster->pid('scheduler'), $scheduler, 'the scheduler lives');
like($cluster->sql("SELECT detail FROM etl.status() WHERE process = 'scheduler'"), qr/last error .* relation "etl\.schedule" does not exist/,
	'etl.status() tells the error');
$said = () = substr(slurp_file($node->logfile), $log_end) =~ /ERROR:  relation "etl\.schedule" does not exist/g;
cmp_ok($said, '<=', 4, 'the log tells it once a step');
$cluster->sql('ALTER TABLE etl.schedule_elsewhere RENAME TO schedule');
$cluster->sql("SELECT etl.define_schedule('healthy', 'm.quick', every => '1 second')");
my $last = $cluster->sql('SELECT max(run_id) FROM etl.runs');
ok(defined $cluster->poll("SELECT count(*) > 0 FROM etl.runs WHERE trigger_name = 'healthy' AND status = 'succeeded' AND run_id > $last",
	't', 40), 'when it can be done again it is done again');
$cluster->sql("SELECT etl.drop_schedule('healthy')");
$cluster->no_leaks('after failures', 'postgres', 'neighbour');
$node->stop;

# ---- no background worker is free: two databases' schedulers take the last ----

my $small = Etl::Cluster->new('small', conf => "max_worker_processes = 4\nmax_logical_replication_workers = 4\n");
$small->define_models;
$small->sql(q(
	SELECT etl.define_channel('told', 'notify', '{"channel": "told"}');
	SELECT etl.define_alert('workers', '{worker}', '{told}');
));
$small->sql('CREATE DATABASE greedy');
$small->sql('CREATE EXTENSION etl', 'greedy');
$small->poll("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'etl scheduler'", '2', 10);
$run_id = $small->submit('m.quick');
ok(defined $small->poll("SELECT state FROM etl.status() WHERE process = 'scheduler'", 'waiting', 10),
	'without a free background worker the scheduler waits');
usleep(3_000_000);
is($small->sql("SELECT status FROM etl.runs WHERE run_id = $run_id"), 'queued', 'the run stays queued');
$said = () = slurp_file($small->node->logfile) =~ /etl runs of database "postgres" are queued/g;
is($said, 1, 'the log says so once');
like($small->sql("SELECT state, what, remedy FROM etl.alerts"), qr/^firing\|1 run waits for a background worker\|ALTER SYSTEM SET max_worker_processes = 8/,
	'an alert tells it, with the remedy');
$small->sql('DROP DATABASE greedy');
is($small->wait_run($run_id), 'succeeded', 'the run is done when one is free');
ok(defined $small->poll('SELECT state FROM etl.alerts', 'resolved', 10), 'and the alert is resolved');
$small->node->stop;

# ---- idle again ----

my $rest = $idle_seconds - (time - $idle_since);
usleep($rest * 1_000_000) if $rest > 0;
my $used = ticks() - $ticks;
my $queries = $idle->sql($asked);
is($queries, '0', sprintf('with 50 schedules and nothing due, %d s cost no query', time - $idle_since))
  or diag($idle->sql('SELECT calls, query FROM pg_stat_statements ORDER BY calls DESC LIMIT 20'));
cmp_ok($used, '<=', 2, "and $used ticks of CPU over all processes");
is($idle->run('m.quick'), 'succeeded', 'they were not asleep for ever');
$idle->node->stop;
done_testing();
