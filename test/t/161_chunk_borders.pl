# Records with line ends, quotes and faults in them give the same rows, line numbers and rejects wherever a chunk ends, with one, two and four workers.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../perl";

use Etl::Cluster;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# The smallest chunk that there is.
my $chunk = 1024;
my $cluster = Etl::Cluster->new('chunk_borders',
	conf => "etl.max_workers = 4\netl.parallel_load_min = 0\netl.parallel_load_block = 1kB\n");
my $files = $cluster->files;

# What the end of a chunk goes through, byte by byte; with the line that each record starts on.
my $records = qq{2,"one\ntwo\r\n""three""",end\r\n}      # 4
	. qq{3,"text"after,x\n}                              # 7: reject
	. qq{4,"\n",""\n}                                    # 8
	. qq{no number,"a\n\nb",c\n}                         # 10: reject
	. qq{\n}                                             # 13: no record
	. qq{5,\xc3\xa4\xe2\x82\xac,"\xf0\x9f\x98\x80\n"\n}  # 14
	. qq{6,too,many,fields\n}                            # 16: reject
	. qq{7,"""\n""",z\r\n}                               # 17
	. qq{8,"x","y"};                                     # 19, ended by what follows
my $tail = join('', map { qq{\n$_,"tail\n",} . 'w' x 50 } 100 .. 140);
my $head = "id,a,b\n";
my $pad = length($head) + length(qq{1,"\n",p\n});

$cluster->sql(qq{CREATE SCHEMA raw; SELECT etl.define_source('files', 'file', '{"root": "$files"}')});
mkdir "$files/borders" or die $!;
my $n = 0;
foreach my $length ($chunk - $pad - length($records) - 2 .. $chunk - $pad + 2)
{
	my $name = sprintf('%s/borders/%04d.csv', $files, $n++);

	open(my $file, '>:raw', $name) or die "$name: $!";
	print $file $head, qq{1,"\n}, 'p' x $length, qq{",p\n}, $records, $tail;
	close($file);
}
cmp_ok($n, '>', length($records), 'the end of a chunk goes through every byte');

my $rows = "SELECT string_agg(concat_ws('|', id, _etl_row, md5(CASE WHEN id > 1 THEN a END), b), E'\\n' ORDER BY _etl_row)";
my $expected = join("\n", '1|2|p', '2|4|' . $cluster->sql(q{SELECT md5(E'one\ntwo\r\n"three"')}) . '|end',
	'4|8|' . $cluster->sql(q{SELECT md5(E'\n')}) . '|', '5|14|' . $cluster->sql(q{SELECT md5('ä€')}) . "|\xf0\x9f\x98\x80\n",
	'7|17|' . $cluster->sql(q{SELECT md5(E'"\n"')}) . '|z', '8|19|' . $cluster->sql(q{SELECT md5('x')}) . '|y');

foreach my $workers (1, 2, 4)
{
	my $target = "raw.borders_$workers";

	$cluster->sql("SELECT etl.define_stream('$target', 'files', '{\"path\": \"borders/*.csv\"}', format => 'csv',"
		  . " columns => 'id bigint, a text, b text')");
	$cluster->sql("CALL etl.run('$target', workers => $workers)");
	is($cluster->sql("SELECT count(*) > 0 FROM pg_stat_activity WHERE application_name = 'decodes for a load'"), $workers > 1 ? 't' : 'f',
		"$workers: a second process helps where it may");
	is($cluster->sql("SELECT count(*), sum(rows_read), sum(rows_loaded), sum(rows_rejected) FROM etl.loads WHERE target = '$target'"),
		join('|', $n, $n * 50, $n * 47, $n * 3), "$workers: every record is counted");
	is($cluster->sql("SELECT DISTINCT (SELECT md5(string) FROM ($rows FROM $target WHERE _etl_load_id = load_id AND id < 100) AS x (string))"
			. " = md5(\$\$$expected\$\$) FROM etl.load WHERE target = '$target'"), 't', "... rows, lines and values are what the file says, everywhere");
	is($cluster->sql("SELECT count(*) FROM $target WHERE id >= 100 AND _etl_row <> 20 + (id - 100) * 2"), 0, '... those behind, too');
	is($cluster->sql("SELECT string_agg(DISTINCT concat_ws('|', position, encode(raw, 'escape'), reasons->0->>'check', reasons->0->>'column'), E'\\n')"
			. " FROM etl.rejects WHERE target = '$target'"),
		qq{10|no number,"a\n\nb",c|type|id\n16|6,too,many,fields|too_many_fields\n7|3,"text"after,x|malformed}, '... so are the rejects');
	is($cluster->sql("SELECT DISTINCT count(*) FROM etl.rejects WHERE target = '$target' GROUP BY origin"), 3, '... of each file');
}

# ---- UTF-16: pairs of surrogates that each border cuts, and lone ones

use Encode qw(encode);

# What the transcoder and the processes cut: their blocks, in bytes of the file.
my @borders = (1024, 32 * 1024);
my $face = "\x{1F600}";
my $wide = join('', map { qq{$_,"$face\n$face","a\x{E4}\x{20AC}$face"\n} } 2 .. 12) . qq{x,"$face\n",reject $face\n};

# in_utf16 encodes text; lone surrogates, which no text has, stand in it as U+E000 (high) and U+E001 (low).
sub in_utf16
{
	my ($text, $order, $mark) = @_;
	my $bytes = encode("UTF-16$order", $text);
	my ($template, @lone) = $order eq 'LE' ? ('v', 0xD83D, 0xDE00) : ('n', 0xD83D, 0xDE00);
	my @units = map { $_ == 0xE000 ? $lone[0] : $_ == 0xE001 ? $lone[1] : $_ } unpack("$template*", $bytes);

	return ($mark ? pack($template, 0xFEFF) : '') . pack("$template*", @units);
}

my %lone = (high => "\x{E000}", low => "\x{E001}");
my $bad = join('', map { qq{$_,$lone{high},h\n} . qq{$_,"$face\n$lone{low}",l\n} . qq{$_,$lone{low}$lone{high},b\n} } 13 .. 14);
my @texts;
foreach my $border (@borders)
{
	# so that the pairs and the lone ones pass the border, unit by unit
	my $fixed = length(in_utf16(qq{id,a,b\n1,"\n",p\n}, 'LE', 0));
	foreach my $back (0 .. 9, map { 40 + $_ } 0 .. 9)
	{
		my $length = ($border - $fixed) / 2 - $back;

		push(@texts, qq{id,a,b\n1,"\n} . 'p' x $length . qq{",p\n$wide$bad$wide}) if $length > 0;
		push(@texts, qq{id,a,b\n1,"\n} . 'p' x ($length - 8) . qq{",p\n$bad$wide}) if $length > 8;
	}
}
my %kinds = (utf8 => {}, utf16le => { order => 'LE', encoding => 'UTF16LE' }, utf16be => { order => 'BE', encoding => 'UTF16BE' },
	marked_le => { order => 'LE', mark => 1 }, marked_be => { order => 'BE', mark => 1 });
foreach my $kind (sort keys %kinds)
{
	mkdir "$files/$kind" or die $!;
	foreach my $i (0 .. $#texts)
	{
		my $bytes = $kinds{$kind}{order} ? in_utf16($texts[$i], $kinds{$kind}{order}, $kinds{$kind}{mark})
		  : encode('UTF-8', $texts[$i]) =~ s/\xee\x80\x80/\xed\xa0\xbd/gr =~ s/\xee\x80\x81/\xed\xb8\x80/gr;

		open(my $file, '>:raw', sprintf('%s/%s/%04d.csv', $files, $kind, $i)) or die $!;
		print $file $bytes;
		close($file);
	}
}

my %seen;
foreach my $kind (sort keys %kinds)
{
	foreach my $workers (1, 2, 4)
	{
		my $target = "raw.${kind}_$workers";
		my $encoding = $kinds{$kind}{encoding} ? qq{, "encoding": "$kinds{$kind}{encoding}"} : '';

		$cluster->sql("SELECT etl.define_stream('$target', 'files', '{\"path\": \"$kind/*.csv\"$encoding}', format => 'csv',"
			  . " columns => 'id bigint, a text, b text'); CALL etl.run('$target', workers => $workers)");
		$seen{$kind}{$workers} = $cluster->sql("SELECT count(*), md5(string_agg(concat_ws('|', right(origin, 8), r._etl_row, id, a, b), E'\\n' ORDER BY origin, r._etl_row))
				FROM $target r JOIN etl.load USING (load_id) " =~ s/USING \(load_id\)/ON load_id = _etl_load_id/r)
		  . "\n" . $cluster->sql("SELECT count(*), md5(string_agg(concat_ws('|', right(origin, 8), position, encode(raw, 'hex'), reasons->0->>'check'), E'\\n' ORDER BY origin, position))
				FROM etl.rejects WHERE target = '$target'");
		is($seen{$kind}{$workers}, $seen{marked_be}{1}, "$kind, $workers: the same rows, lines and rejects");
	}
}
is($cluster->sql("SELECT string_agg(DISTINCT check_name || ' ' || n, ', ' ORDER BY check_name || ' ' || n) FROM (SELECT reasons->0->>'check' AS check_name, count(*) AS n
		FROM etl.rejects WHERE target = 'raw.utf16le_2' AND origin LIKE '%0000.csv' GROUP BY 1) AS x"), 'encoding 6, type 2',
	'a lone surrogate is a reject of its record, and of no other');
is($cluster->sql("SELECT count(*), min(a), max(b) FROM raw.utf16be_2 r JOIN etl.load ON load_id = _etl_load_id WHERE origin LIKE '%0000.csv' AND id > 1"),
	encode('UTF-8', "22|$face\n$face|a\x{E4}\x{20AC}$face"), '... the pairs land as characters');

done_testing();
