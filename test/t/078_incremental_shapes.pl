# Every shape of query that must be incremental is, whatever happens to its inputs, and holds what its query yields.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

# ETL_SEED repeats a history, ETL_SECONDS says how long new ones are made, ETL_HISTORIES how many at most
my $seed = $ENV{ETL_SEED} // int(time);
my $seconds = $ENV{ETL_SECONDS} // 50;
my $histories = $ENV{ETL_HISTORIES} // 1000;

my $files = PostgreSQL::Test::Utils::tempdir();
my $node = PostgreSQL::Test::Cluster->new('shapes');
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

# maybe returns a value, or now and then nothing.
sub maybe
{
	return rand() < 0.06 ? '' : $_[0];
}

# fact makes a line of a file of facts; keys repeat, all but a merge's key may be empty.
sub fact
{
	my ($keyed) = @_;
	my $id = 1 + int(rand(25));

	return join(',', $keyed ? $id : maybe($id), maybe('k' . int(rand(8))), maybe(int(rand(5))), maybe(int(rand(12))),
		maybe(sprintf('2026-01-%02d %02d:00:00Z', 1 + int(rand(8)), int(rand(24)))), maybe(sprintf('%.2f', rand(100)))) . "\n";
}

# dimension makes a line of a file of dimension rows.
sub dimension
{
	return join(',', int(rand(12)), maybe('n' . int(rand(6))), maybe('c' . int(rand(4))), maybe(int(rand(3)))) . "\n";
}

my %inputs = (
	f => { mode => 'append' }, b => { mode => 'append' },
	e => { mode => 'merge', key => 'id' }, r => { mode => 'replace' },
	d => { mode => 'merge', key => 'id', dimension => 1 });

# deliver writes a file of rows for an input and returns its name.
sub deliver
{
	my ($name, $input, $count) = @_;

	open(my $fh, '>', "$files/$name.new") or die "$name: $!";
	print $fh $inputs{$input}{dimension} ? "id,name,country,grp\n" : "id,k,cat,did,ts,amt\n";
	print $fh map { $inputs{$input}{dimension} ? dimension() : fact($inputs{$input}{mode} eq 'merge') } 1 .. $count;
	close($fh);
	rename("$files/$name.new", "$files/$name") or die "$name: $!";
	return $name;
}

# models that others read: name, key, query
my @upstream = (
	[ 'dm', 'id', 'SELECT id, upper(name) AS name, country, grp FROM S.d WHERE grp IS DISTINCT FROM 2' ],
	[ 'fm', 'id', 'SELECT DISTINCT ON (id) id, k, cat, did, ts, amt FROM S.f WHERE id IS NOT NULL
		ORDER BY id, ts DESC NULLS LAST, k, cat, did, amt' ],
	[ 'gm', 'id', 'SELECT f.id, max(f.k) AS k, count(*)::int AS cat, min(f.did) AS did, max(f.ts) AS ts, sum(f.amt) AS amt
		FROM S.fm f LEFT JOIN S.dm d ON d.id = f.did GROUP BY f.id' ]);

my $fact = sub { return 'S.' . pick('f', 'b', 'e', 'r', 'fm', 'gm', 'v') };
my $unique = sub { return 'S.' . pick('e', 'e', 'fm', 'gm', 'v') };
my $dim = sub { return 'S.' . pick('d', 'd', 'dm') };
my $join = sub { return pick('JOIN', 'LEFT JOIN') };
my $aggregates = sub {
	return join(', ', some('count(*) AS n', 'sum(f.amt) AS s', 'min(f.ts) AS first', 'max(f.amt) FILTER (WHERE f.cat = 2) AS top',
		'count(DISTINCT f.id) AS ids', 'avg(f.amt) AS mean', q(string_agg(f.k, ',' ORDER BY f.k) AS ks)));
};
my $having = sub { return pick('', '', 'HAVING count(*) > 1', 'HAVING sum(f.amt) > 60') };
my $where = sub { return pick('', '', 'WHERE f.amt > 20', "WHERE f.k <> 'k3' OR f.k IS NULL", "WHERE f.ts < '2026-01-05'") };

# Each makes (key, query); a result's key is unique by construction.
my %must = (
	projection => sub { return ('id', 'SELECT f.id, f.amt * 2 AS d, f.k FROM ' . $unique->() . ' f ' . $where->()) },
	distinct_on => sub {
		return ('k', 'SELECT DISTINCT ON (k) k, id, amt FROM ' . $fact->() . ' ORDER BY k, ts DESC NULLS LAST, id, amt') },
	row_number => sub {
		return ('k', 'SELECT k, id, amt FROM (SELECT f.*, row_number() OVER (PARTITION BY k ORDER BY ts, id, amt) AS rn FROM '
			  . $fact->() . ' f) t WHERE rn = 1') },
	grouped => sub {
		my %keys = (id => 'f.id', k => 'f.k', cat => 'f.cat', day => 'f.ts::date', parity => 'f.id % 2', upper_k => 'upper(f.k)');
		my @by = some(sort keys %keys);
		return (join(',', @by), 'SELECT ' . join(', ', map { "$keys{$_} AS $_" } @by) . ', ' . $aggregates->() . ' FROM ' . $fact->()
			  . ' f ' . $where->() . ' GROUP BY ' . join(', ', 1 .. @by) . ' ' . $having->()) },
	fact_dimension => sub {
		return ('id', 'SELECT f.id, f.amt, d.name, coalesce(d.country, \'?\') AS country FROM ' . $unique->() . ' f '
			  . $join->() . ' ' . $dim->() . ' d ON d.id = f.did ' . pick('', 'AND d.grp = 1') . ' ' . $where->()) },
	by_dimension => sub {
		my %keys = (country => 'd.country', name => q(coalesce(d.name, '-')), cat => 'f.cat', day => 'f.ts::date');
		my @by = some(sort keys %keys);
		return (join(',', @by), 'SELECT ' . join(', ', map { "$keys{$_} AS $_" } @by) . ', ' . $aggregates->() . ' FROM ' . $fact->()
			  . ' f ' . $join->() . ' ' . $dim->() . ' d ON d.id = f.did ' . $where->() . ' GROUP BY ' . join(', ', 1 .. @by)
			  . ' ' . $having->()) },
	two_dimensions => sub {
		return ('grp,k', 'SELECT e.grp, f.k, ' . $aggregates->() . ' FROM ' . $fact->() . ' f ' . $join->() . ' ' . $dim->()
			  . ' d ON d.id = f.did ' . $join->() . ' ' . $dim->() . ' e ON e.grp = d.grp AND e.id = 3 GROUP BY 1, 2') },
	fact_fact => sub {
		return ('id', 'SELECT f.id, count(*) AS n, sum(x.amt) AS s FROM ' . $fact->() . ' f ' . $join->() . ' ' . $fact->()
			  . ' x ON x.id = f.id GROUP BY f.id') },
	fact_grouped => sub {
		return ('id', 'SELECT f.id, f.did, g.n, coalesce(g.s, 0) AS s FROM ' . $unique->() . ' f ' . $join->()
			  . ' (SELECT did, count(*) AS n, sum(amt) AS s FROM ' . $fact->() . ' GROUP BY did) g ON g.did = f.did') },
	united => sub {
		return ('src,id', q(SELECT 'a' AS src, id, count(*) AS n FROM ) . $fact->() . q( GROUP BY id UNION ALL SELECT 'b', id, count(*) FROM )
			  . $fact->() . ' GROUP BY id') },
	group_of_union => sub {
		return ('k', 'SELECT f.k, ' . $aggregates->() . ' FROM (SELECT id, k, cat, ts, amt FROM ' . $fact->()
			  . ' UNION ALL SELECT id, k, cat, ts, -amt FROM ' . $fact->() . ') f GROUP BY f.k ' . $having->()) },
	cte => sub {
		return ('id', 'WITH n AS (SELECT DISTINCT ON (id) id, k, did, amt FROM ' . $fact->() . ' ORDER BY id, amt, k, did), x AS (SELECT * FROM '
			  . $dim->() . ') SELECT n.id, n.amt, x.name FROM n ' . $join->() . ' x ON x.id = n.did') },
	exists_ => sub {
		return ('id', 'SELECT f.id, f.amt FROM ' . $unique->() . ' f WHERE EXISTS (SELECT FROM ' . $fact->()
			  . ' x WHERE x.k = f.k AND x.amt > 50)') },
	in_ => sub {
		return ('id', 'SELECT f.id, f.amt FROM ' . $unique->() . ' f WHERE f.did IN (SELECT id FROM ' . $dim->() . " WHERE country = 'c1')") },
	window => sub {
		return ('k,id', 'SELECT k, id, sum(amt) OVER w AS total, rank() OVER (PARTITION BY k ORDER BY amt) AS place FROM ' . $unique->()
			  . ' WINDOW w AS (PARTITION BY k)') });

# What may refresh in full, and must be right all the same.
my %may = (
	not_exists => sub {
		return ('id', 'SELECT f.id, f.amt FROM ' . $unique->() . ' f WHERE NOT EXISTS (SELECT FROM ' . $fact->()
			  . ' x WHERE x.did = f.did AND x.amt > 80)') },
	scalar => sub {
		return ('id', 'SELECT f.id, (SELECT max(amt) FROM ' . $fact->() . ' x WHERE x.k = f.k) AS m FROM ' . $unique->() . ' f') },
	anti_join => sub {
		return ('id', 'SELECT f.id, f.k FROM ' . $unique->() . ' f LEFT JOIN ' . $fact->() . ' x ON x.did = f.did AND x.cat = 1 WHERE x.did IS NULL') },
	not_in => sub {
		return ('id', 'SELECT f.id FROM ' . $unique->() . ' f WHERE f.cat NOT IN (SELECT cat FROM ' . $fact->() . ' WHERE amt > 95)') },
	total => sub { return (undef, 'SELECT count(*) AS n, sum(amt) AS s FROM ' . $fact->()) },
	full_join => sub {
		return ('id', 'SELECT coalesce(f.id, d.id) AS id, max(f.amt) AS amt, max(d.name) AS name FROM ' . $fact->() . ' f FULL JOIN '
			  . $dim->() . ' d ON d.id = f.id GROUP BY 1') },
	excepted => sub {
		return ('k', 'SELECT k FROM ' . $fact->() . ' EXCEPT SELECT k FROM ' . $fact->() . ' WHERE amt > 50') },
	limited => sub { return ('id', 'SELECT id, amt FROM ' . $unique->() . ' ORDER BY amt, id LIMIT 7') },
	newest_grouped => sub {
		return ('k', 'SELECT k, count(*) AS n, sum(amt) AS s FROM (SELECT DISTINCT ON (id) id, k, amt FROM ' . $fact->()
			  . ' ORDER BY id, ts, k, amt) n GROUP BY k') },
	by_rows => sub {
		return ('n', 'SELECT n, count(*) AS c FROM (SELECT k, count(*) AS n FROM ' . $fact->() . ' GROUP BY k) g GROUP BY n') },
	share => sub {
		return ('cat', 'SELECT cat, sum(amt) AS s, sum(sum(amt)) OVER () AS of_all FROM ' . $fact->() . ' GROUP BY cat') },
	optional_inner => sub {
		return ('id', 'SELECT f.id, x.m, d.name FROM ' . $unique->() . ' f LEFT JOIN (SELECT did, max(amt) AS m FROM ' . $fact->()
			  . ' GROUP BY did HAVING count(*) > 1) x ON x.did = f.did LEFT JOIN ' . $dim->() . ' d ON d.id = x.m::int % 12') },
	lateral => sub {
		return ('id', 'SELECT f.id, l.amt FROM ' . $unique->() . ' f LEFT JOIN LATERAL (SELECT x.amt FROM ' . $fact->()
			  . ' x WHERE x.k = f.k ORDER BY x.amt DESC NULLS LAST LIMIT 1) l ON true') },
	optional_country => sub {
		return ('country,name', 'SELECT d.country, e.name, count(*) AS n FROM ' . $fact->() . ' f LEFT JOIN ' . $dim->()
			  . ' d ON d.id = f.did LEFT JOIN ' . $dim->() . ' e ON e.id = d.grp GROUP BY 1, 2') });

my %coverage;
my ($compared, $incremental, $full) = (0, 0, 0);
my %reasons;

# step_sql runs a schema's models, compares them with their queries and tells what each did.
sub step_sql
{
	my ($schema, $shapes) = @_;
	my $sql = "SET client_min_messages = warning;\nCALL etl.run('$schema.*');\n";

	for my $shape (@$shapes)
	{
		$sql .= "SELECT 'differs $shape->{name} by ' || count(*) FROM ((TABLE $schema.$shape->{name} EXCEPT ALL ($shape->{query}))
			UNION ALL (($shape->{query}) EXCEPT ALL TABLE $schema.$shape->{name})) d HAVING count(*) > 0;\n";
	}
	return $sql . "SELECT 'did ' || split_part(node, '.', 2) || ' ' || action || ' ' || reason FROM etl.tasks
		WHERE run_id = etl.last_run_id() AND kind = 'model';\n";
}

# judge notes what a step did; returns what is wrong with it.
sub judge
{
	my ($out, $shapes, $happened, $may_refresh) = @_;
	my %shape = map { $_->{name} => $_ } @$shapes;
	my @wrong;

	for my $line (split(/\n/, $out))
	{
		if ($line =~ /^differs (\w+) by/)
		{
			push @wrong, "$line: $shape{$1}{query}";
		}
		elsif ($line =~ /^did (\w+) (\w+) (.*)/ && $shape{$1})
		{
			my ($name, $action, $reason) = ($1, $2, $3);
			my $kind = $shape{$name}{kind};

			$compared++;
			next if $action eq 'unchanged';
			$action eq 'incremental' ? $incremental++ : $full++;
			$coverage{$kind}{$_}{$action}++ for @$happened;
			$reason =~ s/.*rebuilt, since //;
			$reason =~ s/\w+\.(\w+)/x.$1/g;
			$reasons{$kind}{$reason}++ if $action ne 'incremental' && !$may_refresh;
			push @wrong, "$name ($kind) refreshed: $reason: $shape{$name}{query}"
			  if $action ne 'incremental' && $shape{$name}{must} && !$may_refresh;
		}
	}
	return @wrong;
}

# what may happen between two runs
my %events = (
	'new facts' => sub { my ($s) = @_; arrive($s, pick('f', 'b'), pick(1, 1, 3, 10)); return '' },
	'merged facts' => sub { my ($s) = @_; arrive($s, 'e', pick(1, 1, 3, 10)); return '' },
	'dimension changes' => sub { my ($s) = @_; arrive($s, 'd', pick(1, 1, 2, 5)); return '' },
	'complete pull' => sub { my ($s) = @_; arrive($s, 'r', pick(1, 5, 20)); return '' },
	'empty pull' => sub { my ($s) = @_; arrive($s, 'r', 0); return '' },
	'load alone' => sub {
		my ($s) = @_;
		my $input = pick(sort keys %inputs);

		arrive($s, $input, pick(1, 3));
		return "CALL etl.run('$s.$input');" },
	'hard delete' => sub { my ($s) = @_; return "DELETE FROM $s." . pick('e', 'd') . ' WHERE id % 7 = ' . int(rand(7)) . ';' },
	'correction' => sub {
		my ($s) = @_;
		return pick("UPDATE $s.e SET amt = amt + 1, k = 'k' || id % 5 WHERE id % 5 = 2;", "UPDATE $s.e SET did = NULL WHERE id % 6 = 1;",
			"UPDATE $s.d SET country = 'c' || id % 4 WHERE id % 3 = 1;", "UPDATE $s.d SET name = NULL WHERE id % 4 = 1;",
			"UPDATE $s.d SET id = 103 WHERE id = 3 AND NOT EXISTS (SELECT FROM $s.d x WHERE x.id = 103);", "UPDATE $s.r SET amt = -amt, k = NULL WHERE id % 5 = 1;") },
	'foreign insert' => sub {
		my ($s) = @_;
		return "INSERT INTO $s.r (_etl_load_id, _etl_row, id, k, cat, did, amt)
			VALUES (0, 1, 7, 'k1', 2, 3, 11), (0, 2, NULL, NULL, NULL, NULL, NULL);" },
	'changed file' => sub { my ($s, $delivered) = @_; deliver(pick(@{ $delivered->{$_} }), $_, 4) for pick('f', 'b'); return '' },
	'reload' => sub { my ($s) = @_; return "SELECT etl.reload('$s.f');" },
	'refresh' => sub { my ($s) = @_; return "!CALL etl.run('$s." . pick('fm', 'gm', 'dm') . q{', full_refresh => true);} },
	'truncate' => sub { my ($s) = @_; return "!TRUNCATE $s.e;" });
my @often = ('new facts', 'merged facts', 'dimension changes', 'complete pull', 'correction', 'hard delete', 'changed file');
my %delivered;

# arrive delivers a new file of an input.
sub arrive
{
	my ($schema, $input, $count) = @_;

	push @{ $delivered{$input} },
	  deliver("$schema-$input-" . sprintf('%03d', scalar(@{ $delivered{$input} // [] })) . '.csv', $input, $count);
	return;
}

# live lets one history happen in a schema of its own; returns what went wrong.
sub live
{
	my ($number) = @_;
	my $schema = "h$number";
	my @shapes = map { { name => $_->[0], kind => 'upstream', must => 1, key => $_->[1], query => $_->[2] } } @upstream;
	my @did;

	%delivered = ();
	for my $kind (sort keys %must, sort keys %may)
	{
		for my $n (1 .. 2)
		{
			my ($key, $query) = ($must{$kind} // $may{$kind})->();

			push @shapes, { name => "${kind}_$n", kind => $kind, must => defined $must{$kind}, key => $key, query => $query };
		}
	}
	$_->{query} =~ s/\bS\./$schema./g for @shapes;

	my $sql = "SET client_min_messages = warning; CREATE SCHEMA $schema; SELECT etl.define_source('$schema', 'file', '{\"root\": \"$files\"}');\n";
	for my $input (sort keys %inputs)
	{
		my $columns = $inputs{$input}{dimension} ? 'id int, name text, country text, grp int' :
		  'id int, k text, cat int, did int, ts timestamptz, amt numeric';

		$sql .= "SELECT etl.define_stream('$schema.$input', '$schema', '{\"path\": \"$schema-$input-*.csv\"}', 'csv',
			columns => '$columns', mode => '$inputs{$input}{mode}'" . ($inputs{$input}{key} ? ", key => '{id}'" : '') . ");\n";
		arrive($schema, $input, pick(5, 15, 40));
	}
	$sql .= "SELECT etl.define_model('$schema.v', 'SELECT * FROM $schema.e WHERE amt > 5');\n";
	$sql .= "SELECT etl.define_model('$schema.$_->{name}', \$\$$_->{query}\$\$, 'incremental', "
	  . ($_->{key} ? "'{$_->{key}}'" : 'NULL') . ");\n" for @shapes;
	$node->safe_psql('postgres', $sql);

	for my $step (0 .. 11)
	{
		my @happens = $step == 0 ? () : map { rand() < 0.8 ? pick(@often) : pick(sort keys %events) } 1 .. pick(1, 1, 2, 3);
		my $before = join('', map { $events{$_}->($schema, \%delivered) . "\n" } @happens);
		my $may_refresh = $step == 0 || ($before =~ s/!//g);
		my ($code, $out, $err) = $node->psql('postgres', $before . step_sql($schema, \@shapes), on_error_stop => 1);
		my @wrong = $code == 0 ? judge($out, \@shapes, \@happens, $may_refresh) : ($err);

		push @did, join(' + ', @happens);
		return ("history $number, step $step (" . join(', ', @did) . ')', @wrong) if @wrong;
	}
	return;
}

my $begin = time;
for my $number (1 .. $histories)
{
	my $this = $seed + $number - 1;

	srand($this);
	my @wrong = live($number);
	ok(!@wrong, "history $number, ETL_SEED=$this") or diag(join("\n", "ETL_SEED=$this ETL_HISTORIES=1", @wrong));
	last if @wrong || time - $begin > $seconds;
}
diag("$compared cases: $incremental incremental, $full full");
for my $kind (sort keys %coverage)
{
	diag(sprintf('%-18s %s', $kind, join('; ', map { sprintf('%s %d/%d', $_, $coverage{$kind}{$_}{incremental} // 0,
		($coverage{$kind}{$_}{incremental} // 0) + ($coverage{$kind}{$_}{full} // 0)) } sort keys %{ $coverage{$kind} })));
	diag("    $reasons{$kind}{$_} × $_") for sort keys %{ $reasons{$kind} };
}

$node->stop;
done_testing();
