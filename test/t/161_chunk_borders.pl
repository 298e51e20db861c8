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

done_testing();
