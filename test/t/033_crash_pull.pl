# A backend killed at any instant of a pull over HTTP, also after it committed a load, loses nothing and doubles nothing.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../perl";

use Etl::Crash qw(begin_at_work kill_at_work);
use Etl::HttpServer;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $kills = $ENV{ETL_KILLS} // 50;
my $seed = $ENV{ETL_SEED} // time;
srand($seed);
note("seed $seed");

my $server = Etl::HttpServer->new;
my $url = $server->url;
my $node = PostgreSQL::Test::Cluster->new('crash_pull');
$node->init;
$node->append_conf('postgresql.conf', "restart_after_crash = on\nfsync = off\n"
	  . "log_min_messages = error\netl.allowed_hosts = '127.0.0.1'\n");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION etl');
$node->safe_psql('postgres', 'CREATE SCHEMA raw');
my $options = '{"path": "/cursor", "records": "data.items", "paginate": {"type": "cursor", "next": "meta.next"},
	"incremental": {"field": "id", "param": "after"}}';
$node->safe_psql('postgres', qq(
	SELECT etl.define_source('api', 'http', '{"url": "$url", "retry": {"attempts": 6, "base": "300 ms", "cap": "300 ms"}}');
	SELECT etl.define_stream('raw.items', 'api', '$options', 'json', columns => 'id bigint, name text');
	SELECT etl.define_stream('raw.state', 'api', '$options', 'json', columns => 'id bigint, name text',
		key => '{id}', mode => 'merge')));

# loads_of counts the committed loads of a stream.
sub loads_of
{
	my ($stream) = @_;

	return $node->safe_psql('postgres', "SELECT count(*) FROM etl.loads WHERE target = '$stream'");
}

my $records = 0;
my $killed = 0;
for my $round (1 .. $kills)
{
	# every fifth round dies after its first load, of one stream or the other, the others at a random moment
	my $stream = $round % 5 ? undef : $round % 10 ? 'raw.items' : 'raw.state';
	my $loads = $stream ? loads_of($stream) : 0;

	$records += 200;
	$server->config(records => $records, delay => 0.03);
	$server->rules(
		{ path => '/cursor', times => 1 + int(rand(2)), do => 'status', status => 503 },
		{ path => '/cursor', times => int(rand(2)), do => 'drop' });

	my $work = begin_at_work($node, $stream ? "CALL etl.run('$stream');" : 'CALL etl.run();');
	if ($stream)
	{
		$node->poll_query_until('postgres', "SELECT count(*) > $loads FROM etl.loads WHERE target = '$stream'")
		  or die "no load of $stream was committed";
	}
	usleep(int(rand($stream ? 300_000 : 1_500_000)));
	$killed += kill_at_work($work);
	cmp_ok(loads_of($stream), '>', $loads, "round $round: what $stream committed outlives the crash") if $stream;
}
is($killed, $kills, "$kills backends were killed");

$server->config(delay => 0);
$server->rules;
$node->safe_psql('postgres', 'CALL etl.run()');
is($node->safe_psql('postgres', 'SELECT count(*), count(DISTINCT id), min(id), max(id) FROM raw.items'),
	"$records|$records|1|$records", 'the append stream has every record once');
is($node->safe_psql('postgres', 'SELECT count(*), min(id), max(id) FROM raw.state'),
	"$records|1|$records", 'the merge stream has every record once');
is($node->safe_psql('postgres', 'SELECT sum(rows_read) FROM etl.loads WHERE target = $$raw.items$$'),
	$records, 'the accounting says so too');
my $temporary = $node->data_dir . '/base/pgsql_tmp';
is(join(' ', -d $temporary ? slurp_dir($temporary) : ()) =~ s/\.\.?( |$)//gr, '', 'no temporary file is left');

$node->stop;
done_testing();
