# A backend killed at any instant of an HTTP pull, its backoff included, loses and doubles nothing.
use strict;
use warnings;

use FindBin;
use HTTP::Tiny;
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $kills = $ENV{ETL_KILLS} // 50;
my $seed = $ENV{ETL_SEED} // time;
srand($seed);
note("seed $seed");

my $dir = PostgreSQL::Test::Utils::tempdir();
my $server = IPC::Run::start(
	[ 'python3', "$FindBin::Bin/../servers/http_server.py", '--port', '0', '--port-file', "$dir/port" ],
	'<', '/dev/null', '>', "$dir/server.log", '2>&1');
for (1 .. 200) { last if -s "$dir/port"; usleep(50_000); }
my $port = slurp_file("$dir/port");
chomp $port;
my $http = HTTP::Tiny->new;

# instruct sends one control message to the server.
sub instruct
{
	my ($path, $content) = @_;
	my $answer = $http->post("http://127.0.0.1:$port$path", { content => encode_json($content) });

	die "$path: $answer->{status}" unless $answer->{success};
	return;
}

my $node = PostgreSQL::Test::Cluster->new('crash_http');
$node->init;
$node->append_conf('postgresql.conf', "restart_after_crash = on\nfsync = off\n"
	  . "log_min_messages = error\netl.allowed_hosts = '127.0.0.1'\n");
$node->start;
$node->safe_psql('postgres', q(CREATE EXTENSION etl; CREATE SCHEMA raw));
$node->safe_psql('postgres', qq(
	SELECT etl.define_source('api', 'http', '{"url": "http://127.0.0.1:$port", "retry": {"base": "50 ms", "cap": "200 ms"}}');
	SELECT etl.define_stream('raw.items', 'api', '{"path": "/page", "records": "data.items",
		"paginate": {"type": "page", "param": "page", "size_param": "per_page", "size": 50},
		"incremental": {"field": "updated_at", "param": "since"}}', format => 'json',
		columns => 'id bigint, name text, updated_at timestamptz', key => '{id}', mode => 'merge');
));

# wait_until_up polls until the server has recovered from the crash.
sub wait_until_up
{
	for (1 .. 600)
	{
		my ($code) = $node->psql('postgres', 'SELECT 1', timeout => 10);
		return if defined $code && $code == 0;
		usleep(50_000);
	}
	die "the server did not come back";
}

my $records = 0;
my $killed = 0;
for my $round (1 .. $kills)
{
	$records += 120;
	instruct('/_config', { records => $records });
	instruct('/_rules', [
		{ path => '/page', times => 1, do => 'status', status => 503 },
		{ path => '/page', query => 'page=2', times => 1, do => 'drop' } ]);

	my ($stdin, $stdout, $stderr) = ("SELECT pg_backend_pid();\n", '', '');
	my $session = IPC::Run::start(
		[ 'psql', '-XqAt', '-d', $node->connstr('postgres') ],
		'<', \$stdin, '>', \$stdout, '2>', \$stderr,
		IPC::Run::timeout(120));
	$session->pump until $stdout =~ /(\d+)\n/;
	my ($pid) = $stdout =~ /(\d+)\n/;

	$stdin .= "CALL etl.run();\n";
	$session->pump_nb;
	usleep(int(rand(400_000)));
	$killed += kill('KILL', $pid);
	eval { $session->kill_kill; };
	wait_until_up();
}
is($killed, $kills, "$kills backends were killed");

instruct('/_rules', []);
$node->safe_psql('postgres', 'CALL etl.run()');
is($node->safe_psql('postgres', 'SELECT count(*), count(DISTINCT id), max(id) - min(id) + 1 FROM raw.items'),
	"$records|$records|$records", 'every record is there once');
is($node->safe_psql('postgres', q(SELECT sum(rows_loaded) FROM etl.loads)), $records,
	'every record was inserted by exactly one load');

$node->stop;
$server->kill_kill;
done_testing();
