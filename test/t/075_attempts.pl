# A request is tried as often as can help, not once more, and every try is an attempt in etl.tasks.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../perl";

use Etl::HttpServer;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $server = Etl::HttpServer->new;
my $node = PostgreSQL::Test::Cluster->new('attempts');
my $number = 0;
my $url = $server->url;

$node->init;
$node->append_conf('postgresql.conf', "etl.allowed_hosts = '127.0.0.1'\nfsync = off\n");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION etl');
$node->safe_psql('postgres', 'CREATE SCHEMA raw');

# pull defines a source and a stream, pulls it and returns the stream's name.
sub pull
{
	my ($retry, $auth) = @_;
	my $name = 's' . ++$number;
	my $options = qq({"url": "$url", "retry": $retry) . ($auth ? qq(, "auth": $auth) : '') . '}';

	$node->safe_psql('postgres', "SELECT etl.define_source('$name', 'http', '$options')");
	$node->safe_psql('postgres', "SELECT etl.define_stream('raw.$name', '$name', '{\"path\": \"/plain\"}', 'json')");
	$node->psql('postgres', "CALL etl.run('raw.$name')");
	return $name;
}

# attempts lists "number status sqlstate" of every attempt.
sub attempts
{
	my ($name) = @_;
	return $node->safe_psql('postgres', "SELECT string_agg(concat_ws(' ', attempt, status, sqlstate), ', ' ORDER BY task_id)
		FROM etl.tasks WHERE node = 'raw.$name'");
}

# gaps returns the seconds between the requests for data.
sub gaps
{
	my @times = map { $_->{time} } grep { $_->{path} eq '/plain' } $server->requests;

	return map { $times[$_] - $times[ $_ - 1 ] } 1 .. $#times;
}

my $quick = '{"base": "20 ms", "cap": "50 ms"}';

# ---- what heals is tried three times, the rest once ----

my @table = (
	[ 400, 0, 1, '1 failed ET006' ],
	[ 401, 0, 1, '1 failed ET006' ],
	[ 403, 0, 1, '1 failed ET006' ],
	[ 404, 0, 1, '1 failed ET006' ],
	[ 500, 0, 3, '1 failed ET006, 2 failed ET006, 3 failed ET006' ],
	[ 503, 0, 3, '1 failed ET006, 2 failed ET006, 3 failed ET006' ],
	[ 503, 2, 3, '1 failed ET006, 2 failed ET006, 3 succeeded' ],
	[ 429, 1, 2, '1 failed ET006, 2 succeeded' ]);

for my $row (@table)
{
	my ($status, $times, $requests, $expected) = @$row;

	$server->reset_all;
	$server->rules({ path => '/plain', do => 'status', status => $status, times => $times || 99 });
	my $name = pull($quick);
	is(attempts($name), $expected, "HTTP $status" . ($times ? " $times times" : ''));
	is(scalar(grep { $_->{path} eq '/plain' } $server->requests), $requests, '... and as many requests at the server');
}

$server->reset_all;
$server->rules({ path => '/plain', do => 'drop', times => 99 });
is(attempts(pull($quick)), '1 failed ET005, 2 failed ET005, 3 failed ET005', 'a dropped connection');

# ---- when ----

$server->reset_all;
$server->rules({ path => '/plain', do => 'status', status => 429, headers => { 'Retry-After' => '1' }, times => 4 });
my $told = pull('{"attempts": 2, "base": "1 ms", "cap": "2 ms"}');
is(attempts($told), join(', ', (map { "$_ failed ET006" } 1 .. 4), '5 succeeded'),
	'a server that says when to come back is obeyed, and its answers do not count');
ok(!(grep { $_ < 0.95 } gaps()), '... and nobody comes back sooner') or diag(join(' ', gaps()));

$server->reset_all;
$server->rules({ path => '/plain', do => 'status', status => 429, headers => { 'Retry-After' => '60' }, times => 99 });
is(attempts(pull('{"deadline": "2 s"}')), '1 failed ET006', 'a wait beyond the deadline is not begun');

$server->reset_all;
$server->rules({ path => '/plain', do => 'status', status => 503, times => 24 });
is(attempts(pull('{"attempts": 25, "base": "800 ms", "cap": "800 ms"}')) =~ /25 succeeded$/, 1, 'twenty-four tries');
my @gaps = gaps();
ok(!(grep { $_ > 0.8 + 0.4 } @gaps), 'waits are at most the cap, and what a slow machine adds') or diag(join(' ', @gaps));
ok((grep { $_ < 0.4 } @gaps) && (grep { $_ > 0.4 } @gaps), '... and spread over all of it: full jitter')
  or diag(join(' ', @gaps));

# ---- a token is renewed once ----

$server->reset_all;
$server->config(auth => { type => 'oauth2' });
my $oauth = qq({"type": "oauth2_client_credentials", "token_url": "$url/token", "client_id": "me", "client_secret": "clear"});
$server->rules({ path => '/plain', do => 'status', status => 401, times => 99 });
is(attempts(pull($quick, $oauth)), '1 failed ET006', '401 with a token fails at once');
is(scalar(grep { $_->{path} =~ /token/ } $server->requests), 2, '... after one new token');

$node->stop('fast');
done_testing();
