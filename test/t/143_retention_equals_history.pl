# Whatever retention takes, models hold what their queries yield over all that ever came; keys whose history went keep what they held, and what comes too late for them is told.
use strict;
use warnings;

use Etl::Shapes qw(pick);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

# ETL_SEED repeats a history; ETL_SECONDS says how long new ones are made, ETL_CASES how many; ETL_LIBRARY is another build
my $seed = $ENV{ETL_SEED} // int(time);
my $seconds = $ENV{ETL_SECONDS} // 25;
my $cases = $ENV{ETL_CASES} // 1_000_000;

my $node = PostgreSQL::Test::Cluster->new('horizon');
$node->init;
$node->append_conf('postgresql.conf', "fsync = off\nautovacuum = off\ntimezone = 'UTC'\n");
$node->start;
$node->safe_psql('postgres', q{CREATE EXTENSION etl; SELECT etl.define_source('push', 'push')});
$node->safe_psql('postgres', "UPDATE pg_proc SET probin = '$ENV{ETL_LIBRARY}' WHERE probin = '\$libdir/etl'") if $ENV{ETL_LIBRARY};

# name, key, query; S.f is the stream that retention shortens, S.d a dimension, S.v a view of S.f
my @shapes = (
	[ 'grouped', 'k', 'SELECT k, count(*) AS n, sum(amt) AS s FROM S.f GROUP BY k' ],
	[ 'two_keys', 'k,day', 'SELECT k, ts::date AS day, max(amt) AS top FROM S.f GROUP BY 1, 2' ],
	[ 'busy', 'id', 'SELECT id, count(*) AS n FROM S.v GROUP BY id HAVING count(*) > 1' ],
	[ 'newest', 'id', 'SELECT DISTINCT ON (id) id, k, amt FROM S.f ORDER BY id, ts DESC NULLS LAST, amt, k' ],
	[ 'windowed', 'id,amt,k,rn', 'SELECT id, amt, k, row_number() OVER (PARTITION BY id ORDER BY ts, amt, k, did) AS rn FROM S.f' ],
	[ 'with_dimension', 'id', 'SELECT f.id, min(d.name) AS name, count(d.id) AS n FROM S.f f LEFT JOIN S.d d ON d.id = f.did GROUP BY f.id' ],
	[ 'inner_join', 'k', 'SELECT f.k, count(*) AS n, max(d.name) AS name FROM S.f f JOIN S.d d ON d.id = f.did GROUP BY f.k' ],
	[ 'by_amount', 'amt', 'SELECT amt, count(*) AS n FROM S.f GROUP BY amt' ],
	[ 'twice', 'id', 'SELECT f.id, count(*) AS n FROM S.f f JOIN S.f x ON x.id = f.id GROUP BY f.id' ],
	[ 'united', 'src,k', q{SELECT 'a' AS src, k, count(*) AS n FROM S.f GROUP BY k UNION ALL SELECT 'b', k, count(*) FROM S.f WHERE amt > 20 GROUP BY k} ]);
my ($compared, $frozen_seen, $late_seen, $gone) = (0, 0, 0, 0);

# facts makes rows as JSON; keys drift with the step, so that old ones come back only now and then.
sub facts
{
	my ($n, $step) = @_;

	return '[' . join(',', map {
			my $at = rand() < 0.25 ? int(rand($step + 1)) : $step;
			sprintf('{"id":%s,"k":%s,"did":%d,"ts":"2026-01-%02dT%02d:00:00Z","amt":%s}', rand() < 0.05 ? 'null' : 3 * $at + int(rand(5)),
				rand() < 0.05 ? 'null' : '"k' . ($at + int(rand(3))) . '"', int(rand(5)), 1 + $at, int(rand(24)), pick($at . '.0', $at . '.00', $at + 7))
		} 1 .. $n) . ']';
}

sub dims
{
	return '[' . join(',', map { sprintf('{"id":%d,"name":"n%d"}', int(rand(5)), int(rand(9))) } 1 .. pick(1, 2)) . ']';
}

# frozen renders that a row of a shape has a frozen key.
sub frozen
{
	my ($schema, $name, $row) = @_;

	return "EXISTS (SELECT FROM etl.frozen_key z WHERE z.model = '$schema.$name' AND NOT EXISTS (SELECT FROM
		unnest(z.columns) WITH ORDINALITY AS c (name, i) WHERE CASE WHEN c.name = 'amt' THEN
		(to_jsonb($row) ->> c.name)::numeric IS DISTINCT FROM (z.key ->> (c.i - 1)::int)::numeric
		ELSE to_jsonb($row) ->> c.name IS DISTINCT FROM z.key ->> (c.i - 1)::int END))";
}

# judge returns what is wrong with a shape: rows that are not frozen differ from the whole history's, or frozen ones from what they were.
sub judge
{
	my ($schema, $shape) = @_;
	my ($name, undef, $query) = @$shape;
	my $whole = $query =~ s/\bS\.f\b/S.all_f/gr =~ s/\bS\.v\b/S.all_v/gr =~ s/\bS\./$schema./gr;

	return $node->safe_psql('postgres', "WITH now AS (SELECT to_jsonb(t) AS j FROM $schema.$name t WHERE NOT " . frozen($schema, $name, 't')
		  . "), whole AS (SELECT to_jsonb(q) AS j FROM ($whole) q WHERE NOT " . frozen($schema, $name, 'q')
		  . "), kept AS (SELECT to_jsonb(t) AS j FROM $schema.$name t WHERE " . frozen($schema, $name, 't')
		  . ") SELECT string_agg(x, '; ') FROM (SELECT '+ ' || j::text AS x FROM (TABLE now EXCEPT ALL TABLE whole) a UNION ALL SELECT '- ' || j::text FROM (TABLE whole EXCEPT ALL TABLE now) b"
		  . " UNION ALL SELECT 'frozen + ' || j::text FROM (TABLE kept EXCEPT ALL SELECT j FROM $schema.kept WHERE model = '$name') c"
		  . " UNION ALL SELECT 'frozen - ' || j::text FROM (SELECT j FROM $schema.kept WHERE model = '$name' EXCEPT ALL TABLE kept) d) e");
}

# live lets one history happen; returns what is wrong.
sub live
{
	my ($schema) = @_;
	my $late = 0;
	my @did;

	$node->safe_psql('postgres', "CREATE SCHEMA $schema; CREATE TABLE $schema.kept (model text, j jsonb);"
		  . join('', map { "SELECT etl.define_stream('$schema.$_', 'push', '" . ($_ eq 'f' ? '{"retention": {"max_loads": 2}}' : '{}')
			  . "', columns => 'id int, k text, did int, ts timestamptz, amt numeric');" } 'f', 'all_f')
		  . "SELECT etl.define_stream('$schema.d', 'push', columns => 'id int, name text', key => '{id}', mode => 'merge');"
		  . "SELECT etl.define_model('$schema.v', 'SELECT * FROM $schema.f WHERE amt > 1'); SELECT etl.define_model('$schema.all_v', 'SELECT * FROM $schema.all_f WHERE amt > 1');"
		  . join('', map { "SELECT etl.define_model('$schema.$_->[0]', \$\$" . ($_->[2] =~ s/\bS\./$schema./gr) . "\$\$, 'incremental', '{$_->[1]}');" } @shapes));
	for my $step (0 .. 11)
	{
		my ($rows, @happens) = (facts(pick(1, 3, 8), $step));
		my $sql = "SET client_min_messages = warning;\n";

		$sql .= "SELECT etl.ingest('$schema.$_', '$rows');\n" for 'f', 'all_f';
		$sql .= "SELECT etl.ingest('$schema.d', '" . dims() . "');\n" if $step == 0 || rand() < 0.3;
		$sql .= "CALL etl.run('$schema.*');\n";
		$node->safe_psql('postgres', $sql);
		$late += $node->safe_psql('postgres', "SELECT count(DISTINCT (target, record)) FROM etl.rejects WHERE target LIKE '$schema.%' AND run_id = (SELECT max(run_id) FROM etl.runs)
			AND reasons -> 0 ->> 'check' = 'beyond_horizon'");
		for my $shape (@shapes)
		{
			my $wrong = judge($schema, $shape);

			$compared++;
			return "$schema, step $step (@did), $shape->[0]: $wrong" if $wrong ne '';
		}
		next if rand() < 0.3;
		push @did, "expire after $step";
		my $went = $node->safe_psql('postgres', "SELECT coalesce(string_agg(action || coalesce(' ' || reason, ''), ', '), '') FROM etl.expire('$schema.f')");
		return "$schema, step $step: $went" if $went =~ /keep/;
		$gone++ if $went ne '';
		# what becomes frozen is what there is now
		$node->safe_psql('postgres', "DELETE FROM $schema.kept;" . join('', map { "INSERT INTO $schema.kept SELECT '$_->[0]', to_jsonb(t) FROM $schema.$_->[0] t WHERE "
			  . frozen($schema, $_->[0], 't') . ';' } @shapes));
	}
	$frozen_seen += $node->safe_psql('postgres', "SELECT count(*) FROM etl.frozen_key WHERE model LIKE '$schema.%'");
	$late_seen += $late;
	return $node->safe_psql('postgres', "SELECT coalesce(string_agg(record, '; '), '') FROM etl.rejects WHERE target LIKE '$schema.%' AND reasons -> 0 ->> 'check' <> 'beyond_horizon'");
}

my $begin = time;
for my $number (0 .. 999)
{
	srand($seed + $number);
	my $wrong = live("h$number");

	is($wrong, '', 'history, ETL_SEED=' . ($seed + $number));
	last if $wrong ne '' || time - $begin > $seconds || $compared >= $cases;
}
diag("$compared cases: $gone times loads went, $frozen_seen keys frozen, $late_seen rows too late");
cmp_ok($late_seen, '>', 0, 'rows came too late');
$node->stop;
done_testing();
