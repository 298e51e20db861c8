# Every case of the well-known collections of JSON, CSV and strings that trouble programs lands as it should, or is refused.
use strict;
use warnings;

use FindBin;
use JSON::PP;
use MIME::Base64;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $corpus = "$FindBin::Bin/../corpus";
my $files = PostgreSQL::Test::Utils::tempdir();
my $node = PostgreSQL::Test::Cluster->new('corpora');
$node->init(extra => ['--encoding=UTF8', '--locale=C']);
$node->append_conf('postgresql.conf', "fsync = off\nlog_min_messages = error\netl.allowed_directories = '$files'\n");
$node->start;
$node->safe_psql('postgres', qq(CREATE EXTENSION etl; SELECT etl.define_source('files', 'file', '{"root": "$files"}')));

sub slurp
{
	my ($path) = @_;

	open(my $fh, '<:raw', $path) or die "$path: $!";
	local $/;
	my $bytes = <$fh>;
	return $bytes // '';
}

sub spew
{
	my ($name, $bytes) = @_;

	open(my $fh, '>:raw', "$files/$name") or die "$name: $!";
	print $fh $bytes;
	close($fh);
}

# is_right passes when no case went wrong, and says how many there were.
sub is_right
{
	my ($wrong, $count, $what) = @_;

	ok(!@$wrong && $count > 0, "$what ($count cases)") or diag(join("\n", @$wrong));
}

# ---- JSON

my %json = map { m{([^/]+)\.json$} ? ($1 => slurp($_)) : () } glob("$corpus/json/*.json");
my ($valid, $invalid, $free) = map { my $c = $_; scalar grep { /^$c/ } keys %json } qw(y n i);
is("$valid $invalid $free", '95 188 35', 'JSON: 95 cases that are valid, 188 that are not, 35 that are free');
my %choice = slurp("$corpus/json/README.md") =~ /^\| `([yi]_[^`]+)` \| (\w+) \|/mg;
is(scalar(grep { /^i_/ && $choice{$_} } keys %json), 35, 'and a choice is documented for each of the 35');

# As records: those without a line feed are lines of one file, the others elements of a document each.
my @lines = grep { $json{$_} !~ /\n/ } sort keys %json;
my @documents = grep { $json{$_} =~ /\n/ } sort keys %json;
my (%landed, %refused);
spew('cases.ndjson', join('', map { qq({"v":$json{$_}}\n) } @lines));
$node->safe_psql('postgres', q(
	SELECT etl.define_stream('json.cases', 'files', '{"path": "cases.ndjson"}', columns => 'v jsonb');
	CALL etl.run('json.cases')));
$landed{ $lines[$_ - 1] } = 1
  for split(/\n/, $node->safe_psql('postgres', 'SELECT _etl_row FROM json.cases'));
for (split(/\n/, $node->safe_psql('postgres', q(SELECT DISTINCT ON (position) position, r->>'check', r->>'message'
	FROM etl.rejects, jsonb_array_elements(reasons) AS r WHERE target = 'json.cases'))))
{
	my ($line, $check, $message) = split(/\|/, $_, 3);

	$refused{ $lines[$line - 1] } = $message =~ /numeric format|exponent/ ? 'numeric' : $check;
}
is(keys(%landed) + keys(%refused), scalar(@lines), 'each line is either a row or a reject');
for my $i (0 .. $#documents)
{
	my $name = $documents[$i];

	spew("case_$i.json", qq([{"v":$json{$name}}]));
	my ($code, $out, $error) = $node->psql('postgres', qq(
		SELECT etl.define_stream('json.case_$i', 'files', '{"path": "case_$i.json"}', columns => 'v jsonb');
		CALL etl.run('json.case_$i');
		SELECT 'rows ' || count(*) FROM json.case_$i), on_error_stop => 0);

	($out =~ /rows 1/ ? \%landed : \%refused)->{$name} = 'malformed';
}
is_right([ grep { /^y_/ && !$choice{$_} && !$landed{$_} } sort keys %json ], $valid - 2, 'valid JSON lands');
is_right([ grep { /^n_/ && !$refused{$_} } sort keys %json ], $invalid, 'what is no JSON is refused');
is_right([ map { my $got = $landed{$_} ? 'lands' : $refused{$_}; $got eq $choice{$_} ? () : "$_: $got" } sort keys %choice ],
	scalar(keys %choice), 'what is free, or cannot be stored, meets the documented choice');

# The value is the one that PostgreSQL's own parser sees.
my @own = grep { $landed{$_} } @lines;
my %position = map { $lines[$_] => $_ + 1 } 0 .. $#lines;
is($node->safe_psql('postgres', 'SELECT count(*), count(*) FILTER (WHERE v IS NOT DISTINCT FROM oracle) FROM (VALUES '
		  . join(', ', map { "($position{$_}, convert_from(decode('" . encode_base64($json{$_}, '') . "', 'base64'), 'UTF8')::jsonb)" } @own)
		  . ") AS o (position, oracle) JOIN json.cases ON _etl_row = position AND v IS NOT DISTINCT FROM nullif(oracle, 'null')
		  	OR _etl_row = position AND oracle <> 'null'"),
	join('|', scalar(@own), scalar(grep { $json{$_} ne 'null' } @own)), 'as the value that PostgreSQL sees in it');

# As documents: what is valid JSON but no object is said to be none, and nothing else is read.
my %sequence = map { $_ => 1 } qw(n_single_space n_structure_no_data n_structure_UTF8_BOM_no_data n_structure_double_array
  n_structure_object_with_trailing_garbage);
my %outcome;
for my $name (sort keys %json)
{
	spew('document.json', $json{$name});
	my ($code, $out, $error) = $node->psql('postgres',
		q(SELECT coalesce(p->'_etl_reject'->>'check', 'record') FROM etl.preview('files', '{"path": "document.json"}', 'json') AS p));
	my %seen = map { $_ => 1 } split(/\n/, $out);

	$outcome{$name} = $code || $seen{malformed} || $seen{encoding} || $seen{too_deep} ? 'refused' : 'read';
	$outcome{$name} = "crash: $error" if $code && $error !~ /malformed|^psql:\S+ ERROR/;
}
is_right([ grep { $outcome{$_} ne (/^n_/ && !$sequence{$_} || $choice{$_} && /null|surrogate|utf-?8|utf16|overlong|byte|latin|range/i
				? 'refused' : 'read') } grep { !/BOM/ || /^n_/ } sort keys %json ],
	scalar(grep { !/BOM/ || /^n_/ } keys %json), 'as documents they are read or refused alike');
is("$outcome{'i_string_UTF-16LE_with_BOM'} $outcome{'i_structure_UTF-8_BOM_empty_object'}", 'read read',
	'a byte order mark at the beginning of a document is understood');

# ---- CSV

my $decoder = JSON::PP->new->canonical;

# land_csv lands a file and returns its rows as JSON, and why others were refused.
sub land_csv
{
	my ($path, $columns, $options) = @_;
	my ($schema, $name) = $path =~ m{([^/]+)/([^/]+)\.csv$};
	my $relation = qq("$schema"."$name");

	spew("$name.csv", slurp($path));
	my $text = $decoder->encode({ path => "$name.csv", %$options });
	$node->psql('postgres', qq(SELECT etl.define_stream('$relation', 'files', '$text', 'csv', columns => '$columns');
		CALL etl.run('$relation')), on_error_stop => 0);
	my $rows = $node->safe_psql('postgres', qq(SELECT coalesce(jsonb_agg(to_jsonb(r.*) - '_etl_load_id' - '_etl_row' ORDER BY _etl_row), '[]')
		FROM $relation AS r));
	my $rejects = $node->safe_psql('postgres', qq(SELECT position || ' ' || (r->>'check') || ': ' || (r->>'message')
		FROM etl.rejects, jsonb_array_elements(reasons) AS r WHERE target = '$relation' ORDER BY position));
	return ($decoder->encode($decoder->decode($rows)), $rejects);
}

# all cases of both: those with an expected value, and those below that have none
my %expected_count = ('csv-spectrum' => 12, 'csv-test-data' => 18);

for my $collection ('csv-spectrum', 'csv-test-data')
{
	my (@wrong, $count);

	for my $path (sort glob("$corpus/$collection/*.csv"))
	{
		my ($name) = $path =~ m{([^/]+)\.csv$};
		my $expected = $path =~ s/csv$/json/r;
		next unless -e $expected;
		my $want = $decoder->decode(slurp($expected));
		my $headed = $collection eq 'csv-spectrum' || $name =~ /^header/;
		my @columns = $headed ? sort keys %{ $want->[0] // { foo => 1, bar => 1, baz => 1 } }
		  : (qw(foo bar baz))[ 0 .. keys(%{ $want->[0] }) - 1 ];
		my ($got, $rejects) = land_csv($path, join(', ', map { "$_ text" } @columns), $headed ? {} : { header => \@columns });

		$count++;
		push(@wrong, "$name: $got $rejects") unless $got eq $decoder->encode($want) && $rejects eq '';
	}
	is_right(\@wrong, $count, "$collection: every value is the one expected");
	is($count, $expected_count{$collection}, '... in as many cases as there are');
}

# name => header?, rows, rejects
my %bad = (
	'bad-header-less-fields' => [ 1, '[{"bar":"2","baz":"3","foo":"1"}]', '2 too_few_fields: record has 2 fields, expected 3' ],
	'bad-header-more-fields' => [ 1, '[{"bar":"2","baz":"3","foo":"1"}]', '2 too_many_fields: record has 4 fields, expected 3' ],
	'bad-header-no-header' => [ 1, '[]', '' ],
	'bad-header-wrong-header' => [ 1, '[{"bar":null,"baz":null,"foo":null,"one":7,"three":9,"two":8}]', '' ],
	'bad-missing-quote' => [ 0, '[{"bar":"2","baz":"3","foo":"1"}]', '1 malformed: quote without its closing quote' ],
	'bad-quotes-with-unescaped-quote' => [ 0, '[{"bar":"2","baz":"3","foo":"1"}]', '1 malformed: text after a closing quote' ],
	'bad-unescaped-quote' =>
	  [ 0, '[{"bar":"these \"quotes\" are bare","baz":"9","foo":"7"},{"bar":"2","baz":"3","foo":"1"}]', '' ]);
my @wrong;
for my $name (sort keys %bad)
{
	my ($headed, $rows, $rejects) = @{ $bad{$name} };
	my ($got, $why) = land_csv("$corpus/csv-test-data/$name.csv", 'foo text, bar text, baz text',
		$headed ? {} : { header => [qw(foo bar baz)] });

	push(@wrong, "$name: $got $why") unless $got eq $rows && $why eq $rejects;
}
is(join(' ', sort keys %bad), join(' ', sort map { m{([^/]+)\.csv$} && !-e "$corpus/csv-test-data/$1.json" ? $1 : () } glob("$corpus/csv-test-data/*.csv")),
	'csv-test-data: every file without expected values is a bad one');
is_right(\@wrong, scalar(keys %bad), 'csv-test-data: a bad line is a reject, and the next one lands');

# ---- strings that trouble programs

my @strings = map { decode_base64($_->[1]) } grep { defined $_->[1] } map { [ split(/\t/) ] }
  grep { !/^#/ } split(/\n/, slurp("$corpus/naughty.base64"));

# as_csv quotes a field; as_json escapes what must be, and nothing else.
sub as_csv { return '"' . ($_[0] =~ s/"/""/gr) . '"'; }
sub as_json { return '"' . ($_[0] =~ s/([\x00-\x1f"\\])/sprintf('\\u%04x', ord($1))/ger) . '"'; }

spew('naughty.csv', "n,v\r\n" . join('', map { "$_," . as_csv($strings[$_]) . "\r\n" } 0 .. $#strings));
spew('naughty.ndjson', join('', map { qq({"n":$_,"v":) . as_json($strings[$_]) . "}\n" } 0 .. $#strings));
$node->safe_psql('postgres', qq(
	SELECT etl.define_stream('naughty.csv', 'files', '{"path": "naughty.csv"}', columns => 'n int, v text');
	SELECT etl.define_stream('naughty.ndjson', 'files', '{"path": "naughty.ndjson"}', columns => 'n int, v text');
	CALL etl.run('naughty.*');
	COPY (SELECT n, v FROM naughty.csv ORDER BY n) TO '$files/back.csv' (FORMAT csv, HEADER, FORCE_QUOTE (v));
	SELECT etl.define_stream('naughty.back', 'files', '{"path": "back.csv"}', columns => 'n int, v text');
	CALL etl.run('naughty.back')));
for my $relation (qw(naughty.csv naughty.ndjson naughty.back))
{
	my %got = map { my ($n, $hex) = split(/\|/); ($n => $hex) }
	  split(/\n/, $node->safe_psql('postgres', "SELECT n, encode(convert_to(v, 'UTF8'), 'hex') FROM $relation"));

	is_right([ grep { ($got{$_} // 'missing') ne unpack('H*', $strings[$_]) } 0 .. $#strings ], scalar(@strings),
		"$relation: naughty strings land byte by byte");
}
$node->safe_psql('postgres', qq(COPY (SELECT to_json(r) FROM (SELECT n, v FROM naughty.csv ORDER BY n) AS r) TO PROGRAM
	'sed "s/\\\\\\\\\\\\\\\\/\\\\\\\\/g" > $files/back.ndjson'));
$node->safe_psql('postgres', q(SELECT etl.define_stream('naughty.again', 'files', '{"path": "back.ndjson"}', columns => 'n int, v text');
	CALL etl.run('naughty.again')));
is($node->safe_psql('postgres', q(SELECT count(*), count(*) FILTER (WHERE a.v = b.v) FROM naughty.csv a JOIN naughty.again b USING (n))),
	scalar(@strings) . '|' . scalar(@strings), 'and come back as PostgreSQL itself writes JSON');

# As names of columns: unlike identifiers, whatever they are called, each with its own name in its comment.
my %names;
my @header = grep { length && !$names{$_}++ } @strings;
spew('header.csv', join(',', map { as_csv($_) } @header) . "\n" . join(',', 1 .. @header) . "\n");
$node->safe_psql('postgres', q(SELECT etl.define_stream('naughty.header', 'files', '{"path": "header.csv"}', 'csv');
	CALL etl.run('naughty.header')));
my %column = map { my ($i, $hex) = split(/\|/); ($i => $hex) } split(/\n/, $node->safe_psql('postgres', q(
	SELECT r.value, encode(convert_to(coalesce(col_description('naughty.header'::regclass, attnum), attname), 'UTF8'), 'hex')
	FROM naughty.header AS row_of, jsonb_each_text(to_jsonb(row_of.*)) AS r
		JOIN pg_attribute ON attrelid = 'naughty.header'::regclass AND attname = r.key WHERE r.key NOT LIKE '\_etl\_%')));
is_right([ grep { ($column{ $_ + 1 } // 'missing') ne unpack('H*', $header[$_]) } 0 .. $#header ], scalar(@header),
	'naughty strings as names of columns');

$node->stop;
done_testing();
