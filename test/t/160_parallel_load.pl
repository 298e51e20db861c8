# One load on two processes lands the same rows, line numbers and rejects as on one, wherever its bytes are cut, and ends cleanly when either process is lost.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../perl";

use Etl::Cluster;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my $cluster = Etl::Cluster->new('parallel_load',
	conf => "etl.max_workers = 4\netl.parallel_load_min = 0\netl.parallel_load_block = 1kB\netl.max_record_size = 8kB\n");
my $node = $cluster->node;
my $files = $cluster->files;

$cluster->sql(qq{
	CREATE SCHEMA p; CREATE SCHEMA raw;
	CREATE FUNCTION p.gate(anyelement) RETURNS boolean LANGUAGE plpgsql AS
	\$\$BEGIN PERFORM pg_advisory_xact_lock_shared(42); RETURN true; END\$\$;
	SELECT etl.define_source('files', 'file', '{"root": "$files"}');
});

# write_file writes bytes under the root of the source.
sub write_file
{
	my ($name, $bytes) = @_;

	mkdir "$files/$1" if $name =~ m{^(.*)/};
	open(my $file, '>:raw', "$files/$name") or die "$name: $!";
	print $file $bytes;
	close($file);
	return;
}

# field makes a random field: plain, quoted, with line ends and quotes in it, long, empty.
sub field
{
	my $kind = int(rand(12));

	return '' if $kind == 0;
	return '""' if $kind == 1;
	return '"' . join("\n", map { 'x' x int(rand(20)) } 0 .. int(rand(4))) . '"' if $kind == 2;
	return '"a ""quoted"" word,' . "\r\n" . 'and more"' if $kind == 3;
	return 'y' x (90 + int(rand(80))) if $kind == 4;
	return '"' . ('long, ' x int(rand(700))) . '"' if $kind == 5;
	return "\xc3\xa4\xe2\x82\xac" if $kind == 6;
	return 'word ' . int(rand(1000));
}

# line makes a random record, now and then one that is none.
sub line
{
	my ($id) = @_;
	my $kind = int(rand(60));
	my $end = int(rand(5)) == 0 ? "\r\n" : "\n";
	my $day = sprintf('2026-%02d-%02d', 1 + int(rand(12)), 1 + int(rand(28)));

	return "$id,too,few$end" if $kind == 0;
	return "$id,$day,1.5,a,b,too,many$end" if $kind == 1;
	return "$id,$day,1.5,\"closed\"text,b$end" if $kind == 2;
	return "$id,$day,1.5,\"never closed,b$end" if $kind == 3;
	return "no number,$day,1.5,a,b$end" if $kind == 4;
	return "$id,2026-02-30,1.5,a,b$end" if $kind == 5;
	return "$id,$day,1.5,\xff\xfe,b$end" if $kind == 6;
	return "$id,$day,1.5,a\0b,c$end" if $kind == 7;
	return "$id,$day,1.5," . ('z' x 9000) . ",b$end" if $kind == 8;
	return $end if $kind == 9;
	return ",$day,1.5,no id,b$end" if $kind == 10;
	return "$id,$day," . (int(rand(10000)) / 100) . ',' . field() . ',' . field() . $end;
}

# Everything that a load leaves behind, in one text for a comparison.
sub outcome
{
	my ($target) = @_;
	my $name = $target =~ s/^raw\.//r;

	return $cluster->sql(qq{
		SELECT md5(coalesce(string_agg((to_jsonb(t) - '_etl_load_id' - '_etl_loaded_at')::text, E'\\n' ORDER BY n, _etl_row), '')), count(*)
			FROM (SELECT *, dense_rank() OVER (ORDER BY _etl_load_id) AS n FROM $target) t;
		SELECT string_agg(attname || ' ' || format_type(atttypid, atttypmod), ', ' ORDER BY attnum)
			FROM pg_attribute WHERE attrelid = '$target'::regclass AND attnum > 0;
		SELECT md5(coalesce(string_agg(concat_ws('|', position, record_size, encode(raw, 'hex'), replace(reasons::text, '$name', 'name')), E'\\n'
			ORDER BY load_id, position), 'none')), count(*) FROM etl.rejects WHERE target = '$target';
		SELECT rows_read, rows_loaded, rows_updated, rows_unchanged, rows_deduplicated, rows_discarded, rows_rejected,
			bytes_read FROM etl.loads WHERE target = '$target' ORDER BY load_id
	});
}

# compare loads the same files with one, two and four workers into streams of one kind.
sub compare
{
	my ($kind, $files, %definition) = @_;
	my $columns = $definition{columns} // 'id bigint NOT NULL, day date, amount numeric(12,2), a text, b varchar(40)';
	my $options = $definition{options} // '{}';
	my %seen;

	foreach my $workers (1, 2, 4)
	{
		my $target = "raw.${kind}_$workers";

		$cluster->sql("SELECT etl.define_stream('$target', 'files', '$options'::jsonb || '{\"path\": \"$files\"}', format => 'csv'"
			  . ($columns ne '' ? ", columns => '$columns'" : '') . ($definition{define} // '') . ')');
		$cluster->sql(($definition{before} // '') =~ s/TARGET/$target/gr) if $definition{before};
		$cluster->sql(($definition{set} // '') . "CALL etl.run('$target', workers => $workers)");
		$seen{$workers} = outcome($target);
	}
	is($seen{2}, $seen{1}, "$kind: two workers leave what one does");
	is($seen{4}, $seen{1}, "$kind: so do four");
	return $seen{1};
}

# ---- the same, wherever the bytes are cut ----

foreach my $seed (1 .. 4)
{
	srand($seed);
	my $bytes = "id,day,amount,a,b\n" . join('', map { line($_) } 1 .. 400);

	chop($bytes) if $seed == 2;
	write_file("random/$seed.csv", $bytes);
	compare("seed$seed", "random/$seed.csv", define => ", event_time => 'day'");
}
my $all = compare('all', 'random/*.csv');
like($all, qr/\|\d{3}\n/, 'the random files have rejects');
compare('merge', 'random/*.csv', define => ", mode => 'merge', key => '{id}'");
compare('unique', 'random/1.csv', columns => 'id bigint UNIQUE, day date, amount numeric, a text, b text');
compare('constraint', 'random/2.csv',
	columns => 'id bigint NOT NULL, day date, amount numeric(12,2) CHECK (amount < 80), a text, b text, c text DEFAULT \'\'c\'\'');
compare('inferred', 'random/3.csv', columns => '');
compare('paths', 'random/*.csv', options => '{"path_columns": {"seed": "([0-9]+)\\\\.csv"}}');
compare('unknown', 'random/4.csv', columns => 'id bigint, day date',
	define => q(, schema_policy => '{"columns": "discard_value"}'));
compare('latin', 'random/4.csv', options => '{"encoding": "LATIN1"}');

write_file('grow/1.csv', "id,a\n" . join('', map { "$_,$_\n" } 1 .. 300));
write_file('grow/2.csv', "id,a,new\n" . join('', map { "$_," . ($_ == 290 ? '290.5' : $_) . ",$_\n" } 1 .. 300));
like(compare('grow', 'grow/*.csv', columns => '', define => q(, schema_policy => '{"data_type": "evolve"}')), qr/a numeric.*new bigint/, 'columns come and widen in the middle of a file');

like(compare('zone', 'random/1.csv', options => '{"partition_by": "day"}'), qr/\|[1-9]\d+\n/, 'rows of a partitioned zone have the time of their load');

write_file('unlike.csv', "id,day,a\n" . join('', map { "$_,2026-01-01,word\n" } 1 .. 300));
foreach my $workers (1, 2)
{
	$cluster->sql("SELECT etl.define_stream('raw.unlike_$workers', 'files', '{\"path\": \"unlike.csv\", \"header\": \"match\"}', format => 'csv',
		columns => 'id bigint, day date, amount numeric, a text')");
	my ($code, undef, $error) = $node->psql('postgres', "CALL etl.run('raw.unlike_$workers', workers => $workers)");
	like($error, qr/does not match the columns/, "a header that has to match is looked at with $workers workers");
}

write_file('empty.csv', '');
write_file('header.csv', "id,day,amount,a,b\n");
compare('empty', 'empty.csv');
compare('header', 'header.csv');
write_file('wide.csv', join(',', 'id', map { "f$_" } 1 .. 9000) . "\n" . join(',', 1, map { '' } 1 .. 9000) . "\n");
compare('wide', 'wide.csv', set => "SET etl.max_record_size = '64kB';", columns => 'id bigint', define => q(, schema_policy => '{"columns": "discard_value"}'));

# ---- a process is lost ----

write_file('many.csv', "id,a\n" . join('', map { "$_,word $_\n" } 1 .. 6000));
my $define = "SELECT etl.define_stream('raw.many', 'files', '{\"path\": \"many.csv\"}', format => 'csv', "
	. "columns => 'id bigint CHECK (p.gate(id)), a text')";

# begin starts a load that stops at its first row, and returns its session when the helper is at work.
my $gate;
sub begin
{
	my $session;

	$gate = $node->background_psql('postgres');
	$gate->query_safe('SELECT pg_advisory_lock(42)');
	$session = $node->background_psql('postgres', on_error_stop => 0);
	$session->query_until(qr/begun/, "\\echo begun\nCALL etl.run('raw.many', workers => 2);\n");
	ok($node->poll_query_until('postgres',
			"SELECT count(*) = 1 FROM pg_stat_activity WHERE application_name = 'decodes for a load' AND state = 'active'"),
		'a helper is at work');
	return $session;
}

# over lets the load go on and waits until its run has ended.
sub over
{
	my ($session) = @_;

	$gate->quit;
	$node->poll_query_until('postgres', "SELECT count(*) = 0 FROM etl.runs WHERE status = 'running'");
	eval { $session->quit };
	return $cluster->sql('SELECT status FROM etl.runs ORDER BY run_id DESC LIMIT 1');
}

# helper_left tells whether no helper is at work any more.
sub helper_left
{
	return $node->poll_query_until('postgres',
		"SELECT count(*) = 0 FROM pg_stat_activity WHERE application_name = 'decodes for a load' AND state = 'active'");
}

$cluster->sql($define);
my $session = begin();
is($cluster->sql("SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity
	WHERE application_name = 'decodes for a load' AND state = 'active'"), 1, 'the helper is ended');
is(over($session), 'succeeded', 'the load that lost its helper is tried again');
is($cluster->sql("SELECT count(*), count(DISTINCT _etl_row), min(_etl_row), max(_etl_row) FROM raw.many"), '6000|6000|2|6001',
	'... and every row is there once');
is($cluster->sql("SELECT count(*) FROM etl.tasks WHERE node = 'raw.many' AND sqlstate = '57P01'"), 1,
	'... the attempt before says why it failed');

$cluster->sql("SELECT etl.reload('raw.many')");
$session = begin();
my $began = time;
$cluster->sql("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query LIKE 'CALL etl.run(''raw.many%' AND state = 'active'");
ok(helper_left(), 'the helper of a cancelled load stops');
cmp_ok(time - $began, '<', 5, '... soon');
isnt(over($session), 'succeeded', '... and the run has not succeeded');
is($cluster->sql('SELECT count(*) FROM raw.many'), 6000, '... nothing of it is committed');

$session = begin();
$cluster->sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'CALL etl.run(''raw.many%' AND state = 'active'");
ok(helper_left(), 'the helper of a terminated load stops');
over($session);
$cluster->sql("CALL etl.run('raw.many', workers => 2)");
is($cluster->sql('SELECT count(*), count(DISTINCT _etl_row) FROM raw.many'), '6000|6000', 'the next run loads it once');

# ---- rows that no page or index holds ----

sub noise { return join('', map { chr(97 + int(rand(26))) } 1 .. $_[0]); }
write_file('long.csv', "id,t\n" . join('', map { $_ % 97 == 0 ? "$_," . noise(5000) . "\n" : $_ % 89 == 0 ? "$_," . noise(2300) . "\n" : "$_,short $_\n" } 1 .. 3000));
foreach my $workers (1, 2)
{
	my $target = "raw.long_$workers";

	$cluster->sql("SELECT etl.define_stream('$target', 'files', '{\"path\": \"long.csv\"}', 'csv', 'id bigint, t text', key => '{t}', mode => 'merge')");
	$cluster->sql("CALL etl.run('$target', workers => $workers)");
	is($cluster->sql("SELECT count(*), count(DISTINCT id), min(_etl_row - id), max(length(t)) FROM $target"), '2970|2970|1|2300',
		"$workers: rows whose key is too long for the index are left out of the first load");
	is($cluster->sql("SELECT count(*), count(*) FILTER (WHERE (position - 1) % 97 = 0 AND length(raw) > 5000), min(reasons->0->>'check') FROM etl.rejects WHERE target = '$target'"),
		'30|30|insert', '... and rejects with all their bytes');
}


done_testing();
