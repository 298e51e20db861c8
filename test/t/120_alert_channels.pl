# What a rule tells reaches its channels at least once and in order, whatever the receiver does, and no run waits for it.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../perl";

use Digest::SHA qw(hmac_sha256_hex);
use Encode qw(encode_utf8);
use Etl::Cluster;
use Etl::HttpServer;
use JSON::PP;
use POSIX ();
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my $receiver = Etl::HttpServer->new;
my $url = $receiver->url;
my $cluster = Etl::Cluster->new('alert_channels');

$cluster->sql(qq(CREATE SCHEMA m; CREATE TABLE m.input AS SELECT 0 AS n;
	SELECT etl.define_model('m.root', 'SELECT 1 / n AS x FROM m.input', materialized => 'table');
	SELECT etl.define_model('m.below', 'SELECT x FROM m.root')));

# channel defines a channel, and a rule of the same name that tells it of failed runs.
sub channel
{
	my ($name, $kind, $options) = @_;

	$cluster->sql("SELECT etl.define_channel('$name', '$kind', '$options')");
	$cluster->sql("SELECT etl.define_alert('$name', '{run_failed}', '{$name}', options => '{\"cooldown\": \"1 s\"}')");
	return;
}

# fails and heals make the root fail, or succeed again.
sub fails { $cluster->sql('UPDATE m.input SET n = 0'); return $cluster->run('*'); }
sub heals { $cluster->sql('UPDATE m.input SET n = 1'); return $cluster->run('*'); }

# forget ends the rules and channels of a part of the test.
sub forget
{
	$cluster->sql("SELECT etl.drop_alert(name) FROM etl.alert_rules; SELECT etl.drop_channel(name, true) FROM etl.channels");
	$receiver->reset_all;
	return;
}

# delivered waits until so many deliveries of a channel have arrived.
sub delivered
{
	my ($channel, $n, $what) = @_;
	my $took = $cluster->poll("SELECT count(*) FROM etl.deliveries WHERE channel = '$channel' AND status = 'delivered'", $n, 60);

	ok(defined $took, $what);
	diag($cluster->sql('SELECT * FROM etl.deliveries')) unless defined $took;
	return;
}

# bodies returns the decoded bodies of the requests so far.
sub bodies { return map { decode_json(encode_utf8($_->{body})) } $receiver->requests; }

# ---- a webhook: JSON, signed ----

channel('hook', 'webhook', qq({"url": "$url/plain", "signing_secret": "shared key", "headers": {"X-Team": "data"}}));
is(fails(), 'failed', 'a run fails');
delivered('hook', 1, 'the webhook is called');
my ($request) = $receiver->requests;
my $body = decode_json(encode_utf8($request->{body}));
is($body->{what}, "m.root failed in run $body->{run_id}; 1 node below it is not done", 'it says what failed');
is($body->{message}, 'firing', 'and that it fires');
ok($body->{remedy} && $body->{cause} && $body->{since}, 'and since when, why, and what to do');
is($request->{headers}{'Idempotency-Key'}, $body->{idempotency_key}, 'it has a key');
is($request->{headers}{'X-Etl-Signature'},
	'sha256=' . hmac_sha256_hex(encode_utf8("$request->{headers}{'X-Etl-Timestamp'}.$request->{body}"), 'shared key'),
	'the signature is right');
is($request->{headers}{'X-Team'}, 'data', 'further header fields are there');
is(heals(), 'succeeded', 'the run succeeds again');
delivered('hook', 2, 'that it is over is told');
is((bodies())[1]{message}, 'resolved', 'as such');

# ---- errors: tried again with the same key; Retry-After; given up ----

$receiver->reset_all;
$receiver->rules({ path => '/plain', times => 2, do => 'status', status => 503 });
$cluster->sql(qq(SELECT etl.define_channel('hook', 'webhook', '{"url": "$url/plain", "retry": {"base": "200 ms", "cap": "1 s"}}')));
fails();
delivered('hook', 3, 'a receiver that answers 503 twice gets it');
my @requests = $receiver->requests;
is(scalar(@requests), 3, 'in three requests');
is(scalar(keys %{ { map { $_->{headers}{'Idempotency-Key'} => 1 } @requests } }), 1, 'with one key');

$receiver->reset_all;
$receiver->rules({ path => '/plain', times => 1, do => 'status', status => 429, headers => { 'Retry-After' => '2' } });
heals();
delivered('hook', 4, 'a receiver that wants less gets it');
@requests = $receiver->requests;
cmp_ok($requests[1]{time} - $requests[0]{time}, '>=', 2, 'after Retry-After');

$receiver->reset_all;
$receiver->rules({ path => '/plain', times => 100, do => 'status', status => 400 });
$cluster->sql(q(SELECT etl.define_channel('bell', 'notify', '{"channel": "meta"}');
	SELECT etl.define_alert('meta', '{channel_failed}', '{bell, hook}')));
fails();
ok(defined $cluster->poll("SELECT attempts FROM etl.deliveries WHERE channel = 'hook' AND status = 'dead'", 1, 60),
	'what is refused is given up at once, visibly');
like($cluster->sql("SELECT what || ' | ' || remedy FROM etl.alerts WHERE event = 'channel_failed'"),
	qr/channel hook does not deliver.*test_channel/, 'which is an alert itself');
delivered('bell', 1, 'told to the channel that works');
is($cluster->sql("SELECT count(*) FROM etl.deliveries AS d JOIN etl.alerts AS a USING (alert_id)
	WHERE a.event = 'channel_failed' AND d.channel = 'hook'"), 0, 'and not to the one that does not');
is($cluster->sql("SELECT state FROM etl.channels WHERE name = 'hook'"), 'failing', 'etl.channels says so');
like($cluster->sql("SELECT ok || ' ' || detail || ' ' || remedy FROM etl.test_channel('hook')"),
	qr/^false 127.0.0.1:\d+ answered with HTTP 400 The receiver refuses/, 'etl.test_channel says so, and what to do');
$receiver->reset_all;
is($cluster->sql("SELECT ok FROM etl.test_channel('hook')"), 't', 'it is mended');
is($cluster->sql("SELECT etl.redeliver('hook')"), 1, 'what was given up is sent again');
delivered('hook', 5, 'and arrives');
ok(defined $cluster->poll("SELECT state FROM etl.alerts WHERE event = 'channel_failed'", 'resolved', 30),
	'the alert about the channel is over');
heals();
forget();

# ---- a receiver that is not there for a while, with one beside it that is ----

my $absent = Etl::HttpServer->new;
my $port = $absent->port;
undef $absent;
channel('gone', 'webhook', qq({"url": "http://127.0.0.1:$port/plain", "retry": {"base": "100 ms", "cap": "500 ms"}}));
channel('here', 'webhook', qq({"url": "$url/plain"}));
fails();
heals();
delivered('here', 2, 'a receiver that is there is not kept waiting by one that is not');
ok(defined $cluster->poll("SELECT bool_or(attempts >= 2) AND bool_and(status = 'waiting') FROM etl.deliveries
	WHERE channel = 'gone'", 't', 60), 'what is for the other one waits');
$absent = Etl::HttpServer->new('--port', $port);
delivered('gone', 2, 'until it is back');
is(join(' ', map { decode_json(encode_utf8($_->{body}))->{message} } $absent->requests), 'firing resolved', 'in order');
undef $absent;
forget();

# ---- a slow receiver holds up no run, and no snapshot is held meanwhile ----

channel('slow', 'webhook', qq({"url": "$url/plain", "timeout": "20 s"}));
$receiver->config(delay => 3);
my $begin = time;
fails();
$cluster->poll("SELECT attempts FROM etl.deliveries WHERE channel = 'slow'", 1, 60);
usleep(300_000);
is($cluster->sql("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'etl task' AND (backend_xmin IS NOT NULL
	OR backend_xid IS NOT NULL)"), 0, 'no snapshot is held while the receiver is waited for');
heals();
is($cluster->sql("SELECT count(*) FROM etl.deliveries WHERE status = 'delivered' AND channel = 'slow'"), 0,
	'two runs end before the receiver has answered');
delivered('slow', 2, 'it answers in the end');
forget();

# ---- slack, pagerduty, alertmanager ----

$cluster->sql(q(SELECT etl.define_model('m."<!channel> & co"', 'SELECT 1 / n AS x FROM m.input', materialized => 'table')));
channel('chat', 'slack', qq({"url": "$url/plain"}));
fails();
delivered('chat', 2, 'slack is told');
my ($said) = grep { $_->{text} =~ /co/ } bodies();
like($said->{text}, qr/^WARNING: m\."&lt;!channel&gt; &amp; co" failed/, 'a hostile name is no markup');
heals();
forget();
$cluster->sql(q(SELECT etl.drop_model('m."<!channel> & co"', drop_relation => true)));

channel('pager', 'pagerduty', qq({"url": "$url/plain", "routing_key": "0123456789abcdef0123456789abcdef"}));
fails();
heals();
delivered('pager', 2, 'pagerduty is told');
@requests = bodies();
is(join(' ', map { $_->{event_action} } @requests), 'trigger resolve', 'trigger and resolve');
is($requests[0]{dedup_key}, $requests[1]{dedup_key}, 'under one key');
is($requests[0]{payload}{severity}, 'warning', 'with the severity');
forget();

$receiver->rules({ path => '/am/api/v2/alerts', times => 100, do => 'status', status => 200 });
channel('am', 'alertmanager', qq({"url": "$url/am", "labels": {"team": "data"}}));
fails();
heals();
delivered('am', 2, 'alertmanager is told');
@requests = map { @$_ } bodies();
is($requests[0]{labels}{alertname} . ' ' . $requests[0]{labels}{team}, 'etl_run_failed data', 'with labels');
is_deeply($requests[0]{labels}, $requests[1]{labels}, 'the same ones when it is over');
cmp_ok($requests[0]{endsAt}, 'gt', $requests[1]{endsAt}, 'and when it ends');
forget();

# ---- egress, and secrets ----

channel('outside', 'webhook', '{"url": "http://192.0.2.1/x"}');
like($cluster->sql("SELECT detail || ' ' || remedy FROM etl.test_channel('outside')"),
	qr/192.0.2.1.* is not among the allowed hosts/, 'a host that is not allowed is not reached');
channel('locked', 'slack', '{"url": {"secret": "nothing"}}');
like($cluster->sql("SELECT ok || ' ' || detail FROM etl.test_channel('locked')"), qr/^false .*secret "nothing"/,
	'a missing secret is told');
forget();

# ---- kill -9 between the fact and its delivery ----

$receiver->config(delay => 2);
channel('killed', 'webhook', qq({"url": "$url/plain", "timeout": "20 s"}));
fails();
for (1 .. 200)
{
	last if scalar($receiver->requests) >= 1;
	usleep(50_000);
}
my $pid = $cluster->sql("SELECT pid FROM etl.status() WHERE process = 'task' AND state = 'busy' LIMIT 1");
kill 'KILL', $pid;
usleep(500_000);
$cluster->wait_up(30);
delivered('killed', 1, 'after kill -9 of the process that delivers it is delivered');
@requests = $receiver->requests;
is(scalar(@requests), 2, 'the receiver has had it twice');
is($requests[0]{headers}{'Idempotency-Key'}, $requests[1]{headers}{'Idempotency-Key'}, 'with the same key');

# ---- two deliver at once: everything arrives once ----

forget();
heals();
channel("h$_", 'webhook', qq({"url": "$url/plain"})) for (1 .. 4);
$cluster->sql('UPDATE m.input SET n = 0');
$cluster->try_sql('CALL etl.run()');
my @ticks = map {
	my $child = fork();
	if ($child == 0)
	{
		$cluster->try_sql('CALL etl.tick()');
		POSIX::_exit(0);
	}
	$child;
} 1 .. 3;
waitpid($_, 0) for @ticks;
ok(defined $cluster->poll("SELECT count(*) FROM etl.deliveries WHERE channel LIKE 'h_' AND status = 'delivered'", 4, 60),
	'three sessions and the workers deliver');
is(scalar($receiver->requests), 4, 'everything once');

done_testing();
