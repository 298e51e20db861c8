# What etl.draw writes is read by Graphviz, and as Mermaid by its grammar, whatever the nodes are called.
use strict;
use warnings;

use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('draw');
$node->init;
$node->append_conf('postgresql.conf', "fsync = off\nautovacuum = off\n");
$node->start;
my @hostile = ('a""b; drop', 'x"] --> y', 'n1', 'end', 'graph', '%%{init: {}}%%', '#quot;&lt;<b>', '`md`', 'back\\slash\\', "two\nlines",
	"\x{e4}\x{20ac}", '{"json": [1]}', '-->', ' ', 'A|b|', "it's \$\$ //", 'subgraph',
	# Mermaid's preprocessor takes the last semicolon of what looks like a style; icons, formulas
	'style n1 fill:red', 'classDef x fill:#f00', 'fa:fa-car', '$$x^2$$');

sub identifier { my ($name) = @_; $name =~ s/"/""/g; return qq("$name") }
sub literal    { my ($text) = @_; $text =~ s/'/''/g; return "'$text'" }

my $sql = "SET client_encoding = 'UTF8';\nCREATE EXTENSION etl; CREATE SCHEMA d; CREATE TABLE d.root (id int);\n" .
	"SELECT etl.define_source('push', 'push'); SELECT etl.define_stream('d.stream', 'push', columns => 'id int', format => 'json');\n";
my $before = 'd.root';
for my $i (0 .. $#hostile)
{
	my $name = 'd.' . identifier($hostile[$i]);
	utf8::encode($name);
	my $kind = $i % 2 ? 'table' : 'view';
	$sql .= "SELECT etl.define_model(" . literal($name) . ', ' . literal("SELECT id FROM $before" . ($i ? '' : ' UNION ALL SELECT id FROM d.stream')) . ", '$kind');\n";
	$before = $name;
}
$node->safe_psql('postgres', $sql);
my $n = @hostile;

# ---- DOT: Graphviz itself says what it read ----
my $dot = $node->safe_psql('postgres', "SELECT etl.draw('*', 'dot')") . "\n";
my ($out, $err) = ('', '');
my $ran = eval { IPC::Run::run([ 'dot', '-Tdot_json' ], '<', \$dot, '>', \$out, '2>', \$err) };
if (!defined $ran)
{
	die "Graphviz is not installed: make deps ($@)";
}
ok($ran, 'dot reads it') or diag($err);
is($err, '', 'without a word');
my $read = $node->safe_psql('postgres', "SELECT jsonb_array_length(d -> 'objects') || ' ' || jsonb_array_length(d -> 'edges') FROM (SELECT " .
	literal($out) . "::jsonb AS d) AS d");
is($read, ($n + 2) . ' ' . ($n + 1), 'every node and every edge is there, and nothing else');
my $svg = '';
IPC::Run::run([ 'dot', '-Tsvg' ], '<', \$dot, '>', \$svg, '2>', \$err) or die $err;
my @shown;
for my $node_text ($svg =~ m{<g id="node\d+" class="node">(.*?)</g>}gs)
{
	my $label = join "\n", $node_text =~ m{<text[^>]*>(.*?)</text>}gs;
	$label =~ s/&#(\d+);/chr $1/ge;
	$label =~ s/&quot;/"/g; $label =~ s/&lt;/</g; $label =~ s/&gt;/>/g; $label =~ s/&amp;/&/g;
	$label =~ s/\x{a0}|\xc2\xa0/ /g;
	push @shown, $label;
}
my @names = ('d.root', 'd.stream');
for my $name (@hostile)
{
	my $quoted = $name =~ /^[a-z_][a-z0-9_]*$/ && $name !~ /^end$/ ? "d.$name" : 'd.' . identifier($name);
	utf8::encode($quoted);
	push @names, $quoted;
}
is_deeply([ sort @shown ], [ sort @names ], 'and the picture shows their names');

# ---- Mermaid: its grammar for what we write; entities are #number; ----
my $mermaid = $node->safe_psql('postgres', "SELECT etl.draw()");
my @lines = split /\n/, $mermaid;
is(shift @lines, 'flowchart LR', 'a flowchart');
my (%label, @edges);
for my $line (@lines)
{
	if ($line =~ /^    (n\d+)(?:\[\("([^"]*)"\)\]|\(\["([^"]*)"\]\)|\[\/"([^"]*)"\/\]|\["([^"]*)"\])$/)
	{
		my ($id, $text) = ($1, $2 // $3 // $4 // $5);
		unlike($text, qr/[<>&`\\%;{}|:\$](?<!\d;)/, "the label of $id has nothing that means something");
		$text =~ s/#(\d+);/chr $1/ge;
		$label{$id} = $text;
	}
	elsif ($line =~ /^    (n\d+) --> (n\d+)$/) { push @edges, [ $1, $2 ] }
	else { fail("line is neither a node nor an edge: $line") }
}
is_deeply([ sort values %label ], [ sort @names ], 'the same names');
is(scalar @edges, $n + 1, 'as many edges');
ok(!(grep { !$label{ $_->[0] } || !$label{ $_->[1] } } @edges), 'between nodes that are there');

# ---- which, and for whom ----
is($node->safe_psql('postgres', q(SELECT etl.draw('d.n1'))) =~ tr/\n//, 2, 'one node, no edge to what is not selected');
like($node->safe_psql('postgres', q(SELECT etl.draw('d.stream+1'))), qr/\[\("d\.stream"\)\]/, 'a stream is a cylinder');
my ($status, $stdout, $stderr) = $node->psql('postgres', q(SELECT etl.draw('*', 'png')));
like($stderr, qr/invalid value for argument "format": "png"/, 'another format is refused');
$node->safe_psql('postgres', 'CREATE ROLE looker; GRANT etl_viewer TO looker; GRANT USAGE ON SCHEMA d TO looker; GRANT SELECT ON d.root TO looker');
is($node->safe_psql('postgres', "SET ROLE looker; SELECT etl.draw()"), "flowchart LR\n    n1[/\"d.root\"/]\n", 'one sees what one may read');

$node->stop;
done_testing();
