# Whatever an HTTP server does, each record lands once, or the run says what is wrong.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../perl";

use Etl::HttpServer;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $server = Etl::HttpServer->new;
my $node = PostgreSQL::Test::Cluster->new('http');
$node->init;
$node->append_conf('postgresql.conf', "etl.allowed_hosts = '127.0.0.1'\nfsync = off\n");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION etl');
$node->safe_psql('postgres', 'CREATE SCHEMA raw');

my $url = $server->url;
my $source = qq({"url": "$url", "retry": {"base": "20 ms", "cap": "100 ms"}});
my $columns = 'id bigint, name text, updated_at timestamptz';
my $number = 0;

$node->safe_psql('postgres', "SELECT etl.define_source('api', 'http', '$source')");

# stream defines a new append stream and returns its name.
sub stream
{
	my ($options, %more) = @_;
	my $name = 'raw.s' . ++$number;
	my $from = $more{source} // 'api';
	my $format = $more{format} // 'json';

	$node->safe_psql('postgres',
		"SELECT etl.define_stream('$name', '$from', '$options', '$format', columns => '$columns')");
	return $name;
}

# run pulls a stream and returns the SQLSTATE of its task, '' when it succeeded.
sub run
{
	my ($name) = @_;
	$node->psql('postgres', "CALL etl.run('$name')");
	return $node->safe_psql('postgres',
		"SELECT coalesce(sqlstate, '') FROM etl.tasks WHERE node = '$name' ORDER BY task_id DESC LIMIT 1");
}

# told returns error, detail and hint of a stream's last task.
sub told
{
	my ($name) = @_;
	return $node->safe_psql('postgres',
		"SELECT concat_ws(E'\\n', error, detail, hint) FROM etl.tasks WHERE node = '$name' ORDER BY task_id DESC LIMIT 1");
}

# ids tells how many rows and how many different records landed.
sub ids
{
	my ($name) = @_;
	return $node->safe_psql('postgres', "SELECT count(*) || '/' || count(DISTINCT id) FROM $name");
}

my $records = '"records": "data.items"';
my $by_page = qq({"path": "/page", $records, "paginate": {"type": "page", "size_param": "per_page", "size": 10}});

# ---- paging ----

my %paging = (
	page => $by_page,
	'page without a size' => qq({"path": "/page", $records, "paginate": {"type": "page"}}),
	offset => qq({"path": "/offset", $records, "paginate": {"type": "offset", "size_param": "limit", "size": 7}}),
	cursor => qq({"path": "/cursor", $records, "paginate": {"type": "cursor", "next": "meta.next"}}),
	'cursor in a body' => qq({"path": "/search", "method": "POST", "body": {"of": "items"}, $records,
		"paginate": {"type": "cursor", "next": "meta.next"}}),
	next_url => qq({"path": "/next_url", $records, "paginate": {"type": "next_url", "next": "meta.next"}}),
	link_header => qq({"path": "/link", $records, "paginate": {"type": "link_header"}}),
	'no paging' => '{"path": "/plain"}');

for my $kind (sort keys %paging)
{
	my $name = stream($paging{$kind});

	is(run($name), '', "$kind: the pull succeeds");
	is(ids($name), '25/25', "$kind: each record lands once");
}

my $ndjson = stream('{"path": "/ndjson"}', format => 'ndjson');
is(run($ndjson), '', 'ndjson over http: the pull succeeds');
is(ids($ndjson), '25/25', 'ndjson over http: each record lands once');

$server->reset_all;
$server->config(records => 0);
my $empty = stream($by_page);
is(run($empty), '', 'an API without records: the pull succeeds');
is($node->safe_psql('postgres', "SELECT count(*) FROM etl.loads WHERE target = '$empty'"), '0',
	'and makes no load');

$server->reset_all;
my $sql_json = stream('{"path": "/page?page=1", "records": "$.data.items[*]"}');
is(run($sql_json), '', 'records as SQL/JSON writes it: the pull succeeds');
is(ids($sql_json), '10/10', 'records as SQL/JSON writes it: each record lands once');
my $nowhere = stream('{"path": "/page", "records": "data.itms"}');
is(run($nowhere), 'ET007', 'an answer without anything at "records" is an error, not an empty answer');
like(told($nowhere), qr/data\.itms/, 'which names it');


# ---- incremental ----

$server->reset_all;
my $increment = stream(qq({"path": "/page", $records, "paginate": {"type": "page"},
	"incremental": {"field": "updated_at", "param": "since", "start": "2024-01-01T00:00:03Z", "lookback": "2 s"}}));
is(run($increment), '', 'incremental: the first pull succeeds');
is(ids($increment), '23/23', 'it starts at "start"');
$server->config(records => 30);
is(run($increment), '', 'incremental: the second pull succeeds');
like(join(' ', $server->queries), qr/since=2024-01-01T00%3a00%3a23Z&page=1/i,
	'it asks from the greatest value less the lookback');
is(ids($increment), '31/28', 'what the lookback asked for twice is landed twice in append mode');

# ---- what goes wrong for a while ----

$server->reset_all;
$server->rules(
	{ path => '/page', times => 2, do => 'status', status => 503 },
	{ path => '/page', query => 'page=2', do => 'drop' },
	{ path => '/page', query => 'page=2', do => 'reset' },
	{ path => '/page', do => 'gzip' });
my $rough = stream($by_page);
is(run($rough), '', '5xx, a body cut short, a reset and gzip: the pull succeeds');
is(ids($rough), '25/25', 'and each record lands once');
is(scalar(grep { /page=2/ } $server->queries), 3, 'the page that was cut short was asked for again');

$server->reset_all;
$server->rules({ path => '/page', do => 'status', status => 429, headers => { 'Retry-After' => '1' } });
my $limited = stream($by_page);
my $begin = time;
is(run($limited), '', '429 with Retry-After in seconds: the pull succeeds');
cmp_ok(time - $begin, '>=', 1, 'and waited');

my $from = int(time) + 3;
my @at = gmtime($from);
my $date = sprintf('%s, %02d %s %d %02d:%02d:%02d GMT', (qw(Sun Mon Tue Wed Thu Fri Sat))[ $at[6] ], $at[3],
	(qw(Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec))[ $at[4] ], $at[5] + 1900, @at[ 2, 1, 0 ]);
$server->rules({ path => '/page', do => 'status', status => 429, headers => { 'Retry-After' => $date } });
$limited = stream($by_page);
is(run($limited), '', '429 with Retry-After as a date: the pull succeeds');
cmp_ok(($server->requests)[-1]->{time}, '>=', $from, 'and waited for it');

$node->safe_psql('postgres',
	qq(SELECT etl.define_source('slow_api', 'http', '{"url": "$url", "rate_limit": {"requests": 2, "per": "1 s"}}')));
$server->reset_all;
my $polite = stream($by_page, source => 'slow_api');
is(run($polite), '', 'rate limit: the pull succeeds');
my @times = map { $_->{time} } $server->requests;
cmp_ok($times[2] - $times[0], '>=', 0.95, 'the third request waited for its turn');

# ---- what stays wrong ----

# refused runs a stream that must fail, and checks code and words.
sub refused
{
	my ($options, $code, $words, $what, %more) = @_;
	my $name = stream($options, %more);

	is(run($name), $code, "$what: $code");
	like(told($name), $words, "$what: says so");
	is($node->safe_psql('postgres', "SELECT to_regclass('$name') IS NULL OR NOT EXISTS (SELECT FROM etl.loads WHERE target = '$name')"),
		't', "$what: nothing was landed");
	return $name;
}

$server->reset_all;
$server->rules({ path => '/page', times => 99, do => 'status', status => 500 });
refused($by_page, 'ET006', qr/HTTP 500.*Attempts: 3/s, 'HTTP 500 for ever');
is(scalar($server->queries), 3, 'it was tried three times');
$server->reset_all;
refused('{"path": "/nothing"}', 'ET006', qr/HTTP 404.*path of the stream/s, 'a wrong path');
is(scalar($server->queries), 1, 'a wrong path is not tried again');

$server->rules({ path => '/page', times => 99, do => 'garbage' });
refused($by_page, 'ET007', qr/not a complete JSON document/, 'an answer that is no JSON');
$server->rules({ path => '/page', do => 'same' });
refused($by_page, 'ET007', qr/same as an earlier one/, 'a server that ignores the page number');
$server->rules({ path => '/cursor', do => 'loop', next => 'MTA=' });
refused($paging{cursor}, 'ET007', qr/round in circles/, 'a cursor that leads back');
$server->rules({ path => '/next_url', do => 'loop', next => '/next_url' });
refused($paging{next_url}, 'ET007', qr/round in circles/, 'a next URL that leads back');
$server->rules({ path => '/next_url', do => 'loop', next => 'file:///etc/passwd' });
refused($paging{next_url}, 'ET007', qr/not an http or https URL/, 'a next URL of another scheme');
$server->rules({ path => '/page', do => 'redirect', location => 'file:///etc/passwd' });
refused($by_page, 'ET004', qr/does not follow/, 'a redirect to another scheme');
$server->rules({ path => '/page', do => 'redirect', location => $server->url =~ s/127.0.0.1/localhost/r . '/plain' });
refused($by_page, 'ET004', qr/not among the allowed hosts/, 'a redirect to another host');
$server->rules({ path => '/page', times => 99, do => 'redirect', location => '/page?page=1' });
refused($by_page, 'ET007', qr/redirects more than/, 'redirects without end');

$node->safe_psql('postgres',
	qq(SELECT etl.define_source('small', 'http', '{"url": "$url", "max_response_size": "1MB"}')));
$server->rules({ path => '/page', do => 'huge', megabytes => 50 });
refused($by_page, 'ET008', qr/larger than max_response_size/, 'an answer that is too large', source => 'small');
$server->rules({ path => '/page', do => 'bomb', megabytes => 50 });
refused($by_page, 'ET008', qr/after decompression/, 'a gzip bomb', source => 'small');

$server->reset_all;
$node->safe_psql('postgres',
	q(SELECT etl.define_source('closed', 'http', '{"url": "http://127.0.0.1:1", "retry": {"attempts": 2, "base": "1 ms"}}')));
refused($by_page, 'ET005', qr/refused connection.*Attempts: 2/s, 'a port where nobody listens', source => 'closed');
$node->safe_psql('postgres',
	qq(SELECT etl.define_source('impatient', 'http', '{"url": "$url", "timeout": {"total": "300 ms"}, "retry": {"attempts": 1}}')));
$server->rules({ path => '/page', do => 'drip', seconds => 5 });
refused($by_page, 'ET005', qr/timeout/, 'a slow answer', source => 'impatient');

# ---- where it may connect ----

$server->reset_all;
for my $host ('localhost', '2130706433', '0x7f.1', '[::ffff:127.0.0.1]')
{
	my $other = $url =~ s/127\.0\.0\.1/$host/r;

	$node->safe_psql('postgres', qq(SELECT etl.define_source('inside', 'http', '{"url": "$other"}')));
	$node->safe_psql('postgres', "ALTER SYSTEM SET etl.allowed_hosts = '*'");
	$node->reload;
	$node->poll_query_until('postgres', "SELECT current_setting('etl.allowed_hosts') = '*'");
	refused($by_page, 'ET004', qr/private or reserved/, "$host when every public host is allowed", source => 'inside');
	$node->safe_psql('postgres', 'SELECT etl.drop_source($$inside$$, cascade => true)');
}
is(scalar($server->queries), 0, 'not one of them reached the server');
$node->safe_psql('postgres', 'ALTER SYSTEM RESET etl.allowed_hosts');
$node->reload;
$node->poll_query_until('postgres', "SELECT current_setting('etl.allowed_hosts') = '127.0.0.1'");

# ---- while a page is awaited ----

$server->reset_all;
$server->rules({ path => '/page', query => 'page=2', do => 'hold' });
my $held = stream($by_page);
my $session = $node->background_psql('postgres', on_error_stop => 0);
$session->query_until(qr/begun/, "\\echo begun\nCALL etl.run('$held');\n\\echo ended\n");
ok($server->wait_held(1), 'a page is held');
my $pid = $node->safe_psql('postgres', "SELECT pid FROM pg_stat_activity WHERE query LIKE 'CALL etl.run%'");
ok($node->poll_query_until('postgres', "SELECT count(*) = 10 FROM $held"),
	'the page before it is committed after a second');
is($node->safe_psql('postgres',
		"SELECT backend_xmin IS NULL AND backend_xid IS NULL FROM pg_stat_activity WHERE pid = $pid"),
	't', 'no snapshot and no transaction id are held meanwhile');
is($node->safe_psql('postgres',
		"SELECT count(*) FROM pg_locks WHERE pid = $pid AND locktype NOT IN ('virtualxid', 'advisory')"),
	'0', 'nor a lock on anything but the node itself');
my $cancelled = $node->safe_psql('postgres', "SELECT clock_timestamp() FROM pg_cancel_backend($pid)");
ok($node->poll_query_until('postgres', "SELECT state = 'idle' FROM pg_stat_activity WHERE pid = $pid"),
	'a cancel ends the run');
is($node->safe_psql('postgres',
		"SELECT state_change < '$cancelled'::timestamptz + interval '1.5 s' FROM pg_stat_activity WHERE pid = $pid"),
	't', 'within about a second');
$session->quit;
$server->release;

my $before = scalar($server->queries);
is(run($held), '', 'the next run goes on');
my @after = $server->queries;
splice(@after, 0, $before);
is(scalar(grep { /page=1&/ } @after), 0, 'and does not ask for the committed page again');
is(ids($held), '25/25', 'each record landed once');

# ---- inside a transaction block ----

my (undef, undef, $message) = $node->psql('postgres', "BEGIN; CALL etl.run('$held'); COMMIT;");
like($message, qr/transaction block/, 'a network is not waited for inside a transaction block');

$node->stop;
done_testing();
