# PGP messages land like files: opened with a secret's key, whole or not at all, and nothing in clear text is left, however it ends.
use strict;
use warnings;

use File::Temp;
use FindBin;
use lib "$FindBin::Bin/../perl";

use Etl::Crash qw(begin_at_work wait_until_up);
use Etl::Installation;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $files = PostgreSQL::Test::Utils::tempdir();
# the path of a socket is short
my $keys = File::Temp::tempdir('etl-keys.XXXXXX', TMPDIR => 1, CLEANUP => 1);
my $node = PostgreSQL::Test::Cluster->new('pgp');
$node->init;
$node->append_conf('postgresql.conf', "fsync = off\nshared_buffers = 16MB\nrestart_after_crash = on\netl.allowed_directories = '$files'\n");
$node->start;
query(qq(CREATE EXTENSION etl; SELECT etl.define_source('files', 'file', '{"root": "$files"}')));

sub query { return $node->safe_psql('postgres', $_[0]); }

# shell runs a shell command in the directory of the files.
sub shell
{
	my ($command) = @_;

	system("cd '$files' && (\n$command\n) >>gpg.log 2>&1") == 0 or die "failed: $command\n" . slurp_file("$files/gpg.log");
	return;
}

my $gpg = "gpg --homedir '$keys' --batch --yes --pinentry-mode loopback --trust-model always";

END
{
	my $status = $?;
	system("gpgconf --homedir '$keys' --kill gpg-agent") if defined $keys;
	$? = $status;
}

# write_file writes a file below the directory of the source.
sub write_file
{
	my ($name, $text) = @_;

	open(my $fh, '>:raw', "$files/$name") or die "$name: $!";
	print $fh $text;
	close($fh);
	return;
}

# define defines a stream; returns the error.
sub define
{
	my ($stream, $options) = @_;
	my $error = '';

	$node->psql('postgres', "SELECT etl.define_stream('$stream', 'files', '$options')", stderr => \$error);
	return $error;
}

# run_stream runs a stream and returns code, error and hint of its task, or nothing.
sub run_stream
{
	my ($stream) = @_;

	$node->psql('postgres', "CALL etl.run('$stream')");
	return query("SELECT concat_ws(' / ', sqlstate, error, detail, hint) FROM etl.tasks WHERE node = '$stream' ORDER BY task_id DESC LIMIT 1");
}

# left_over lists what is left of homes and agents of etl's.
sub left_over
{
	my @found = (glob('/dev/shm/etl-pgp.*'), glob('/tmp/etl-pgp.*'));

	@found = grep { -o $_ } @found;
	for my $file (glob('/proc/[0-9]*/cmdline'))
	{
		open(my $fh, '<', $file) or next;
		my $command = <$fh> // '';
		push @found, $command =~ tr/\0/ /r if $command =~ /^gpg-agent\0.*etl-pgp/s && -o $file;
	}
	return @found;
}

# all_gone waits until nothing is left.
sub all_gone
{
	my ($what) = @_;

	for (1 .. 600)
	{
		return pass("$what: no home and no agent is left") unless left_over();
		usleep(100_000);
	}
	return is(join(', ', left_over()), '', "$what: no home and no agent is left");
}

# ---- keys, made here ----
shell("$gpg --passphrase '' --quick-gen-key open\@example.com rsa2048 encr,sign never");
shell("$gpg --passphrase 'hush hush' --quick-gen-key shut\@example.com rsa2048 encr,sign never");
shell("$gpg --armor --export-secret-keys open\@example.com > open.key");
shell("$gpg --armor --passphrase 'hush hush' --export-secret-keys shut\@example.com > shut.key");
shell("$gpg --armor --export open\@example.com > public.key");
write_file('hush', "hush hush\n");
write_file('word', "open sesame\n");
query("SELECT etl.define_secret('$_->[0]', file => '$files/$_->[1]')")
  for ['open', 'open.key'], [q(it''s "shut"), 'shut.key'], ['public', 'public.key'], ['hush', 'hush'], ['word', 'word'];

write_file('a.csv', "id,t\n1,x\n2,\"y\nz\"\nbad\n");
shell("$gpg -o a.csv.pgp -r open\@example.com -e a.csv");
shell("$gpg --armor -o b.csv.asc -r shut\@example.com -e a.csv");
shell("gzip -k a.csv && $gpg -o c.csv.gz.gpg -r open\@example.com -r shut\@example.com -e a.csv.gz");
shell("$gpg --passphrase 'open sesame' -o d.csv.gpg -c a.csv");
shell("$gpg -o e.csv.gpg -r open\@example.com --passphrase '' -u open\@example.com -s -e a.csv");

# ---- what can be read ----
my $open = '"decrypt": {"key": {"secret": "open"}}';
my $shut = q("decrypt": {"key": {"secret": "it''s \"shut\""}, "passphrase": {"secret": "hush"}});
my $word = '"decrypt": {"passphrase": {"secret": "word"}}';
for my $case (['a.csv.pgp', $open, 'binary'], ['b.csv.asc', $shut, 'armored, for a key with a passphrase'],
	['c.csv.gz.gpg', $open, 'packed, for two keys'], ['c.csv.gz.gpg', $shut, 'the other key'],
	['d.csv.gpg', $word, 'a passphrase and no key'], ['e.csv.gpg', $open, 'signed'])
{
	my ($file, $decrypt, $what) = @$case;

	query("SELECT etl.drop_stream('raw.one', cascade => true, drop_relation => true)");
	is(define('raw.one', qq({"path": "$file", $decrypt})), '', "$what: the format is told by the name within");
	is(run_stream('raw.one'), '', "$what: is opened");
	is(query("SELECT string_agg(id || t, ',' ORDER BY id) FROM raw.one"), "1x,2y\nz", "$what: the rows");
	is(query("SELECT position, record FROM etl.rejects WHERE target = 'raw.one' AND status = 'open'"), '5|bad', "$what: a reject");
}
is(query("SELECT count(*) FROM etl.preview('files', '{\"path\": \"a.csv.pgp\", $open}', max_rows => 1)"), 1, 'a preview, which stops early');
all_gone('after loads and a preview');
shell('zip -q members.zip a.csv.pgp');
is(define('raw.member', qq({"path": "members.zip!*.csv.pgp", $open})), '', 'a member of an archive');
is(run_stream('raw.member'), '', 'is opened');
is(query('SELECT count(*) FROM raw.member'), 2, 'and lands');

# ---- what cannot be opened ----
for my $case (
	['b.csv.asc', $open, qr/^ET015 .*cannot be decrypted: the key is another one .* encrypted for the keys [0-9A-F]{16}/, 'another key'],
	['b.csv.asc', $shut =~ s/hush/word/r, qr/^ET015 .*the passphrase is wrong/, 'another passphrase of the key'],
	['b.csv.asc', $shut =~ s/, "passphrase": \{.*?\}//r, qr/^ET015 .*a passphrase is needed/, 'no passphrase of the key'],
	['b.csv.asc', $word, qr/^ET015 .*a key is needed/, 'no key'],
	['b.csv.asc', $open =~ s/open/public/r, qr/^ET015 .*no secret key of PGP .* public key.*--export-secret-keys/, 'a public key'],
	['b.csv.asc', $open =~ s/open/word/r, qr/^ET015 .*no secret key of PGP/, 'no key at all'],
	['b.csv.asc', $open =~ s/open/none/r, qr/^ET015 .*there is no secret "none"/, 'no such secret'],
	['d.csv.gpg', $word =~ s/word/hush/r, qr/^ET015 .*the passphrase is wrong/, 'another passphrase'],
	['d.csv.gpg', $open, qr/^ET015 .*a passphrase is needed/, 'a key where a passphrase is'],
	['a.csv', $open, qr/^ET007 .*a\.csv" is no PGP message/, 'a file that is not encrypted'],
	['a.csv.pgp', '"compression": "auto"', qr/^ET007 .*is encrypted with PGP \/ Set the option decrypt/, 'no key is said'],
	['b.csv.asc', '"compression": "auto"', qr/^ET007 .*is encrypted with PGP \/ Set the option decrypt/, 'nor for an armored one'])
{
	my ($file, $decrypt, $reason, $what) = @$case;

	query("SELECT etl.drop_stream('raw.one', cascade => true, drop_relation => true)");
	is(define('raw.one', qq({"path": "$file", $decrypt})), '', "$what: is defined");
	like(run_stream('raw.one'), $reason, "$what: is told");
	is(query("SELECT count(*) FROM etl.loads WHERE target = 'raw.one' AND status = 'succeeded' AND run_id = (SELECT max(run_id) FROM etl.runs)"),
		0, "$what: nothing landed");
}
like(define('raw.no', qq({"path": "a.csv.pgp", "decrypt": {"key": "-----BEGIN"}})), qr/"key" of option "decrypt" must be a secret/, 'a key in clear text is refused');
unlike(define('raw.no', qq({"path": "a.csv.pgp", "decrypt": {"passphrase": "mumble"}})), qr/mumble/, 'and not repeated');
like(define('raw.no', qq({"path": "a.csv.pgp", "decrypt": {}})), qr/needs a key or a passphrase/, 'nothing to open it with');
like(define('raw.no', qq({"path": "a.csv.pgp", "decrypt": {"pasphrase": {"secret": "hush"}}})), qr/passphrase/, 'a misspelt key names the right one');
like(define('raw.no', qq({"path": "a.csv.pgp", "decrypt": true})), qr/decrypt/, 'no object');
all_gone('after failures');

# ---- truncated, altered ----
shell(q(python3 -c 'import random
random.seed(1)
print("id,t")
for i in range(60000): print(f"{i},{random.getrandbits(200):x}")' > big.csv));
shell("$gpg --compress-algo none -o big.csv.gpg -r open\@example.com -e big.csv");
my $bytes = slurp_file("$files/big.csv.gpg");
my $length = length($bytes);
for my $kept (0, 1, 100, 300, 600, 100_000, $length - 25, $length - 1)
{
	write_file('cut.csv.gpg', substr($bytes, 0, $kept));
	query("SELECT etl.drop_stream('raw.cut', cascade => true, drop_relation => true)");
	define('raw.cut', qq({"path": "cut.csv.gpg", $open}));
	like(run_stream('raw.cut'), qr/^ET0(07|15) .*cut\.csv\.gpg" (is corrupt: it ends early, or was altered|is no PGP message|cannot be decrypted)/,
		"cut after $kept of $length bytes: told");
	is(query("SELECT count(*) FROM etl.loads WHERE target = 'raw.cut' AND status = 'succeeded' AND run_id = (SELECT max(run_id) FROM etl.runs)"),
		0, 'and nothing landed');
}
for my $at (400, 50_000, $length - 30, $length - 10)
{
	my $altered = $bytes;

	substr($altered, $at, 1) = chr(ord(substr($altered, $at, 1)) ^ 0x10);
	write_file('cut.csv.gpg', $altered);
	like(run_stream('raw.cut'), qr/^ET007 .*is corrupt: it ends early, or was altered/, "one bit altered at $at: told");
}
write_file('cut.csv.gpg', "$bytes$bytes");
like(run_stream('raw.cut'), qr/^ET007 .*is corrupt/, 'two messages in one file');
write_file('cut.csv.gpg', $bytes);
is(run_stream('raw.cut'), '', 'the whole one is read');
is(query('SELECT count(*), sum(id) FROM raw.cut'), '60000|1799970000', 'every row of it');
all_gone('after corrupt ones');

# ---- memory, and what grows ----
sub peak
{
	return query("SET client_min_messages = error; CALL etl.run('$_[0]'); SELECT substring(pg_read_file('/proc/self/status') FROM 'VmHWM:\\s+(\\d+)')");
}
shell('(echo id,t; for i in 1 2 3 4 5 6 7 8 9 10 11 12; do tail -n +2 big.csv; done) > huge.csv');
shell("$gpg --compress-algo none -o huge.csv.gpg -r open\@example.com -e huge.csv");
define("raw.$_", qq({"path": "$_.csv.gpg", $open})) for qw(a huge);
shell('cp a.csv.pgp a.csv.gpg');
my $little = peak('raw.a');
my $much = peak('raw.huge');
is(query('SELECT count(*) FROM raw.huge'), 720000, 'forty megabytes land');
cmp_ok($much, '<', $little + 65536, "in flat memory ($little kB, $much kB)");
shell(q(head -c 90000000 /dev/zero | tr '\0' a > bomb.csv) . " && $gpg --compress-algo bzip2 -o bomb.csv.gpg -r open\@example.com -e bomb.csv && rm bomb.csv");
define('raw.bomb', qq({"path": "bomb.csv.gpg", $open}));
like(run_stream('raw.bomb'), qr/^ET008 .*unpacks to more than 1000 times its size.*max_expansion/, 'a bomb is not unpacked to its end');
all_gone('after big ones');

# ---- ends in the middle ----
query(q(CREATE FUNCTION stall() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(600); RETURN new; END'));
query('CREATE TABLE raw.stall (id bigint, t text); CREATE TRIGGER stall BEFORE INSERT ON raw.stall FOR EACH ROW EXECUTE FUNCTION stall()');
is(define('raw.stall', qq({"adopt": true, "path": "huge.csv.gpg", $open})), '', 'a load that takes long');
for my $end ('cancel', 'terminate', 'kill -9')
{
	my $work = begin_at_work($node, "CALL etl.run('raw.stall');");
	my $pid = $work->{pid};

	$node->poll_query_until('postgres', "SELECT wait_event = 'PgSleep' FROM pg_stat_activity WHERE pid = $pid") or die "$end: never at work";
	isnt(join(', ', left_over()), '', "$end: gpg is at work");
	my @homes = grep { /^\// } left_over();
	is(sprintf('%o', (stat($homes[0]))[2] & 07777), '700', "$end: in a home that nobody else may read");
	if ($end eq 'kill -9') { kill('KILL', $pid); }
	else { query('SELECT pg_' . $end . "_backend($pid)"); }
	all_gone($end);
	eval { $work->{session}->kill_kill; };
	wait_until_up($node, $pid) if $end ne 'cancel';
}
$node->poll_query_until('postgres', "SELECT count(*) = 0 FROM raw.stall");
is(query("SELECT count(*) FROM etl.loads WHERE target = 'raw.stall'"), 0, 'nothing of it landed');
is(join(', ', glob($node->data_dir . '/base/pgsql_tmp/*')), '', 'and no temporary file');
my $log = slurp_file($node->logfile);
unlike($log, qr{hush hush|open sesame|BEGIN PGP PRIVATE}, 'no secret is in the log');

# ---- without the part ----
$node->stop;
my $installation = Etl::Installation->new;
unlink "$installation->{lib}/etl_pgp.so" or die 'etl_pgp.so';
$node = PostgreSQL::Test::Cluster->new('core', install_path => $installation->path);
$node->init;
$node->append_conf('postgresql.conf', "fsync = off\nlog_min_messages = error\netl.allowed_directories = '$files'\n");
$node->start;
query(qq(CREATE EXTENSION etl; SELECT etl.define_source('files', 'file', '{"root": "$files"}');
	SELECT etl.define_secret('open', file => '$files/open.key')));
define('raw.one', qq({"path": "a.csv.pgp", $open}));
like(run_stream('raw.one'), qr/a\.csv\.pgp" is encrypted with PGP, and the part etl_pgp that reads such is not installed .*gpgme.*make deps/,
	'without the part: what is missing is told');
$node->stop;
done_testing();
