# Every shape of query that must be incremental is, whatever happens to its inputs, and holds what its query yields.
use strict;
use warnings;

use Etl::Crash qw(begin_at_work kill_at_work);
use Etl::Shapes qw(pick some @upstream @middle %must %may);
use List::Util qw(uniq);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

# ETL_SEED repeats a history; ETL_SECONDS says how long new ones are made, ETL_HISTORIES and ETL_CASES how many at most.
# ETL_LIBRARY is another build of the extension than what is installed: test/mutants/run.
my $seed = $ENV{ETL_SEED} // int(time);
my $seconds = $ENV{ETL_SECONDS} // 90;
my $histories = $ENV{ETL_HISTORIES} // 1000;
my $cases = $ENV{ETL_CASES} // 1_000_000;

my $files = PostgreSQL::Test::Utils::tempdir();
my $node = PostgreSQL::Test::Cluster->new('shapes');
$node->init;
$node->append_conf('postgresql.conf',
	"fsync = off\nautovacuum = off\nrestart_after_crash = on\ntimezone = 'UTC'\netl.allowed_directories = '$files'\n");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION etl');
$node->safe_psql('postgres', "UPDATE pg_proc SET probin = '$ENV{ETL_LIBRARY}' WHERE probin = '\$libdir/etl'") if $ENV{ETL_LIBRARY};

# maybe returns a value, or now and then nothing.
sub maybe
{
	return rand() < 0.06 ? '' : $_[0];
}

# The types of a history's columns: each history has its own schema.
my %type;
our @order;

# choose_schema makes the types and the order of the columns of facts.
sub choose_schema
{
	%type = (id => pick('int', 'bigint', 'text', 'numeric'), k => 'text', cat => pick('int', 'smallint', 'bigint'),
		ts => pick('timestamptz', 'timestamptz', 'timestamp'), amt => pick('numeric', 'numeric(12,2)', 'bigint'),
		note => pick('text', 'jsonb'), deleted_at => pick('timestamptz', 'date', 'text'));
	$type{did} = $type{id};
	@order = sort { rand() <=> 0.5 } sort keys %type;
	return;
}

# gone says of a row whether it is marked as deleted.
our $gone = 0.05;

sub gone
{
	return rand() < $gone ? '2026-02-01' : '';
}

# fact makes a line of a file of facts; keys repeat, all but a merge's key may be empty.
sub fact
{
	my ($keyed) = @_;
	my $id = 1 + int(rand(25));
	my %value = (
		id => $keyed ? $id : maybe($id), k => maybe('k' . int(rand(8))), cat => maybe(int(rand(5))), did => maybe(int(rand(12))),
		ts => maybe(sprintf('2026-01-%02d %02d:00:00%s', 1 + int(rand(8)), int(rand(24)), $type{ts} eq 'timestamptz' ? 'Z' : '')),
		amt => maybe($type{amt} eq 'bigint' ? int(rand(100)) : sprintf('%.2f', rand(100))), note => maybe(int(rand(3))), deleted_at => gone());

	return join(',', map { $value{$_} // int(rand(9)) } @order) . "\n";
}

# dimension makes a line of a file of dimension rows.
sub dimension
{
	return join(',', int(rand(12)), maybe('n' . int(rand(6))), maybe('c' . int(rand(4))), maybe(int(rand(3))), gone()) . "\n";
}

my %inputs = (
	f => { mode => 'append' }, b => { mode => 'append' },
	e => { mode => 'merge', key => 'id' }, r => { mode => 'replace' },
	d => { mode => 'merge', key => 'id', dimension => 1 });

# deliver writes a file of rows for an input and returns its name.
sub deliver
{
	my ($name, $input, $count, $more) = @_;

	local @order = (@order, $more // ());
	open(my $fh, '>', "$files/$name.new") or die "$name: $!";
	print $fh $inputs{$input}{dimension} ? "id,name,country,grp,deleted_at\n" : join(',', @order) . "\n";
	print $fh map { $inputs{$input}{dimension} ? dimension() : fact($inputs{$input}{mode} eq 'merge') } 1 .. $count;
	close($fh);
	rename("$files/$name.new", "$files/$name") or die "$name: $!";
	return $name;
}

my (%coverage, %forms);
my ($compared, $incremental, $full) = (0, 0, 0);
my %reasons;

# step_sql runs a schema's models, compares them with their queries and tells what each did.
sub step_sql
{
	my ($schema, $shapes, $exclude) = @_;
	my $sql = "SET client_min_messages = warning; SET statement_timeout = '600s';\nCALL etl.run('$schema.*'"
	  . ($exclude ? ", exclude => '$exclude'" : '') . ");\n";

	for my $shape (grep { $_->{kind} ne 'view' } @$shapes)
	{
		# as jsonb: columns are compared by name, since one that changed its type comes last
		$sql .= "SELECT 'differs $shape->{name} by ' || count(*) FROM (
			(SELECT to_jsonb(t) FROM $schema.$shape->{name} t EXCEPT ALL SELECT to_jsonb(q) FROM ($shape->{query}) q) UNION ALL
			(SELECT to_jsonb(q) FROM ($shape->{query}) q EXCEPT ALL SELECT to_jsonb(t) FROM $schema.$shape->{name} t)) d HAVING count(*) > 0;\n";
	}
	return $sql . "SELECT 'did ' || split_part(node, '.', 2) || ' ' || action || ' ' || reason FROM etl.tasks
		WHERE run_id = etl.last_run_id() AND kind = 'model';\n";
}

# judge notes what a step did; returns what is wrong with it.
sub judge
{
	my ($out, $shapes, $happened, $may_refresh) = @_;
	my %shape = map { $_->{name} => $_ } @$shapes;
	my @wrong;

	for my $line (split(/\n/, $out))
	{
		if ($line =~ /^differs (\w+) by/)
		{
			push @wrong, "$line: $shape{$1}{query}";
		}
		elsif ($line =~ /^did (\w+) (\w+) (.*)/ && $shape{$1} && $shape{$1}{kind} ne 'view')
		{
			my ($name, $action, $reason) = ($1, $2, $3);
			my $kind = $shape{$name}{kind};

			$compared++;
			$coverage{$kind}{$_}{compared}++ for @$happened;
			next if $action eq 'unchanged';
			$action eq 'incremental' ? $incremental++ : $full++;
			$coverage{$kind}{$_}{$action}++ for @$happened;
			my $form = $shape{$name}{form} // {};
			$forms{ ($form->{by} ? "$form->{by} " : '') . ($form->{strategy} || 'as etl chooses') }{$action}++ if !$shape{$name}{stored};
			$reason =~ s/.*rebuilt, since //;
			$reason =~ s/\w+\.(\w+)/x.$1/g;
			$reasons{$kind}{$reason}++ if $action ne 'incremental' && !$may_refresh;
			push @wrong, "$name ($kind) refreshed: $reason: $shape{$name}{query}"
			  if $action ne 'incremental' && $shape{$name}{must} && !$may_refresh;
		}
	}
	return @wrong;
}

# what may happen between two runs
my %events = (
	'new facts' => sub { my ($s) = @_; arrive($s, pick('f', 'b'), pick(1, 1, 3, 10)); return '' },
	'merged facts' => sub { my ($s) = @_; arrive($s, 'e', pick(1, 1, 3, 10)); return '' },
	'dimension changes' => sub { my ($s) = @_; arrive($s, 'd', pick(1, 1, 2, 5)); return '' },
	'complete pull' => sub { my ($s) = @_; arrive($s, 'r', pick(1, 5, 20)); return '' },
	'absent rows' => sub { my ($s, $delivered) = @_; pull_part($s, $delivered->{r}[-1]); return '' },
	'soft delete' => sub {
		my ($s) = @_;

		local $gone = 0.9;
		arrive($s, pick('f', 'b', 'e', 'd', 'r'), pick(2, 4));
		return pick('', map { "UPDATE $s.$_ SET deleted_at = " . pick('NULL', "'2026-02-02'") . ' WHERE ' . part(5) . ' = 1;' } 'e', 'd', 'r') },
	'empty pull' => sub { my ($s) = @_; arrive($s, 'r', 0); return '' },
	'load alone' => sub {
		my ($s) = @_;
		my $input = pick(sort keys %inputs);

		arrive($s, $input, pick(1, 3));
		return "CALL etl.run('$s.$input');" },
	'hard delete' => sub { my ($s) = @_; return "DELETE FROM $s." . pick('e', 'd') . ' WHERE ' . part(7) . ' = ' . int(rand(7)) . ';' },
	'correction' => sub {
		my ($s) = @_;
		return pick("UPDATE $s.e SET amt = amt + 1, k = 'k' || " . part(5) . ' WHERE ' . part(5) . ' = 2;',
			"UPDATE $s.e SET did = NULL WHERE " . part(6) . ' = 1;', "UPDATE $s.d SET country = 'c' || " . part(4) . ' WHERE ' . part(3) . ' = 1;',
			"UPDATE $s.d SET name = NULL WHERE " . part(4) . ' = 1;',
			"UPDATE $s.d SET id = '103' WHERE id = '3' AND NOT EXISTS (SELECT FROM $s.d x WHERE x.id = '103');",
			"UPDATE $s.r SET amt = -amt, k = NULL WHERE " . part(5) . ' = 1;') },
	'foreign insert' => sub {
		my ($s) = @_;
		return "INSERT INTO $s.r (_etl_load_id, _etl_row, id, k, cat, did, amt)
			VALUES (0, 1, '7', 'k1', 2, '3', 11), (0, 2, NULL, NULL, NULL, NULL, NULL);" },
	'changed file' => sub { my ($s, $delivered) = @_; deliver(pick(@{ $delivered->{$_} }), $_, 4) for pick('f', 'b'); return '' },
	'reload' => sub { my ($s) = @_; return "SELECT etl.reload('$s.f');" },
	'refresh' => sub { my ($s) = @_; return "!CALL etl.run('$s." . pick('fm', 'gm', 'dm') . q{', full_refresh => true);} },
	'truncate' => sub { my ($s) = @_; return "!TRUNCATE $s.e;" },
	'new column' => sub {
		my ($s) = @_;
		my $input = pick('f', 'b', 'e', 'r');

		arrive($s, $input, 3, 'more_' . int(rand(4)));
		return '!' },
	'retyped column' => sub {
		my ($s) = @_;
		return "!ALTER TABLE $s." . pick('f', 'b', 'r') . ' ALTER COLUMN ' . pick('cat TYPE bigint', 'amt TYPE numeric(20,4)') . ';' },
	'new definition' => sub {
		my ($s, undef, $shapes) = @_;
		my @others = grep { ($must{ $_->{kind} } || $may{ $_->{kind} }) && rand() < 0.2 } @$shapes;

		for my $shape (@others)
		{
			($shape->{key}, $shape->{query}) = ($must{ $shape->{kind} } // $may{ $shape->{kind} })->();
			$shape->{query} =~ s/\bS\./$s./g;
			$shape->{form} = form_of($shape->{key});
		}
		return join('', '!', map { define_sql($s, $_) } @others) },
	'failed check' => sub {
		my ($s, undef, $shapes) = @_;
		my $targets = join(', ', map { "'$s.$_->{name}'" } grep { rand() < 0.4 } @$shapes);

		arrive($s, $_, 3) for some(sort keys %inputs);
		$node->psql('postgres', "SET client_min_messages = error;
			SELECT etl.define_check(t, 'expression', options => '{\"expression\": \"false\"}', name => 'never') FROM unnest(ARRAY[$targets]) t;
			CALL etl.run('$s.*'); SELECT etl.drop_check(t, 'never') FROM unnest(ARRAY[$targets]) t;", on_error_stop => 0);
		return '' },
	'cancel' => sub {
		my ($s) = @_;
		arrive($s, $_, 3) for some(sort keys %inputs);
		$node->psql('postgres', "SET client_min_messages = error; SET statement_timeout = " . (20 + int(rand(400))) . "; CALL etl.run('$s.*');");
		return '' },
	'kill -9' => sub {
		my ($s) = @_;
		arrive($s, $_, 3) for some(sort keys %inputs);
		my $work = begin_at_work($node, "SET client_min_messages = error; CALL etl.run('$s.*');");

		usleep(int(rand(500_000)));
		kill_at_work($work);
		return '' },
	'late commit' => sub {
		my ($s) = @_;
		my $first = int(rand(5));
		my @inputs = (qw(f b e d r))[ $first, $first + 1 - (rand() < 0.5 ? 1 : 0) - 5 ];

		arrive($s, $_, pick(1, 5)) for uniq(@inputs);
		return join('', map { "late $_;" } uniq(@inputs)) });
my @often = ('soft delete', 'absent rows', 'new facts', 'merged facts', 'dimension changes', 'complete pull', 'correction', 'hard delete', 'changed file');
my %delivered;

# next_event takes the next one of a shuffled deck, in which all that may happen is, and some of it more often.
my @deck;

sub next_event
{
	@deck = sort { rand() <=> 0.5 } @often, sort keys %events if !@deck;
	return shift @deck;
}

# part renders a number from 0 to n - 1 that depends on a row's id.
sub part
{
	my ($n) = @_;

	return "(abs(hashtext(id::text)) % $n)";
}

# form_of chooses how a model's rows get into place, and whether they lie in partitions of what the first column of its key says.
sub form_of
{
	my ($key) = @_;
	my ($first) = split(/,/, $key // '');
	my %length = (day => '2 days', cat => 2, n => 3, parity => 1, grp => 1, $type{id} eq 'text' ? () : (id => 7));

	return {} if !$first || rand() < 0.4;
	return { strategy => 'delete_insert' } if rand() < 0.25;

	my $by = pick('hash', 'list', 'range');
	my %partition_by = ($by => qq("$first"), $by eq 'hash' ? (partitions => 3) : (), $by eq 'range' && $length{$first} ?
		  (interval => qq("$length{$first}")) : ());

	return { by => $by, strategy => pick('', 'merge', 'delete_insert', 'partition_replace', 'partition_replace'),
		partition_by => '{' . join(', ', map { qq("$_": $partition_by{$_}) } sort keys %partition_by) . '}' };
}

# define_sql defines the model of a shape.
sub define_sql
{
	my ($schema, $shape) = @_;
	my $form = $shape->{form} // {};

	return "SELECT etl.define_model('$schema.$shape->{name}', \$\$$shape->{query}\$\$, '" . ($shape->{stored} // 'incremental') . "', "
	  . ($shape->{key} ? "'{$shape->{key}}'" : 'NULL') . ($form->{strategy} ? ", '$form->{strategy}'" : '')
	  . ($form->{by} ? ", options => '{\"partition_by\": $form->{partition_by}}'" : '') . ");\n";
}

# pull_part delivers the facts of an earlier file again, but for some that are not there any more.
sub pull_part
{
	my ($schema, $before) = @_;
	my $name = "$schema-r-" . sprintf('%03d', scalar(@{ $delivered{r} })) . '.csv';
	my ($header, @lines) = split(/^/, PostgreSQL::Test::Utils::slurp_file("$files/$before"));

	open(my $fh, '>', "$files/$name.new") or die "$name: $!";
	print $fh $header, grep { rand() < 0.7 } @lines;
	close($fh);
	rename("$files/$name.new", "$files/$name") or die "$name: $!";
	push @{ $delivered{r} }, $name;
	return;
}

# arrive delivers a new file of an input.
sub arrive
{
	my ($schema, $input, $count, $more) = @_;

	push @{ $delivered{$input} },
	  deliver("$schema-$input-" . sprintf('%03d', scalar(@{ $delivered{$input} // [] })) . '.csv', $input, $count, $more);
	return;
}

# live lets one history happen in a schema of its own; returns what went wrong.
sub live
{
	my ($number) = @_;
	my $schema = "h$number";

	choose_schema();
	my @shapes = ((map { { name => $_->[0], kind => 'upstream', must => 1, key => $_->[1], query => $_->[2],
		form => form_of($_->[1]) } } @upstream),
		map { { name => $_->[0], kind => $_->[1], stored => $_->[1], key => $_->[2], query => $_->[3] } } @middle);
	my @did;
	my @late;

	%delivered = ();
	@deck = ();
	for my $kind (sort keys %must, sort keys %may)
	{
		for my $n (1 .. 2)
		{
			my ($key, $query) = ($must{$kind} // $may{$kind})->();

			push @shapes, { name => "${kind}_$n", kind => $kind, must => defined $must{$kind}, key => $key, query => $query,
				form => form_of($key) };
		}
	}
	$_->{query} =~ s/\bS\./$schema./g for @shapes;

	my $sql = "SET client_min_messages = warning; CREATE SCHEMA $schema; SELECT etl.define_source('$schema', 'file', '{\"root\": \"$files\"}');\n";
	for my $input (sort keys %inputs)
	{
		my $columns = $inputs{$input}{dimension} ? "id $type{id}, name text, country text, grp int, deleted_at text" :
		  join(', ', map { "$_ $type{$_}" } @order);

		$sql .= "SELECT etl.define_stream('$schema.$input', '$schema', '{\"path\": \"$schema-$input-*.csv\"}', 'csv',
			columns => '$columns', mode => '$inputs{$input}{mode}'" . ($inputs{$input}{key} ? ", key => '{id}'" : '') . ");\n";
		arrive($schema, $input, pick(5, 15, 40));
	}
	$sql .= define_sql($schema, $_) for @shapes;
	$node->safe_psql('postgres', $sql);

	for my $step (0 .. 11)
	{
		$_->query_safe('COMMIT'), $_->quit for splice(@late);
		my @happens = $step == 0 ? () : map { next_event() } 1 .. pick(1, 2, 2, 3);
		my $before = join('', map { $events{$_}->($schema, \%delivered, \@shapes) . "\n" } @happens);
		my $may_refresh = $step == 0 || ($before =~ s/!//g);
		my @inputs;
		push @inputs, $1 while $before =~ s/late (\w);//;
		@inputs = uniq(@inputs);
		my ($code, $out, $err) = $node->psql('postgres', "SET client_min_messages = warning;\n$before", on_error_stop => 1);
		return ("history $number, step $step, " . join(' + ', @happens), $err) if $code != 0;
		# loads that take their numbers before this step's runs, and commit after them: each in a session of its own
		for my $input (@inputs)
		{
			push @late, $node->background_psql('postgres');
			$late[-1]->query_safe("SET client_min_messages = error; BEGIN; CALL etl.run('$schema.$input')");
		}
		($code, $out, $err) = $node->psql('postgres', step_sql($schema, \@shapes, join(' ', map { "$schema.$_" } @inputs)),
			on_error_stop => 1);
		my @wrong = $code == 0 ? judge($out, \@shapes, \@happens, $may_refresh) : ($err);

		push @did, join(' + ', @happens);
		return ("history $number, step $step (" . join(', ', @did) . ')', @wrong) if @wrong;
	}
	$_->quit for @late;
	return;
}

my $begin = time;
my $ran = 0;
for my $number (1 .. $histories)
{
	my $this = $seed + $number - 1;

	srand($this);
	my @wrong = live($number);
	$ran++;
	ok(!@wrong, "history $number, ETL_SEED=$this") or diag(join("\n", "ETL_SEED=$this ETL_HISTORIES=1", @wrong));
	last if @wrong || time - $begin > $seconds || $compared >= $cases;
}
diag("$compared cases: $incremental incremental, $full full");
diag(join('; ', map { sprintf('%s %d/%d', $_, $forms{$_}{incremental} // 0, ($forms{$_}{incremental} // 0) + ($forms{$_}{full} // 0)) } sort keys %forms));

# for each shape and event: incremental / had something to do / compared afterwards
my (%happened, @untouched, @missed);
$happened{$_} = 1 for map { keys %$_ } values %coverage;
for my $kind (sort keys %coverage)
{
	my @cells;

	for my $event (sort keys %happened)
	{
		my $cell = $coverage{$kind}{$event} // {};
		my $touched = ($cell->{incremental} // 0) + ($cell->{full} // 0);

		push @cells, sprintf('%s %d/%d/%d', $event, $cell->{incremental} // 0, $touched, $cell->{compared} // 0);
		push @untouched, "$kind × $event" if !$touched;
		push @missed, "$kind × $event" if !$cell->{compared};
	}
	diag(sprintf('%-18s %s', $kind, join('; ', @cells)));
	diag("    $reasons{$kind}{$_} × $_") for sort keys %{ $reasons{$kind} };
}
diag('had nothing to do: ' . (join(', ', @untouched) || 'none'));
SKIP:
{
	skip 'too few histories', 1 if $ran < 12;
	is(join(', ', @missed, map { "no $_" } grep { !$happened{$_} } sort keys %events), '', 'every shape is compared after every event');
}

$node->stop;
done_testing();
