# A backend killed at any instant of a pull over HTTP loses nothing and doubles nothing.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../perl";

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
	SELECT etl.define_source('api', 'http', '{"url": "$url", "retry": {"base": "300 ms", "cap": "300 ms"}}');
	SELECT etl.define_stream('raw.items', 'api', '$options', 'json', columns => 'id bigint, name text');
	SELECT etl.define_stream('raw.state', 'api', '$options', 'json', columns => 'id bigint, name text',
		key => '{id}', mode => 'merge')));

# wait_until_up polls until the server has recovered from the crash.
sub wait_until_up
{
	for (1 .. 600)
	{
		# a psql that was refused before it read its input is an exception
		my ($code) = eval { $node->psql('postgres', 'SELECT 1', timeout => 10) };
		return if defined $code && $code == 0;
		usleep(50_000);
	}
	die "the server did not come back";
}

my $records = 0;
my $killed = 0;
for my $round (1 .. $kills)
{
	$records += 200;
	$server->config(records => $records, delay => 0.03);
	$server->rules(
		{ path => '/cursor', times => 1 + int(rand(2)), do => 'status', status => 503 },
		{ path => '/cursor', times => int(rand(2)), do => 'drop' });

	my ($stdin, $stdout, $stderr) = ("SELECT pg_backend_pid();\n", '', '');
	my $session = IPC::Run::start(
		[ 'psql', '-XqAt', '-d', $node->connstr('postgres') ],
		'<', \$stdin, '>', \$stdout, '2>', \$stderr,
		IPC::Run::timeout(120));
	$session->pump until $stdout =~ /(\d+)\n/;
	my ($pid) = $stdout =~ /(\d+)\n/;

	$stdin .= "CALL etl.run();\n";
	$session->pump_nb;
	usleep(int(rand(1_500_000)));
	$killed += kill('KILL', $pid);
	eval { $session->kill_kill; };
	wait_until_up();
}
is($killed, $kills, "$kills backends were killed");
cmp_ok($node->safe_psql('postgres', 'SELECT count(*) FROM etl.loads'), '>', 2, 'some loads were committed before');

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
