# Whoever writes a watched table, in whatever order sessions commit or end, its models hold what their queries yield, and are built for what changed.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../perl";

use Etl::Crash qw(begin_at_work);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $seed = $ENV{ETL_SEED} // int(time);
srand($seed);
diag("seed $seed");

my $node = PostgreSQL::Test::Cluster->new('watch');
$node->init;
$node->append_conf('postgresql.conf', "fsync = off\nautovacuum = off\ntimezone = 'UTC'\n");
$node->start;

my $query = 'SELECT k, count(*) AS n, sum(v) AS v FROM w.t GROUP BY k';
my $days = "SELECT id, timestamptz '2026-01-01' + v * interval '1 hour' AS at FROM w.t";
$node->safe_psql('postgres', qq{
	CREATE EXTENSION etl;
	CREATE SCHEMA w;
	CREATE TABLE w.t (id int, k text, v int);
	INSERT INTO w.t SELECT i, 'k' || i % 5, i FROM generate_series(1, 40) AS i;
	SELECT etl.watch('w.t');
	SELECT etl.define_model('w.sums', '$query', 'incremental', key => '{k}');
	SELECT etl.define_model('w.days', \$q\$$days\$q\$, 'incremental', event_time => 'at', batch_size => '1 day', options => '{"begin": "2026-01-01"}')});

# run runs the models and returns what was done with each.
sub run
{
	$node->safe_psql('postgres', "SET client_min_messages = error; SET etl.test_now = '2026-01-20'; CALL etl.run('w.*')");
	return $node->safe_psql('postgres', "SELECT string_agg(action, ' ' ORDER BY node) FROM etl.tasks WHERE run_id = (SELECT max(run_id) FROM etl.runs)");
}

# differences counts the rows that the models have or lack.
sub differences
{
	return $node->safe_psql('postgres', 'SELECT ' . join(' + ', map { my ($model, $q) = @$_;
		"(SELECT count(*) FROM (TABLE $model EXCEPT ALL ($q)) x) + (SELECT count(*) FROM (($q) EXCEPT ALL TABLE $model) x)" }
		[ 'w.sums', $query ], [ 'w.days', $days ]));
}

# ---- a writer at work when recording would begin ----
my $writer = $node->background_psql('postgres');
$writer->query_safe(q{BEGIN; INSERT INTO w.t VALUES (100, 'k1', 7)});
is(run(), 'create create', 'the first builds do not wait for a writer');
$writer->query_safe('COMMIT');
is(run(), 'full full', 'what it wrote is not known, so the next ones are full');
is(differences(), '0', 'and right');
is(run(), 'unchanged unchanged', 'from then on every change is recorded');

# ---- commits in another order than the writes ----
$writer->query_safe(q{BEGIN; UPDATE w.t SET k = 'late' WHERE id = 3});
$node->safe_psql('postgres', q{INSERT INTO w.t VALUES (101, 'k2', 30)});
is(run(), 'incremental incremental', 'what is committed is followed');
is(differences(), '0', 'and nothing else');
$writer->query_safe('COMMIT');
is(run(), 'incremental incremental', 'what was written before and committed after, too');
is(differences(), '0', 'it is right');

# ---- a writer that is killed, one that rolls back ----
my $killed = begin_at_work($node, q{BEGIN; DELETE FROM w.t WHERE id < 20; SELECT pg_sleep(600);});
$node->poll_query_until('postgres', "SELECT state_change IS NOT NULL AND wait_event = 'PgSleep' FROM pg_stat_activity WHERE pid = $killed->{pid}");
$node->safe_psql('postgres', "SELECT pg_terminate_backend($killed->{pid})");
eval { $killed->{session}->finish };
$writer->query_safe(q{BEGIN; TRUNCATE w.t; ROLLBACK});
$node->poll_query_until('postgres', "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $killed->{pid})");
is(run(), 'unchanged unchanged', 'what was not committed did not happen');

# ---- anything, in two sessions ----
my @statements = (
	sub { return sprintf(q{INSERT INTO w.t SELECT i, 'k' || %d, %d FROM generate_series(200, 20%d) AS i}, rand(6), rand(400), rand(9)) },
	sub { return sprintf('UPDATE w.t SET v = %d WHERE id %% 7 = %d', rand(400), rand(7)) },
	sub { return sprintf(q{UPDATE w.t SET k = CASE WHEN k IS NULL THEN 'k0' END WHERE id = %d}, rand(100)) },
	sub { return sprintf('DELETE FROM w.t WHERE id %% 11 = %d', rand(11)) },
	sub { return sprintf(q{COPY w.t FROM PROGRAM 'printf "300\\tk3\\t%d\n"'}, rand(400)) },
	sub { return rand() < 0.2 ? 'TRUNCATE w.t' : 'SELECT 1' });
my ($wrong, $open, %actions) = (0, 0);
for my $step (1 .. 30)
{
	my $statement = $statements[ int(rand(@statements)) ]->();

	if (rand() < 0.5)
	{
		# the two sessions must not wait for each other
		$node->psql('postgres', "SET lock_timeout = '100 ms'; $statement");
	}
	elsif ($open)
	{
		$writer->query(rand() < 0.7 ? 'COMMIT' : 'ROLLBACK');
		$open = 0;
	}
	elsif ($statement !~ /TRUNCATE/)
	{
		# nobody reads the table while one that truncates it is open
		$writer->query("BEGIN; SET LOCAL lock_timeout = '100 ms'; $statement");
		$open = 1;
	}
	$actions{$_}++ for split(/ /, run());
	next if differences() eq '0';
	$wrong++;
	diag("seed $seed, step $step: $statement");
}
is($wrong, 0, 'thirty steps of two sessions: ' . join(', ', map { "$_ $actions{$_}" } sort keys %actions));
cmp_ok($actions{incremental} // 0, '>', 0, 'models followed what changed');
$writer->quit;
$node->stop;
done_testing();
