# Whatever happens to a file or a disk under a load, the reason is clear, nothing is lost or doubled, and memory stays flat.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../perl";

use Etl::Crash qw(begin_at_work);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my $files = PostgreSQL::Test::Utils::tempdir();
my $full = "$files/full";
my $shim = "$files/full_disk.so";
my $node = PostgreSQL::Test::Cluster->new('bad_ends');
$node->init;
$node->append_conf('postgresql.conf', "fsync = off\nshared_buffers = 16MB\nlog_min_messages = error\n"
	  . "etl.allowed_directories = '$files'\netl.max_record_size = 16MB\n");
system('cc', '-shared', '-fPIC', '-O1', '-w', '-o', $shim, "$FindBin::Bin/../servers/full_disk.c", '-ldl') == 0 or die "no compiler";
{
	local $ENV{LD_PRELOAD} = $shim;
	local $ENV{ETL_DISK_FULL} = $full;
	$node->start;
}
$node->safe_psql('postgres', qq(CREATE EXTENSION etl; SELECT etl.define_source('files', 'file', '{"root": "$files"}')));

sub query { return $node->safe_psql('postgres', $_[0]); }

sub write_file
{
	my ($name, $text) = @_;

	open(my $fh, '>:raw', "$files/$name.part") or die "$name: $!";
	print $fh $text;
	close($fh);
	rename("$files/$name.part", "$files/$name");
	return;
}

# csv makes so many rows, beginning with an id.
sub csv
{
	my ($from, $count) = @_;

	return "id,label\n" . join('', map { sprintf("%d,%s\n", $_, "label of $_ " . 'x' x 40) } $from .. $from + $count - 1);
}

sub define
{
	my ($stream, $options, $more) = @_;

	return query("SELECT etl.define_stream('$stream', 'files', '$options', columns => 'id bigint, label text'" . ($more // '') . ')');
}

# run_stream runs a stream and returns the error of its task, with detail and hint, or nothing.
sub run_stream
{
	my ($stream) = @_;

	$node->psql('postgres', "CALL etl.run('$stream')");
	return query("SELECT concat_ws(' / ', sqlstate, error, detail, hint) FROM etl.tasks WHERE node = '$stream' ORDER BY task_id DESC LIMIT 1");
}

# ids tells how many rows there are, and how many different ones.
sub ids { return query("SELECT count(*), count(DISTINCT id) FROM $_[0]"); }

# ---- a file that changes while it is read: a trigger on the relation does it, in the middle of the load

# what happens to it, the reason, and the rows after this run and after the next
my %changes = (
	grows => [ q(cat more >> FILE), qr/^$/, 30000, '30100|30100' ],
	shrinks => [ q(truncate -s 991 FILE), qr/^ET007 \/ file ".*" became shorter while it was read \/ It had \d+ bytes, now it ends after \d+\. \/ Let /, 0, undef ],
	is_rewritten => [ q(cat other > FILE), qr/^ET007 \/ file ".*" changed while it was read \/ Nothing of it was loaded; the next pull reads it again\. \/ Let /, 0, '30000|30000' ],
	is_replaced => [ q(cp other FILE.part && mv FILE.part FILE), qr/^$/, 30000, '30000|30000' ],
	is_removed => [ q(rm FILE), qr/^$/, 30000, '30000|30000' ]);
write_file('more', join('', map { "$_,more\n" } 30001 .. 30100));
write_file('other', csv(100_001, 30_000));
cmp_ok(-s "$files/other", '>', 1_000_000, 'the files are larger than what is read at once');
query('CREATE SCHEMA change');
for my $change (sort keys %changes)
{
	my ($command, $reason, $rows, $after) = @{ $changes{$change} };
	my $file = "change_$change.csv";
	my $done = "$files/done_$change";

	$command =~ s/FILE/$file/g;
	# as long as the other one, so that only its time tells
	write_file($file, csv(200_001, 30_000));
	query(qq(CREATE TABLE change.$change (id bigint, label text);
		CREATE FUNCTION change.${change}_now() RETURNS trigger LANGUAGE plpgsql AS \$\$ BEGIN
			IF NEW.id = 200001 AND pg_stat_file('$done', true) IS NULL THEN
				COPY (SELECT) TO PROGRAM 'cat > /dev/null; cd $files && touch $done && $command';
			END IF;
			RETURN NEW;
		END \$\$;
		CREATE TRIGGER now BEFORE INSERT ON change.$change FOR EACH ROW EXECUTE FUNCTION change.${change}_now()));
	define("change.$change", qq({"path": "$file", "adopt": true}));
	like(run_stream("change.$change"), $reason, "a file that $change: the reason");
	ok(-e $done, '... which happened in the middle of the load');
	is(query("SELECT count(*) FROM change.$change"), $rows, '... and all of it was loaded, or nothing');
	is(run_stream("change.$change"), '', '... the next run goes on');
	is(ids("change.$change"), $after, '... and lands what is there, once') if defined $after;
	is(query("SELECT count(*) FROM etl.loads WHERE target = 'change.$change' AND status = 'succeeded'"), 1, '... as one load');
}
is(query('SELECT count(*) FILTER (WHERE id > 200000), count(*) FILTER (WHERE id <= 200000) FROM change.' . $_), '0|30000',
	"$_: rows of two versions of a file never stand beside each other") for qw(is_rewritten is_replaced);

# ---- an archive that ends early

for my $packer ([ 'gzip', 'gz' ], [ 'zstd', 'zst' ], [ 'lz4', 'lz4' ])
{
	my ($program, $ending) = @$packer;

	next if system("command -v $program >/dev/null") != 0;
	write_file("cut_$_.csv", csv($_ * 100_000, 20_000)) for 1 .. 3;
	system("cd '$files' && for i in 1 2 3; do $program -q -c cut_\$i.csv > cut_\$i.csv.$ending; rm cut_\$i.csv; done") == 0 or die;
	rename("$files/cut_2.csv.$ending", "$files/whole_2.$ending");
	define("cut.$program", qq({"path": "cut_*.csv.$ending"}));
	for my $share (0.3, 0.95)
	{
		my $length = int((-s "$files/whole_2.$ending") * $share);

		system("head -c $length '$files/whole_2.$ending' > '$files/cut_2.csv.$ending'") == 0 or die;
		like(run_stream("cut.$program"), qr/^ET007 \/ ".*cut_2\.csv\.$ending" is corrupt: it ends early \/ .* \/ Get the file again/,
			"$program that ends after $share: the reason");
		is(query("SELECT count(*) FROM cut.$program WHERE id BETWEEN 200000 AND 299999"), 0, '... and nothing of it');
	}
	system("cp '$files/whole_2.$ending' '$files/cut_2.csv.$ending'");
	is(run_stream("cut.$program"), '', '... the whole file is taken');
	is(ids("cut.$program"), '60000|60000', '... and everything is there once');
}

# ---- what would not fit into memory

# peak runs a statement and returns how far the anonymous memory of its process grew, in MB.
sub peak
{
	my ($statement) = @_;
	my $work = begin_at_work($node, "SELECT count(*) FROM etl.streams; $statement \\echo at_its_end");
	my $least;
	my $most = 0;

	$work->{session}->pump_nb;
	while ($work->{stdout} !~ /at_its_end/)
	{
		open(my $fh, '<', "/proc/$work->{pid}/status") or last;
		my ($now) = map { /^RssAnon:\s+(\d+)/ ? $1 : () } <$fh>;
		close($fh);
		$least = $now if !defined $least;
		$most = $now if $now > $most;
		$work->{session}->pump_nb;
		usleep(20_000);
	}
	$work->{stdin} .= "\\q\n";
	$work->{session}->finish;
	return ($most - $least) / 1024;
}

# A sparse file costs no disk: ten gigabytes of NUL are one line, between two that are good.
my $gigabytes = $ENV{ETL_LINE_GB} // 10;
for my $case ([ 'csv', "id,label\n1,before\n2,", "\n3,behind\n" ], [ 'ndjson', qq({"id":1}\n{"id":2,"label":"), qq("}\n{"id":3}\n) ])
{
	my ($format, $head, $tail) = @$case;

	$gigabytes = 1 if $format ne 'csv';
	open(my $fh, '>:raw', "$files/line.$format") or die;
	print $fh $head;
	seek($fh, $gigabytes * 1024**3, 1);
	print $fh $tail;
	close($fh);
	define("big.$format", qq({"path": "line.$format"}));
	my $begin = time;
	my $peak = peak("CALL etl.run('big.$format');");

	note(sprintf('%d GB in %.1f s, %.1f MB', $gigabytes, time - $begin, $peak));
	is(query("SELECT string_agg(id::text, ',' ORDER BY id) FROM big.$format"), '1,3', "$format: a line of $gigabytes GB: its neighbours land");
	is(query("SELECT position, (reasons->0->>'check'), record_size > $gigabytes * 1024::bigint ^ 3, length(raw) FROM etl.rejects WHERE target = 'big.$format'"),
		($format eq 'csv' ? 3 : 2) . '|too_large|t|65536', '... it is a reject that says how large it is, and keeps its beginning');
	is(query("SELECT rows_read, rows_loaded, rows_rejected FROM etl.loads WHERE target = 'big.$format'"), '3|2|1', '... counted');
	cmp_ok($peak, '<', 64 + 4 * 16, '... and memory stays flat');
	unlink("$files/line.$format");
}

# One record of a document, one that a quote opens, and one that unpacks to a hundred times the memory there may be.
system("cd '$files' && (printf 'id,label\\n1,before\\n2,\"'; head -c 1500000000 /dev/zero | tr '\\0' x; printf '\\n3,behind\\n') | gzip -1 > quote.csv.gz"
	  . " && (printf '[{\"id\":1},{\"id\":2,\"label\":\"'; head -c 1500000000 /dev/zero | tr '\\0' x; printf '\"},{\"id\":3}]') | gzip -1 > element.json.gz") == 0 or die;
for my $case ([ 'quote', 'quote.csv.gz' ], [ 'element', 'element.json.gz' ])
{
	my ($name, $path) = @$case;

	define("big.$name", qq({"path": "$path", "max_expansion": 0}));
	my $peak = peak("CALL etl.run('big.$name');");

	note(sprintf('%.1f MB', $peak));
	is(query("SELECT string_agg(id::text, ',' ORDER BY id) FROM big.$name"), '1,3', "$path of 1.5 GB: the neighbours land");
	is(query("SELECT (reasons->0->>'check') FROM etl.rejects WHERE target = 'big.$name'"), 'too_large', '... it is a reject');
	cmp_ok($peak, '<', 64 + 4 * 16, '... and memory stays flat');
}
define('big.bomb', '{"path": "quote.csv.gz", "max_expansion": 50}');
my $peak = peak("CALL etl.run('big.bomb');");
like(query("SELECT concat_ws(' / ', sqlstate, error, hint) FROM etl.tasks WHERE node = 'big.bomb' ORDER BY task_id DESC LIMIT 1"),
	qr/^ET008 \/ ".*" unpacks to more than 50 times its size \/ .*max_expansion/, 'what unpacks beyond measure is refused');
is(query(q(SELECT to_regclass('big.bomb') IS NULL OR NOT EXISTS (SELECT FROM etl.loads WHERE target = 'big.bomb'))), 't', '... and nothing of it lands');
cmp_ok($peak, '<', 64 + 4 * 16, '... with memory flat');
unlink("$files/quote.csv.gz", "$files/element.json.gz");

# ---- a disk that is full

write_file('disk_1.csv', csv(1, 5_000));
define('disk.append', '{"path": "disk_*.csv"}');
define('disk.state', '{"path": "disk_*.csv"}', ", key => '{id}', mode => 'merge'");
is(run_stream('disk.append') . run_stream('disk.state'), '', 'before the disk is full files land');
write_file('disk_2.csv', csv(5_001, 60_000));
write_file('disk_3.csv', csv(65_001, 5_000));
write_file('full', '');
for my $stream ('disk.append', 'disk.state')
{
	my ($code, $out, $error) = $node->psql('postgres', "CALL etl.run('$stream')");

	like($error, qr/No space left on device/, "$stream on a full disk: the reason");
	like(run_stream($stream), qr/^(53100 \/ could not extend file .*: No space left on device.*|)/, '... also in the task');
	is(ids($stream), '5000|5000', '... and nothing of the file');
}
unlink($full);
for my $stream ('disk.append', 'disk.state')
{
	is(run_stream($stream), '', "$stream when there is space again: the next run succeeds");
	is(ids($stream), '70000|70000', '... and everything is there once');
}
is(query(q(SELECT count(*) FROM etl.tasks WHERE status = 'running')), 0, 'no task is left at work');

$node->stop;
done_testing();
