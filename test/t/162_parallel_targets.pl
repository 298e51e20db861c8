# A file lands in partitioned and foreign tables and under triggers, identity, generated columns, foreign keys, exclusion and row security with the same rows, line numbers and rejects by one, two and four workers.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../perl";

use Etl::Cluster;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $cluster = Etl::Cluster->new('parallel_targets',
	conf => "etl.max_workers = 4\netl.parallel_load_min = 0\netl.parallel_load_block = 1kB\n");
my $files = $cluster->files;

# ids from 1 on, a quoted line end now and then, b = 0 and an unknown parent in one line each, an id twice
open(my $file, '>:raw', "$files/big.csv") or die $!;
print $file "id,b,note\n";
foreach my $i (1 .. 600)
{
	my $id = $i == 500 ? 100 : $i;
	my $b = $i == 300 ? 0 : $i == 400 ? 99 : 1 + $i % 7;
	print $file "$id,$b," . ($i % 11 == 0 ? "\"two\nlines\"" : 'plain ' x 5) . "\n";
}
close($file);

$cluster->sql(qq{
	CREATE SCHEMA raw;
	CREATE TABLE raw.parent (b int PRIMARY KEY); INSERT INTO raw.parent SELECT generate_series(0, 10);
	CREATE FUNCTION raw.no_zero() RETURNS trigger LANGUAGE plpgsql AS
		\$\$BEGIN IF NEW.b = 0 THEN RAISE EXCEPTION 'zero'; END IF; IF NEW.b = 99 THEN RETURN NULL; END IF; RETURN NEW; END\$\$;
	CREATE EXTENSION postgres_fdw; CREATE EXTENSION btree_gist;
	CREATE ROLE bound; GRANT etl_developer, pg_read_server_files TO bound; GRANT ALL ON SCHEMA raw TO bound;
	SELECT etl.define_source('files', 'file', '{"root": "$files"}');
	SET ROLE bound;
	SELECT etl.define_source('own_files', 'file', '{"root": "$files"}');
});
$cluster->sql(sprintf(q{CREATE SERVER loop FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '%s', port '%s', dbname 'postgres');
	CREATE USER MAPPING FOR CURRENT_USER SERVER loop}, $cluster->node->host, $cluster->node->port));

my %targets = (
	partitioned => 'CREATE TABLE T (id int, b int, note text) PARTITION BY RANGE (b); CREATE TABLE T_p PARTITION OF T FOR VALUES FROM (1) TO (50)',
	triggers => 'CREATE TABLE T (id int, b int, note text); CREATE TRIGGER t BEFORE INSERT ON T FOR EACH ROW EXECUTE FUNCTION raw.no_zero()',
	computed => 'CREATE TABLE T (n int GENERATED ALWAYS AS IDENTITY, id int, b int, note text, q int GENERATED ALWAYS AS (10 / b) STORED)',
	deferred => 'CREATE TABLE T (id int, b int REFERENCES raw.parent DEFERRABLE INITIALLY DEFERRED, note text, UNIQUE (id) DEFERRABLE INITIALLY DEFERRED)',
	foreign => 'CREATE TABLE T_far (_etl_load_id bigint, _etl_row bigint, id int, b int CONSTRAINT far CHECK (b > 0 AND b < 50), note text);'
	  . ' CREATE FOREIGN TABLE T (_etl_load_id bigint, _etl_row bigint, id int, b int, note text) SERVER loop OPTIONS (schema_name $$raw$$, table_name $$F_far$$)',
	exclusion => 'CREATE TABLE T (id int, b int, note text, EXCLUDE USING gist (id WITH =))',
	row_security => 'CREATE TABLE T (id int, b int, note text); CREATE POLICY positive ON T USING (true) WITH CHECK (b > 0 AND b < 50); CREATE POLICY not_7 ON T AS RESTRICTIVE USING (true) WITH CHECK (id <> 7);'
	  . ' ALTER TABLE T ENABLE ROW LEVEL SECURITY; ALTER TABLE T FORCE ROW LEVEL SECURITY; ALTER TABLE T OWNER TO bound',
	partitioned_constraints => 'CREATE TABLE T (id int, b int REFERENCES raw.parent, note text, UNIQUE (id)) PARTITION BY RANGE (id); CREATE TABLE T_low PARTITION OF T FOR VALUES FROM (0) TO (300);'
	  . ' CREATE TABLE T_high PARTITION OF T (CHECK (b <> 0)) FOR VALUES FROM (300) TO (9999)',
	constraints => 'CREATE DOMAIN T_d AS int CHECK (VALUE < 50); CREATE TABLE T (id int UNIQUE, b T_d CHECK (b > 0), note text NOT NULL)');

foreach my $kind (sort keys %targets)
{
	my %seen;

	foreach my $workers (1, 2, 4)
	{
		my $target = "raw.${kind}_$workers";

		$cluster->sql($targets{$kind} =~ s/\bT(?=\b|_)/$target/gr =~ s/\bF(?=_far)/${kind}_$workers/gr);
		$cluster->sql(($kind eq 'row_security' ? "SET ROLE bound; SELECT etl.define_stream('$target', 'own_files'" : "SELECT etl.define_stream('$target', 'files'")
			  . ", '{\"path\": \"big.csv\", \"adopt\": true}')");
		$cluster->sql("CALL etl.run('$target', workers => $workers)");
		$seen{$workers} = $cluster->sql(qq{
			SELECT md5(string_agg((to_jsonb(t) - '_etl_load_id' - 'n')::text, E'\\n' ORDER BY _etl_row)), count(*) FROM $target t;
			SELECT string_agg(concat_ws('|', position, encode(raw, 'hex'), replace(reasons::text, '${kind}_$workers', 'name')), E'\\n' ORDER BY position)
				FROM etl.rejects WHERE target = '$target';
			SELECT rows_read, rows_loaded, rows_rejected FROM etl.loads WHERE target = '$target'
		});
	}
	is($seen{2}, $seen{1}, "$kind: two workers leave what one does");
	is($seen{4}, $seen{1}, "$kind: so do four");
	like($seen{1}, qr/^600\|59\d\|[1-4]$/m, "$kind: a reject for each record that is refused, the others land");
}

# which records, and what the reject names
my %named = (foreign => "300|far\n400|far", exclusion => '100|name_id_excl', 
	partitioned_constraints => "300|name_high_b_check\n400|name_b_fkey\n100|name_low_id_key", row_security => "7|row_security\n300|row_security\n400|row_security");
foreach my $kind (sort keys %named)
{
	is($cluster->sql("SELECT split_part(record, ',', 1), replace(reasons->0->>'check', '${kind}_4', 'name') FROM etl.rejects WHERE target = 'raw.${kind}_4' ORDER BY position"),
		$named{$kind}, "$kind: what refused them is named");
}

like($cluster->sql("SELECT reasons->0->>'message' FROM etl.rejects WHERE target = 'raw.row_security_2' ORDER BY position LIMIT 1"), qr/"not_7"/,
	'... of row security, the policy');

$cluster->stop if $cluster->can('stop');
done_testing();
