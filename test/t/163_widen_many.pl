# However many columns get wider at once, or one after the other, a load is tried a few times only, and every value lands.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../perl";

use Etl::Cluster;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $cluster = Etl::Cluster->new('widen_many',
	conf => "etl.max_workers = 2\netl.parallel_load_min = 0\netl.parallel_load_block = 4kB\n");
my $files = $cluster->files;

$cluster->sql(qq{CREATE SCHEMA raw; SELECT etl.define_source('files', 'file', '{"root": "$files"}')});

# value gives field i of a record: every third is a date, the others are integers; wide ones have a time, or a fraction.
sub value
{
	my ($i, $wide) = @_;

	return $i % 3 == 0 ? '2024-01-02' . ($wide ? 'T10:00:00Z' : '') : $i . ($wide ? '.5' : '');
}

# record renders one record with $n fields of which those are wide that $is_wide says.
sub record
{
	my ($format, $n, $is_wide) = @_;
	my @values = map { value($_, $is_wide->($_)) } 1 .. $n;

	return join(',', @values) . "\n" if $format eq 'csv';
	return '{' . join(',', map { qq("c$_":) . ($_ % 3 == 0 ? qq("$values[$_ - 1]") : $values[$_ - 1]) } 1 .. $n) . "}\n";
}

sub spew
{
	my ($name, $format, $n, @records) = @_;

	open(my $file, '>:raw', "$files/$name") or die "$name: $!";
	print $file join(',', map { "c$_" } 1 .. $n) . "\n" if $format eq 'csv';
	print $file @records;
	close($file);
}

my $number = 0;

# widen lands a narrow file and then @records, and says what became of it.
sub widen
{
	my ($what, $format, $workers, $n, @records) = @_;
	my $target = 'raw.w' . ++$number;
	my ($dates, $integers) = (int($n / 3), $n - int($n / 3));

	spew("$number-1.$format", $format, $n, record($format, $n, sub { 0 }));
	spew("$number-2.$format", $format, $n, @records);
	$cluster->sql("SELECT etl.define_stream('$target', 'files', '{\"path\": \"$number-1.$format\"}'); CALL etl.run('$target', workers => $workers);");
	$cluster->sql("SELECT etl.define_stream('$target', 'files', '{\"path\": \"$number-*.$format\"}'); CALL etl.run('$target', workers => $workers);");
	is($cluster->sql("SELECT sum(rows_loaded), sum(rows_rejected) FROM etl.loads WHERE target = '$target'"), join('|', 1 + @records, 0),
		"$what: every record lands");
	is($cluster->sql("SELECT format_type(atttypid, -1), count(*) FROM pg_attribute WHERE attrelid = '$target'::regclass AND attnum > 0 AND attname NOT LIKE '\\_etl%' GROUP BY 1 ORDER BY 1"),
		"numeric|$integers\ntimestamp with time zone|$dates", '... every column is wider');
	is($cluster->sql("SELECT count(*), count(DISTINCT column_name) FROM etl.schema_changes WHERE target = '$target' AND change = 'type_widened'"), "$n|$n",
		'... and told once');
	return $target;
}

foreach my $case (['csv', 1, 102], ['csv', 2, 300], ['ndjson', 1, 102], ['ndjson', 2, 102])
{
	my ($format, $workers, $n) = @$case;
	my $target = widen("$n columns of one record, $format, $workers", $format, $workers, $n, record($format, $n, sub { 1 }));

	is($cluster->sql("SELECT c1, c2, c3 AT TIME ZONE 'UTC' FROM $target ORDER BY _etl_load_id"), "1|2|2024-01-02 00:00:00\n1.5|2.5|2024-01-02 10:00:00",
		'... with its values');
}

# a column a record, so that each record shows one more
my $n = 102;
foreach my $case (['csv', 1], ['csv', 2], ['ndjson', 1])
{
	my ($format, $workers) = @$case;
	my @records = map { my $wide = $_; record($format, $n, sub { $_[0] == $wide }) } 1 .. $n;

	widen("a column a record, $format, $workers", $format, $workers, $n, @records);
	# far apart: each after as many records as a try looks at
	@records = map { my $wide = $_; (record($format, 6, sub { $_[0] == $wide }), (record($format, 6, sub { 0 })) x 1200) } 1 .. 6;
	widen("columns far apart, $format, $workers", $format, $workers, 6, @records);
}

# what is no number stays a reject; the column gets wider for the others
my $target = 'raw.mixed';
spew('mixed-1.csv', 'csv', 2, "1,2\n");
$cluster->sql("SELECT etl.define_stream('$target', 'files', '{\"path\": \"mixed-1.csv\"}'); CALL etl.run('$target');");
spew('mixed-2.csv', 'csv', 2, "1.5,x\n2,2.5\nx,1\n3,3\n1,2,3\n");
$cluster->sql("SELECT etl.define_stream('$target', 'files', '{\"path\": \"mixed-*.csv\"}'); CALL etl.run('$target', workers => 2);");
is($cluster->sql("SELECT c1, c2, _etl_row FROM $target ORDER BY _etl_load_id, _etl_row"), "1|2|2\n2|2.5|3\n3|3|5", 'what fits lands');
is($cluster->sql("SELECT position, reasons->0->>'check', reasons->0->>'column' FROM etl.rejects WHERE target = '$target' ORDER BY 1"),
	"2|type|c2\n4|type|c1\n6|too_many_fields|", '... what does not is a reject, once');

# as long as one column cannot get wider the others do
$cluster->sql("CREATE TABLE raw.held (_etl_load_id bigint, _etl_row bigint, c1 bigint, c2 bigint, c3 date, c4 bigint);
	CREATE INDEX ON raw.held ((c2 % 2)); SELECT etl.define_stream('raw.held', 'files', '{\"path\": \"held.csv\", \"adopt\": true}')");
spew('held.csv', 'csv', 4, "1.5,2.5,2024-01-02T10:00:00Z,4.5\n1,2,2024-01-02,4\n");
$cluster->sql("CALL etl.run('raw.held')");
is($cluster->sql("SELECT string_agg(attname || ' ' || format_type(atttypid, -1), ', ' ORDER BY attname) FROM pg_attribute WHERE attrelid = 'raw.held'::regclass AND attname LIKE 'c_'"),
	'c1 numeric, c2 bigint, c3 timestamp with time zone, c4 numeric', 'a column that cannot get wider holds up no other');
is($cluster->sql("SELECT rows_loaded, rows_rejected FROM etl.loads WHERE target = 'raw.held'"), '1|1', '... its record is a reject');

$cluster->stop if $cluster->can('stop');
done_testing();
