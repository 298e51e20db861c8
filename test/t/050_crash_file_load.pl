# A backend killed at any instant of a file load, also between two committed files, loses nothing and doubles nothing.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../perl";

use Etl::Crash qw(begin_at_work kill_at_work);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $kills = $ENV{ETL_KILLS} // 50;
my $rows_per_file = 3000;
my $seed = $ENV{ETL_SEED} // time;
srand($seed);
note("seed $seed");

my $files = PostgreSQL::Test::Utils::tempdir();
my $node = PostgreSQL::Test::Cluster->new('crash');
$node->init;
$node->append_conf('postgresql.conf', "restart_after_crash = on\nfsync = off\n"
	  . "log_min_messages = error\netl.allowed_directories = '$files'\n");
$node->start;
$node->safe_psql('postgres', q(
	CREATE EXTENSION etl;
	CREATE SCHEMA raw;
));
$node->safe_psql('postgres', qq(
	SELECT etl.define_source('files', 'file', '{"root": "$files"}');
	SELECT etl.define_stream('raw.items', 'files', '{"path": "items_*.csv"}', format => 'csv',
		columns => 'id bigint, label text');
	SELECT etl.define_stream('raw.state', 'files', '{"path": "items_*.csv"}', format => 'csv',
		columns => 'id bigint, label text', key => '{id}', mode => 'merge');
));

my $next_id = 1;
my $nfiles = 0;

# add_files writes some files, every hundredth line of them malformed.
sub add_files
{
	my ($count) = @_;

	for (1 .. $count)
	{
		my $name = sprintf('%s/items_%05d.csv', $files, ++$nfiles);
		my $text = "id,label\n";

		for my $line (1 .. $rows_per_file)
		{
			$text .= $line % 100 == 0 ? "bad,one,too,many\n" : "$next_id,label $next_id\n";
			$next_id++ if $line % 100 != 0;
		}
		open(my $fh, '>', "$name.tmp") or die "$name: $!";
		print $fh $text;
		close($fh);
		rename("$name.tmp", $name);
	}
	return;
}

# loads_of counts the committed loads of a stream.
sub loads_of
{
	my ($stream) = @_;

	return $node->safe_psql('postgres', "SELECT count(*) FROM etl.loads WHERE target = '$stream'");
}

my $killed = 0;
for my $round (1 .. $kills)
{
	# every fifth round dies after its first load, of one stream or the other, the others at a random moment
	my $stream = $round % 5 ? undef : $round % 10 ? 'raw.items' : 'raw.state';
	my $loads = $stream ? loads_of($stream) : 0;

	add_files(4);

	my $work = begin_at_work($node, $stream ? "CALL etl.run('$stream');" : 'CALL etl.run();');
	if ($stream)
	{
		$node->poll_query_until('postgres', "SELECT count(*) > $loads FROM etl.loads WHERE target = '$stream'")
		  or die "no load of $stream was committed";
		# loads of a pull are flushed at its end: until then a crash may take the last away, with its entry in the ledger
		my $written = $node->safe_psql('postgres', 'SELECT pg_current_wal_insert_lsn()');
		$node->poll_query_until('postgres', "SELECT pg_current_wal_lsn() >= '$written'")
		  or die 'the WAL is not written';
	}
	usleep(int(rand($stream ? 20_000 : 400_000)));
	$killed += kill_at_work($work);
	cmp_ok(loads_of($stream), '>', $loads, "round $round: what $stream committed outlives the crash") if $stream;
}
is($killed, $kills, "$kills backends were killed");

$node->safe_psql('postgres', 'CALL etl.run()');
my $rows = $next_id - 1;
is($node->safe_psql('postgres', 'SELECT count(*), count(DISTINCT id), min(id), max(id) FROM raw.items'),
	"$rows|$rows|1|$rows", 'the append stream has every row once');
is($node->safe_psql('postgres', 'SELECT count(*), min(id), max(id) FROM raw.state'),
	"$rows|1|$rows", 'the merge stream has every row once');
is($node->safe_psql('postgres', q(SELECT target, count(*) FROM etl.rejects WHERE status = 'open' GROUP BY 1 ORDER BY 1)),
	join("\n", map { "$_|" . $nfiles * $rows_per_file / 100 } qw(raw.items raw.state)),
	'every bad record is a reject once');
is($node->safe_psql('postgres', q(SELECT target, count(*), sum(rows_read) FROM etl.loads GROUP BY 1 ORDER BY 1)),
	join("\n", map { "$_|$nfiles|" . $nfiles * $rows_per_file } qw(raw.items raw.state)),
	'every file is one load');
is($node->safe_psql('postgres', q(SELECT count(*) FROM etl.runs WHERE status = 'running')), '0',
	'no dead run is left as running');

$node->stop;
done_testing();
