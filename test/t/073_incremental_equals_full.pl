# After any history of loads an incremental model holds what its query yields.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $histories = $ENV{ETL_HISTORIES} // 12;
my $seed = $ENV{ETL_SEED} // int(time);
srand($seed);
diag("seed $seed");

my $files = PostgreSQL::Test::Utils::tempdir();
my $node = PostgreSQL::Test::Cluster->new('incremental');
$node->init;
$node->append_conf('postgresql.conf',
	"fsync = off\nautovacuum = off\ntimezone = 'UTC'\netl.allowed_directories = '$files'\n");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION etl');

# pick returns one of its arguments.
sub pick
{
	return $_[int(rand(@_))];
}

# some returns a random choice of its arguments, at least one, in their order.
sub some
{
	my @chosen = grep { rand() < 0.5 } @_;

	return @chosen ? @chosen : pick(@_);
}

# row makes a line of CSV; keys repeat, and every column may be empty.
sub row
{
	my @values = (
		1 + int(rand(25)), 'k' . int(rand(10)), int(rand(5)),
		sprintf('2026-01-%02d %02d:00:00Z', 1 + int(rand(8)), int(rand(24))), sprintf('%.2f', rand(100)));

	return join(',', map { rand() < 0.06 ? '' : $_ } @values) . "\n";
}

# deliver writes a file of 'count' rows and returns its name.
sub deliver
{
	my ($name, $count) = @_;

	open(my $fh, '>', "$files/$name.new") or die "$name: $!";
	print $fh "id,k,cat,ts,amt\n", map { row() } 1 .. $count;
	close($fh);
	rename("$files/$name.new", "$files/$name") or die "$name: $!";
	return $name;
}

my @fixed = (
	# name, key, query; %s is the schema
	[ 'rows', undef, 'SELECT _etl_load_id AS l, _etl_row AS r, id, amt * 2 AS d FROM %1$s.a WHERE amt > 10' ],
	[ 'union_rows', undef, 'SELECT id, amt FROM %1$s.a WHERE cat = 1 UNION ALL SELECT id, -amt FROM %1$s.b' ],
	[ 'newest', 'k', 'SELECT DISTINCT ON (k) k, id, amt FROM %1$s.a ORDER BY k, ts DESC NULLS LAST, _etl_load_id DESC, _etl_row DESC' ],
	[ 'newest_joined', 'id', 'WITH n AS (SELECT DISTINCT ON (id) * FROM %1$s.a ORDER BY id, _etl_load_id DESC, _etl_row DESC)
		SELECT n.id, n.k, f.label, n.amt FROM n LEFT JOIN %1$s.fixed f ON f.k = n.k' ],
	[ 'windows', 'id,rn', 'SELECT id, row_number() OVER w AS rn, amt, sum(amt) OVER (PARTITION BY id) AS total
		FROM %1$s.a WINDOW w AS (PARTITION BY id ORDER BY ts, _etl_load_id, _etl_row)' ],
	[ 'branches', 'src,id', q(SELECT 'a' AS src, id, count(*) AS n FROM %1$s.a GROUP BY id
		UNION ALL SELECT 'b', id, count(*) FROM %1$s.b GROUP BY id) ],
	[ 'union_group', 'k', q(SELECT k, sum(amt) AS s, count(*) AS n FROM (SELECT k, amt FROM %1$s.a
		UNION ALL SELECT k, -amt FROM %1$s.b UNION ALL SELECT 'k' || g, g FROM generate_series(1, 15) g) u GROUP BY k) ],
	[ 'joined', 'id', 'SELECT a.id, count(*) AS n, sum(b.amt) AS s FROM %1$s.a JOIN %1$s.b USING (id) GROUP BY a.id' ],
	[ 'left_joined', 'id', 'SELECT a.id, count(b.id) AS n, max(b.k) AS k FROM %1$s.a LEFT JOIN %1$s.b ON b.id = a.id GROUP BY a.id' ],
	[ 'without', 'id', 'SELECT id, count(*) AS n FROM %1$s.a WHERE NOT EXISTS (SELECT FROM %1$s.b WHERE b.id = a.id) GROUP BY id' ],
	[ 'itself', 'id', 'SELECT id, count(*) AS n FROM %1$s.a x WHERE EXISTS (SELECT FROM %1$s.a y WHERE y.id = x.id AND y.amt > 50) GROUP BY id' ],
	[ 'share', 'cat', 'SELECT cat, sum(amt) AS s, sum(sum(amt)) OVER () AS of_all FROM %1$s.a GROUP BY cat' ],
	[ 'merged', 'cat', 'SELECT cat, count(*) AS n, sum(amt) AS s FROM %1$s.m GROUP BY cat' ],
	[ 'merged_joined', 'id', 'SELECT a.id, count(*) AS n, max(m.amt) AS amt FROM %1$s.a JOIN %1$s.m USING (id) GROUP BY a.id' ],
	[ 'total', undef, 'SELECT count(*) AS n, sum(amt) AS s FROM %1$s.a' ],
	[ 'limited', 'id', 'SELECT DISTINCT ON (id) id, amt FROM %1$s.a ORDER BY id, amt DESC NULLS LAST LIMIT 7' ],
	[ 'above', 'id', 'SELECT id, n FROM %1$s.itself WHERE n > 1' ]);

# random_shape makes an aggregate over a random input, by random keys.
sub random_shape
{
	my ($number) = @_;
	my %keys = (
		id => 'id', k => 'k', cat => 'cat', day => 'ts::date', hour => "date_trunc('hour', ts)",
		parity => 'id % 2', upper_k => 'upper(k)');
	my @by = some(sort keys %keys);
	my $input = pick('%1$s.a', '%1$s.b', '%1$s.v', '(SELECT * FROM %1$s.v WHERE cat > 0) AS t',
		'(SELECT id, k, cat, ts, amt FROM %1$s.a UNION ALL SELECT id, k, cat, ts, amt FROM %1$s.b) AS t',
		'(SELECT DISTINCT id, k, cat, ts, amt FROM %1$s.a) AS t');
	my @values = some('count(*) AS n', 'sum(amt) AS s', 'min(ts) AS first', 'count(DISTINCT id) AS ids',
		"string_agg(k, ',' ORDER BY k) AS all_k", 'max(amt) FILTER (WHERE cat = 2) AS top',
		'array_agg(cat ORDER BY cat, amt) AS cats');
	my $where = pick('', '', 'WHERE amt > 20', "WHERE k <> 'k3' OR k IS NULL", "WHERE ts < '2026-01-05'");
	my $having = pick('', '', 'HAVING count(*) > 1', 'HAVING sum(amt) > 60');
	my $query = 'SELECT ' . join(', ', (map { "$keys{$_} AS $_" } @by), @values)
	  . " FROM $input $where GROUP BY " . join(', ', 1 .. @by) . " $having";

	# '%' of an expression is not a format
	$query =~ s/%(?!1\$s)/%%/g;
	return [ "random_$number", join(',', @by), $query ];
}

# what may happen between two runs; mostly files arrive
my @kinds = ('append', 'append', 'append', 'append', 'load only', 'again', 'changed', 'reload', 'refresh');
my ($runs, $compared, $incremental, $full) = (0, 0, 0, 0);

# compare_all runs the schema's models and tells which differ from their queries.
sub compare_all
{
	my ($schema, $shapes, $step) = @_;
	my $sql = "CALL etl.run('$schema.*');\n";

	for my $shape (@$shapes)
	{
		my ($name, $query) = ($shape->[0], sprintf($shape->[2], $schema));

		$sql .= "SELECT 'differs: $name by ' || count(*) FROM ((TABLE $schema.$name EXCEPT ALL ($query))
			UNION ALL (($query) EXCEPT ALL TABLE $schema.$name)) d HAVING count(*) > 0;\n";
	}
	$sql .= "SELECT count(*) FILTER (WHERE action = 'incremental') || ' ' || count(*) FILTER (WHERE action = 'full')
		FROM etl.tasks WHERE run_id = etl.last_run_id() AND kind = 'model';\n";
	my ($code, $out, $err) = $node->psql('postgres', "SET client_min_messages = warning;\n$sql", on_error_stop => 1);

	$runs++;
	$compared += @$shapes;
	return "$step: $err" if $code != 0;
	$incremental += $1, $full += $2 if $out =~ s/^(\d+) (\d+)\z//m;
	chomp($out);
	return $out eq '' ? '' : "$step: $out";
}

# live lets one history happen in a schema of its own; true when all is equal.
sub live
{
	my ($number) = @_;
	my $schema = "h$number";
	my @shapes = (@fixed, map { random_shape($_) } 1 .. 10);
	my %delivered = (a => [], b => [], m => []);
	my $arrived = 0;
	my $columns = 'id int, k text, cat int, ts timestamptz, amt numeric';
	my @did;

	my $sql = "CREATE SCHEMA $schema;
		CREATE TABLE $schema.fixed AS SELECT 'k' || g AS k, 'label ' || g % 3 AS label FROM generate_series(0, 6) g;
		SELECT etl.define_source('$schema', 'file', '{\"root\": \"$files\"}');\n";
	$sql .= "SELECT etl.define_stream('$schema.$_', '$schema', '{\"path\": \"$schema-$_-*.csv\"}', 'csv', columns => '$columns'"
	  . ($_ eq 'm' ? ", mode => 'merge', key => '{id}'" : '') . ");\n" for qw(a b m);
	$sql .= "SELECT etl.define_model('$schema.v', 'SELECT * FROM $schema.a WHERE amt > 5');\n";
	for my $shape (@shapes)
	{
		my ($name, $key, $query) = ($shape->[0], $shape->[1], sprintf($shape->[2], $schema));

		$sql .= "SELECT etl.define_model('$schema.$name', \$\$$query\$\$, 'incremental', "
		  . ($key ? "'{$key}'" : 'NULL') . ");\n";
	}
	$node->safe_psql('postgres', $sql);
	push @{ $delivered{$_} }, deliver("$schema-$_-0.csv", int(rand(80))) for sort keys %delivered;

	for my $step (0 .. 9)
	{
		my @happens = $step == 0 ? () : map { pick(@kinds) } 1 .. pick(1, 1, 2);

		for my $kind (@happens)
		{
			my $stream = pick('a', 'a', 'b', 'm');

			push @did, "$kind $stream";
			push @{ $delivered{$stream} }, deliver("$schema-$stream-" . ++$arrived . ".csv", pick(0, 1, 1, 3, 10, 40))
			  if $kind eq 'append' || $kind eq 'load only';
			deliver(pick(@{ $delivered{$stream} }), int(rand(20))) if $kind eq 'changed';
			utime(undef, undef, "$files/" . pick(@{ $delivered{$stream} })) if $kind eq 'again';
			$node->safe_psql('postgres', "SELECT etl.reload('$schema.$stream')") if $kind eq 'reload';
			$node->safe_psql('postgres', "SET client_min_messages = warning; CALL etl.run('$schema.$stream')")
			  if $kind eq 'load only';
			$node->safe_psql('postgres', "SET client_min_messages = warning;
				CALL etl.run('$schema." . pick(@shapes)->[0] . "', full_refresh => true)") if $kind eq 'refresh';
		}
		my $differs = compare_all($schema, \@shapes, "step $step");

		# a table with a trigger is published by changing rows, any other by a swap
		$node->safe_psql('postgres', join('', "CREATE FUNCTION $schema.same() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END';\n",
				map { "CREATE TRIGGER same BEFORE INSERT OR UPDATE ON $schema.$_->[0] FOR EACH ROW EXECUTE FUNCTION $schema.same();\n" }
				some(@shapes))) if $step == 0;

		if ($differs ne '')
		{
			diag("history $number (" . join(', ', @did) . ") $differs");
			diag("$_->[0]: $_->[2]") for grep { $differs =~ /: \Q$_->[0]\E by/ } @shapes;
			return 0;
		}
	}
	return 1;
}

my $begin = time;
for my $number (1 .. $histories)
{
	ok(live($number), "history $number");
	last if time - $begin > 20;
}
diag("$runs runs, $compared comparisons, $incremental incremental builds, $full full ones");
cmp_ok($incremental, '>', $compared / 20, 'models were built incrementally, not only anew');

$node->stop;
done_testing();
