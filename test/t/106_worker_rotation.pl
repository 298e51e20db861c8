# Launcher, scheduler, workers and postmaster are killed in rotation while files keep arriving: in the end every row is there once, in streams and models.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../perl";

use Etl::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my $kills = $ENV{ETL_KILLS} // 32;
my $seed = $ENV{ETL_SEED} // time;
srand($seed);
note("seed $seed");

my $cluster = Etl::Cluster->new('rotation');
my $node = $cluster->node;
my $files = $cluster->files;
mkdir("$files/in");
$cluster->sql(qq(
	CREATE SCHEMA raw; CREATE SCHEMA mart; CREATE SCHEMA m;
	CREATE TABLE m.seed AS SELECT 1 AS id;
	SELECT etl.define_model('m.quick', 'SELECT id FROM m.seed', 'table');
	SELECT etl.define_source('files', 'file', '{"root": "$files/in"}');
	SELECT etl.define_stream('raw.items', 'files', '{"path": "items_*.csv"}', format => 'csv',
		columns => 'id bigint, amount numeric');
	SELECT etl.define_stream('raw.state', 'files', '{"path": "state_*.csv"}', format => 'csv',
		columns => 'id bigint, version bigint', key => '{id}', mode => 'merge', event_time => 'version');
	SELECT etl.define_model('mart.items', 'SELECT id, amount * 2 AS twice FROM raw.items', 'incremental');
	SELECT etl.define_model('mart.by_digit', 'SELECT id % 10 AS digit, count(*) AS n, sum(amount) AS amount FROM raw.items
		GROUP BY 1', 'incremental', key => '{digit}');
	SELECT etl.define_model('mart.state', 'SELECT count(*) AS n, sum(version) AS versions FROM raw.state', 'table');
	SELECT etl.define_schedule('steady', 'raw.* mart.*', every => '1 second');
	SELECT etl.define_schedule('arrival', 'raw.items+', on_event => '{"file": "raw.items"}');
));

# The files: number n has the items 10n .. 10n + 9, and version n of the states 1 .. 20.
sub write_file
{
	my ($name, @lines) = @_;

	open(my $fh, '>', "$files/in/.$name") or die "$name: $!";
	print $fh map { "$_\n" } @lines;
	close($fh);
	rename("$files/in/.$name", "$files/in/$name") or die "$name: $!";
	return;
}

my $writer = fork();
die "fork: $!" unless defined $writer;
if ($writer == 0)
{
	my $stop = 0;
	local $SIG{TERM} = sub { $stop = 1 };

	for (my $n = 1; !$stop; $n++)
	{
		write_file(sprintf('state_%06d.csv', $n), 'id,version', map { "$_,$n" } 1 .. 20);
		write_file(sprintf('items_%06d.csv', $n), 'id,amount', map { "$_,$_" } 10 * $n .. 10 * $n + 9);
		usleep(50_000 + int(rand(150_000)));
	}
	require POSIX;
	POSIX::_exit(0);
}

# process_of finds the process to be killed: a busy worker if there is one; 0 when there is none of that kind.
sub process_of
{
	my ($kind) = @_;

	return $node->{_pid} if $kind eq 'postmaster';
	my ($well, $pid) = $cluster->try_sql("SELECT pid FROM etl.status() WHERE process = '$kind' AND pid IS NOT NULL
		ORDER BY state LIMIT 1");
	return $well && $pid ? $pid : 0;
}

# restart starts the server after its postmaster was killed, when all of its children have gone.
sub restart
{
	my (@children) = @_;

	for (1 .. 2400)
	{
		last unless grep { kill(0, $_) } @children;
		usleep(25_000);
	}
	$node->{_pid} = undef;
	unlink($node->data_dir . '/postmaster.pid');
	$node->start;
	return;
}

my %hit = (launcher => 0, scheduler => 0, task => 0, postmaster => 0);
my @kinds = ('launcher', 'task', 'scheduler', 'task', 'postmaster', 'task');
my $tries = 0;
my $total = 0;
while ($total < $kills && $tries < 4 * $kills)
{
	my $kind = $kinds[ $tries++ % @kinds ];
	usleep(int(rand(900_000)));
	my $pid = process_of($kind);
	next unless $pid;

	if ($kind eq 'postmaster')
	{
		chomp(my @children = qx(ps -o pid= --ppid $pid));
		next unless kill('KILL', $pid);
		restart(@children);
	}
	else
	{
		next unless $cluster->kill_process('KILL', $pid);
	}
	$hit{$kind}++;
	$total++;
}
kill('TERM', $writer);
waitpid($writer, 0);
is($total, $kills, "$kills processes were killed: " . join(', ', map { "$hit{$_} $_" } sort keys %hit));
cmp_ok($hit{$_}, '>', 0, "$_ among them") for sort keys %hit;

# What is still missing comes by itself.
my $n = () = glob("$files/in/items_*.csv");
my $rows = 10 * $n;
my $sum = 0;
$sum += $_ for 10 .. 10 * $n + 9;
cmp_ok($n, '>=', $kills, "$n files of each kind arrived meanwhile");
ok(defined $cluster->wait_up(30), 'the processes are back');
ok(defined $cluster->poll("SELECT (SELECT count(*) FROM raw.items) = $rows AND (SELECT min(version) FROM raw.state) = $n", 't', 120),
	'all files are loaded without anybody asking');
ok(defined $cluster->poll("SELECT (SELECT sum(n) FROM mart.by_digit) = $rows AND (SELECT versions FROM mart.state) = 20 * $n", 't', 60),
	'and the models follow');
$cluster->sql("SELECT etl.drop_schedule('steady'), etl.drop_schedule('arrival')");
ok(defined $cluster->poll("SELECT count(*) FROM etl.runs WHERE status IN ('queued', 'running')", '0', 60), 'no run is left open');

is($cluster->sql('SELECT count(*), count(DISTINCT id), min(id), max(id), sum(amount) FROM raw.items'),
	"$rows|$rows|10|" . ($rows + 9) . "|$sum", 'the append stream has every row once');
is($cluster->sql('SELECT count(*), min(version), max(version) FROM raw.state'), "20|$n|$n", 'the merge stream has the last version of each');
is($cluster->sql("SELECT sum(rows_read), sum(rows_loaded) FROM etl.loads WHERE target = 'raw.items' AND status = 'succeeded'"),
	"$rows|$rows", 'the accounting says so too');
is($cluster->sql('SELECT count(*) FROM (SELECT id, amount * 2 FROM raw.items EXCEPT ALL SELECT id, twice FROM mart.items) AS d'), '0',
	'the incremental model lacks nothing');
is($cluster->sql('SELECT count(*) FROM mart.items'), $rows, 'and has nothing twice');
is($cluster->sql('SELECT count(*) FROM (SELECT id % 10, count(*), sum(amount) FROM raw.items GROUP BY 1
	EXCEPT SELECT digit, n, amount FROM mart.by_digit) AS d'), '0', 'the grouped model equals its query');
is($cluster->sql('SELECT count(*), sum(version) FROM raw.state'), $cluster->sql('SELECT n, versions FROM mart.state'),
	'the rebuilt model equals its query');
is($cluster->sql("SELECT count(*) FROM etl.task WHERE status IN ('queued', 'running')"), '0', 'no task is left open');
is($cluster->sql("SELECT coalesce(string_agg(DISTINCT sqlstate || ' ' || error, '; '), '') FROM etl.tasks WHERE status = 'failed'
	AND coalesce(sqlstate, '') !~ '^(57P0|08|ET0)' AND error !~ 'parked'"), '', 'nothing failed but by the kills');
is($cluster->sql("SELECT count(*) - count(DISTINCT (schedule, due_at)) FROM etl.schedule_slots WHERE schedule = 'steady'"), '0',
	'no slot fired twice');
$cluster->back_at_work('in the end');
$cluster->no_leaks('in the end');
my $temporary = $node->data_dir . '/base/pgsql_tmp';
is(join(' ', grep { !/^\.\.?$/ } -d $temporary ? slurp_dir($temporary) : ()), '', 'no temporary file is left');
unlike(slurp_file($node->logfile), qr/PANIC|TRAP|signal 11|invalid page|could not read block/, 'nothing worse is in the log');
$node->stop;
done_testing();
