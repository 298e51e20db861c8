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

done_testing();
