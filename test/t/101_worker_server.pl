# What happens to the whole server happens to its workers: a fast shutdown is fast, a standby does nothing until it is promoted, pg_upgrade sees none.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../perl";

use Etl::Cluster;
use Etl::HttpServer;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my $server = Etl::HttpServer->new;
my $url = $server->url;
my $cluster = Etl::Cluster->new('server', streaming => 1);
my $node = $cluster->node;
$cluster->define_models;
$cluster->sql(qq(
	CREATE SCHEMA raw;
	SELECT etl.define_source('api', 'http', '{"url": "$url"}');
	SELECT etl.define_stream('raw.items', 'api', '{"path": "/page", "records": "data.items",
		"paginate": {"type": "page", "param": "page", "start": 1}}', 'json', columns => 'id bigint, name text');
));

# A fast shutdown while a worker waits for a page that does not come, and another is in a query.
$server->rules({ path => '/page', do => 'hold' });
my $fetch = $cluster->submit('raw.items');
ok($server->wait_held(1), 'a worker waits for a page');
my ($slow) = $cluster->begin_slow;
is($cluster->sql("SELECT count(*) FROM etl.status() WHERE process = 'task' AND state = 'busy'"), '2', 'two are at work');
is($cluster->sql("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'etl task' AND state = 'active' AND backend_xmin IS NULL
	AND backend_xid IS NULL"), '1', 'the one that waits holds neither snapshot nor transaction id');
my @children = map { (split)[0] } $cluster->children;
$cluster->sql('UPDATE m.pause SET seconds = 0');
my $begin = time;
$node->stop('fast');
cmp_ok(time - $begin, '<', 5, 'a fast shutdown takes less than five seconds');
is(scalar(grep { kill(0, $_) } @children), 0, 'and leaves no process behind');
$server->rules;
$server->release;

$node->start;
$cluster->back_at_work('after a shutdown');
is($cluster->wait_run($fetch), 'succeeded', 'after a shutdown: the fetch begins again and succeeds');
is($cluster->wait_run($slow), 'succeeded', 'after a shutdown: so does the build');
is($cluster->sql('SELECT count(*) = count(DISTINCT id) AND count(*) > 0 FROM raw.items'), 't', 'nothing was loaded twice');
$cluster->no_leaks('after a shutdown');

# A standby shows what there is and does nothing; promoted, it goes on where the primary was.
$node->backup('base');
my $standby_node = PostgreSQL::Test::Cluster->new('standby');
$standby_node->init_from_backup($node, 'base', has_streaming => 1);
$standby_node->start;
my $standby = bless { node => $standby_node, files => $cluster->files }, 'Etl::Cluster';
my ($run_id) = do { $cluster->sql('UPDATE m.pause SET seconds = 60'); $cluster->begin_slow };
$node->wait_for_catchup($standby_node);
is($standby->sql('SELECT process, pid, state FROM etl.status()'), 'launcher||standby', 'a standby has no process, and says so');
is(scalar($standby->children), 0, 'there is really none');
is($standby->sql("SELECT status FROM etl.runs WHERE run_id = $run_id"), 'running', 'it shows the runs of the primary');
my ($well, undef, $error) = $standby->try_sql("SELECT etl.submit('m.quick')");
ok(!$well, 'a run cannot be submitted there');
like($error, qr/read-only|recovery/, 'because it is read-only');
$cluster->sql('UPDATE m.pause SET seconds = 0');
$node->wait_for_catchup($standby_node);
$node->stop('immediate');
$standby_node->promote;
$standby->back_at_work('after the promotion');
is($standby->wait_run($run_id), 'succeeded', 'after the promotion: the run that was at work on the primary goes on');
$standby->no_leaks('after the promotion');

# pg_upgrade starts both servers in a mode in which nothing may happen by itself.
$standby_node->stop;
my $port = $standby_node->port;
my $log = $standby_node->data_dir . '/upgrade.log';
command_ok([ 'pg_ctl', '-w', '-D', $standby_node->data_dir, '-l', $log, '-o', '-b', 'start' ], 'the server starts for pg_upgrade');
chomp(my $pid = (split(/\n/, slurp_file($standby_node->data_dir . '/postmaster.pid')))[0]);
usleep(1_500_000);
my $processes = qx(ps -o args= --ppid $pid);
like($processes, qr/checkpointer/, 'it is there');
unlike($processes, qr/etl (launcher|scheduler|task)/, 'without a process of etl');
command_ok([ 'pg_ctl', '-w', '-D', $standby_node->data_dir, '-m', 'fast', 'stop' ], 'it stops');
done_testing();
