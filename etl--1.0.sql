/* etl--1.0.sql: one hand-written script, sections in the order of src/. */
\echo Use "CREATE EXTENSION etl" to load this file. \quit

-- ====================================================================
-- catalog: what is defined
-- Tables are singular and private; views (plural) are what users read.
-- State holds names of roles and relations, never OIDs or xids, so that
-- a dump restored elsewhere means the same.
-- ====================================================================

CREATE TABLE etl.connectors (
	name text PRIMARY KEY,
	handler text NOT NULL,          -- qualified name of a function returning internal
	description text
);

CREATE TABLE etl.source (
	name text PRIMARY KEY,
	connector text NOT NULL,
	options jsonb NOT NULL,
	description text,
	version int NOT NULL DEFAULT 1,
	owner text NOT NULL,
	defined_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp()
);

CREATE TABLE etl.stream (
	target text PRIMARY KEY,
	source text NOT NULL,
	options jsonb NOT NULL,
	format text,
	columns text,
	key text[],
	mode text NOT NULL,
	event_time text,
	schema_policy text NOT NULL,
	contract jsonb NOT NULL,
	tags text[] NOT NULL,
	description text,
	settings jsonb NOT NULL,        -- search_path, TimeZone, … of the definition
	version int NOT NULL DEFAULT 1,
	owner text NOT NULL,
	defined_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp()
);

CREATE TABLE etl.model (
	target text PRIMARY KEY,
	query text NOT NULL,
	materialized text NOT NULL,
	key text[],
	strategy text,
	event_time text,
	batch_size interval,
	lookback interval,
	options jsonb NOT NULL,
	tags text[] NOT NULL,
	description text,
	settings jsonb NOT NULL,
	resolved boolean NOT NULL DEFAULT false,   -- analyzed, not only parsed
	version int NOT NULL DEFAULT 1,
	owner text NOT NULL,
	defined_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp()
);

CREATE TABLE etl.quality_check (
	target text NOT NULL,
	name text NOT NULL,
	kind text NOT NULL,
	columns text[] NOT NULL,
	options jsonb NOT NULL,
	on_fail text NOT NULL,
	dimension text NOT NULL,
	description text,
	settings jsonb NOT NULL,
	version int NOT NULL DEFAULT 1,
	owner text NOT NULL,
	defined_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	PRIMARY KEY (target, name)
);

CREATE TABLE etl.secret (
	name text PRIMARY KEY,
	sealed bytea,                   -- AES-256-GCM: version byte, nonce, tag, ciphertext
	file text,
	env text,
	allowed_hosts text[],
	description text,
	version int NOT NULL DEFAULT 1,
	owner text NOT NULL,
	defined_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp()
);

-- What a node reads: known from names (unresolved) or from the analyzed query.
CREATE TABLE etl.dependency (
	node text NOT NULL,
	depends_on text NOT NULL,
	PRIMARY KEY (node, depends_on)
);

CREATE TABLE etl.column_edge (
	target text NOT NULL,
	column_name text NOT NULL,
	source text NOT NULL,
	source_column text NOT NULL,
	transformation text NOT NULL,
	PRIMARY KEY (target, column_name, source, source_column, transformation)
);

-- ====================================================================
-- catalog: what happened
-- ====================================================================

CREATE SEQUENCE etl.run_id_seq;
CREATE SEQUENCE etl.task_id_seq;
CREATE SEQUENCE etl.load_id_seq;
CREATE SEQUENCE etl.reject_id_seq;
CREATE SEQUENCE etl.event_id_seq;

CREATE TABLE etl.run (
	run_id bigint PRIMARY KEY DEFAULT pg_catalog.nextval('etl.run_id_seq'),
	selector text NOT NULL,
	exclude text,
	full_refresh boolean NOT NULL DEFAULT false,
	params jsonb NOT NULL DEFAULT '{}',
	publish text NOT NULL DEFAULT 'each',
	retry_of bigint,
	trigger text NOT NULL DEFAULT 'manual',
	trigger_name text,
	status text NOT NULL,
	queued_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	started_at timestamptz,
	finished_at timestamptz,
	nodes_total int NOT NULL DEFAULT 0,
	nodes_succeeded int NOT NULL DEFAULT 0,
	nodes_failed int NOT NULL DEFAULT 0,
	nodes_skipped int NOT NULL DEFAULT 0,
	rows_written bigint NOT NULL DEFAULT 0,
	rows_rejected bigint NOT NULL DEFAULT 0,
	error text,
	requested_by text NOT NULL
);

CREATE TABLE etl.task (
	task_id bigint PRIMARY KEY DEFAULT pg_catalog.nextval('etl.task_id_seq'),
	run_id bigint NOT NULL,
	node text NOT NULL,
	kind text NOT NULL,
	action text,
	reason text,
	status text NOT NULL,
	attempt int NOT NULL DEFAULT 1,
	started_at timestamptz,
	finished_at timestamptz,
	rows_inserted bigint NOT NULL DEFAULT 0,
	rows_updated bigint NOT NULL DEFAULT 0,
	rows_deleted bigint NOT NULL DEFAULT 0,
	rows_rejected bigint NOT NULL DEFAULT 0,
	sqlstate text,
	error text,
	detail text,
	hint text,
	skipped_because text
);
CREATE INDEX task_run_idx ON etl.task (run_id);
CREATE INDEX task_node_idx ON etl.task (node, task_id DESC);

CREATE TABLE etl.load (
	load_id bigint PRIMARY KEY DEFAULT pg_catalog.nextval('etl.load_id_seq'),
	run_id bigint,
	target text NOT NULL,
	origin text NOT NULL,
	status text NOT NULL,           -- succeeded | superseded | unloaded
	rows_read bigint NOT NULL DEFAULT 0,
	rows_loaded bigint NOT NULL DEFAULT 0,
	rows_updated bigint NOT NULL DEFAULT 0,
	rows_unchanged bigint NOT NULL DEFAULT 0,
	rows_deduplicated bigint NOT NULL DEFAULT 0,
	rows_discarded bigint NOT NULL DEFAULT 0,
	rows_rejected bigint NOT NULL DEFAULT 0,
	rows_deleted bigint NOT NULL DEFAULT 0,
	bytes_read bigint NOT NULL DEFAULT 0,
	cursor jsonb,
	-- where an append stream's rows of this load lie, for TID range scans of a delta
	relfilenode bigint,
	first_block bigint,
	last_block bigint,
	started_at timestamptz NOT NULL,
	finished_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	CONSTRAINT accounting_closes CHECK (rows_read = rows_loaded + rows_updated + rows_unchanged
		+ rows_deduplicated + rows_discarded + rows_rejected)
);
CREATE INDEX load_target_idx ON etl.load (target, load_id);
CREATE INDEX load_run_idx ON etl.load (run_id);

-- Where a stream continues; changes only in the transaction of the rows it covers.
CREATE TABLE etl.cursor (
	target text PRIMARY KEY,
	cursor jsonb NOT NULL,
	load_id bigint,
	moved_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp()
);

-- The file ledger: the newest accepted state of each file of a stream.
CREATE TABLE etl.file (
	target text NOT NULL,
	uri text NOT NULL,
	size bigint NOT NULL,
	mtime timestamptz NOT NULL,
	hash text NOT NULL,
	load_id bigint NOT NULL,
	PRIMARY KEY (target, uri)
);

CREATE TABLE etl.reject (
	reject_id bigint PRIMARY KEY DEFAULT pg_catalog.nextval('etl.reject_id_seq'),
	target text NOT NULL,
	load_id bigint,
	run_id bigint,
	origin text,
	"position" bigint,
	record text,
	raw bytea,
	record_size bigint,
	reasons jsonb NOT NULL,
	status text NOT NULL DEFAULT 'open',   -- open | replayed | discarded | superseded
	rejected_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	closed_at timestamptz
);
CREATE INDEX reject_target_idx ON etl.reject (target, status);
CREATE INDEX reject_load_idx ON etl.reject (load_id);

-- What a stored model has consumed of each stream: a set of load ids, so that
-- a load that commits late is never missed.
CREATE TABLE etl.consumed (
	model text NOT NULL,
	stream text NOT NULL,
	loads int8multirange NOT NULL DEFAULT '{}',
	PRIMARY KEY (model, stream)
);

-- What the engine knows of a relation it manages.
CREATE TABLE etl.node_state (
	target text PRIMARY KEY,
	created boolean NOT NULL DEFAULT false,    -- etl created or adopted the relation
	built_version int,                         -- definition version of the last publication
	built_fingerprint text,                    -- hash of what the publication depended on
	publication bigint NOT NULL DEFAULT 0,     -- counts publications that changed rows
	inputs jsonb NOT NULL DEFAULT '{}',        -- publication of each model input when built
	rows_changed bigint NOT NULL DEFAULT 0,    -- since the last ANALYZE
	last_success_at timestamptz,
	last_run_id bigint
);

CREATE TABLE etl.check_result (
	run_id bigint,
	target text NOT NULL,
	check_name text NOT NULL,
	kind text NOT NULL,
	dimension text NOT NULL,
	on_fail text NOT NULL,
	status text NOT NULL,
	evaluated bigint,
	failed bigint,
	value numeric,
	threshold text,
	detail text,
	weight numeric NOT NULL DEFAULT 1,
	checked_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp()
);
CREATE INDEX check_result_idx ON etl.check_result (target, check_name, checked_at DESC);

CREATE TABLE etl.schema_change (
	event_id bigint PRIMARY KEY DEFAULT pg_catalog.nextval('etl.event_id_seq'),
	target text NOT NULL,
	load_id bigint,
	change text NOT NULL,           -- column_added | type_widened | column_missing | discarded | …
	column_name text,
	old_type text,
	new_type text,
	changed_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp()
);

CREATE TABLE etl.log (
	event_id bigint PRIMARY KEY DEFAULT pg_catalog.nextval('etl.event_id_seq'),
	logged_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	level text NOT NULL,
	run_id bigint,
	node text,
	message text NOT NULL,
	detail text
);

-- ====================================================================
-- common
-- ====================================================================

-- ====================================================================
-- secret
-- ====================================================================

CREATE FUNCTION etl.define_secret(name text, value text DEFAULT NULL, file text DEFAULT NULL, env text DEFAULT NULL,
	allowed_hosts text[] DEFAULT NULL, description text DEFAULT NULL)
RETURNS text LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'etl_sql_define_secret';
COMMENT ON FUNCTION etl.define_secret(text, text, text, text, text[], text) IS
'Defines a secret that options name as {"secret": "name"}.
name: the name. Exactly one of: value, the secret itself, stored sealed (AES-256-GCM, key in etl.secret_key_file); file, an absolute path that holds it, read at each use; env, a variable of the server''s environment.
allowed_hosts: hosts (host, host:port, *.suffix) that it may be sent to, default every allowed host. description: free text.
Returns created, updated or unchanged. Errors: ET001 for wrong arguments, ET015 when it cannot be sealed or would be logged, 42501 unless the caller is a member of etl_admin.
Example: SELECT etl.define_secret(''shop_token'', file => ''/run/secrets/shop_token'', allowed_hosts => ''{api.shop.example}'');';

CREATE FUNCTION etl.drop_secret(name text, "cascade" boolean DEFAULT false, drop_relation boolean DEFAULT false)
RETURNS boolean LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'etl_sql_drop_secret';
COMMENT ON FUNCTION etl.drop_secret(text, boolean, boolean) IS
'Forgets a secret.
name: the secret. cascade: also when definitions use it (they fail until it is defined again), default false. drop_relation: has no effect here.
Returns whether it was there. Errors: 2BP01 when definitions use it, 42501 unless the caller is a member of etl_admin.
Example: SELECT etl.drop_secret(''shop_token'');';

-- ====================================================================
-- connector
-- ====================================================================

CREATE FUNCTION etl.file_connector(internal) RETURNS internal
LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'etl_sql_file_connector';
COMMENT ON FUNCTION etl.file_connector(internal) IS
'Hands out the connector for files of the server; called by etl itself. Returns internal.';

INSERT INTO etl.connectors (name, handler, description) VALUES
	('file', 'etl.file_connector', 'files of the server, found by a pattern');

CREATE FUNCTION etl.define_source(name text, connector text, options jsonb DEFAULT '{}', description text DEFAULT NULL)
RETURNS text LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'etl_sql_define_source';
COMMENT ON FUNCTION etl.define_source(text, text, jsonb, text) IS
'Defines a source: where and how to connect.
name: the name that streams give. connector: one of etl.connectors. options: see etl.options(connector), default {}. description: free text.
Returns created, updated or unchanged. Errors: ET001 for a wrong option, ET002 for an unknown connector, 42501 when the source belongs to another role.
Example: SELECT etl.define_source(''shop_files'', ''file'', ''{"root": "/srv/shop"}'');';

CREATE FUNCTION etl.drop_source(name text, "cascade" boolean DEFAULT false, drop_relation boolean DEFAULT false)
RETURNS boolean LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'etl_sql_drop_source';
COMMENT ON FUNCTION etl.drop_source(text, boolean, boolean) IS
'Forgets a source.
name: the source. cascade: its streams too, default false. drop_relation: with cascade, the tables of the streams too, default false.
Returns whether it was there. Errors: 2BP01 when streams are fed from it, 42501 when it belongs to another role.
Example: SELECT etl.drop_source(''shop_files'', cascade => true);';

CREATE FUNCTION etl.options("of" text)
RETURNS TABLE (option text, type text, default_value text, description text)
LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'etl_sql_options';
COMMENT ON FUNCTION etl.options(text) IS
'Lists option keys with their types and defaults.
of: a connector (file, http), a format (csv, json), stream, model, or a kind of check (check:range).
Returns a row for each option. Errors: ET002 for a set that does not exist.
Example: SELECT * FROM etl.options(''file'');';

CREATE FUNCTION etl.redact(options jsonb) RETURNS jsonb
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'etl_sql_redact';
COMMENT ON FUNCTION etl.redact(jsonb) IS
'Hides passwords and tokens that stand in options in clear text; the views of definitions use it.
options: any options. Returns them with *** in place of what is sensitive by the name of its key.
Example: SELECT etl.redact(''{"auth": {"type": "bearer", "token": "abc"}}'');';

-- ====================================================================
-- decode
-- ====================================================================

-- ====================================================================
-- load
-- ====================================================================

-- ====================================================================
-- quality
-- ====================================================================

-- ====================================================================
-- model
-- ====================================================================

-- ====================================================================
-- run
-- ====================================================================

-- ====================================================================
-- views
-- ====================================================================

CREATE VIEW etl.sources AS
SELECT name, connector, etl.redact(options) AS options, description, version, owner, defined_at
FROM etl.source;
COMMENT ON VIEW etl.sources IS
'Sources as defined; passwords and tokens written in clear text in options are shown as ***.
Example: SELECT name, connector, options FROM etl.sources;';

CREATE VIEW etl.secrets AS
SELECT name, CASE WHEN sealed IS NOT NULL THEN 'value' WHEN file IS NOT NULL THEN 'file' ELSE 'env' END AS kind,
	file, env, allowed_hosts, description, version, owner, defined_at
FROM etl.secret;
COMMENT ON VIEW etl.secrets IS
'Secrets by name and kind (value, file, env), never their values.
Example: SELECT name, kind, allowed_hosts FROM etl.secrets;';

-- ====================================================================
-- roles and privileges
-- ====================================================================

-- ====================================================================
-- pg_dump: all state travels with the data
-- ====================================================================
DO $$
DECLARE
	relation text;
BEGIN
	FOREACH relation IN ARRAY ARRAY['source', 'stream', 'model', 'quality_check', 'secret', 'dependency',
		'column_edge', 'run', 'task', 'load', 'cursor', 'file', 'reject', 'consumed', 'node_state',
		'check_result', 'schema_change', 'log', 'run_id_seq', 'task_id_seq', 'load_id_seq',
		'reject_id_seq', 'event_id_seq']
	LOOP
		PERFORM pg_catalog.pg_extension_config_dump(('etl.' || relation)::pg_catalog.regclass, '');
	END LOOP;
END
$$;
