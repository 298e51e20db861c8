# A run whose process dies goes on from its last commit; what kills it three times in a row is parked, and the rest is done.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../perl";

use Etl::Cluster;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $cluster = Etl::Cluster->new('crashes', conf => "etl.max_workers = 2\n");
my $node = $cluster->node;

$cluster->define_models;
$cluster->sql(q{
	SELECT etl.define_model('m.first', 'SELECT 1 AS x, now() AS at', 'table');
	SELECT etl.define_model('m.poison', 'SELECT x, pg_sleep(seconds)::text AS s FROM m.first, m.pause', 'table');
	SELECT etl.define_model('m.below', 'SELECT x FROM m.poison', 'table');
	SELECT etl.define_model('m.beside', 'SELECT x FROM m.first', 'table');
});

# at_work waits until a node of a run is at work after so many crashes and returns the process that leads the run.
sub at_work
{
	my ($run, $target, $crashes) = @_;

	ok(defined $cluster->poll("SELECT count(*) FROM etl.tasks t JOIN etl.run r USING (run_id) WHERE run_id = $run
		AND node = '$target' AND t.status = 'running' AND crashes = $crashes", 1, 60), "$target is at work after $crashes crashes");
	return $cluster->sql("SELECT pid FROM etl.status() WHERE detail LIKE 'leads run $run%'");
}

# ---- once: it goes on from where it was ----

my $run = $cluster->submit('m.first+');
my $pid = at_work($run, 'm.poison', 0);
my $begun = $cluster->sql('SELECT at FROM m.first');
ok($cluster->kill_process('KILL', $pid), 'the process of a run is killed');
$pid = at_work($run, 'm.poison', 1);
is($cluster->sql('SELECT at FROM m.first'), $begun, 'what was committed is not done again');
is($cluster->sql("SELECT string_agg(status, ', ' ORDER BY attempt) FROM etl.tasks WHERE run_id = $run AND node = 'm.poison'"),
	'interrupted, running', 'the attempt that was cut off is interrupted, the next one is at work');

# ---- three times in a row, without any commit between: parked ----

$cluster->kill_process('KILL', $pid);
$pid = at_work($run, 'm.poison', 2);
$cluster->kill_process('KILL', $pid);
is($cluster->wait_run($run), 'failed', 'after three crashes the run ends');
is($cluster->sql("SELECT string_agg(node || ' ' || status, ', ' ORDER BY node) FROM (SELECT DISTINCT ON (node) node, status
	FROM etl.tasks WHERE run_id = $run ORDER BY node, task_id DESC) AS t"),
	'm.below skipped, m.beside succeeded, m.first succeeded, m.poison failed', '... the task at work is parked, the rest is done');
like($cluster->sql("SELECT error || ' | ' || hint FROM etl.tasks WHERE run_id = $run AND status = 'failed'"),
	qr/parked: its process died 3 times in a row.*server log/, '... with a clear reason');
like($cluster->sql("SELECT why FROM etl.explain_run($run) WHERE node = 'm.poison'"), qr/parked/, '... and an explanation');

# ---- a new run starts at zero, and a commit between counts ----

$run = $cluster->submit('m.poison');
$pid = at_work($run, 'm.poison', 0);
$cluster->kill_process('KILL', $pid);
$pid = at_work($run, 'm.poison', 1);
$cluster->sql('UPDATE m.pause SET seconds = 0');
$cluster->kill_process('KILL', $pid);
is($cluster->wait_run($run), 'succeeded', 'a new run starts at zero, and succeeds after two crashes');

$cluster->sql(q{
	CREATE TABLE m.gates (i int, open boolean);
	INSERT INTO m.gates VALUES (1, false), (2, false);
	CREATE FUNCTION m.gate(which int) RETURNS int LANGUAGE plpgsql AS
	$$BEGIN
		WHILE NOT (SELECT open FROM m.gates WHERE i = which) LOOP PERFORM pg_sleep(0.02); END LOOP;
		RETURN which;
	END$$;
	SELECT etl.define_model('m.gate1', 'SELECT m.gate(1) AS x', 'table');
	SELECT etl.define_model('m.gate2', 'SELECT m.gate(2) AS x FROM m.gate1', 'table');
});
$run = $cluster->submit('m.gate1+');
$cluster->kill_process('KILL', at_work($run, 'm.gate1', $_)) for 0 .. 1;
at_work($run, 'm.gate1', 2);
$cluster->sql('UPDATE m.gates SET open = true WHERE i = 1');
$cluster->kill_process('KILL', at_work($run, 'm.gate2', 2));
at_work($run, 'm.gate2', 1);
$cluster->sql('UPDATE m.gates SET open = true');
is($cluster->wait_run($run), 'succeeded', 'a run that commits between its crashes is not parked');

$node->stop('fast');
done_testing();
