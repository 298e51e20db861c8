# Every shape of query that must be incremental is, whatever happens to its inputs, and holds what its query yields.
use strict;
use warnings;

use Etl::Coverage;
use Etl::Crash qw(begin_at_work kill_at_work);
use Etl::Shapes qw(pick some turn @upstream @middle %must %may);
use List::Util qw(shuffle uniq);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

# ETL_SEED repeats a history; histories are made for ETL_SECONDS, and until every shape was compared after an effect of every
# event.  ETL_HISTORIES and ETL_CASES end it earlier, whatever was compared by then.
# ETL_LIBRARY is another build of the extension than what is installed: test/mutants/run.
my $seed = $ENV{ETL_SEED} // int(time);
my $seconds = $ENV{ETL_SECONDS} // 90;
my $limited = defined($ENV{ETL_HISTORIES} // $ENV{ETL_CASES});
my $histories = $ENV{ETL_HISTORIES} // 40;
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
	@order = shuffle(sort keys %type);
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

my (%forms, %reasons);
my ($coverage, $schema, $seed_now, $event);
my (@shapes, %delivered, @late_inputs);

# step_sql runs the models, compares them with their queries and tells what each did, and what the inputs hold.
sub step_sql
{
	my ($exclude) = @_;
	my $but = $exclude ? ", exclude => '$exclude'" : '';
	my $sql = "SET client_min_messages = warning; SET statement_timeout = '600s';\n";

	# every fourth time, the queries are told as they will be
	$sql .= "CALL etl.run('" . join(' ', map { "$schema.$_" } sort keys %inputs) . "'$but);
		SELECT count(etl.compile(target)) FROM etl.models WHERE target LIKE '$schema.%';\n"
	  if rand() < 0.25;
	$sql .= "CALL etl.run('$schema.*'$but);\n";

	for my $shape (grep { $_->{kind} ne 'view' } @shapes)
	{
		# as jsonb: columns are compared by name, since one that changed its type comes last
		$sql .= "SELECT 'differs $shape->{name} by ' || count(*) FROM (
			(SELECT to_jsonb(t) FROM $schema.$shape->{name} t EXCEPT ALL SELECT to_jsonb(q) FROM ($shape->{query}) q) UNION ALL
			(SELECT to_jsonb(q) FROM ($shape->{query}) q EXCEPT ALL SELECT to_jsonb(t) FROM $schema.$shape->{name} t)) d HAVING count(*) > 0;\n";
	}
	$sql .= "SELECT 'holds $_ ' || md5(concat((SELECT string_agg(t::text, '|' ORDER BY t::text) FROM $schema.$_ t),
		(SELECT string_agg(format_type(atttypid, atttypmod), '|' ORDER BY attnum) FROM pg_attribute WHERE attrelid = '$schema.$_'::regclass)));\n"
	  for sort keys %inputs;
	return $sql . "SELECT 'did ' || split_part(node, '.', 2) || ' ' || action || ' ' || reason FROM etl.tasks
		WHERE run_id = etl.last_run_id() AND kind = 'model';\n";
}

# judge notes what a step did; returns what is wrong with it.
sub judge
{
	my ($out, $first) = @_;
	my %shape = map { $_->{name} => $_ } @shapes;
	my @wrong;

	for my $line (split(/\n/, $out))
	{
		if ($line =~ /^differs (\w+) by/)
		{
			push @wrong, "$line: $shape{$1}{query}";
		}
		elsif ($line =~ /^holds (\w) (\w+)/)
		{
			$coverage->holds($1, $2);
		}
		elsif ($line =~ /^did (\w+) (\w+) (.*)/ && $shape{$1} && $shape{$1}{kind} ne 'view')
		{
			my ($shape, $action, $reason) = ($shape{$1}, $2, $3);
			my $may_refresh = $first || $coverage->may_refresh($shape);
			my $form = $shape->{form} // {};

			$coverage->compared($shape, $action);
			next if $action eq 'unchanged';
			$forms{ ($form->{by} ? "$form->{by} " : '') . ($form->{strategy} || 'as etl chooses') }{$action}++ if !$shape->{stored};
			$reason =~ s/.*rebuilt, since //;
			$reason =~ s/\w+\.(\w+)/x.$1/g;
			$reasons{ $shape->{kind} }{$reason}++ if $action ne 'incremental' && !$may_refresh;
			push @wrong, "$shape->{name} ($shape->{kind}) refreshed: $reason: $shape->{query}"
			  if $action ne 'incremental' && $shape->{must} && !$may_refresh;
		}
	}
	return @wrong;
}

# every returns the models whose turn it is in this history, of so many; of kinds that there are few of, more often.
sub every
{
	my ($n, $first) = @_;

	return @shapes[ grep { ($_ + $seed_now) % ($shapes[$_]{stored} ? 2 : $n) == $first } 0 .. $#shapes ];
}

# untouched returns so many of some inputs, at first those that nothing has changed in this step.
sub untouched
{
	my ($n, @among) = @_;
	my @chosen = sort { $coverage->is_touched($a) <=> $coverage->is_touched($b) } shuffle(@among);

	return @chosen[ 0 .. $n - 1 ];
}

# what may happen between two runs: each makes files arrive, and returns SQL
my %events = (
	'new facts' => sub { arrive($_, pick(1, 1, 3, 10)) for untouched(pick(1, 2), 'f', 'b'); return '' },
	'merged facts' => sub { arrive('e', pick(1, 1, 3, 10)); return '' },
	'dimension changes' => sub { arrive('d', pick(1, 2, 5)); return '' },
	'complete pull' => sub { arrive('r', pick(1, 5, 20)); return '' },
	'absent rows' => sub {
		my ($before) = grep { -s "$files/$_" > 100 } reverse @{ $delivered{r} };

		pull_part($before // $delivered{r}[0]);
		return '' },
	'soft delete' => sub {
		local $gone = 0.9;
		arrive($_, pick(2, 4)) for untouched(2, 'f', 'b', 'e', 'd', 'r');
		my $input = pick('', 'e', 'd', 'r');
		return '' if !$input;
		$coverage->touch($event, $input);
		return "UPDATE $schema.$input SET deleted_at = " . pick('NULL', "'2026-02-02'") . ' WHERE ' . part(5) . ' = 1;' },
	'empty pull' => sub { arrive('r', 0); return '' },
	'load alone' => sub {
		my @alone = untouched(2, sort keys %inputs);

		arrive($_, pick(1, 3)) for @alone;
		return join('', map { "CALL etl.run('$schema.$_');" } @alone) },
	'hard delete' => sub {
		my @from = untouched(pick(1, 2), 'e', 'd');

		$coverage->touch($event, @from);
		return join('', map { "DELETE FROM $schema.$_ WHERE " . part(4) . ' = ' . int(rand(4)) . ';' } @from) },
	'correction' => sub {
		my %set = (
			e => [ "amt = amt + 1, k = 'k' || " . part(5) . ' WHERE ' . part(5) . ' = 2', 'did = NULL WHERE ' . part(6) . ' = 1' ],
			d => [ "country = 'c' || " . part(4) . ' WHERE ' . part(3) . ' = 1', 'name = NULL, grp = 0 WHERE ' . part(4) . ' = 1',
				"id = '103' WHERE id = '3' AND NOT EXISTS (SELECT FROM $schema.d x WHERE x.id = '103')" ],
			r => [ 'amt = -amt, k = NULL WHERE ' . part(3) . ' = 1' ]);
		my @in = untouched(2, sort keys %set);

		$coverage->touch($event, @in);
		return join('', map { "UPDATE $schema.$_ SET " . pick(@{ $set{$_} }) . ';' } @in) },
	'foreign insert' => sub {
		$coverage->touch($event, 'r');
		return "INSERT INTO $schema.r (_etl_load_id, _etl_row, id, k, cat, did, amt)
			VALUES (0, 1, '7', 'k1', 2, '3', 11), (0, 2, NULL, NULL, NULL, NULL, NULL), (0, 3, '" . int(rand(25)) . "', 'k2', 1, '4', 60);" },
	'changed file' => sub {
		deliver(pick(@{ $delivered{$_} }), $_, 4) for 'f', 'b';
		$coverage->touch($event, 'f', 'b');
		return '' },
	'reload' => sub { $coverage->touch($event, 'f'); return "SELECT etl.reload('$schema.f');" },
	'refresh' => sub {
		my @others = uniq(pick('fm', 'gm', 'dm'), map { $_->{name} } grep { $_->{kind} ne 'view' } every(4, 1));

		$coverage->upset($event, $_) for @others;
		return "CALL etl.run('" . join(' ', map { "$schema.$_" } @others) . q{', full_refresh => true);} },
	'truncate' => sub { $coverage->upset($event, 'e'); return "TRUNCATE $schema.e;" },
	'new column' => sub {
		my @in = untouched(2, 'f', 'b', 'e', 'r');

		arrive($_, 3, 'more_' . int(rand(4))) for @in;
		$coverage->upset($event, @in);
		return '' },
	'retyped column' => sub {
		my @in = untouched(2, 'f', 'b', 'r');

		$coverage->upset($event, @in);
		return join('', map { "ALTER TABLE $schema.$_ ALTER COLUMN " . pick('cat TYPE bigint', 'amt TYPE numeric(20,4)') . ';' } @in) },
	'new definition' => sub {
		my @others = every(3, 0);

		for my $shape (@others)
		{
			my $make = $must{ $shape->{kind} } // $may{ $shape->{kind} };

			($shape->{key}, $shape->{query}) = $make->() if $make;
			# another condition around what the others read
			$shape->{query} = "SELECT * FROM ($shape->{plain}) q WHERE " . ($shape->{name} eq 'im' ? 'k' : 'id') . " IS DISTINCT FROM '" . int(rand(20)) . q(')
			  if !$make;
			$shape->{query} =~ s/\bS\./$schema./g;
			$shape->{form} = form_of($shape->{key}) if $make;
		}
		$coverage->upset($event, map { $_->{name} } @others);
		return join('', map { define_sql($_) } @others) },
	'failed check' => sub {
		my $targets = join(', ', map { "'$schema.$_->{name}'" } grep { rand() < 0.4 } @shapes);

		arrive($_, 3) for some(sort keys %inputs);
		$node->psql('postgres', "SET client_min_messages = error;
			SELECT etl.define_check(t, 'expression', options => '{\"expression\": \"false\"}', name => 'never') FROM unnest(ARRAY[$targets]) t;
			CALL etl.run('$schema.*'); SELECT etl.drop_check(t, 'never') FROM unnest(ARRAY[$targets]) t;", on_error_stop => 0);
		return '' },
	'cancel' => sub {
		arrive($_, 3) for some(sort keys %inputs);
		$node->psql('postgres', 'SET client_min_messages = error; SET statement_timeout = ' . (20 + int(rand(200))) . "; CALL etl.run('$schema.*');");
		return '' },
	'kill -9' => sub {
		arrive($_, 3) for some(sort keys %inputs);
		my $work = begin_at_work($node, "SET client_min_messages = error; CALL etl.run('$schema.*');");

		usleep(int(rand(250_000)));
		kill_at_work($work);
		return '' },
	'late commit' => sub { @late_inputs = untouched(pick(2, 3), qw(f b e d r)); return '' });
my @often = ('soft delete', 'new facts', 'merged facts', 'dimension changes', 'complete pull', 'correction', 'hard delete', 'changed file');

# what changes the same input every time: in one step not beside another change of it, mostly, so that one knows what did it
my %changes = ('new facts' => 'fb', 'merged facts' => 'e', 'dimension changes' => 'd', 'complete pull' => 'r', 'absent rows' => 'r', 'empty pull' => 'r',
	'hard delete' => 'ed', 'foreign insert' => 'r', 'changed file' => 'fb', 'reload' => 'f', 'truncate' => 'e');

# next_event takes the next one of a shuffled deck, in which all that may happen is, before some of it comes again.
my @deck;

sub next_event
{
	@deck = (shuffle(sort keys %events), shuffle(@often)) if !@deck;

	my ($apart) = rand() < 0.15 ? () : grep { !grep { $coverage->is_touched($_) } split(//, $changes{ $deck[$_] } // '') } 0 .. $#deck;
	return splice(@deck, $apart // 0, 1);
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
	my ($shape) = @_;
	my $form = $shape->{form} // {};

	return "SELECT etl.define_model('$schema.$shape->{name}', \$\$$shape->{query}\$\$, '" . ($shape->{stored} // 'incremental') . "', "
	  . ($shape->{key} ? "'{$shape->{key}}'" : 'NULL') . ($form->{strategy} ? ", '$form->{strategy}'" : '')
	  . ($form->{by} ? ", options => '{\"partition_by\": $form->{partition_by}}'" : '') . ");\n";
}

# pull_part delivers the facts of an earlier file again, but for some that are not there any more.
sub pull_part
{
	my ($before) = @_;
	my $name = "$schema-r-" . sprintf('%03d', scalar(@{ $delivered{r} })) . '.csv';
	my ($header, @lines) = split(/^/, PostgreSQL::Test::Utils::slurp_file("$files/$before"));

	open(my $fh, '>', "$files/$name.new") or die "$name: $!";
	print $fh $header, grep { rand() < 0.7 } @lines;
	close($fh);
	rename("$files/$name.new", "$files/$name") or die "$name: $!";
	push @{ $delivered{r} }, $name;
	$coverage->touch($event, 'r');
	return;
}

# arrive delivers a new file of an input.
sub arrive
{
	my ($input, $count, $more) = @_;

	push @{ $delivered{$input} },
	  deliver("$schema-$input-" . sprintf('%03d', scalar(@{ $delivered{$input} // [] })) . '.csv', $input, $count, $more);
	$coverage->touch($event, $input) if $event;
	return;
}

# choose_shapes makes two models of each shape; what they read first takes turns from seed to seed.
sub choose_shapes
{
	my $next = 2 * $seed_now;

	@shapes = ((map { { name => $_->[0], kind => 'upstream', must => 1, key => $_->[1], plain => $_->[2], form => form_of($_->[1]) } } @upstream),
		map { { name => $_->[0], kind => $_->[1], stored => $_->[1], key => $_->[2], plain => $_->[3] } } @middle);
	for my $kind (sort keys %must, sort keys %may)
	{
		for my $n (1 .. 2)
		{
			turn($n == 2 && ($next / 2) % 2 == 0 ? 'last' : $next);
			$next++;
			my ($key, $query) = ($must{$kind} // $may{$kind})->();

			push @shapes, { name => "${kind}_$n", kind => $kind, must => defined $must{$kind}, key => $key, plain => $query,
				form => form_of($key) };
		}
	}
	turn(undef);
	$_->{query} = $_->{plain} =~ s/\bS\./$schema./gr for @shapes;
	return;
}

# define_all makes a schema with inputs, the first files of each, and the models of all shapes.
sub define_all
{
	my $sql = "SET client_min_messages = warning; CREATE SCHEMA $schema; SELECT etl.define_source('$schema', 'file', '{\"root\": \"$files\"}');\n";

	for my $input (sort keys %inputs)
	{
		my $columns = $inputs{$input}{dimension} ? "id $type{id}, name text, country text, grp int, deleted_at text" :
		  join(', ', map { "$_ $type{$_}" } @order);

		$sql .= "SELECT etl.define_stream('$schema.$input', '$schema', '{\"path\": \"$schema-$input-*.csv\"}', 'csv',
			columns => '$columns', mode => '$inputs{$input}{mode}'" . ($inputs{$input}{key} ? ", key => '{id}'" : '') . ");\n";
		arrive($input, pick(5, 15, 40));
	}
	$node->safe_psql('postgres', $sql . join('', map { define_sql($_) } @shapes));
	return;
}

# happen lets so many events happen; returns the SQL that they consist of, and their names.
sub happen
{
	my ($n) = @_;
	my $sql = '';
	my @happened;

	@late_inputs = ();
	for (1 .. $n)
	{
		$event = next_event();
		push @happened, $event;
		$sql .= $events{$event}->() . "\n";
	}
	# whoever adds a column locks out who would read it
	@late_inputs = grep { !$coverage->is_upset($_) } @late_inputs;
	$event = undef;
	arrive($_, pick(1, 5)) for @late_inputs;
	$coverage->later('late commit', @late_inputs);
	return ($sql, @happened);
}

# live lets one history happen in a schema of its own; returns what went wrong.
sub live
{
	my ($number) = @_;
	my (@did, @late);

	$schema = "h$number";
	%delivered = ();
	@deck = ();
	$event = undef;
	choose_schema();
	choose_shapes();
	define_all();
	$coverage->begin_history(@shapes);
	for my $step (0 .. 11)
	{
		$_->query_safe('COMMIT'), $_->quit for splice(@late);
		$coverage->begin_step;
		my ($before, @happens) = happen($step == 0 ? 0 : pick(1, 2, 2, 3));
		my ($code, $out, $err) = $node->psql('postgres', "SET client_min_messages = warning;\n$before", on_error_stop => 1);
		return ("history $number, step $step, " . join(' + ', @happens), $err) if $code != 0;
		# loads that take their numbers before this step's runs, and commit after them: each in a session of its own
		for my $input (@late_inputs)
		{
			push @late, $node->background_psql('postgres');
			$late[-1]->query_safe("SET client_min_messages = error; BEGIN; CALL etl.run('$schema.$input')");
		}
		($code, $out, $err) = $node->psql('postgres', step_sql(join(' ', map { "$schema.$_" } @late_inputs)), on_error_stop => 1);
		my @wrong = $code == 0 ? judge($out, $step == 0) : ($err);

		push @did, join(' + ', @happens);
		return ("history $number, step $step (" . join(', ', @did) . ')', @wrong) if @wrong;
	}
	$_->quit for @late;
	return;
}

my $begin = time;
$coverage = Etl::Coverage->new(kinds => [ 'upstream', 'table', 'materialized_view', 'incremental', sort(keys %must, keys %may) ],
	events => [ sort keys %events ]);
for my $number (1 .. $histories)
{
	$seed_now = $seed + $number - 1;
	srand($seed_now);
	my @wrong = live($number);
	my @empty = $coverage->empty;

	ok(!@wrong, "history $number, ETL_SEED=$seed_now") or diag(join("\n", "ETL_SEED=$seed_now ETL_HISTORIES=1", @wrong));
	note(scalar(@empty) . ' cells are empty: ' . join(', ', @empty < 40 ? @empty : ()));
	last if @wrong || $coverage->comparisons >= $cases || (time - $begin > $seconds && (!@empty || $limited));
}
$coverage->print_table;
diag(join('; ', map { sprintf('%s %d/%d', $_, $forms{$_}{incremental} // 0, ($forms{$_}{incremental} // 0) + ($forms{$_}{full} // 0)) } sort keys %forms));
for my $kind (sort keys %reasons)
{
	diag("$kind: $reasons{$kind}{$_} × $_") for sort keys %{ $reasons{$kind} };
}
is(join(', ', $coverage->empty), '', 'every shape was compared after every event that had an effect on it') if !$limited;

$node->stop;
done_testing();
