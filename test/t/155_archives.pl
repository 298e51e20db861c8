# Packed files and members of archives land like files: each a load of its own, whole or not at all, with memory that does not grow.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../perl";

use Etl::Installation;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $files = PostgreSQL::Test::Utils::tempdir();
my $node = PostgreSQL::Test::Cluster->new('archives');
$node->init;
$node->append_conf('postgresql.conf', "fsync = off\nshared_buffers = 16MB\nlog_min_messages = error\n"
	  . "etl.allowed_directories = '$files'\n");
$node->start;
$node->safe_psql('postgres', qq(
	CREATE EXTENSION etl;
	SELECT etl.define_source('files', 'file', '{"root": "$files"}');
));

# write_file writes a file below the directory of the source.
sub write_file
{
	my ($name, $text) = @_;

	open(my $fh, '>:raw', "$files/$name") or die "$name: $!";
	print $fh $text;
	close($fh);
	return;
}

# pack_up runs a shell command in the directory of the source.
sub pack_up
{
	my ($command) = @_;

	system("cd '$files' && (\n$command\n) >/dev/null 2>&1") == 0 or die "failed: $command";
	return;
}

# run_stream runs a stream and returns the error of its task, or nothing.
sub run_stream
{
	my ($stream) = @_;

	$node->psql('postgres', "CALL etl.run('$stream')");
	return $node->safe_psql('postgres', "SELECT coalesce(error, '') || coalesce(' / ' || hint, '') FROM etl.tasks"
		  . " WHERE node = '$stream' ORDER BY task_id DESC LIMIT 1");
}

# define defines a stream with two columns.
sub define
{
	my ($stream, $options, $more) = @_;

	my $error = '';

	$node->psql('postgres', "SELECT etl.define_stream('$stream', 'files', '$options', columns => 'id bigint, t text'"
		  . ($more // '') . ')', stderr => \$error);
	return $error;
}

sub query { return $node->safe_psql('postgres', $_[0]); }

mkdir "$files/$_" for qw(in out sub sub/deep);

# ---- packed streams ----
write_file('a.csv', "id,t\n1,x\n2,\"y\nz\"\nbad\n");
write_file('b.csv', "3,w\n");
write_file('empty.csv', '');
for my $packer (['bzip2', 'bz2'], ['xz', 'xz'])
{
	my ($program, $ending) = @$packer;

	pack_up("$program -c a.csv > in/one.csv.$ending && $program -c b.csv >> in/one.csv.$ending");
	pack_up("$program -c empty.csv > in/two.csv.$ending");
	is(define("raw.$program", qq({"path": "in/*.csv.$ending"})), '', "$program: the format is told by the name");
	is(run_stream("raw.$program"), '', "$program is unpacked");
	is(query("SELECT string_agg(id || t, ',' ORDER BY id) FROM raw.$program"), "1x,2y\nz,3w",
		"$program: members behind each other are one stream");
	is(query("SELECT position, record FROM etl.rejects WHERE target = 'raw.$program'"), '5|bad', "$program: a reject");

	my $bytes = slurp_file("$files/in/one.csv.$ending");
	write_file("in/cut.csv.$ending", substr($bytes, 0, length($bytes) - 20));
	like(run_stream("raw.$program"), qr/in\/cut\.csv\.$ending" is corrupt: it ends early/,
		"$program: one that ends early is told");
	is(query("SELECT count(*) FROM raw.$program"), 3, "$program: nothing of it landed");
	unlink "$files/in/cut.csv.$ending";
	is(define("raw.${program}_said", qq({"path": "in/one.csv.$ending", "compression": "gzip"})), '', 'another packing is said');
	like(run_stream("raw.${program}_said"), qr/is not compressed with gzip/, 'and refused');
}

# ---- members ----
write_file('sub/one.csv', "id,t\n1,a\n2,b\n");
write_file('sub/two.csv', "id,t\n3,c\nbad\n");
write_file('sub/deep/three.csv', "id,t\n4,d\n");
write_file('sub/readme.txt', "no records\n");
write_file('sub/.hidden.csv', "id,t\n9,z\n");
my %pack = (
	'in/m.zip' => 'zip -r in/m.zip sub', 'in/m.tar' => 'tar cf in/m.tar sub', 'in/m.tar.gz' => 'tar czf in/m.tar.gz sub',
	'in/m.tgz' => 'tar czf in/m.tgz sub', 'in/m.tar.bz2' => 'tar cjf in/m.tar.bz2 sub', 'in/m.tar.xz' => 'tar cJf in/m.tar.xz sub',
	'in/m.tar.zst' => 'tar cf - sub | zstd -q -o in/m.tar.zst');
for my $archive (sort keys %pack)
{
	(my $stream = $archive) =~ s/\W/_/g;
	$stream = "raw.$stream";

	pack_up($pack{$archive});
	is(define($stream, qq({"path": "$archive!**/*.csv"})), '', "$archive: members are named by a pattern");
	is(run_stream($stream), '', "$archive is read");
	is(query("SELECT replace(origin, '$files/', ''), rows_loaded, rows_rejected FROM etl.loads WHERE target = '$stream' ORDER BY origin"),
		"$archive!sub/deep/three.csv|1|0\n$archive!sub/one.csv|2|0\n$archive!sub/two.csv|1|1", "$archive: each member is a load");
	is(query("SELECT string_agg(id || t, ',' ORDER BY id) FROM $stream"), '1a,2b,3c,4d', "$archive: the rows");
	run_stream($stream);
	is(query("SELECT count(*) FROM etl.loads WHERE target = '$stream'"), 3, "$archive: nothing is loaded twice");
}
define('raw.flat', '{"path": "in/m.zip!sub/*.csv"}');
run_stream('raw.flat');
is(query("SELECT count(*) FROM raw.flat"), 3, 'a star stays within a folder');
like(define('raw.nope', '{"path": "in/m.zip"}', ", format => 'csv'"), qr/names an archive and none of its members/, 'an archive needs members');
like(define('raw.nope', '{"path": "in/m.zip!"}', ", format => 'csv'"), qr/names no member/, 'and their names');
like(define('raw.nope', '{"path": "in/m.zip!**"}'), qr/format of stream "raw.nope" cannot be told/, 'and a format');
pack_up('cp in/m.zip in/zip.csv && cp in/m.tar.gz in/tar.csv.gz');
define('raw.hidden', '{"path": "in/zip.csv"}');
like(run_stream('raw.hidden'), qr/is a zip archive \/ Name its members/, 'a zip archive is known by its bytes');
define('raw.hidden_tar', '{"path": "in/tar.csv.gz"}');
like(run_stream('raw.hidden_tar'), qr/is a tar archive \/ Name its members/, 'and a tar archive');

# a changed archive: what has changed in it
write_file('sub/two.csv', "id,t\n3,C\n5,e\n");
unlink "$files/in/m.zip";
pack_up($pack{'in/m.zip'});
is(run_stream('raw.in_m_zip'), '', 'a new delivery of the archive');
is(query("SELECT string_agg(id || t, ',' ORDER BY id) FROM raw.in_m_zip"), '1a,2b,3C,4d,5e', 'replaces the member that changed');
is(query("SELECT count(*) FROM etl.loads WHERE target = 'raw.in_m_zip'"), 4, 'and leaves the others');
is(query("SELECT status FROM etl.rejects WHERE target = 'raw.in_m_zip'"), 'superseded', 'its reject is closed');
query("SELECT etl.reload('raw.in_m_zip', '$files/in/m.zip!sub/one.csv')");
run_stream('raw.in_m_zip');
is(query("SELECT count(*) FROM etl.loads WHERE target = 'raw.in_m_zip' AND origin LIKE '%one.csv'"), 2, 'a member is reloaded by its origin');

# members packed again, hostile names, links, folders as columns
pack_up('gzip -k sub/one.csv && mkdir -p year=2024 && cp sub/one.csv year=2024/x.csv');
pack_up('python3 - <<P
import tarfile, io
t = tarfile.open("in/odd.tar", "w")
for name, text in [("../../../etc/x.csv", b"id,t\n1,up\n"), ("a\"b; drop\n.csv", b"id,t\n2,odd\n"), ("same.csv", b"id,t\n3,old\n"), ("same.csv", b"id,t\n4,new\n"), ("none.csv", b"")]:
    i = tarfile.TarInfo(name); i.size = len(text); t.addfile(i, io.BytesIO(text))
i = tarfile.TarInfo("link.csv"); i.type = tarfile.SYMTYPE; i.linkname = "/etc/passwd"; t.addfile(i)
i = tarfile.TarInfo("hard.csv"); i.type = tarfile.LNKTYPE; i.linkname = "same.csv"; t.addfile(i)
t.add("sub/one.csv.gz", "packed.csv.gz"); t.add("year=2024/x.csv")
t.close()
P');
define('raw.odd', '{"path": "in/odd.tar!**/*.csv"}');
is(run_stream('raw.odd'), '', 'odd names are names');
is(query("SELECT string_agg(id || t, ',' ORDER BY id, t) FROM raw.odd"), '1a,2b,2odd,4new', 'links are no members, of two with a name the last counts; nothing climbs');
define('raw.up', '{"path": "in/odd.tar!../../../etc/*.csv"}');
run_stream('raw.up');
is(query("SELECT t FROM raw.up"), 'up', 'a name with dots is read when it is named, and written nowhere');
ok(!-e '/etc/x.csv', 'nowhere');
define('raw.inner', '{"path": "in/odd.tar!packed.csv.gz"}');
is(run_stream('raw.inner'), '', 'a packed member');
is(query("SELECT count(*) FROM raw.inner"), 2, 'is unpacked');
define('raw.hive', '{"path": "in/odd.tar!year=*/*.csv", "path_columns": "hive"}');
is(run_stream('raw.hive'), '', 'folders of an archive');
is(query("SELECT count(*) FROM raw.hive WHERE year = '2024'"), 2, 'are columns');

# ---- what cannot be read ----
for my $archive ('m.zip', 'm.tar.gz', 'm.tar.xz', 'm.tar')
{
	my $bytes = slurp_file("$files/in/$archive");

	(my $name = $archive) =~ s/^m/cut/;
	write_file("in/$name", substr($bytes, 0, int(length($bytes) * ($archive eq 'm.tar' ? 0.2 : 0.6))));
	my $stream = 'raw.cut' . ($archive =~ tr/a-z//cdr);
	define($stream, qq({"path": "in/$name!**/*.csv"}));
	like(run_stream($stream), qr/is corrupt|Truncated|truncated/, "$archive cut short is told");
}
pack_up('zip -0 in/stored.zip sub/one.csv');
(my $damaged = slurp_file("$files/in/stored.zip")) =~ s/1,a/1,b/;
write_file('in/damaged.zip', $damaged);
define('raw.damaged', '{"path": "in/damaged.zip!**/*.csv"}');
like(run_stream('raw.damaged'), qr/is corrupt: .*CRC/, 'a checksum that does not match');
is(query("SELECT count(*) FROM etl.loads WHERE target = 'raw.damaged'"), 0, 'and nothing landed');
pack_up('zip -P secret in/locked.zip sub/one.csv');
define('raw.locked', '{"path": "in/locked.zip!**/*.csv"}');
like(run_stream('raw.locked'), qr/encrypted with a password/, 'a password is told');
write_file('in/noise.zip', 'this is no archive at all');
define('raw.noise', '{"path": "in/noise.zip!*.csv"}');
like(run_stream('raw.noise'), qr/noise\.zip" is corrupt/, 'no archive at all');
write_file('in/nil.zip', '');
define('raw.nil', '{"path": "in/nil.zip!*.csv"}');
like(run_stream('raw.nil'), qr/nil\.zip" is corrupt: it is no archive/, 'nor an empty file');
pack_up('tar cf in/whole.tar sub/one.csv sub/two.csv');
write_file('in/edge.tar', substr(slurp_file("$files/in/whole.tar"), 0, 1024));
define('raw.edge', '{"path": "in/edge.tar!**/*.csv"}');
like(run_stream('raw.edge'), qr/edge\.tar" is corrupt: it ends early/, 'a tar archive that ends between two members');

# ---- bombs ----
pack_up('head -c 90000000 /dev/zero | tr "\\\\0" "a" > bomb.csv && xz -k bomb.csv && zip bomb.zip bomb.csv && tar cJf bomb.tar.xz bomb.csv && rm bomb.csv');
define('raw.bomb', '{"path": "bomb.csv.xz"}');
like(run_stream('raw.bomb'), qr/unpacks to more than 1000 times its size.*max_expansion/, 'a bomb is not unpacked to its end');
define('raw.bomb_zip', '{"path": "bomb.zip!bomb.csv", "max_expansion": 100}');
like(run_stream('raw.bomb_zip'), qr/bomb\.zip!bomb\.csv" unpacks to more than 100 times/, 'nor one in an archive');
define('raw.bomb_tar', '{"path": "bomb.tar.xz!bomb.csv"}');
like(run_stream('raw.bomb_tar'), qr/unpacks to more than 1000 times/, 'nor one in a packed archive');
like(define('raw.bomb', '{"path": "bomb.csv.xz", "max_expansion": -1}'), qr/must be a positive number/, 'a limit below nothing');

# ---- after the load ----
query("CREATE ROLE tidy; GRANT pg_read_server_files, pg_write_server_files TO tidy");
pack_up('cp in/m.zip out/m.zip');
define('raw.tidy', '{"path": "out/*.zip!**/*.csv", "after_load": "delete"}');
is(run_stream('raw.tidy'), '', 'the archive is loaded');
ok(!-e "$files/out/m.zip", 'and goes with its last member');
is(query("SELECT count(*) FROM etl.loads WHERE target = 'raw.tidy'"), 3, 'three loads');

# ---- memory: members of a million rows and of a hundred ----
sub peak
{
	my ($stream) = @_;

	return query("SET client_min_messages = error; CALL etl.run('$stream'); SELECT substring(pg_read_file('/proc/self/status') FROM 'VmHWM:\\s+(\\d+)')");
}
pack_up('for i in $(seq 100); do echo "$i,some text of $i"; done > small.csv && for i in $(seq 3000); do cat small.csv; done > rows && (echo id,t; cat rows rows) > big.csv && (echo id,t; cat small.csv) > small2.csv'
	  . ' && tar czf big.tar.gz big.csv && zip big.zip big.csv && zip little.zip small2.csv && bzip2 -k big.csv');
define('raw.little', '{"path": "little.zip!*.csv"}');
define("raw.big$_->[0]", qq({"path": "$_->[1]"})) for [1, 'big.zip!*.csv'], [2, 'big.tar.gz!*.csv'], [3, 'big.csv.bz2'];
my $little = peak('raw.little');
for my $n (1 .. 3)
{
	my $big = peak("raw.big$n");

	cmp_ok($big, '<', $little + 65536, "memory stays flat ($little kB, $big kB)");
	is(query("SELECT count(*) FROM raw.big$n"), 600000, 'every row landed');
}

# ---- without the part ----
$node->stop;
my $installation = Etl::Installation->new;
unlink "$installation->{lib}/etl_archive.so" or die 'etl_archive.so';
$node = PostgreSQL::Test::Cluster->new('core', install_path => $installation->path);
$node->init;
$node->append_conf('postgresql.conf', "fsync = off\nlog_min_messages = error\netl.allowed_directories = '$files'\n");
$node->start;
query(qq(CREATE EXTENSION etl; SELECT etl.define_source('files', 'file', '{"root": "$files"}')));
define('raw.plain', '{"path": "sub/one.csv"}');
is(run_stream('raw.plain'), '', 'the core works without the part');
define('raw.packed', '{"path": "in/one.csv.bz2"}');
like(run_stream('raw.packed'), qr/one\.csv\.bz2" is compressed with bzip2, and the part etl_archive that reads such is not installed .*libarchive.*make deps/,
	'and says what is missing');
define('raw.member', '{"path": "in/m.zip!**/*.csv"}');
like(run_stream('raw.member'), qr/m\.zip" is an archive, and the part etl_archive that reads such is not installed/, 'for archives, too');
write_file('broken', 'no library');
system('cp', "$files/broken", "$installation->{lib}/etl_archive.so");
like(run_stream('raw.packed'), qr/cannot be loaded .*apt-get install libarchive13/, 'a library that does not load is told');

$node->stop;
done_testing();
