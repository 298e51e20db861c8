# Whatever a file is wrapped in: one cut short lands nothing and says why, a bomb stops early with memory flat, and names in an archive are names.
use strict;
use warnings;

use File::Temp;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $files = PostgreSQL::Test::Utils::tempdir();
my $keys = File::Temp::tempdir('etl-keys.XXXXXX', TMPDIR => 1, CLEANUP => 1);
my $node = PostgreSQL::Test::Cluster->new('containers');
$node->init;
$node->append_conf('postgresql.conf', "fsync = off\nshared_buffers = 16MB\nlog_min_messages = error\n"
	  . "etl.allowed_directories = '$files'\n");
$node->start;
query(qq(CREATE EXTENSION etl; SELECT etl.define_source('files', 'file', '{"root": "$files"}')));

sub query { return $node->safe_psql('postgres', $_[0]); }

sub shell
{
	my ($command) = @_;

	system("cd '$files' && (set -e\n$command\n) >>shell.log 2>&1") == 0 or die "failed: $command\n" . slurp_file("$files/shell.log");
	return;
}

END
{
	my $status = $?;
	system("gpgconf --homedir '$keys' --kill gpg-agent") if defined $keys;
	$? = $status;
}

sub write_file
{
	my ($name, $text) = @_;

	open(my $fh, '>:raw', "$files/$name") or die "$name: $!";
	print $fh $text;
	close($fh);
	return;
}

# land defines a stream anew, runs it, and returns what its task says: code, error, detail and hint, or nothing.
sub land
{
	my ($options, $more) = @_;

	query("SELECT etl.drop_stream('raw.t', cascade => true, drop_relation => true)");
	query("SELECT etl.define_stream('raw.t', 'files', '$options', 'csv', columns => 'id text, t text'" . ($more // '') . ')');
	$node->psql('postgres', "CALL etl.run('raw.t')");
	return query("SELECT concat_ws(' / ', sqlstate, error, detail, hint) FROM etl.tasks WHERE node = 'raw.t' ORDER BY task_id DESC LIMIT 1");
}

# landed counts the rows, loads and rejects there are of the stream, and files in the ledger.
sub landed
{
	my $rows = query("SELECT to_regclass('raw.t') IS NULL") eq 't' ? 0 : query('SELECT count(*) FROM raw.t');

	return "$rows|" . query("SELECT (SELECT count(*) FROM etl.loads WHERE target = 'raw.t' AND status = 'succeeded'"
		  . " AND run_id = (SELECT max(run_id) FROM etl.runs)), (SELECT count(*) FROM etl.rejects WHERE target = 'raw.t' AND run_id = (SELECT max(run_id) FROM etl.runs))");
}

# ---- one file in each container; text that hardly packs ----
shell(q(gpg --homedir ') . $keys . q(' --batch --pinentry-mode loopback --passphrase '' --quick-gen-key a@example.com rsa2048 encr,sign never
gpg --homedir ') . $keys . q(' --batch --armor --export-secret-keys a@example.com > pgp.key
python3 - <<P
import random
random.seed(7)
with open("x.csv", "w") as f:
    f.write("id,t\n")
    for i in range(30000): f.write("%d,%x\n" % (i, random.getrandbits(120)))
P));
query("SELECT etl.define_secret('key', file => '$files/pgp.key')");
my $gpg = "gpg --homedir '$keys' --batch --yes --trust-model always -r a\@example.com";
my $decrypt = ', "decrypt": {"key": {"secret": "key"}}';
my $lz4 = system('command -v lz4 >/dev/null 2>&1') == 0 ? 'lz4 -q -c' : q(python3 -c 'import ctypes, sys
lib = ctypes.CDLL("liblz4.so.1"); lib.LZ4F_compressFrameBound.restype = ctypes.c_size_t; lib.LZ4F_compressFrame.restype = ctypes.c_size_t
lib.LZ4F_compressFrameBound.argtypes = [ctypes.c_size_t, ctypes.c_void_p]
lib.LZ4F_compressFrame.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_void_p]
data = open(sys.argv[1], "rb").read(); size = lib.LZ4F_compressFrameBound(len(data), None); out = ctypes.create_string_buffer(size)
n = lib.LZ4F_compressFrame(out, size, data, len(data), None); sys.stdout.buffer.write(out.raw[:n])');
my @containers = (
	['gz', 'gzip -c NAME', 'NAME.gz', ''], ['zst', 'zstd -q -c NAME', 'NAME.zst', ''], ['lz4', "$lz4 NAME", 'NAME.lz4', ''],
	['bz2', 'bzip2 -c NAME', 'NAME.bz2', ''], ['xz', 'xz -c NAME', 'NAME.xz', ''], ['zip', 'zip -q - NAME', 'NAME.zip!*.csv', ''],
	['tar', 'tar cf - NAME', 'NAME.tar!*.csv', ''], ['tar.gz', 'tar czf - NAME', 'NAME.tar.gz!*.csv', ''],
	['tar.xz', 'tar cJf - NAME', 'NAME.tar.xz!*.csv', ''], ['tar.bz2', 'tar cjf - NAME', 'NAME.tar.bz2!*.csv', ''],
	['tar.zst', 'tar cf - NAME | zstd -q -c', 'NAME.tar.zst!*.csv', ''], ['pgp', "$gpg -o - -e NAME", 'NAME.pgp', $decrypt],
	['gz.pgp', "gzip -c NAME | $gpg -o - -e", 'NAME.gz.pgp', $decrypt]);
for my $container (@containers)
{
	my ($ending, $pack, $path, $more) = @$container;
	my $make = $pack =~ s/NAME/x.csv/gr;
	my $file = "x.csv.$ending";

	$path =~ s/NAME/x.csv/;
	shell("$make > $file");
	is(land(qq({"path": "$path"$more})), '', "$ending: whole, it is read");
	is(landed(), '30000|1|0', "$ending: every row landed");
	my $bytes = slurp_file("$files/$file");
	my $wrong = '';
	for my $share (0.02, 0.6, 1)
	{
		write_file($file, substr($bytes, 0, int(length($bytes) * $share) - ($share == 1 ? ($ending eq 'tar' ? 20480 : 3) : 0)));
		my $reason = land(qq({"path": "$path"$more}));

		$wrong .= "$share: $reason\n"
		  unless $reason =~ /^ET0(07|15) \/ .*\Q$file\E.*(is corrupt|is no PGP message|cannot be decrypted).* \/ (Get the file again|.*Set the option)/;
		my $there = landed();
		$wrong .= "$share: landed $there\n" if $there ne '0|0|0';
	}
	is($wrong, '', "$ending: cut anywhere, nothing lands, and the reason says what to do");
	# repaired, it is the same stream's next run that lands it
	write_file($file, $bytes);
	$node->psql('postgres', "CALL etl.run('raw.t')");
	is(query('SELECT count(*) FROM raw.t'), 30000, "$ending: delivered again, it lands");
	unlink "$files/$file";
}

# ---- bombs: 90 MB of one byte, in every container that can hold such ----
sub peak
{
	return query("SET client_min_messages = error; DO \$\$ BEGIN CALL etl.run('raw.t'); EXCEPTION WHEN OTHERS THEN NULL; END \$\$;"
		  . " SELECT substring(pg_read_file('/proc/self/status') FROM 'VmHWM:\\s+(\\d+)')");
}
write_file('y.csv', "id,t\n1,x\n");
land('{"path": "y.csv"}');
query("SELECT etl.reload('raw.t')");
my $little = peak();
shell(q(head -c 90000000 /dev/zero | tr '\0' 'a' > b.csv));
for my $container (@containers)
{
	my ($ending, $pack, $path, $more) = @$container;
	my $make = $pack =~ s/NAME/b.csv/gr;

	# what these can pack is below the usual limit
	my $limit = $ending =~ /^(gz|lz4|zip|tar\.gz)$/ ? ', "max_expansion": 100' : '';
	next if $ending eq 'tar' || ($ending eq 'lz4' && $lz4 =~ /python/);
	$make =~ s/-o - -e/--compress-algo bzip2 -o - -e/;
	$path =~ s/NAME/b.csv/;
	shell("$make > b.csv.$ending");
	like(land(qq({"path": "$path"$more$limit})),
		qr/^ET008 \/ .*b\.csv\.\Q$ending\E.* unpacks to more than 10*0 times its size .*The first \d+ bytes became (6[7-9]|7\d)\d{6}\..*max_expansion/,
		"$ending: a bomb is not unpacked to its end");
	is(landed(), '0|0|0', "$ending: nothing of it landed");
	my $peak = peak();
	cmp_ok($peak, '<', $little + 65536, "$ending: memory stays flat ($little kB, $peak kB)");
	unlink "$files/b.csv.$ending";
}
unlink "$files/b.csv";

# a bomb of bombs, and a file that is all members
write_file('make.py', <<'PY');
import gzip, io, zipfile
inner = gzip.compress(b"a" * 80_000_000)
open("nested.csv.gz", "wb").write(gzip.compress(inner))
z = zipfile.ZipFile("many.zip", "w")
for i in range(10000): z.writestr("m/%05d.csv" % i, "id,t\n%d,x\n" % i)
z.close()
z = zipfile.ZipFile("hostile.zip", "w")
for name in ["../up.csv", "/etc/absolute.csv", "..\\back.csv", "a/../../b.csv", "C:\\x.csv", "d/" * 200 + "deep.csv", "n" * 250 + ".csv",
             "'; DROP TABLE raw.t; --.csv", "quo\"te!bang.csv", "new\nline.csv", "\u202etxt.csv", "-rf.csv"]:
    z.writestr(zipfile.ZipInfo(name), "id,t\n1,%s\n" % len(name))
z.writestr(zipfile.ZipInfo("dir.csv/"), "")
l = zipfile.ZipInfo("link.csv"); l.create_system = 3; l.external_attr = 0o120777 << 16
z.writestr(l, "/etc/passwd")
z.close()
# one whose directory says another size than its member has
b = bytearray(open("many.zip", "rb").read()[:0])
f = io.BytesIO(); z = zipfile.ZipFile(f, "w", zipfile.ZIP_DEFLATED); z.writestr("l.csv", "id,t\n" + "1,x\n" * 1000); z.close()
b = bytearray(f.getvalue()); at = b.rindex(b"PK\1\2"); b[at + 24:at + 28] = (10).to_bytes(4, "little"); b[22:26] = (10).to_bytes(4, "little")
open("lies.zip", "wb").write(b)
# members that lie over each other: one stream of bytes, listed often
f = io.BytesIO(); z = zipfile.ZipFile(f, "w", zipfile.ZIP_DEFLATED); z.writestr("o.csv", "id,t\n" + "1,x\n" * 100); z.close()
b = f.getvalue(); at = b.index(b"PK\1\2"); end = b.index(b"PK\5\6"); entry = b[at:end]
tail = bytearray(b[end:]); n = 50
tail[8:10] = tail[10:12] = n.to_bytes(2, "little"); tail[12:16] = (len(entry) * n).to_bytes(4, "little")
open("overlap.zip", "wb").write(b[:at] + b"".join(entry.replace(b"o.csv", b"%05d" % i) for i in range(n)) + bytes(tail))
PY
shell(q(set -e
python3 make.py
printf 'id,t\n1,x\n' > p.csv; zip -q -P secret locked.zip p.csv; zip -q locked.zip y.csv));
like(land('{"path": "nested.csv.gz"}'), qr/^ET007 \/ header of .*nested\.csv\.gz" is not valid text/, 'a packing within a packing is not unpacked, and no text');
is(landed(), '0|0|0', 'none of it is a row');

is(land('{"path": "many.zip!**/*.csv"}'), '', 'ten thousand members are read');
is(query("SELECT count(*), count(DISTINCT _etl_load_id), sum(id::int) FROM raw.t"), '10000|10000|49995000', 'each is a load');
my $many = peak();
cmp_ok($many, '<', $little + 65536, "memory stays flat when they are looked at again ($little kB, $many kB)");

is(land('{"path": "hostile.zip!**"}'), '', 'hostile names are names');
ok(query("SELECT count(*) FROM raw.t WHERE t ~ '^\\d+\$'") >= 8, 'and their members are read');
is(query("SELECT count(*) FROM raw.t WHERE id LIKE '%root:%' OR t LIKE '%:0:%'"), 0, 'a link is not followed');
ok(!-e '/etc/absolute.csv' && !-e "$files/../up.csv" && !-e "$files/../b.csv", 'nothing is written anywhere');
is(query("SELECT count(*) FROM etl.loads WHERE target = 'raw.t' AND run_id = (SELECT max(run_id) FROM etl.runs) AND origin NOT LIKE '%hostile.zip!%'"),
	0, 'the origin of each begins with its archive');
like(land('{"path": "locked.zip!*.csv"}'), qr/^ET007 \/ member "p\.csv" of .*locked\.zip" is encrypted with a password \/ .*decrypt/, 'a member with a password is told');
is(land('{"path": "locked.zip!y.csv"}'), '', 'the one beside it can be read');
like(land('{"path": "lies.zip!*.csv"}'), qr/^ET007 \/ .*lies\.zip.* is corrupt/, 'a member that is longer than the directory says');
is(landed(), '0|0|0', 'does not land');
like(land('{"path": "overlap.zip!*"}'), qr/^(ET007 .*is corrupt.*)?$/, 'members that lie over each other are refused, or small');

$node->stop;
done_testing();
