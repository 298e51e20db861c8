# DROP, CREATE and ALTER EXTENSION UPDATE work while etl is at work; a library and an extension of different versions leave each other alone.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../perl";

use Etl::Cluster;
use Etl::Installation;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

# A server of its own, whose etl this test may replace.
my $installation = Etl::Installation->new;
my $cluster = Etl::Cluster->new('extension', install_path => $installation->path);
my $node = $cluster->node;
$cluster->define_models;

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

# DROP EXTENSION takes the workers along; a new extension gets new ones.
$cluster->begin_slow;
quickly('DROP EXTENSION', 'DROP EXTENSION etl CASCADE');
my $gone = 0;
for (1 .. 200)
{
	$gone = !grep { /scheduler|task/ } $cluster->children;
	last if $gone;
	usleep(50_000);
}
ok($gone, 'after DROP EXTENSION only the launcher is left');
$cluster->sql('DROP SCHEMA m CASCADE');
$cluster->sql('CREATE EXTENSION etl');
$cluster->define_models;
$cluster->back_at_work('after CREATE EXTENSION');

# One that is rolled back leaves the workers as they were.
$cluster->sql('BEGIN; DROP EXTENSION etl CASCADE; ROLLBACK');
$cluster->back_at_work('after a DROP EXTENSION that was rolled back');
$cluster->sql('CREATE DATABASE later');
$cluster->sql('BEGIN; CREATE EXTENSION etl; ROLLBACK', 'later');
$cluster->sql('CREATE EXTENSION etl', 'later');
ok(defined $cluster->wait_up(10, 'later'), 'CREATE EXTENSION after one that was rolled back');
$cluster->sql('DROP DATABASE later');

# A schema of the same name without the extension is nobody's business.
$cluster->sql('CREATE DATABASE namesake');
$cluster->sql('CREATE SCHEMA etl; CREATE TABLE etl.run (run_id bigint)', 'namesake');
$cluster->kill_process('TERM', $cluster->pid('launcher'));
$cluster->back_at_work('with a namesake beside it');
is($cluster->sql("SELECT count(*) FROM pg_stat_activity WHERE datname = 'namesake' AND backend_type LIKE 'etl%'"), '0',
	'a schema called etl does not bring a scheduler');

# The scripts of 1.1 are installed: nothing changes until ALTER EXTENSION.
$installation->add_version('1.1', "CREATE FUNCTION etl.new_in_1_1() RETURNS int LANGUAGE sql AS 'SELECT 11';");
$cluster->back_at_work('with the scripts of 1.1 installed');
my ($run_id) = $cluster->begin_slow;
$cluster->sql('UPDATE m.pause SET seconds = 0');
quickly('ALTER EXTENSION UPDATE', "ALTER EXTENSION etl UPDATE TO '1.1'");
ok(defined $cluster->poll("SELECT state FROM etl.status() WHERE process = 'scheduler'", 'idle', 10),
	'the library that is loaded is older: the scheduler leaves the new extension alone');
like($cluster->sql("SELECT detail FROM etl.status() WHERE process = 'scheduler'"),
	qr/the library is version 1\.0, the extension 1\.1/, 'and says why');
my $queued = $cluster->submit('m.quick');
is($cluster->sql("SELECT status FROM etl.runs WHERE run_id = $queued"), 'queued', 'runs stay queued');
my $said = () = slurp_file($node->logfile) =~ /etl does nothing in database "postgres"/g;
is($said, 1, 'the log says so once');

# With the library of 1.1 and a restart everything goes on.
$installation->replace_library('1.1');
$node->restart;
$cluster->back_at_work('after the update and a restart');
is($cluster->wait_run($queued), 'succeeded', 'after the update: what was queued is done');
is($cluster->wait_run($run_id), 'succeeded', 'after the update: what was at work goes on');
is($cluster->sql('SELECT etl.new_in_1_1()'), '11', 'after the update: what is new is there');

# The other order: the library is newer until ALTER EXTENSION, which needs no restart.
$cluster->sql('CREATE DATABASE second');
$cluster->sql("CREATE EXTENSION etl VERSION '1.0'", 'second');
$cluster->define_models('second');
ok(defined $cluster->poll("SELECT state FROM etl.status() WHERE process = 'scheduler'", 'idle', 10, 'second'),
	'a library that is newer leaves the old extension alone');
$cluster->sql('ALTER EXTENSION etl UPDATE', 'second');
$cluster->back_at_work('after ALTER EXTENSION UPDATE', 'second');
$cluster->no_leaks('in the end', 'postgres', 'second');

$node->stop;
done_testing();
