# CREATE and DROP EXTENSION in quick turns, in several databases: no process of etl ever looks for a table that is not there.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../perl";

use Etl::Cluster;
use POSIX ();
use PostgreSQL::Test::Utils;
use Test::More;

my $cluster = Etl::Cluster->new('comes_and_goes', extension => 0);
my @databases = ('postgres', 'd1', 'd2');

$cluster->sql("CREATE DATABASE $_") for @databases[ 1, 2 ];
my @children = map {
	my $database = $_;
	my $child = fork();
	if ($child == 0)
	{
		for my $round (1 .. 8)
		{
			$cluster->try_sql($_, $database) for ('CREATE EXTENSION etl', 'SELECT * FROM etl.status()', 'DROP EXTENSION etl',
				'BEGIN; CREATE EXTENSION etl; SELECT pg_sleep(0.05); COMMIT', 'BEGIN; DROP EXTENSION etl; CREATE EXTENSION etl; COMMIT',
				'DROP EXTENSION etl');
		}
		$cluster->try_sql('CREATE EXTENSION etl', $database);
		POSIX::_exit(0);
	}
	$child;
} @databases;
waitpid($_, 0) for @children;
ok(defined $cluster->wait_up(30, $_), "$_: the scheduler is there in the end") for @databases;
my $log = slurp_file($cluster->node->logfile);
my @errors = grep { /etl (launcher|scheduler|task)/ && /ERROR|FATAL/ && !/terminating/ } split(/\n/, $log);
is(scalar(@errors), 0, 'no process of etl has raised an error') or diag(join("\n", @errors));
$cluster->define_models;
is($cluster->run('m.quick'), 'succeeded', 'and runs are done');

# Who has begun when the extension is dropped waits, and then hears that there is none; who comes after CREATE sees it whole.
for my $statement ('SELECT count(*) FROM etl.status()', "SELECT etl.submit('m.quick')", 'CALL etl.tick()')
{
	my $child = fork();
	if ($child == 0)
	{
		$cluster->try_sql(q(
			BEGIN;
			DROP EXTENSION etl CASCADE;
			DO $$BEGIN WHILE NOT EXISTS (SELECT FROM pg_locks WHERE NOT granted) LOOP PERFORM pg_sleep(0.01); END LOOP; END$$;
			COMMIT));
		POSIX::_exit(0);
	}
	$cluster->poll("SELECT count(*) FROM pg_locks WHERE classid = 'pg_extension'::regclass AND mode = 'AccessExclusiveLock'", '1', 30);
	my (undef, undef, $error) = $cluster->try_sql($statement);
	waitpid($child, 0);
	like($error, qr/extension "etl" is not installed in this database/, "$statement: the extension has gone meanwhile");
	$cluster->sql('DROP SCHEMA m CASCADE; CREATE EXTENSION etl');
	$cluster->define_models;
}
$cluster->back_at_work('in the end');

$cluster->node->stop;
done_testing();
