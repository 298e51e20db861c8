# DROP, RENAME, SET TABLESPACE and CREATE DATABASE ... TEMPLATE work within five seconds while etl is at work there, and what they leave goes on.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../perl";

use Etl::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my $rounds = $ENV{ETL_ROUNDS} // 10;
my $cluster = Etl::Cluster->new('databases', conf => "allow_in_place_tablespaces = on\n");
my $node = $cluster->node;

# make_database makes a database with a run at work, and returns the run.
sub make_database
{
	my ($name) = @_;

	$cluster->sql("CREATE DATABASE $name");
	$cluster->sql('CREATE EXTENSION etl', $name);
	$cluster->define_models($name);
	$cluster->wait_up(10, $name);
	my ($run_id) = $cluster->begin_slow($name);
	$cluster->sql('UPDATE m.pause SET seconds = 0', $name);
	return $run_id;
}

# quickly asserts that statements succeed within five seconds.
sub quickly
{
	my ($what, $sql) = @_;
	my $begin = time;
	my ($well, undef, $error) = $cluster->try_sql($sql);

	ok($well, "$what works while a worker is at work") or diag($error);
	cmp_ok(time - $begin, '<', 5, "$what: within five seconds");
	return;
}

# DROP; the same name is then another database
make_database('dropped');
quickly('DROP DATABASE', 'DROP DATABASE dropped');
make_database('dropped');
$cluster->back_at_work('after DROP DATABASE', 'dropped');
$cluster->sql('DROP DATABASE dropped');

# RENAME, in a transaction block as well
my $run_id = make_database('old_name');
quickly('RENAME DATABASE', 'ALTER DATABASE old_name RENAME TO new_name');
$cluster->back_at_work('after RENAME', 'new_name');
is($cluster->wait_run($run_id, 60, 'new_name'), 'succeeded', 'after RENAME: the run at work goes on');
quickly('a RENAME that is rolled back', 'BEGIN; ALTER DATABASE new_name RENAME TO other_name; ROLLBACK');
$cluster->back_at_work('after a rollback', 'new_name');

# TEMPLATE
$cluster->sql('UPDATE m.pause SET seconds = 60', 'new_name');
($run_id) = $cluster->begin_slow('new_name');
$cluster->sql('UPDATE m.pause SET seconds = 0', 'new_name');
quickly('CREATE DATABASE ... TEMPLATE', 'CREATE DATABASE copy TEMPLATE new_name');
$cluster->back_at_work('after TEMPLATE', 'new_name');
is($cluster->wait_run($run_id, 60, 'new_name'), 'succeeded', 'after TEMPLATE: the run at work goes on');
ok(defined $cluster->poll("SELECT state FROM etl.status() WHERE process = 'scheduler'", 'paused', 10, 'copy'),
	'the copy has a scheduler of its own, paused');

# SET TABLESPACE
$cluster->sql("CREATE TABLESPACE place LOCATION ''");
$cluster->sql('UPDATE m.pause SET seconds = 60', 'new_name');
($run_id) = $cluster->begin_slow('new_name');
$cluster->sql('UPDATE m.pause SET seconds = 0', 'new_name');
quickly('SET TABLESPACE', 'ALTER DATABASE new_name SET TABLESPACE place');
$cluster->back_at_work('after SET TABLESPACE', 'new_name');
is($cluster->wait_run($run_id, 60, 'new_name'), 'succeeded', 'after SET TABLESPACE: the run at work goes on');

# A statement that fails, because a session is connected, leaves the workers as they were.
my $session = $node->background_psql('new_name');
$session->query_safe('SELECT 1');
my ($well, undef, $error) = $cluster->try_sql('DROP DATABASE new_name');
ok(!$well, 'a database in use is not dropped');
like($error, qr/being accessed by other users/, 'the server says why');
like($error, qr/There is 1 other session/, 'and only the session is counted');
$session->quit;
$cluster->back_at_work('after a DROP that failed', 'new_name');

# Who may not do it stops nobody.
$cluster->sql('CREATE ROLE nobody_special LOGIN');
my $scheduler = $cluster->pid('scheduler', 'new_name');
for my $statement ('DROP DATABASE new_name', 'ALTER DATABASE new_name RENAME TO mine', 'CREATE DATABASE mine TEMPLATE new_name',
	'ALTER DATABASE new_name SET TABLESPACE pg_default')
{
	my ($code) = $node->psql('postgres', "$statement", extra_params => [ '-U', 'nobody_special' ]);
	isnt($code, 0, "$statement is refused");
}
is($cluster->pid('scheduler', 'new_name'), $scheduler, 'and has not touched the scheduler');

# A database that nobody may connect to has no scheduler; one that is allowed again has.
$cluster->sql('ALTER DATABASE copy ALLOW_CONNECTIONS false');
$cluster->sql('ALTER DATABASE copy ALLOW_CONNECTIONS true');
ok(defined $cluster->poll("SELECT state FROM etl.status() WHERE process = 'scheduler'", 'paused', 10, 'copy'),
	'one that may be connected to again has its scheduler');

# Many in a row, each with a run at work.
my $slowest = 0;
for my $round (1 .. $rounds)
{
	make_database('passing');
	my $begin = time;
	$cluster->sql('DROP DATABASE passing');
	my $took = time - $begin;
	$slowest = $took if $took > $slowest;
}
cmp_ok($slowest, '<', 5, "$rounds databases come and go, none in more than five seconds");

# Statements that run into each other.
make_database('contested');
my @sessions = map { $node->background_psql('postgres', on_error_stop => 0) } 1 .. 3;
$_->query_until(qr/begun/, "\\echo begun\nDROP DATABASE IF EXISTS contested;\n\\echo ended\n") for @sessions;
for my $session (@sessions)
{
	$session->query_until(qr/ended/, "\n");
	$session->quit;
}
is($cluster->sql("SELECT count(*) FROM pg_database WHERE datname = 'contested'"), '0', 'three DROPs at once drop it once');

$cluster->poll("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'etl task' AND state <> 'idle'", '0', 30);
$cluster->no_leaks('in the end', 'postgres', 'new_name', 'copy');
my $log = slurp_file($node->logfile);
unlike($log, qr/have not ended within/, 'no worker had to be waited for too long');
unlike($log, qr/PANIC|TRAP|signal 11/, 'nothing worse is in the log');
$node->stop;
done_testing();
