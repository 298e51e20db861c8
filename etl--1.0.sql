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
COMMENT ON TABLE etl.connectors IS
'Connectors: what an extension that brings one adds a row to. handler: qualified name of a function that returns internal.
Example: SELECT name, description FROM etl.connectors;';

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

CREATE TABLE etl.unit_test (
	target text NOT NULL,
	name text NOT NULL,
	given jsonb NOT NULL,
	expect jsonb NOT NULL,
	options jsonb NOT NULL,
	description text,
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

-- Every version of every definition, whole; null: it was dropped. Numbers of one
-- name only rise, also over a drop.
CREATE TABLE etl.definition_version (
	kind text NOT NULL,             -- source | stream | model | check | …
	name text NOT NULL,             -- the target, where it has one
	part text NOT NULL DEFAULT '',  -- of a target: the check, the unit test
	version int NOT NULL,
	change text NOT NULL,           -- created | updated | dropped | rolled back to 3 | …
	owner text NOT NULL,
	author text NOT NULL,           -- who defined it, a member of the owner
	defined_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	definition jsonb,
	PRIMARY KEY (kind, name, part, version)
);

-- What a script in git defines, between etl.begin_project and etl.end_project.
CREATE TABLE etl.project (
	name text PRIMARY KEY,
	deployment bigint NOT NULL DEFAULT 1,
	owner text NOT NULL,
	began_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	ended_at timestamptz
);
CREATE TABLE etl.project_item (
	kind text NOT NULL,
	name text NOT NULL,
	part text NOT NULL DEFAULT '',
	project text NOT NULL,
	deployment bigint NOT NULL,     -- the last one that defined it
	PRIMARY KEY (kind, name, part)
);

-- Environments: nodes beside production, under names of their own.
CREATE TABLE etl.environment (
	name text PRIMARY KEY,
	owner text NOT NULL,
	created_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp()
);
CREATE TABLE etl.environment_node (
	environment text NOT NULL,
	kind text NOT NULL,             -- stream | model | check
	target text NOT NULL,           -- production's name
	part text NOT NULL DEFAULT '',  -- of a check: its name
	node text NOT NULL,             -- the environment's name
	direct boolean NOT NULL,        -- defined in it; else copied, since it reads what was
	base_version int NOT NULL,      -- of production's definition then; 0: there was none
	definition jsonb NOT NULL,      -- as it was given, with production's names
	PRIMARY KEY (environment, kind, target, part)
);
CREATE INDEX environment_node_idx ON etl.environment_node (node);

SELECT pg_catalog.pg_extension_config_dump('etl.definition_version', '');
SELECT pg_catalog.pg_extension_config_dump('etl.project', '');
SELECT pg_catalog.pg_extension_config_dump('etl.project_item', '');
SELECT pg_catalog.pg_extension_config_dump('etl.environment', '');
SELECT pg_catalog.pg_extension_config_dump('etl.environment_node', '');

-- ====================================================================
-- catalog: what happened
-- ====================================================================

CREATE SEQUENCE etl.run_id_seq;
CREATE SEQUENCE etl.task_id_seq;
CREATE SEQUENCE etl.load_id_seq;
-- A session takes its ids 32 at a time: nextval took 1 to 3 % of a load with a
-- tenth rejected. Ids leave gaps, and follow the order of one session only.
CREATE SEQUENCE etl.reject_id_seq CACHE 32;
CREATE SEQUENCE etl.event_id_seq;
CREATE SEQUENCE etl.change_set_id_seq;

-- run, task, log, check_result, alert and outbox are partitioned by number; their
-- partitions, with indexes of their own, are made as they are needed, and dropped when they are old.
CREATE TABLE etl.run (
	run_id bigint NOT NULL DEFAULT pg_catalog.nextval('etl.run_id_seq'),
	selector text NOT NULL,
	exclude text,
	full_refresh boolean NOT NULL DEFAULT false,
	params jsonb NOT NULL DEFAULT '{}',
	publish text NOT NULL DEFAULT 'each',
	retry_of bigint,
	since timestamptz,
	until timestamptz,
	reprocess text,                 -- of the intervals between: missing | failed | all; null: all
	trigger text NOT NULL DEFAULT 'manual',
	trigger_name text,
	due_at timestamptz,             -- when its schedule wanted it
	lane text,                      -- runs of one lane go one after another
	held boolean NOT NULL DEFAULT false,    -- stays queued until somebody resumes it
	priority int NOT NULL DEFAULT 0,        -- greater ones start first
	timeout_ms bigint NOT NULL DEFAULT 0,   -- 0: none
	workers int,
	retry jsonb,
	status text NOT NULL,
	led_by text NOT NULL DEFAULT 'call',    -- call: a session; queue: whoever takes it, again after a crash
	led_at timestamptz,             -- when its leader began; after a crash, the last one
	crashes int NOT NULL DEFAULT 0, -- in a row, without any commit between
	stopped boolean NOT NULL DEFAULT false, -- its leader was told to end, which is no crash
	incomplete boolean NOT NULL DEFAULT false,      -- something was built on input that did not succeed
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
) PARTITION BY RANGE (run_id);

CREATE TABLE etl.task (
	task_id bigint NOT NULL DEFAULT pg_catalog.nextval('etl.task_id_seq'),
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
) PARTITION BY RANGE (task_id);

-- How many nodes that name the pool may be at work at once; without a row: one.
CREATE TABLE etl.pool (
	name text PRIMARY KEY,
	slots int NOT NULL CHECK (slots > 0),
	description text,
	version int NOT NULL DEFAULT 1,
	owner text NOT NULL,
	defined_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp()
);

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
	fields text[],                  -- header of a CSV file, which a replay of its records needs
	last_event_time timestamptz,    -- greatest event time that it landed
	parent_load_id bigint,          -- the load that this one landed with: its records are lists in the records there
	rows_late bigint NOT NULL DEFAULT 0,   -- of all read: events later than the contract's watermark allows
	started_at timestamptz NOT NULL,
	finished_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	CONSTRAINT accounting_closes CHECK (rows_read = rows_loaded + rows_updated + rows_unchanged
		+ rows_deduplicated + rows_discarded + rows_rejected)
);
CREATE INDEX load_target_idx ON etl.load (target, load_id);
CREATE INDEX load_run_idx ON etl.load (run_id);
CREATE INDEX load_parent_idx ON etl.load (parent_load_id) WHERE parent_load_id IS NOT NULL;

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
	unloaded boolean NOT NULL DEFAULT false,   -- etl.unload keeps it out until etl.reload
	vanished_at timestamptz,        -- since when a pull does not find it any more
	PRIMARY KEY (target, uri)
);

-- Which records an idempotency key of etl.ingest brought.
CREATE TABLE etl.ingestion (
	target text NOT NULL,
	idempotency_key text NOT NULL,
	hash text NOT NULL,             -- SHA-256 of the records
	load_id bigint NOT NULL,
	ingested_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	PRIMARY KEY (target, idempotency_key)
);

-- The dialect of a stream with dialect: auto, as long as the options that left it open are the same.
CREATE TABLE etl.stream_dialect (
	target text PRIMARY KEY,
	left_open jsonb NOT NULL,
	options jsonb NOT NULL,         -- the same with what was found
	found_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp()
);

-- One index only: a load may put hundreds of thousands of rejects here, and a
-- second one, of a primary key, would make it a tenth slower. The sequence keeps
-- reject_id unique, and all that etl looks up is open. The whole row identifies
-- it for logical replication, which refuses to publish updates otherwise.
CREATE TABLE etl.reject (
	reject_id bigint NOT NULL DEFAULT pg_catalog.nextval('etl.reject_id_seq'),
	target text NOT NULL,
	load_id bigint,
	run_id bigint,
	origin text,
	"position" bigint,
	raw bytea NOT NULL,                    -- the view shows it as text, too
	record_size bigint,
	reasons jsonb NOT NULL,
	status text NOT NULL DEFAULT 'open',   -- open | replayed | discarded | superseded
	rejected_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	closed_at timestamptz,
	of_row boolean                         -- raw is a row of the relation as JSON; null: a record of the source
);
CREATE INDEX reject_open_idx ON etl.reject (target, reject_id) WITH (deduplicate_items = off) WHERE status = 'open';
ALTER TABLE etl.reject REPLICA IDENTITY FULL;

-- What a stored model has consumed of each stream: a set of load ids, so that
-- a load that commits late is never missed.
CREATE TABLE etl.consumed (
	model text NOT NULL,
	stream text NOT NULL,
	loads int8multirange NOT NULL DEFAULT '{}',
	missing bigint NOT NULL DEFAULT 0,         -- rows of the stream that were gone at the last full build
	changes int8multirange,                    -- sets of etl.change_set it has; null: no changes were recorded for it
	PRIMARY KEY (model, stream)
);
CREATE INDEX consumed_stream_idx ON etl.consumed (stream);

-- The keys of a model whose rows retention removed in part: what it holds of
-- them stays, since it could only be computed from the remainder.
CREATE TABLE etl.frozen_key (
	model text NOT NULL,
	columns text[] NOT NULL,                   -- of the model's key, those that the removed rows tell
	digest uuid NOT NULL,                      -- of key: an index has a limit of size
	key jsonb NOT NULL,                        -- texts of the values of these columns
	PRIMARY KEY (model, columns, digest)
);

-- Which rows of a relation changed: a set for each statement, in its own
-- transaction, kept until every incremental model that reads the relation has it.
CREATE TABLE etl.change_set (
	set_id bigint PRIMARY KEY DEFAULT pg_catalog.nextval('etl.change_set_id_seq'),
	target text NOT NULL,
	unknown text,                              -- why it is not known which rows changed; null: they are in etl.change
	columns text[] NOT NULL,                   -- name and type of each column of the records
	rows bigint NOT NULL,
	load_id bigint                             -- of an append stream: these are the rows of that load, which are gone
);
CREATE INDEX change_set_target_idx ON etl.change_set (target, set_id);
CREATE TABLE etl.change (
	set_id bigint NOT NULL,
	n bigint NOT NULL,
	gone boolean NOT NULL,                     -- as it was before, or as it is since
	record text NOT NULL,
	PRIMARY KEY (set_id, n)
);

-- The interval ledger: which slices of its event time a model has built.
CREATE TABLE etl.model_interval (
	model text NOT NULL,
	since timestamptz NOT NULL,
	until timestamptz NOT NULL,
	status text NOT NULL,                      -- due | done | failed
	reason text,                               -- why it is due
	rows bigint,                               -- that its last build wrote; null: built with the whole
	run_id bigint,                             -- that built or tried it last
	attempts int NOT NULL DEFAULT 0,           -- failed ones in a row
	error text,
	sqlstate text,
	done_at timestamptz,
	PRIMARY KEY (model, since),
	CHECK (since < until)
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
	last_run_id bigint,
	rebuild text,                              -- why the next build must be a full one
	rows_held bigint NOT NULL DEFAULT 0,       -- of a stream: what its loads put in, less what they took out
	incomplete text,                           -- which input did not succeed when it was built
	sample text                                -- in an environment: what of its inputs it was built of; null: all
);

-- The rows of former publications of models with keep_versions, each in a table
-- beside its target, and what they were built of.
CREATE TABLE etl.kept (
	target text NOT NULL,
	publication bigint NOT NULL,
	version int NOT NULL,           -- of the definition
	relation text NOT NULL,
	state jsonb NOT NULL,           -- the row of etl.node_state then …
	consumed jsonb NOT NULL,        -- … and those of etl.consumed
	kept_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	PRIMARY KEY (target, publication)
);
SELECT pg_catalog.pg_extension_config_dump('etl.kept', '');

CREATE TABLE etl.check_result (
	event_id bigint NOT NULL DEFAULT pg_catalog.nextval('etl.event_id_seq'),
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
) PARTITION BY RANGE (event_id);

-- When history was last trimmed: at most one row.
CREATE TABLE etl.housekeeping (
	trimmed_at timestamptz NOT NULL
);

-- Periodic work: what was begun and never ended has taken its process with it.
CREATE TABLE etl.chore (
	name text PRIMARY KEY,
	begun_at timestamptz,           -- NULL: it ended
	crashes int NOT NULL DEFAULT 0, -- in a row
	parked_at timestamptz           -- not begun any more, until somebody resumes it
);

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
	event_id bigint NOT NULL DEFAULT pg_catalog.nextval('etl.event_id_seq'),
	logged_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	level text NOT NULL,
	run_id bigint,
	node text,
	message text NOT NULL,
	detail text
) PARTITION BY RANGE (event_id);

-- ====================================================================
-- catalog: when runs start by themselves
-- ====================================================================

-- Which database this state belongs to. The row is written by the first
-- definition of a schedule, or by etl.pause and etl.resume, never by CREATE
-- EXTENSION: a restored dump brings its own, and one that does not name this
-- very database keeps everything paused until etl.resume().
CREATE TABLE etl.instance (
	one boolean PRIMARY KEY DEFAULT true CHECK (one),
	system_identifier text NOT NULL,
	database_oid bigint NOT NULL,
	paused boolean NOT NULL DEFAULT false
);

CREATE TABLE etl.schedule (
	name text PRIMARY KEY,
	selector text NOT NULL,
	cron text,
	every interval,
	on_event jsonb,
	timezone text NOT NULL,
	overlap text NOT NULL,
	misfire text NOT NULL,
	params jsonb NOT NULL,
	options jsonb NOT NULL,
	paused_defined boolean NOT NULL,        -- what the definition says
	paused boolean NOT NULL,                -- what holds, since somebody paused or resumed it
	description text,
	settings jsonb NOT NULL,
	version int NOT NULL DEFAULT 1,
	owner text NOT NULL,
	defined_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	-- state
	anchor timestamptz,             -- what 'every' counts from
	next_due timestamptz,           -- the slot that comes next; null: none
	fire_at timestamptz,            -- when it is started: the slot and its jitter
	last_due timestamptz,           -- the newest slot that was started or skipped
	days_off date[],                -- of the calendar, as last read
	days_off_at timestamptz,
	problem text                    -- why it could not be evaluated; null: it could
);

-- What became of each moment a schedule was due. The key is what keeps two
-- processes from starting the same slot twice.
CREATE TABLE etl.schedule_slot (
	schedule text NOT NULL,
	due_at timestamptz NOT NULL,
	status text NOT NULL,           -- fired | skipped
	run_id bigint,
	reason text,
	decided_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	PRIMARY KEY (schedule, due_at)
);

-- The events that a schedule, or a stream with delivery: stream, waits for.
CREATE TABLE etl.schedule_event (
	schedule text NOT NULL,
	number int NOT NULL,            -- within on_event, from left to right
	kind text NOT NULL,             -- file | published | notify | sql
	argument text NOT NULL,
	every interval,                 -- how often an sql condition is evaluated
	timeout_ms bigint NOT NULL DEFAULT 0,   -- how long that may take; 0: no limit
	error text,                     -- why it could not be looked at
	seen text,                      -- what was there when it was last looked at
	happened_at timestamptz,        -- null: not since the last run
	check_at timestamptz,           -- when it has to be looked at
	PRIMARY KEY (schedule, number)
);

-- ====================================================================
-- catalog: deadlines and alerts
-- ====================================================================

CREATE SEQUENCE etl.alert_id_seq;
CREATE SEQUENCE etl.delivery_id_seq;
CREATE SEQUENCE etl.silence_id_seq;

CREATE TABLE etl.sla (
	name text PRIMARY KEY,
	selector text NOT NULL,
	freshness interval,
	finish_by time,
	start_by time,
	max_duration interval,
	timezone text NOT NULL,
	description text,
	version int NOT NULL DEFAULT 1,
	owner text NOT NULL,
	defined_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	-- state
	begins_at timestamptz NOT NULL,  -- deadlines before it do not count
	judged_until timestamptz NOT NULL,       -- those up to here are judged
	check_at timestamptz                     -- when to look next; null: at once
);

-- What became of each deadline of a node.
CREATE TABLE etl.sla_result (
	sla text NOT NULL,
	node text NOT NULL,
	measure text NOT NULL,          -- freshness | finish_by | start_by | max_duration
	due_at timestamptz NOT NULL,
	met boolean NOT NULL,
	done_at timestamptz,            -- when it was met, or made good after it was missed; null: still missed
	PRIMARY KEY (sla, node, measure, due_at)
);
CREATE INDEX sla_result_open_idx ON etl.sla_result (node) WHERE done_at IS NULL;
CREATE INDEX sla_result_due_idx ON etl.sla_result (due_at);

CREATE TABLE etl.channel (
	name text PRIMARY KEY,
	kind text NOT NULL,
	options jsonb NOT NULL,
	version int NOT NULL DEFAULT 1,
	owner text NOT NULL,
	defined_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	-- state
	delivered_at timestamptz,       -- the last time that something arrived
	failures int NOT NULL DEFAULT 0,        -- tries in a row that failed
	problem text                    -- what the last of them said
);

CREATE TABLE etl.alert_rule (
	name text PRIMARY KEY,
	events text[] NOT NULL,
	channels text[] NOT NULL,
	selector text NOT NULL,
	severity text NOT NULL,
	options jsonb NOT NULL,
	version int NOT NULL DEFAULT 1,
	owner text NOT NULL,
	defined_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	digest_at timestamptz,          -- when the next daily summary is due
	no_run_at timestamptz           -- when to look for nodes that nobody tries
);

-- What fired. A row is of one rule and one fingerprint; what happens again
-- while it is open counts in it.
CREATE TABLE etl.alert (
	alert_id bigint NOT NULL DEFAULT pg_catalog.nextval('etl.alert_id_seq'),
	fingerprint text NOT NULL,
	rule text NOT NULL,
	event text NOT NULL,
	object text NOT NULL,           -- a node, run, deadline, channel or process
	object_kind text NOT NULL,
	severity text NOT NULL,
	what text NOT NULL,
	error text,
	sqlstate text,
	cause text,
	remedy text,
	others int NOT NULL DEFAULT 0,  -- nodes that the same cause keeps from being done
	occurrences int NOT NULL DEFAULT 1,
	run_id bigint,
	since timestamptz NOT NULL,
	last_at timestamptz NOT NULL,
	acknowledged_at timestamptz,
	acknowledged_by text,
	note text,
	silence_id bigint,
	escalated_at timestamptz,
	resolved_at timestamptz
) PARTITION BY RANGE (alert_id);

-- One row for each fingerprint that is open or was lately: what keeps the
-- same thing from being told twice.
CREATE TABLE etl.alert_open (
	fingerprint text PRIMARY KEY,
	alert_id bigint NOT NULL,
	rule text NOT NULL,
	event text NOT NULL,
	run_id bigint,
	notified_at timestamptz,        -- null: nobody was told yet, because of a silence
	resolved_at timestamptz,
	escalate_at timestamptz,
	tell_at timestamptz             -- it came back within its cooldown: when to tell that it lasts
);
CREATE INDEX alert_open_run_idx ON etl.alert_open (run_id);
CREATE INDEX alert_open_alert_idx ON etl.alert_open (alert_id);

-- What could not be told at once, since somebody had an alert locked: in this order, later.
CREATE TABLE etl.alert_report (
	report_id bigint PRIMARY KEY DEFAULT pg_catalog.nextval('etl.event_id_seq'),
	kind text NOT NULL,             -- tasks | promises | run | worker | parked | channel
	body jsonb NOT NULL,
	happened_at timestamptz NOT NULL,
	try_at timestamptz NOT NULL
);

-- The nodes that an open alert waits for; without any left it is resolved.
CREATE TABLE etl.alert_node (
	node text NOT NULL,
	alert_id bigint NOT NULL,
	PRIMARY KEY (node, alert_id)
);
CREATE INDEX alert_node_alert_idx ON etl.alert_node (alert_id);

CREATE TABLE etl.silence (
	silence_id bigint PRIMARY KEY DEFAULT pg_catalog.nextval('etl.silence_id_seq'),
	object text NOT NULL,           -- pattern; * stands for anything
	event text,
	rule text,
	starts_at timestamptz NOT NULL,
	ends_at timestamptz NOT NULL,
	reason text,
	author text NOT NULL
);

-- What is to be delivered: written in the transaction of the fact.
CREATE TABLE etl.outbox (
	delivery_id bigint NOT NULL DEFAULT pg_catalog.nextval('etl.delivery_id_seq'),
	channel text NOT NULL,
	alert_id bigint NOT NULL,
	message text NOT NULL,          -- firing | again | escalated | acknowledged | resolved | digest
	idempotency_key text NOT NULL DEFAULT pg_catalog.gen_random_uuid()::text,
	body jsonb NOT NULL,
	status text NOT NULL DEFAULT 'waiting',  -- waiting | delivered | dead
	attempts int NOT NULL DEFAULT 0,
	next_try timestamptz NOT NULL,
	created_at timestamptz NOT NULL,
	ended_at timestamptz,
	error text,
	remedy text
) PARTITION BY RANGE (delivery_id);

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

CREATE FUNCTION etl.http_connector(internal) RETURNS internal
LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'etl_sql_http_connector';
COMMENT ON FUNCTION etl.http_connector(internal) IS
'Hands out the connector for HTTP servers; called by etl itself. Returns internal.';

CREATE FUNCTION etl.push_connector(internal) RETURNS internal
LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'etl_sql_push_connector';
COMMENT ON FUNCTION etl.push_connector(internal) IS
'Hands out the connector of streams that nothing is fetched for; called by etl itself. Returns internal.';

INSERT INTO etl.connectors (name, handler, description) VALUES
	('file', 'etl.file_connector', 'files of the server, found by a pattern'),
	('http', 'etl.http_connector', 'APIs over HTTP and HTTPS, page by page'),
	('push', 'etl.push_connector', 'nothing is fetched: records are pushed by etl.ingest');

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

CREATE FUNCTION etl.define_stream(target text, source text, options jsonb DEFAULT '{}', format text DEFAULT NULL,
	columns text DEFAULT NULL, key text[] DEFAULT NULL, mode text DEFAULT 'append', event_time text DEFAULT NULL,
	schema_policy text DEFAULT 'evolve', contract jsonb DEFAULT '{}', tags text[] DEFAULT '{}', description text DEFAULT NULL)
RETURNS text LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'etl_sql_define_stream';
COMMENT ON FUNCTION etl.define_stream(text, text, jsonb, text, text, text[], text, text, text, jsonb, text[], text) IS
'Defines a stream: a landing relation and the source that feeds it.
target: the relation, made by the first load when it is not there. source: a defined source. options: those of its connector, its format and etl.options(''stream''), default {}.
format: csv, json or ndjson, default by the ending of the path, json for http. columns: a column definition list as in CREATE TABLE; other columns are inferred, never guessed.
key: columns that identify a record, never null. mode: append (immutable history, default), merge (current state by key), replace (each load replaces all). event_time: column that tells which record of a key is newer.
schema_policy: evolve (default), freeze, discard_row, discard_value or quarantine, or an object of them with the keys tables, columns and data_type. A word is meant for columns and data_type. tables says what happens while the relation, or that of a child table, does not exist: evolve makes it, freeze fails the load, discard_row and discard_value discard the records, quarantine makes them rejects. contract: schema_version, delivery, watermark, privacy_level. tags: for selectors. description: free text.
Returns created, updated or unchanged. Errors: ET001 for a wrong option or combination, ET002 for an unknown source, 42501 when the stream belongs to another role.
Example: SELECT etl.define_stream(''raw.orders'', ''shop_files'', ''{"path": "orders/*.csv"}'', columns => ''id bigint, amount numeric(12,2)'', key => ''{id}'', mode => ''merge'');';

CREATE FUNCTION etl.drop_stream(name text, "cascade" boolean DEFAULT false, drop_relation boolean DEFAULT false)
RETURNS boolean LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'etl_sql_drop_stream';
COMMENT ON FUNCTION etl.drop_stream(text, boolean, boolean) IS
'Forgets a stream and its checks.
name: the stream. cascade: the models that read it too, default false. drop_relation: its table with ledger and cursor too, default false: a table that stays keeps them, so that the stream goes on when it is defined again.
Returns whether it was there. Errors: 2BP01 when models read it, 42501 when it belongs to another role.
Example: SELECT etl.drop_stream(''raw.orders'', cascade => true, drop_relation => true);';

CREATE FUNCTION etl.replay(target text, filter text DEFAULT NULL, patch jsonb DEFAULT NULL)
RETURNS TABLE (tried bigint, landed bigint, still_rejected bigint) ROWS 1 LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'etl_sql_replay';
COMMENT ON FUNCTION etl.replay(text, text, jsonb) IS
'Lands open rejects of a stream again, from their bytes.
target: the stream. filter: a condition over the columns of the view etl.rejects, evaluated as the caller, who must be allowed to see them there; default all that are open. patch: fields or columns and the values to put in their place, default none.
Returns how many were tried, landed and rejected again; a record older than the present one of its key is neither and becomes superseded. A record keeps the load and position it was first read with. Errors: ET001 for a patch that names neither a column nor a field, ET002 for an unknown stream, 42501 unless the caller owns it or is a member of etl_operator or etl_steward.
Example: SELECT * FROM etl.replay(''raw.orders'', $$reasons @> ''[{"column": "currency"}]''$$, ''{"currency": "EUR"}'');';

CREATE FUNCTION etl.discard(target text, filter text DEFAULT NULL)
RETURNS bigint LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'etl_sql_discard';
COMMENT ON FUNCTION etl.discard(text, text) IS
'Closes open rejects of a stream as not wanted.
target: the stream. filter: a condition over the columns of the view etl.rejects, evaluated as the caller, who must be allowed to see them there; default all that are open.
Returns how many were closed. Errors: ET002 for an unknown stream, 42501 unless the caller owns it or is a member of etl_operator or etl_steward.
Example: SELECT etl.discard(''raw.orders'', $$record LIKE ''#%''$$);';

CREATE FUNCTION etl.reload(target text, origin text DEFAULT NULL)
RETURNS void LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'etl_sql_reload';
COMMENT ON FUNCTION etl.reload(text, text) IS
'Makes the next run read a source again; the rows it brings replace those of the former loads, which stay until then.
target: the stream. origin: a file as in etl.loads, default everything. Returns nothing.
Errors: ET002 for an unknown stream or file, 42501 unless the caller owns the stream or is a member of etl_operator.
Example: SELECT etl.reload(''raw.orders'');';

CREATE FUNCTION etl.reset(target text, "cursor" jsonb DEFAULT NULL)
RETURNS void LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'etl_sql_reset';
COMMENT ON FUNCTION etl.reset(text, jsonb) IS
'Sets where a stream continues.
target: the stream. cursor: a position as in etl.loads, default the beginning; rows that are there stay, except those of files, which are replaced when their file is read again. Returns nothing.
Errors: ET002 for an unknown stream, 42501 unless the caller owns the stream or is a member of etl_operator.
Example: SELECT etl.reset(''raw.products'');';

CREATE FUNCTION etl.unload(load_id bigint)
RETURNS bigint LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'etl_sql_unload';
COMMENT ON FUNCTION etl.unload(bigint) IS
'Takes the rows of one load out of its stream again, and keeps its file out until etl.reload asks for it.
load_id: a load as in etl.loads whose status is succeeded. Its open rejects become superseded, and its status unloaded; models that consumed it are built anew by the next run.
Returns how many rows were taken out. Errors: ET002 for an unknown load; ET001 for one that is superseded or unloaded already, and for loads of merge streams, whose rows take the place of older ones that nobody keeps; 42501 unless the caller owns the stream or is a member of etl_operator.
Example: SELECT etl.unload(max(load_id)) FROM etl.loads WHERE target = ''raw.orders'';';

CREATE FUNCTION etl.erase(target text, keys jsonb, reason text, dry_run boolean DEFAULT false)
RETURNS TABLE (target text, place text, rows bigint) LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'etl_sql_erase';
COMMENT ON FUNCTION etl.erase(text, jsonb, text, boolean) IS
'Takes out for good what a stream holds of somebody, also where the option immutable refuses every DELETE: the rows, what landed with them in child tables, and the copies that etl keeps of them, which are rejects of the stream, of its child tables and of the models below (open or closed; a record that cannot be decoded counts when all values of a key stand in it as words), recorded changes, and the keys that models below keep of rows that retention removed (where a column of theirs shows a column of the key as it is).
target: the stream. keys: an object of columns and values, or a list of such objects; what has all values of one of them is erased. reason: is logged in etl.logs with who did it and how much it was, never the keys nor a digest of them, which could be guessed; should not name the person, but may have the number of the request. dry_run: only counts.
Returns a row for each target and place (rows, rejects, changes, frozen keys) where there was something. Erased rejects keep their number and lose record, reasons and values; an open one becomes discarded. Stored models that read the stream are built in full by the next run, or refuse it where retention took other rows before (option force_full). Not touched: snapshots, former versions (keep_versions), partitions that retention archived, and what a source delivers again.
Errors: ET002 for an unknown stream; ET001 for keys that name no column, and for child tables, which follow their stream; 42501 unless the caller owns the stream or is a member of etl_steward.
Example: SELECT * FROM etl.erase(''raw.orders'', ''{"user_id": 42}'', ''request 2026-117'');';

CREATE FUNCTION etl.ingest(target text, records jsonb, idempotency_key text DEFAULT NULL)
RETURNS bigint LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'etl_sql_ingest';
COMMENT ON FUNCTION etl.ingest(text, jsonb, text) IS
'Lands pushed records as one load of a stream, in the transaction of the caller.
target: a defined stream; one that is only pushed to has a source of the connector push. records: an array of objects, or one object; they take the path of all records: types, keys, mode, schema policy, checks, rejects.
idempotency_key: names this push; the same key with the same records lands nothing and returns the first load, with other records it is an error. Default NULL: every call lands.
Returns the load_id, also when there were no records; a NOTICE tells how many were rejected. Errors: ET001 for records that are neither array nor object and for a key used for other records; ET002 for an unknown stream; ET009, ET011 when the load fails whole; 42501 unless the caller owns the stream or is a member of etl_operator.
Example: SELECT etl.ingest(''raw.events'', ''[{"id": 1, "kind": "click"}]'', ''batch-2024-05-01-7'');';

CREATE FUNCTION etl.preview(source text, options jsonb DEFAULT '{}', format text DEFAULT NULL, max_rows int DEFAULT 20)
RETURNS SETOF jsonb LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'etl_sql_preview';
COMMENT ON FUNCTION etl.preview(text, jsonb, text, int) IS
'Returns the first records of a source as they would be decoded; nothing is landed and no position moves.
source: a defined source. options: those of a stream of it, default {}. format: csv, json or ndjson, default by the ending of the path, json for http. max_rows: from 1 to 10000, default 20.
Returns an object for each record, by the names of its fields; a record that would be a reject is {"_etl_reject": {"check", "column", "message", "position", "record"}}. Everything is read with the rights of the caller, and within 30 s.
Errors: ET001 for a wrong option, ET002 for an unknown source, ET004 and 42501 for what the caller may not read, ET005 to ET007 for a source that does not answer or answers nonsense.
Example: SELECT * FROM etl.preview(''shop_files'', ''{"path": "orders/*.csv"}'');';

CREATE FUNCTION etl.show(query text, max_rows int DEFAULT 20)
RETURNS SETOF jsonb LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'etl_sql_show';
COMMENT ON FUNCTION etl.show(text, int) IS
'Returns the first rows of a query as objects, read only and with the rights of the caller.
query: one query. max_rows: from 1 to 10000, default 20.
Errors: ET001 for a wrong max_rows; those of the query, also of one that would change something.
Example: SELECT * FROM etl.show(''SELECT * FROM mart.daily_sales ORDER BY day DESC'', 5);';

CREATE FUNCTION etl.test_source(source text, options jsonb DEFAULT '{}')
RETURNS TABLE (step text, ok boolean, detail text, remedy text) LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'etl_sql_test_source';
COMMENT ON FUNCTION etl.test_source(text, jsonb) IS
'Tries a source step by step and says what does not work and what to do; nothing is landed.
source: a defined source. options: those of a stream of it, default {}: then the root of a file source is tried, or the url of an http source.
Returns a row for each step, the last one that was reached last: source (is it defined), options (do they make sense), connect (is something there), read (up to 1000 records of it). With the rights of the caller, and within 30 s.
Errors: none but a cancel; what fails is a row with ok = false.
Example: SELECT * FROM etl.test_source(''shop_api'', ''{"path": "/orders"}'');';

CREATE FUNCTION etl.infer(source text, options jsonb DEFAULT '{}', format text DEFAULT NULL)
RETURNS TABLE (column_name text, data_type text, field text, records bigint, nulls bigint, decided_by text) LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'etl_sql_infer';
COMMENT ON FUNCTION etl.infer(text, jsonb, text) IS
'Reads every record of a source and tells the columns that a stream of it would have, before anything is made.
source: a defined source. options: those of the stream, default {}. format: as of define_stream, default NULL: as the path tells.
Returns a row for each field, in the order met: the column''s name and the narrowest type that holds every value (or the type that the option transform gives it), the field''s own name, how many records there are and how many of them have no value for it, and the value that made the type no narrower, with its place. Rejects are among the records. With the rights of the caller; a network must answer within 30 s.
Errors: ET001 for options that define_stream would refuse, ET002 for an unknown source, ET004 and 42501 for what the caller may not read, ET007 for a broken document.
Example: SELECT column_name, data_type, nulls, decided_by FROM etl.infer(''shop_files'', ''{"path": "orders_*.csv"}'');';

CREATE FUNCTION etl.json_schema(target text)
RETURNS jsonb LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'etl_sql_json_schema';
COMMENT ON FUNCTION etl.json_schema(text) IS
'Exports what a node promises of its records as a JSON Schema (draft 2020-12): the contract''s json_schema of a stream, else its relation (members named as the producer names them, NOT NULL columns required), else its declared columns.
target: a stream, model or other relation that the caller may read.
Errors: ET002 when there is neither a relation nor a list of columns; 42501 without SELECT on it.
Example: SELECT jsonb_pretty(etl.json_schema(''raw.orders''));';

CREATE FUNCTION etl.validate_json(schema jsonb, document jsonb)
RETURNS TABLE (path text, keyword text, message text) LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'etl_sql_validate_json';
COMMENT ON FUNCTION etl.validate_json(jsonb, jsonb) IS
'Validates a document against a JSON Schema, as the contract of a stream does with records.
schema: draft 2020-12: type, enum, const, properties, required, additionalProperties, patternProperties, propertyNames, min/maxProperties, dependentRequired, items, prefixItems, contains, min/maxItems, uniqueItems, minimum, maximum, exclusiveMinimum, exclusiveMaximum, multipleOf, min/maxLength, pattern, format (date, date-time, time, uuid, email, ipv4, uri and hostname are asserted), allOf, anyOf, oneOf, not, if/then/else, $ref within the schema. document: any JSON; NULL of either: no rows.
Returns a row for each fault, at most 1000: where ($.items[0].sku), the keyword that is broken, and how. No rows: it is valid.
Errors: ET001 for a schema that is none, or has a keyword that is not understood.
Example: SELECT * FROM etl.validate_json(etl.json_schema(''raw.orders''), ''{"id": "x"}'');';

CREATE FUNCTION etl.compare_json_schemas(old jsonb, new jsonb)
RETURNS TABLE (verdict text, breaks_backward text[], breaks_forward text[]) LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'etl_sql_compare_json_schemas';
COMMENT ON FUNCTION etl.compare_json_schemas(jsonb, jsonb) IS
'Tells whether two versions of a JSON Schema go together.
old, new: the schemas; NULL of either: no rows.
Returns the verdict: backward (who reads by the new schema can read old documents), forward (who reads by the old one can read new documents), full (both) or none; and what breaks either. Compared keyword by keyword on the safe side; a member that a schema does not name is taken for one that its documents do not have.
Errors: ET001 for a schema that is none.
Example: SELECT verdict FROM etl.compare_json_schemas(''{"required": ["id"]}'', ''{"required": ["id", "day"]}'');';

CREATE FUNCTION etl.expire(selector text DEFAULT '*', dry_run boolean DEFAULT false)
RETURNS TABLE (target text, load_id bigint, origin text, loaded_at timestamptz, rows bigint, action text, reason text) LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'etl_sql_expire';
COMMENT ON FUNCTION etl.expire(text, boolean) IS
'Lets go of the loads that a stream''s option retention does not keep. Once an hour the scheduler, or etl.tick(), does it by itself.
selector: of which streams, as for etl.run, default all. dry_run: only says what would go, default false.
Returns a row for each load beyond the retention, the oldest first: action is delete (its rows), drop or archive (the partition that it lies in; only when all of its loads are beyond), or keep, with the reason: a model would have to be computed from the remainder, or has not consumed it yet, or the partition holds younger loads that are kept. What goes gets the status expired in etl.loads; it is no deletion for models, and its files stay known. An incremental model with a key keeps what it holds of the keys that the rows had: these are frozen, and rows that come later for them become rejects of the model, check beyond_horizon; where the keys depend on more than the rows themselves, the loads stay.
Errors: 42501 for a stream of another role.
Example: SELECT target, count(*), sum(rows), action, reason FROM etl.expire(dry_run => true) GROUP BY 1, 4, 5;';

CREATE FUNCTION etl._immutable() RETURNS trigger
	AS 'MODULE_PATHNAME', 'etl_sql_immutable' LANGUAGE C;
COMMENT ON FUNCTION etl._immutable() IS
'Refuses statements that change the rows of a stream with option immutable, but those of etl itself. The engine puts the trigger etl_immutable on the relation and its partitions.
Returns nothing. Errors: 55000 for such a statement; 39P01 when it is not called as such a trigger.
Example: SELECT tgrelid::regclass FROM pg_trigger WHERE tgfoid = ''etl._immutable''::regproc;';

CREATE FUNCTION etl.discover(source text)
RETURNS TABLE (stream text, format text, options jsonb, columns text, row_key text[], detail text) LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'etl_sql_discover';
COMMENT ON FUNCTION etl.discover(text) IS
'Looks through a source and proposes streams, ready for define_stream.
source: a defined source. Of a file source every file below the root is listed; those of one folder whose names differ only in numbers make one stream. Of an http source its url is asked once.
Returns for each stream a name, format, options, the columns that a sample of 1000 records shows, a column that could be the key (id, or …_id, that is never null and never twice in the sample), and what was found. With the rights of the caller, and within 30 s for each.
Errors: ET001 for a file source without a root, ET002 for an unknown source, ET004 and 42501 for what the caller may not read.
Example: SELECT etl.define_stream(stream, ''shop_files'', options, format, columns, row_key) FROM etl.discover(''shop_files'');';


-- ====================================================================
-- quality
-- ====================================================================

CREATE FUNCTION etl.define_check(target text, kind text, columns text[] DEFAULT '{}', options jsonb DEFAULT '{}',
	on_fail text DEFAULT 'fail', dimension text DEFAULT NULL, name text DEFAULT NULL, description text DEFAULT NULL)
RETURNS text LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'etl_sql_define_check';
COMMENT ON FUNCTION etl.define_check(text, text, text[], jsonb, text, text, text, text) IS
'Defines a quality rule on a relation, which may come to exist later. Every run of the node evaluates it before anything is published.
target: the relation. kind: not_null, unique, accepted_values, range, regex, relationship, expression, row_count or freshness. columns: what it looks at; none for row_count, optional for expression and freshness (default: the node''s event_time). options: SELECT * FROM etl.options(''check:range''), and so on. on_fail: fail (default) rolls the node back, quarantine moves the failing rows to etl.rejects, warn records. dimension: completeness, uniqueness, validity, accuracy, consistency or timeliness; default by kind. name: default <kind>_<columns joined by _>. description: for people.
A quarantining unique check on a stream compares with the whole relation and moves rows of the load (or replay) at hand only: a row that was there before stays, whatever order_by says; among new rows of one key the first by order_by, then by (_etl_load_id, _etl_row) stays. On a model the first by order_by, then by the model''s key or, without one, by its event time and the smallest values stays; what an incremental model put aside comes in when the row that it lost to changes or goes.
NULL passes every kind but not_null. Returns created, updated or unchanged.
Errors: ET001 for unknown or unfit kinds, options, columns, and for quarantine where no row can be moved; 42501 unless one is a member of the owner of the node.
Example: SELECT etl.define_check(''clean.orders'', ''range'', ''{amount}'', ''{"min": 0, "max_failed": "1%"}'', on_fail => ''quarantine'');';

CREATE FUNCTION etl.drop_check(target text, name text)
RETURNS boolean LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'etl_sql_drop_check';
COMMENT ON FUNCTION etl.drop_check(text, text) IS
'Drops a check; its results stay in etl.check_results, but no longer count in the score.
target: the relation. name: the check. Returns true when it was there. Errors: 42501 unless one is a member of the owner of the node (on other relations: of the check).
Example: SELECT etl.drop_check(''clean.orders'', ''range_amount'');';

CREATE FUNCTION etl.check(selector text DEFAULT '*')
RETURNS TABLE (target text, check_name text, kind text, dimension text, status text, evaluated bigint, failed bigint, value numeric, detail text)
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'etl_sql_check';
COMMENT ON FUNCTION etl.check(text) IS
'Evaluates the checks of relations as they stand, all row checks of one in a single scan of it, with the rights of their owner; stores the results with a null run_id. Changes no row.
selector: names, in which * stands for anything, separated by spaces, or a selector of nodes as in etl.run (tag:x, +clean.orders …); default all that one may see.
Returns a row per check. status: pass, warn, fail, error (could not be evaluated) or skipped (the relation does not exist). evaluated, failed: rows; 1 and 0 or 1 for row_count and freshness. value: the share of failed rows; the count of row_count; the age of freshness in seconds. detail: what is wrong.
Errors: ET002 for a name that has no checks.
Example: SELECT target, check_name, status, detail FROM etl.check(''clean.*'') WHERE status <> ''pass'';';

CREATE FUNCTION etl.validate(target text, max_rows int DEFAULT 1000)
RETURNS TABLE (check_name text, column_name text, row_key jsonb, value text, reason text)
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'etl_sql_validate';
COMMENT ON FUNCTION etl.validate(text, int) IS
'Shows the rows of a relation that fail its checks, as it stands; stores nothing.
target: a relation with checks. max_rows: most rows returned in all, default 1000.
Returns a row per failing check and column. column_name: the column, several joined by commas, null for none. row_key: the columns that identify the row: the node''s key, else the primary key, else _etl_load_id and _etl_row, else the whole row; null where the relation as a whole fails. value: what is there. reason: what is wrong with it.
Errors: ET002 when the relation has no checks; 42501 for others than its owner and members of etl_steward; 42P01 when it does not exist.
Example: SELECT reason, count(*) FROM etl.validate(''clean.orders'') GROUP BY reason;';

CREATE FUNCTION etl.quality_score(target text)
RETURNS TABLE (dimension text, score numeric, checks int, failed int, coverage numeric)
LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'etl_sql_quality_score';
COMMENT ON FUNCTION etl.quality_score(text) IS
'Scores a relation from 0 to 100 by the newest result of each of its checks: a row per dimension and one named overall.
p of a check = 1 - failed / evaluated for row kinds (not_null, accepted_values, range, regex, relationship, expression), 1 or 0 for the others, 0 for an error; its weight is 1, 3 or 5 for warn, quarantine, fail unless the option weight says otherwise. score of a dimension = 100 * sum(weight * p) / sum(weight); overall = the mean of the dimensions that have one, at most 79 while any check has status fail or error; rounded to 2 decimals, null where nothing was checked. A result that judged no row leaves the previous one standing.
target: a relation. checks: how many counted. failed: how many of them have status fail or error. coverage: share of the relation''s columns that a check names (from 0 to 1, without the columns _etl_*).
Errors: ET002 when it has no checks; 42501 unless one may SELECT the relation.
Example: SELECT score, coverage FROM etl.quality_score(''clean.orders'') WHERE dimension = ''overall'';';

CREATE FUNCTION etl.dedupe(relation anyelement, key text[], order_by text DEFAULT NULL)
RETURNS SETOF anyelement LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'etl_sql_dedupe';
COMMENT ON FUNCTION etl.dedupe(anyelement, text[], text) IS
'Returns one row of a relation per key, read with the caller''s rights; usable in models.
relation: NULL of the relation''s row type. key: columns that identify a row; NULLs count as equal. order_by: as after ORDER BY, the first row stays; default and on ties the first that was landed (_etl_load_id, _etl_row), then the one with the smallest values, so that the same rows always give the same result.
Errors: ET001 for a relation argument that is not of a row type, an empty key or a wrong order_by; 42703 for a column that does not exist; 42501 without SELECT on the relation.
Example: SELECT * FROM etl.dedupe(NULL::raw.users, ''{user_id}'', ''updated_at DESC'');';

CREATE FUNCTION etl.duplicates(target text, key text[])
RETURNS TABLE (row_key jsonb, copies bigint)
LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'etl_sql_duplicates';
COMMENT ON FUNCTION etl.duplicates(text, text[]) IS
'Lists the keys that a relation has more than once, most copies first, read with the caller''s rights.
target: the relation. key: columns that identify a row; NULLs count as equal.
Returns row_key, an object of the key columns, and copies, how many rows have it.
Errors: ET001 for an empty key; 42P01, 42703 for what does not exist; 42501 without SELECT on the relation.
Example: SELECT * FROM etl.duplicates(''raw.users'', ''{user_id}'');';

-- ====================================================================
-- model
-- ====================================================================

CREATE FUNCTION etl.define_model(target text, query text, materialized text DEFAULT 'view', key text[] DEFAULT NULL,
	strategy text DEFAULT NULL, event_time text DEFAULT NULL, batch_size interval DEFAULT NULL,
	lookback interval DEFAULT NULL, options jsonb DEFAULT '{}', tags text[] DEFAULT '{}', description text DEFAULT NULL)
RETURNS text LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'etl_sql_define_model';
COMMENT ON FUNCTION etl.define_model(text, text, text, text[], text, text, interval, interval, jsonb, text[], text) IS
'Defines a relation by one SELECT; etl.run builds it after what it reads, which may be defined or loaded later.
target: its name. query: the SELECT, in full; etl derives dependencies, lineage and increments from it. materialized: view (default), table, incremental, snapshot (the versions of its rows, with valid_from, valid_to and is_current), materialized_view or seed (a table of the rows that its query, VALUES, tells). key: columns that identify a row (a unique index in which NULLs are equal is kept on them). strategy: append, merge, delete_insert or partition_replace (with option partition_by: the partitions that a change touches are built beside and exchanged), of a snapshot timestamp or check; default: etl chooses. event_time: its time column, default none; of a snapshot, since when a row holds. batch_size: build by intervals of the event time of this length (days, months or time alone), each in a transaction of its own, with a ledger of those that are done (etl.intervals); default: follow what changed. lookback: how far before now intervals are built again by every run that has something to do; of inputs whose changes etl does not see, late rows beyond it are not looked for. options: SELECT * FROM etl.options(''model''). tags: words for selectors. description: also the comment of the relation.
Returns created, updated or unchanged. A full build, asked for or automatic, is refused (ET020) when rows that the model was built of are gone from its append streams, for example because somebody deleted them; option force_full builds it of what is left.
Errors: ET001 for what is no single SELECT, for unknown or unfit options; ET003 for a circle, naming it; 42501 for another owner''s model; the analyzer''s own errors once every input exists.
Example: SELECT etl.define_model(''mart.daily_sales'', ''SELECT day, sum(amount) AS amount FROM clean.orders GROUP BY day'', materialized => ''table'');';

CREATE FUNCTION etl._definition(kind text, definition jsonb) RETURNS text
LANGUAGE c STABLE STRICT AS 'MODULE_PATHNAME', 'etl_sql_definition';
COMMENT ON FUNCTION etl._definition(text, jsonb) IS
'A stored version as the SQL that defines it; for the view etl.definition_versions.';

CREATE FUNCTION etl.drop_model(name text, "cascade" boolean DEFAULT false, drop_relation boolean DEFAULT false)
RETURNS boolean LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'etl_sql_drop_model';
COMMENT ON FUNCTION etl.drop_model(text, boolean, boolean) IS
'Drops the definition of a model, with its checks.
name: the model. cascade: also the models that read it, default false. drop_relation: also the relation, when etl made it, default false.
Returns true when it was there. Errors: 2BP01 when other models read it; 42501 for another owner''s model.
Example: SELECT etl.drop_model(''mart.daily_sales'', drop_relation => true);';

CREATE FUNCTION etl.compile(target text) RETURNS text
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'etl_sql_compile';
COMMENT ON FUNCTION etl.compile(text) IS
'Shows the SQL that the next run would execute for a model: the full query, or the query restricted to what arrived (etl_affected are the keys that it touches).
target: the model. Returns SQL that means the same under any search_path. Errors: ET002 when it is not defined; 42501 for another owner''s model.
Example: SELECT etl.compile(''mart.daily_sales'');';

CREATE FUNCTION etl.define_unit_test(target text, name text, given jsonb, expect jsonb, options jsonb DEFAULT '{}', description text DEFAULT NULL)
RETURNS text LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'etl_sql_define_unit_test';
COMMENT ON FUNCTION etl.define_unit_test(text, text, jsonb, jsonb, jsonb, text) IS
'Defines a test of a model''s query: rows that stand in the place of what it reads, and what must come of them. etl.test runs it; nothing real is read.
target: the model, which may come to exist later. name: of the test. given: an object of names of relations and the list of rows of each, such as {"raw.orders": [{"id": 1}]}; a view that is not named is looked through to what it reads, any other relation that is not named is empty, columns that are not named are null. A list of such objects is one for each run of the model, in their order; a relation that a later one does not name keeps its rows. A list of {"input": name, "rows": rows} is taken as one object.
expect: a list of rows that the query yields over the last given rows, in any order; or an object of query (or rows), such a list; table, a list of rows that the model''s table holds after its runs, which really happen and are rolled back; error, the SQLSTATE or a part of the message of the error that must come. Only columns that a row of the list names are compared; one that is missing in another row is null there.
options: SELECT * FROM etl.options(''unit_test''): now, params, key. description: for people. Returns created, updated or unchanged.
Errors: ET001 for a name that the model does not read, and for what is no list of rows; 42501 unless one is a member of the owner of the model.
Example: SELECT etl.define_unit_test(''mart.daily'', ''refunds count'', ''{"raw.orders": [{"day": "2026-01-01", "amount": 5}, {"day": "2026-01-01", "amount": -2}]}'', ''[{"day": "2026-01-01", "total": 3}]'');';

CREATE FUNCTION etl.drop_unit_test(target text, name text)
RETURNS boolean LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'etl_sql_drop_unit_test';
COMMENT ON FUNCTION etl.drop_unit_test(text, text) IS
'Drops a unit test; those of a model go with it.
target: the model. name: of the test. Returns true when it was there. Errors: 42501 unless one is a member of the owner of the model.
Example: SELECT etl.drop_unit_test(''mart.daily'', ''refunds count'');';

CREATE FUNCTION etl.test(selector text DEFAULT '*')
RETURNS TABLE (target text, test_name text, status text, diff jsonb)
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'etl_sql_test';
COMMENT ON FUNCTION etl.test(text) IS
'Runs the unit tests of models, with the rights and settings of the models'' owners, over the rows that the tests give. Reads no real relation and leaves nothing behind: a test that needs tables makes them in a subtransaction that is rolled back.
selector: which models, as in etl.run; default all whose tests one may run. In an environment its models are tested, by the tests of production where they have none of that name.
Returns a row per test. status: pass, fail (something else came than expected) or error (it could not be run). diff: null when it passes, else a list of {"in": query or table, "row": changed, missing or unexpected, "key": {…}, "columns": {name: {"expected": …, "actual": …}}}, sorted by key, only the columns that differ; at most 100 rows, then {"more": how many}. The key is that of option key, of the model, or the first columns that tell rows apart. For errors {"in": "error", "expected": …, "actual": {"sqlstate": …, "message": …}}.
Errors: ET001 and ET002 as etl.run for a wrong selector.
With pgTAP: SELECT ok(status = ''pass'', concat_ws('': '', target, test_name)) || coalesce(E''\n'' || diag(jsonb_pretty(diff)), '''') FROM etl.test().
Example: SELECT target, test_name, diff FROM etl.test(''*'') WHERE status <> ''pass'';';

CREATE FUNCTION etl.draw(selector text DEFAULT '*', format text DEFAULT 'mermaid')
RETURNS text LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'etl_sql_draw';
COMMENT ON FUNCTION etl.draw(text, text) IS
'Draws what feeds what: streams, models and the relations that they read, as text for a tool that makes a picture of it.
selector: which nodes, as in etl.run; relations that they read and etl does not feed, and the edges between all these, are drawn too. format: mermaid (default) or dot (Graphviz).
Returns the drawing. Nodes whose relation one may not read are left out. Errors: ET001 for another format and a wrong selector; ET002 for a name that there is not.
Example: SELECT etl.draw(''+mart.daily_sales'', ''dot'');';

CREATE FUNCTION etl.as_of(relation anyelement, at timestamptz DEFAULT now())
RETURNS SETOF anyelement LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'etl_sql_as_of';
COMMENT ON FUNCTION etl.as_of(anyelement, timestamptz) IS
'Returns the rows of a snapshot that were valid at a moment: valid_from <= at, and valid_to is null or later. The rows that say that a key was deleted (hard_deletes new_record) are left out.
relation: a null of the snapshot''s row type, which says what is read. at: the moment, default now. Reads with the caller''s rights.
Returns rows of that type, at most one per key. Errors: ET001 for a relation without versions; 22004 for a null moment.
Example: SELECT * FROM etl.as_of(NULL::mart.customers_history, ''2026-01-31 12:00+00'');';

CREATE FUNCTION etl.as_of(target text, at timestamptz DEFAULT now())
RETURNS SETOF jsonb LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'etl_sql_as_of_name';
COMMENT ON FUNCTION etl.as_of(text, timestamptz) IS
'Returns the rows of a snapshot that were valid at a moment, as JSON; by row type, etl.as_of returns its columns.
target: the snapshot. at: the moment, default now. Reads with the caller''s rights.
Returns an object per row, at most one per key. Errors: 42P01 when there is no such relation; ET001 for a relation without versions; 22004 for a null moment.
Example: SELECT row ->> ''city'' FROM etl.as_of(''mart.customers_history'', ''2026-01-31'') AS row;';

CREATE FUNCTION etl.reset_intervals(target text, since timestamptz, until timestamptz) RETURNS void
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'etl_sql_reset_intervals';
COMMENT ON FUNCTION etl.reset_intervals(text, timestamptz, timestamptz) IS
'Makes intervals of a model due again: the next run builds them anew, and until then readers see what they hold.
target: an incremental model with event_time and batch_size. since, until: half-open; every interval that has a part of it. NULL: no bound.
Returns nothing. Errors: ET002 when it is not defined; ET001 for a model without an interval ledger, or since not before until; 42501 for another owner''s model without etl_operator.
Example: SELECT etl.reset_intervals(''mart.hourly_sales'', ''2026-01-01'', ''2026-01-03'');';

CREATE FUNCTION etl.impact(target text, query text DEFAULT NULL)
	RETURNS TABLE (change_class text, column_name text, change text, depth int, node text, node_column text, effect text)
	AS 'MODULE_PATHNAME', 'etl_sql_impact' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION etl.impact(text, text) IS
'Tells what a change of a model means, and to whom; nothing is changed and no row is read.
target: the model. query: compared with its present definition; default: the present definition is compared with the one that is served.
Returns a row for each change: change_class of the whole (none: comments, layout, description, tags; additive: only new columns; breaking), column_name, and change: added, removed, retyped, redefined (another expression); without a column rows (what is read, filtered or grouped differs, so every value may), order or options. After a change a row for each column downstream that is made of it: depth in steps, node, node_column, and effect: breaks, may break or change its type, its values may change.
A change of class none is not built: the model is served on as it is. Errors: ET002 for an unknown model; ET018 for one that was never built, without query; the analyzer''s own; 42501 unless one is a member of its owner.
Example: SELECT * FROM etl.impact(''mart.daily_sales'', ''SELECT day, sum(amount) AS amount, count(*) AS orders FROM clean.orders GROUP BY day'');';

CREATE FUNCTION etl.watch(relation text) RETURNS text
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'etl_sql_watch';
COMMENT ON FUNCTION etl.watch(text) IS
'Records from now on which rows of a table change, whoever writes, so that stored models on it are built when it changed, and incremental ones for what changed. Without it such models are rebuilt by every run. Triggers of statements do it: what is written with session_replication_role = replica, or by the apply of logical replication, or while the triggers are disabled, is not seen.
relation: a table that etl does not feed; no view, foreign or temporary table, and none that inherits or is inherited from. Of a partitioned table all partitions are watched; when one was attached, detached or dropped, its models are built in full once. Waits for writers at work.
Returns created, or unchanged when it is watched already. Errors: 42P01 when it is not there; 42501 unless the caller owns it; ET001 for what etl feeds or triggers cannot watch.
Example: SELECT etl.watch(''public.countries'');';

CREATE FUNCTION etl.unwatch(relation text) RETURNS boolean
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'etl_sql_unwatch';
COMMENT ON FUNCTION etl.unwatch(text) IS
'Takes back etl.watch: models on the table are rebuilt by every run again. Dropping the table does, too.
relation: the table. Returns true when it was watched. Errors: 42P01 when it is not there; 42501 unless the caller owns it; ET001 for what etl feeds.
Example: SELECT etl.unwatch(''public.customers'');';

CREATE FUNCTION etl._changed() RETURNS trigger
	AS 'MODULE_PATHNAME', 'etl_sql_changed' LANGUAGE C;
COMMENT ON FUNCTION etl._changed() IS
'Records which rows of a relation a statement changed, for the incremental models that read it. The engine puts the triggers etl_changed_insert, _update, _delete and _truncate on what they read, and on its partitions, whose argument is the name of the whole; they go with the relation or with the extension.
Returns nothing. Errors: 0A000 when it is not called as such a trigger.
Example: SELECT tgrelid::regclass FROM pg_trigger WHERE tgfoid = ''etl._changed''::regproc;';

CREATE FUNCTION etl.lineage(target text, column_name text DEFAULT NULL, direction text DEFAULT 'upstream', depth int DEFAULT NULL)
RETURNS TABLE (depth int, target text, column_name text, source text, source_column text, transformation text)
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'etl_sql_lineage';
COMMENT ON FUNCTION etl.lineage(text, text, text, int) IS
'Follows columns through the models: where they come from, or where they go.
target: a relation. column_name: one of its columns, default all. direction: upstream (default), downstream or both. depth: how many steps at most, default all.
Returns one row per edge: depth (1 is next to the column), target and column_name made of source and source_column, transformation as in etl.column_lineage. The target may be a view that etl does not manage, and downstream are such views, and functions, too: of a function the target is its signature, and opaque when its body cannot be looked through. Errors: 42703 for a column that is not there; ET001 for another direction or a depth below 1; ET002 for an unknown relation.
Example: SELECT * FROM etl.lineage(''mart.daily_sales'', ''amount'');';

-- ====================================================================
-- alert
-- ====================================================================

CREATE FUNCTION etl.define_sla(name text, selector text, freshness interval DEFAULT NULL, finish_by time DEFAULT NULL,
	start_by time DEFAULT NULL, max_duration interval DEFAULT NULL, timezone text DEFAULT 'UTC', description text DEFAULT NULL)
RETURNS text LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'etl_sql_define_sla';
COMMENT ON FUNCTION etl.define_sla(text, text, interval, time, time, interval, text, text) IS
'Defines what is promised of nodes. The clock judges it, also when the run that should have kept it never started.
name: the promise. selector: the nodes, as for etl.run. At least one of: freshness, how old the last load (of a model: the last success) may be; finish_by, the time of day by which each of them has succeeded, every day; start_by, the same for its beginning; max_duration, how long one try may take.
finish_by and start_by count what happened between midnight (for deadlines before noon: twelve hours before) and the deadline; what made good for a missed deadline the evening before does not count for the next. timezone: a zone of the time zone database, default UTC. description: free text.
A miss raises the alert event sla_missed, of freshness the event freshness. Returns created, updated or unchanged. Errors: ET001 for no measure, a wrong interval, selector or zone; 42501 when it belongs to another role.
Example: SELECT etl.define_sla(''morning'', ''tag:nightly'', finish_by => ''07:00'', timezone => ''Europe/Berlin'');';

CREATE FUNCTION etl.drop_sla(name text, "cascade" boolean DEFAULT false, drop_relation boolean DEFAULT false)
RETURNS boolean LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'etl_sql_drop_sla';
COMMENT ON FUNCTION etl.drop_sla(text, boolean, boolean) IS
'Forgets what was promised of nodes; what became of its deadlines stays in etl.sla_results and etl.sla_report, and open alerts about them are resolved.
name: the promise. cascade, drop_relation: have no effect here.
Returns whether it was there. Errors: 42501 when it belongs to another role.
Example: SELECT etl.drop_sla(''morning'');';

CREATE FUNCTION etl.define_channel(name text, kind text, options jsonb)
RETURNS text LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'etl_sql_define_channel';
COMMENT ON FUNCTION etl.define_channel(text, text, jsonb) IS
'Defines where alerts are delivered to.
name: the channel. kind: notify (NOTIFY with the number of the alert), smtp (mail over TLS), webhook (JSON over HTTP, signed), slack, pagerduty (events v2) or alertmanager (v2). options: SELECT * FROM etl.options(''channel:webhook''), and so on; texts may be {"secret": name}.
Hosts must be among etl.allowed_hosts. What is to be delivered is written down in the transaction of the fact and delivered afterwards, at least once, with the same idempotency key; no run waits for it. What fails is tried again, honouring Retry-After, until option retry gives up; then it is in etl.deliveries with status dead, and the event channel_failed is raised.
Returns created, updated or unchanged. Errors: ET001 for a wrong kind or option; 42501 when it belongs to another role.
Example: SELECT etl.define_channel(''ops_mail'', ''smtp'', ''{"url": "smtp://mail.shop.example:587", "from": "etl@shop.example", "to": ["ops@shop.example"]}'');';

CREATE FUNCTION etl.drop_channel(name text, "cascade" boolean DEFAULT false, drop_relation boolean DEFAULT false)
RETURNS boolean LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'etl_sql_drop_channel';
COMMENT ON FUNCTION etl.drop_channel(text, boolean, boolean) IS
'Forgets a channel; what waits for it is dead.
name: the channel. cascade: takes it out of the alerts that name it, default false. drop_relation: has no effect here.
Returns whether it was there. Errors: 2BP01 when alerts name it; 42501 when it belongs to another role.
Example: SELECT etl.drop_channel(''ops_mail'', cascade => true);';

CREATE FUNCTION etl.define_alert(name text, events text[], channels text[], selector text DEFAULT '*',
	severity text DEFAULT 'warning', options jsonb DEFAULT '{}')
RETURNS text LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'etl_sql_define_alert';
COMMENT ON FUNCTION etl.define_alert(text, text[], text[], text, text, jsonb) IS
'Defines who is told of what.
name: the rule. events: run_failed (a node failed), run_recovered (it succeeds again), run_slow (it took much longer than usual), no_run (it was not tried for option no_run_for), sla_missed, freshness (a freshness promised by etl.define_sla), check_failed, rejects, schema_changed, worker (a process died), channel_failed (a channel does not deliver), digest (a summary of the day, severity info). channels: where to; empty: only etl.alerts shows it. selector: of which nodes, as for etl.run; what is about no node always counts. severity: info, warning, error or critical.
options: SELECT * FROM etl.options(''alert''): cooldown, escalation, resolution and the limits of single events.
The same event of the same object is one alert while it lasts, told once in the time of cooldown. What stops nodes further down is one alert, which names the root and counts them. It is resolved, and that is told, when the cause is gone.
Returns created, updated or unchanged. Errors: ET001 for unknown events, severities or options; ET002 for an unknown channel; 42501 when it belongs to another role.
Example: SELECT etl.define_alert(''nightly'', ''{run_failed, sla_missed}'', ''{ops_mail}'', selector => ''tag:nightly'', severity => ''critical'');';

CREATE FUNCTION etl.drop_alert(name text, "cascade" boolean DEFAULT false, drop_relation boolean DEFAULT false)
RETURNS boolean LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'etl_sql_drop_alert';
COMMENT ON FUNCTION etl.drop_alert(text, boolean, boolean) IS
'Forgets a rule; its open alerts are resolved, and nobody is told of that.
name: the rule. cascade, drop_relation: have no effect here.
Returns whether it was there. Errors: 42501 when it belongs to another role.
Example: SELECT etl.drop_alert(''nightly'');';

CREATE FUNCTION etl.acknowledge(alert_id bigint, note text DEFAULT NULL)
RETURNS boolean LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'etl_sql_acknowledge';
COMMENT ON FUNCTION etl.acknowledge(bigint, text) IS
'Says that somebody sees to an alert: it is not told again nor escalated while it lasts, the nodes that it is about show as under_investigation in etl.freshness, and its channels are told who took it.
alert_id: as in etl.alerts. note: free text for the others.
Returns false when it is over or taken already. Errors: ET002 when there is no such alert.
Example: SELECT etl.acknowledge(alert_id, ''asked the shop for the file'') FROM etl.alerts WHERE state = ''firing'' AND object = ''raw.orders'';';

CREATE FUNCTION etl.resolve_alert(alert_id bigint)
RETURNS boolean LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'etl_sql_resolve_alert';
COMMENT ON FUNCTION etl.resolve_alert(bigint) IS
'Ends an alert by hand, and tells its channels so; when its cause lasts, it fires again.
alert_id: as in etl.alerts. Returns false when it is over already. Errors: ET002 when there is no such alert.
Example: SELECT etl.resolve_alert(42);';

CREATE FUNCTION etl.silence(object text DEFAULT '*', duration interval DEFAULT '1 hour', event text DEFAULT NULL,
	reason text DEFAULT NULL, rule text DEFAULT NULL, starts_at timestamptz DEFAULT NULL)
RETURNS bigint LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'etl_sql_silence';
COMMENT ON FUNCTION etl.silence(text, interval, text, text, text, timestamptz) IS
'Keeps alerts from being told for a time; they stand in etl.alerts all the same. What still lasts when the silence ends is told then.
object: the node, promise or channel; * stands for anything, default all. duration: default an hour. event, rule: only of these, default any. reason: for the others. starts_at: default now; a later one plans a maintenance.
Returns the number of the silence. Errors: ET001 for one that ends before now, or an unknown event.
Example: SELECT etl.silence(''raw.*'', ''2 hours'', reason => ''the shop moves its servers'');';

CREATE FUNCTION etl.unsilence(silence_id bigint)
RETURNS boolean LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'etl_sql_unsilence';
COMMENT ON FUNCTION etl.unsilence(bigint) IS
'Ends a silence now.
silence_id: as in etl.silences. Returns false when it is over already. Errors: ET002 when there is no such silence.
Example: SELECT etl.unsilence(silence_id) FROM etl.silences WHERE ends_at > now();';

CREATE FUNCTION etl.test_channel(name text)
RETURNS TABLE (ok boolean, detail text, remedy text) ROWS 1 LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'etl_sql_test_channel';
COMMENT ON FUNCTION etl.test_channel(text) IS
'Sends a message that says that it is a test, now, and waits for the answer as long as option timeout of the channel says.
name: the channel. Returns ok: whether the receiver took it; detail: what it answered; remedy: what to do when it did not. Errors: ET002 for an unknown channel.
Example: SELECT * FROM etl.test_channel(''ops_mail'');';

CREATE FUNCTION etl.redeliver(channel text DEFAULT NULL)
RETURNS bigint LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'etl_sql_redeliver';
COMMENT ON FUNCTION etl.redeliver(text) IS
'Tries again what was given up (status dead in etl.deliveries), with the same idempotency keys.
channel: only of this one, default all. Returns how many are to be delivered. Errors: ET002 for an unknown channel.
Example: SELECT etl.redeliver(''ops_mail'');';

CREATE FUNCTION etl._sla_nodes() RETURNS TABLE (node text, freshness interval)
LANGUAGE c STABLE ROWS 100 AS 'MODULE_PATHNAME', 'etl_sql_sla_nodes';
COMMENT ON FUNCTION etl._sla_nodes() IS
'Which nodes a freshness is promised of; for the view etl.freshness.';

CREATE FUNCTION etl._now() RETURNS timestamptz
LANGUAGE c VOLATILE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'etl_sql_now';
COMMENT ON FUNCTION etl._now() IS
'The clock that schedules and promises read: etl.test_now, else the time.';

-- ====================================================================
-- run
-- ====================================================================

CREATE FUNCTION etl._may_read(target text) RETURNS boolean
	AS 'MODULE_PATHNAME', 'etl_sql_may_read' LANGUAGE C STABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION etl._may_read(text) IS
'True when the current user may SELECT the relation or owns its definition: the filter of the views.';

CREATE FUNCTION etl._owns(target text) RETURNS boolean
	AS 'MODULE_PATHNAME', 'etl_sql_owns' LANGUAGE C STABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION etl._owns(text) IS
'True when the current user has the rights of the owner of the node: the filter of views that show records.';

CREATE FUNCTION etl._record(raw bytea) RETURNS text
	AS 'MODULE_PATHNAME', 'etl_sql_record' LANGUAGE C STABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION etl._record(bytea) IS
'The bytes of a rejected record as text, those that are invalid in the database''s encoding, and NUL, as \xHH; for the view etl.rejects.
raw: the bytes.
Example: SELECT etl._record(raw) FROM etl.rejects;';

CREATE FUNCTION etl._progress()
	RETURNS TABLE (run_id bigint, node text, phase text, rows_done bigint, bytes_done bigint, bytes_total bigint,
		rows_per_second bigint, started_at timestamptz, eta timestamptz)
	AS 'MODULE_PATHNAME', 'etl_sql_progress' LANGUAGE C VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION etl._progress() IS
'What the processes of this database are at work on; for the view etl.progress.';

CREATE FUNCTION etl._schedules_run() RETURNS boolean
	AS 'MODULE_PATHNAME', 'etl_sql_schedules_run' LANGUAGE C STABLE PARALLEL RESTRICTED;
COMMENT ON FUNCTION etl._schedules_run() IS
'False while all schedules of this database are paused, by etl.pause() or since it is a copy of another.';

CREATE FUNCTION etl._run_alive(run_id bigint) RETURNS boolean
	AS 'MODULE_PATHNAME', 'etl_sql_run_alive' LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED;
COMMENT ON FUNCTION etl._run_alive(bigint) IS
'True while a session works on the run; a run that says running and is not alive was interrupted.';

CREATE PROCEDURE etl.run(
	selector text DEFAULT '*', exclude text DEFAULT NULL, full_refresh boolean DEFAULT false,
	since timestamptz DEFAULT NULL, until timestamptz DEFAULT NULL, workers int DEFAULT NULL,
	params jsonb DEFAULT '{}', publish text DEFAULT 'each', retry_of bigint DEFAULT NULL)
	AS 'MODULE_PATHNAME', 'etl_sql_run' LANGUAGE C;
COMMENT ON PROCEDURE etl.run(text, text, boolean, timestamptz, timestamptz, int, jsonb, text, bigint) IS
'Runs the selected streams and models in dependency order, one transaction each, and says what it did.
selector, exclude: names with *, +node, node+, 2+node+1, @node, tag:x, source:x, kind:model, state:modified; a space is union, a comma intersection.
full_refresh: models are built from all of their inputs; sources are not read again.
since, until: an interval of time to build again, for models that keep an interval ledger; refused where none does.
workers: how many processes work on it, this session included; the others are workers, which exist where etl is preloaded. Default 1.
params: what etl.param() returns in models; two names are taken, in an environment: {"sample": "1%"} builds stored models of that share of the rows of every table they read, {"sample": {"raw.orders": "1%"}} of the tables named, {"empty": true} of none. Checks then warn and never fail; the models are marked in etl.models, are built again by the next run without, and their rows are never promoted. publish: each, or together: all models of the run appear in one transaction.
retry_of: number of a run; exactly its tasks that did not succeed are run.
Inside a transaction block everything happens in that transaction, and sources on a network are refused (ET014).
Errors: ET012 names the failed tasks and the run, what succeeded stays; ET001, ET002 for a wrong selector; ET001 for sample and empty in production; 42501 for nodes of others without etl_operator.
Example: CALL etl.run(''+mart.daily_sales'');';

CREATE FUNCTION etl.rollback(target text, version int DEFAULT NULL) RETURNS text
	AS 'MODULE_PATHNAME', 'etl_sql_rollback' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION etl.rollback(text, int) IS
'Puts a former definition of a model back, with the rows that it had, in one transaction; of a stream, the definition.
target: the node. version: as in etl.definition_versions; default: the last publication that was kept, and where none is kept, the definition before the present one.
The definition becomes a new version. The rows come from the table that option keep_versions of the model kept when they were replaced; what was served until now is kept in its turn, so that a rollback can be rolled back. They pass the checks again, and models that read the target are due. What the rows were built of comes back with them: the next run goes on from there. Views need no rows; a definition that never came to be built is only put aside.
Outside of a transaction block the rows are published by a swap, inside of one by DML. pre_hook and post_hook are not run.
Returns what was put back, in words. Errors: ET002 for an unknown node or version, or one whose rows are not kept; ET013 when a model or view that reads the target needs a column that the version does not have; ET011 when a check fails; 42501 unless one is a member of its owner.
Example: SELECT etl.rollback(''mart.daily_sales'');';

CREATE FUNCTION etl.import_dbt(manifest jsonb)
	RETURNS TABLE (dbt_id text, kind text, target text, name text, action text, detail text)
	AS 'MODULE_PATHNAME', 'etl_sql_import_dbt' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION etl.import_dbt(jsonb) IS
'Defines what is in a manifest of dbt 1.8 or later: models with their materialization, key, strategy, tags, descriptions, contract, indexes, hooks and privileges; snapshots; data tests as checks; unit tests.
manifest: the contents of target/manifest.json after dbt compile --full-refresh, for the adapter postgres. The name of the database is left out of the compiled SQL, schemas that are missing are made, and a relation that dbt has built is taken over by the next run. In an environment (SET etl.environment) everything is defined beside what is there, and etl.compare tells whether the rows are the same.
A test that dbt brings becomes a check of its kind; any other one a view of its query and a check that the view is empty.
Returns a row for each entry of the manifest but macros and docs. action: created, updated, unchanged; inlined: an ephemeral model, which those that read it contain; read: a source; skipped: detail says why; failed: detail is the error, and the other entries are defined. detail also lists what of a definition has no counterpart.
Errors: ET001 for what is no manifest of dbt 1.8 or later.
Example: \set manifest `cat target/manifest.json`
SELECT * FROM etl.import_dbt(:''manifest'') WHERE detail IS NOT NULL;';

CREATE FUNCTION etl.rename(old_name text, new_name text)
	RETURNS TABLE (kind text, name text, part text, effect text, detail text)
	AS 'MODULE_PATHNAME', 'etl_sql_rename' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION etl.rename(text, text) IS
'Gives a stream or model another name. Its relation keeps its OID, rows, indexes and grants, the node its ledger, cursor, checks, history and versions; nothing is built or fetched again.
old_name, new_name: with schemas; the new schema must exist.
Returns the node (effect renamed) and a row for each thing that names it. follows: the query, option depends_on, selector, event or relationship check was changed where the old name stood; a query keeps the old name as an alias. breaks: it could not be, and detail says why: a model keeps its text, and a WARNING names it; selectors that pick by a pattern, and functions whose text holds the name, are left to you.
Errors: ET002 for an unknown node; ET001 when the new name is taken; 42501 unless one is a member of its owner.
Example: SELECT * FROM etl.rename(''mart.daily_sales'', ''mart.sales_by_day'');';

CREATE FUNCTION etl.compare(environment text DEFAULT NULL)
	RETURNS TABLE (target text, column_name text, rows_added bigint, rows_removed bigint, rows_changed bigint, detail text)
	AS 'MODULE_PATHNAME', 'etl_sql_compare' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION etl.compare(text) IS
'Compares the relations of an environment with those of production, as both stand; each is read once, with the rights of the caller.
environment: its name; default that of the session.
Returns for each stream and model of the environment a row with a null column_name: the rows that are only there (added), only in production (removed), and in both with other values (changed; by the key, without one a changed row counts as removed and added). Then a row for each column whose values differ (rows_changed, or without a key the values that came and went), and for each that only one has or whose type differs (detail). Columns that only one has do not make a row changed.
Errors: ET002 for an unknown environment; 42501 without SELECT on a relation.
Example: SELECT * FROM etl.compare(''pr_42'');';

CREATE FUNCTION etl.promote(environment text DEFAULT NULL)
	RETURNS TABLE (target text, kind text, action text)
	AS 'MODULE_PATHNAME', 'etl_sql_promote' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION etl.promote(text) IS
'Makes the definitions of an environment those of production and publishes their rows, all in one transaction.
environment: its name; default that of the session. It stays; etl.drop_environment drops it.
What was defined in it is defined in production as by the caller, who must be a member of the owners there, also of the models that were only copied. The rows of a table or incremental model are taken over where the environment is up to date and belongs to a member of the production owner; else the model is built in the same transaction. Streams are defined, and the next run fetches them; what reads them waits for that run. Checks hold: one that fails undoes everything.
Returns a row for each node, with what became of it. Errors: ET001 when production has been changed since the environment was made of it; ET002 for an unknown one; ET011 when a check fails; 42501 without the rights.
Example: SELECT * FROM etl.promote(''pr_42'');';

CREATE FUNCTION etl.drop_environment(environment text) RETURNS boolean
	AS 'MODULE_PATHNAME', 'etl_sql_drop_environment' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION etl.drop_environment(text) IS
'Drops an environment: its definitions, relations and schemas; production is not touched.
environment: its name. Returns true. Errors: ET002 for an unknown one; 2BP01 when something else is in its schemas or reads them; 42501 unless one is a member of its owner.
Example: SELECT etl.drop_environment(''pr_42'');';

CREATE FUNCTION etl.begin_project(name text) RETURNS bigint
	AS 'MODULE_PATHNAME', 'etl_sql_begin_project' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION etl.begin_project(text) IS
'Begins the deployment of a project, which is a script of definitions: what this session defines until etl.end_project belongs to it.
name: the project. A definition belongs to the last project that defined it; what is defined outside of one belongs to none, and no project ever drops it.
Returns the number of the deployment. Errors: ET001 for an empty name; 42501 for the project of another role.
Example: SELECT etl.begin_project(''shop'');';

CREATE FUNCTION etl.end_project(prune boolean DEFAULT true, dry_run boolean DEFAULT false, drop_relations boolean DEFAULT false)
	RETURNS TABLE (kind text, name text, part text, action text, detail text)
	AS 'MODULE_PATHNAME', 'etl_sql_end_project' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION etl.end_project(boolean, boolean, boolean) IS
'Ends the deployment of a project: drops what the project had and its script no longer defines.
prune: false drops nothing and only lists it; default true. dry_run: drops nothing and leaves the deployment open, default false. drop_relations: the tables and views that etl made too, default false: they stay.
Returns a row for each definition that goes: kind, name and, for a check, part; action: dropped, to be dropped (dry_run) or stays (without prune); detail: what becomes of its relation. Everything is dropped, or nothing.
Errors: ET001 outside of a deployment, and when it would prune although a statement of it has failed; 2BP01 when something that stays reads what would go; 55006 when another session has begun the project since; 42501 for definitions of others.
Example: SELECT etl.begin_project(''shop'');
SELECT * FROM etl.end_project(dry_run => true);';

CREATE FUNCTION etl.export_definitions() RETURNS text
	AS 'MODULE_PATHNAME', 'etl_sql_export_definitions' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION etl.export_definitions() IS
'Writes everything that the caller has defined as an SQL script, which gives the same definitions in another database, whose relations and rows need not exist yet.
Returns the script: pools, secrets, sources, streams, models, checks, schedules, promises, channels and alerts, each under the settings and the role that it was defined under. Secrets appear with their names only, as comments, and what stands in options in clear text as ***.
Definitions of roles that the caller is no member of are left out and counted. Errors: none.
Example: SELECT etl.export_definitions();';

CREATE FUNCTION etl.submit(
	selector text DEFAULT '*', exclude text DEFAULT NULL, full_refresh boolean DEFAULT false,
	since timestamptz DEFAULT NULL, until timestamptz DEFAULT NULL,
	params jsonb DEFAULT '{}', publish text DEFAULT 'each')
	RETURNS bigint
	AS 'MODULE_PATHNAME', 'etl_sql_submit' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION etl.submit(text, text, boolean, timestamptz, timestamptz, jsonb, text) IS
'Queues a run, which a worker takes up when this transaction has committed, and returns its number.
Arguments as of etl.run. Where etl is not preloaded there are no workers: CALL etl.tick() works through the queue.
The setting etl.run_timeout of this session limits how long it may take.
Errors: ET001, ET002 for a wrong selector; 42501 for nodes of others without etl_operator.
Example: SELECT etl.submit(''tag:nightly'');';

CREATE FUNCTION etl.wait(run_id bigint, timeout interval DEFAULT NULL) RETURNS text
	AS 'MODULE_PATHNAME', 'etl_sql_wait' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION etl.wait(bigint, interval) IS
'Waits until a run has ended and returns its status: succeeded, failed, cancelled or interrupted.
timeout: how long at most; then the status of that moment is returned, queued or running. NULL: without limit.
Errors: ET002 for an unknown run; ET014 for a run that this transaction has submitted itself, since it begins only after the commit.
Example: SELECT etl.wait(42, ''10 min'');';

CREATE FUNCTION etl.cancel(run_id bigint) RETURNS void
	AS 'MODULE_PATHNAME', 'etl_sql_cancel' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION etl.cancel(bigint) IS
'Cancels a run: one that is queued is not begun, one at work is stopped, in workers as in a session; what was committed stays.
run_id: the run; of one that has ended a NOTICE tells. Returns nothing, and does not wait.
Errors: ET002 for an unknown run; 42501 unless one asked for it or is a member of etl_operator.
Example: SELECT etl.cancel(42);';

CREATE FUNCTION etl.retry(run_id bigint) RETURNS bigint
	AS 'MODULE_PATHNAME', 'etl_sql_retry' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION etl.retry(bigint) IS
'Queues a run of exactly the tasks of another one that did not succeed, with its parameters, and returns its number.
run_id: a run that has ended. CALL etl.run(retry_of => n) does the same in this session.
Errors: ET002 for an unknown run; ET001 while it is at work; 42501 unless one asked for it or is a member of etl_operator.
Example: SELECT etl.retry(42);';

CREATE FUNCTION etl.mark(run_id bigint, node text, status text, reason text) RETURNS void
	AS 'MODULE_PATHNAME', 'etl_sql_mark' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION etl.mark(bigint, text, text, text) IS
'Gives a task of a run that is not at work another status, by hand: a retry then leaves out what is marked succeeded, and the run''s own status follows.
run_id, node: which task; its last attempt is meant. status: succeeded, failed or skipped. reason: why; it stays with the task and in etl.logs. Returns nothing.
Errors: ET001 for another status, an empty reason or a run at work; ET002 for an unknown run or task; 42501 unless one asked for the run or is a member of etl_operator.
Example: SELECT etl.mark(42, ''raw.orders'', ''succeeded'', ''loaded by hand'');';

CREATE FUNCTION etl.define_pool(name text, slots int DEFAULT 1, description text DEFAULT NULL) RETURNS text
	AS 'MODULE_PATHNAME', 'etl_sql_define_pool' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION etl.define_pool(text, int, text) IS
'Defines a pool: at most so many of the nodes that name it in their option pool are at work at once, over all runs of the database.
name: the pool. slots: how many, from 1 to 1000; a pool that is named but not defined has 1.
Returns created, updated or unchanged. Errors: ET001 for a wrong number; 42501 for the pool of another role.
Example: SELECT etl.define_pool(''erp'', 2, ''the ERP bears two queries at a time'');';

CREATE FUNCTION etl.drop_pool(name text) RETURNS void
	AS 'MODULE_PATHNAME', 'etl_sql_drop_pool' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION etl.drop_pool(text) IS
'Forgets a pool; nodes that name it are then at work one at a time.
name: the pool. Returns nothing. Errors: ET002 for an unknown pool; 42501 for the pool of another role.
Example: SELECT etl.drop_pool(''erp'');';

CREATE FUNCTION etl.plan(selector text DEFAULT '*', exclude text DEFAULT NULL, full_refresh boolean DEFAULT false)
	RETURNS TABLE (step int, node text, kind text, action text, reason text, depends_on text[])
	AS 'MODULE_PATHNAME', 'etl_sql_plan' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION etl.plan(text, text, boolean) IS
'Returns a row for every selected node: what the next run would do with it and why; nothing is changed.
step: topological level from 1; kind: stream or model; action: load, create, incremental, full, view, unchanged, unresolved.
A stream is always asked for new input, so what its models will do after that is not known yet.
Errors: ET001, ET002 for a wrong selector.
Example: SELECT step, node, action, reason FROM etl.plan(''+mart.*'');';

CREATE FUNCTION etl.explain_run(run_id bigint DEFAULT NULL)
	RETURNS TABLE (node text, status text, what text, why text, remedy text)
	AS 'MODULE_PATHNAME', 'etl_sql_explain_run' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION etl.explain_run(bigint) IS
'Returns, for every task of a run that did not succeed or had rejects, what happened, why, and what to do; one row with a NULL node for a run that waits, or that failed before any node was tried.
why: the error and its SQLSTATE, the likely cause, and since when the node has failed. remedy: where it ends with a semicolon, it is SQL that ends the fault as it stands, for whoever may run it; else sentences. Cause and remedy are found when this is called, from what is there then.
run_id: the run; NULL the last one. Errors: ET002 when there is no such run.
Example: SELECT * FROM etl.explain_run();';

CREATE FUNCTION etl.last_run_id() RETURNS bigint
	AS 'MODULE_PATHNAME', 'etl_sql_last_run_id' LANGUAGE C VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION etl.last_run_id() IS
'Returns the number of the last run of this session, NULL when there was none.
Example: SELECT * FROM etl.tasks WHERE run_id = etl.last_run_id();';

CREATE FUNCTION etl.param(name text, default_value text DEFAULT NULL) RETURNS text
	AS 'MODULE_PATHNAME', 'etl_sql_param' LANGUAGE C STABLE PARALLEL SAFE;
COMMENT ON FUNCTION etl.param(text, text) IS
'Returns a parameter of the run (CALL etl.run(params => …), or the setting etl.params), default_value when it is not given.
Errors: ET001 for a null name or when etl.params is not a JSON object.
Example: SELECT etl.param(''region'', ''EU'');';

CREATE FUNCTION etl.define_schedule(name text, selector text DEFAULT '*', cron text DEFAULT NULL, every interval DEFAULT NULL,
	on_event jsonb DEFAULT NULL, timezone text DEFAULT 'UTC', overlap text DEFAULT 'skip', misfire text DEFAULT 'once',
	params jsonb DEFAULT '{}', options jsonb DEFAULT '{}', paused boolean DEFAULT false, description text DEFAULT NULL)
	RETURNS text AS 'MODULE_PATHNAME', 'etl_sql_define_schedule' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION etl.define_schedule(text, text, text, interval, jsonb, text, text, text, jsonb, jsonb, boolean, text) IS
'Defines when a selection of nodes runs by itself, as the role that defines it.
name: the schedule. selector: as for etl.run.
cron: minute hour day-of-month month day-of-week, or six fields with the second first; lists, ranges, steps, names (mon, jan), L (last day of the month; L-3; LW: its last weekday), 15W (weekday nearest to the 15th), 5L or friL (last Friday), fri#2 (second Friday), @yearly to @minutely. When day-of-month and day-of-week are both restricted (neither begins with *) either suffices.
every: a period of at least a second, counted from option start, else from the definition; days and months on the clock of the time zone.
on_event: {"file": stream}, {"published": node}, {"notify": channel}, {"sql": query, "every": "10 s", "timeout": "10 s"}, {"all": [...]} or {"any": [...]}, with "debounce"; see etl.options(''event''). While a run of the schedule is there, an event waits for its end.
timezone: a zone of the time zone database, default UTC. A local time that does not exist counts at the first instant after the gap, one that exists twice the first time; a cron with every hour runs once for each hour that passes.
overlap: when a slot comes while a run of the schedule is there: skip it (default), queue it, or run in parallel. misfire: what becomes of slots that nobody started within option grace: skip, once (default: the newest stands for all), all.
params: what etl.param() returns. options: see etl.options(''schedule''). paused: defines it without letting it run; a later etl.pause or etl.resume is kept until the definition says otherwise. description: free text.
Every slot runs at most once, whatever restarts; what became of each is in etl.schedule_slots.
Returns created, updated or unchanged. Errors: ET001 for what cannot be read, naming field and character; 42501 when it belongs to another role.
Example: SELECT etl.define_schedule(''nightly'', ''tag:nightly'', cron => ''30 2 * * mon-fri'', timezone => ''Europe/Berlin'');';

CREATE FUNCTION etl.drop_schedule(name text, "cascade" boolean DEFAULT false, drop_relation boolean DEFAULT false)
	RETURNS boolean AS 'MODULE_PATHNAME', 'etl_sql_drop_schedule' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION etl.drop_schedule(text, boolean, boolean) IS
'Forgets a schedule; its runs stay in the history, and one that is queued still runs.
name: the schedule. cascade, drop_relation: have no effect here.
Returns whether it was there. Errors: 42501 when it belongs to another role.
Example: SELECT etl.drop_schedule(''nightly'');';

CREATE FUNCTION etl.next_runs(schedule text, n int DEFAULT 5, after timestamptz DEFAULT now())
	RETURNS SETOF timestamptz AS 'MODULE_PATHNAME', 'etl_sql_next_runs' LANGUAGE C VOLATILE ROWS 5;
COMMENT ON FUNCTION etl.next_runs(text, int, timestamptz) IS
'Shows when a schedule is due next by its clock (not its events), without jitter and whether it is paused or not.
schedule: its name. n: how many, 0 to 10000, default 5. after: only later ones, default now.
Returns the slots in order; none where only events start it. Errors: ET002 when it is not defined.
Example: SELECT * FROM etl.next_runs(''nightly'', 3);';

CREATE FUNCTION etl.pause(schedule text DEFAULT NULL)
	RETURNS void AS 'MODULE_PATHNAME', 'etl_sql_pause' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION etl.pause(text) IS
'Keeps a schedule from starting runs; what runs goes on.
schedule: its name, or backfill:n for what a backfill has not begun; default all schedules and streams of this database, at once.
Returns nothing. Errors: ET002 when it is not defined; 42501 unless the caller owns it or is a member of etl_operator (for all: the latter).
Example: SELECT etl.pause(''nightly'');';

CREATE FUNCTION etl.resume(schedule text DEFAULT NULL)
	RETURNS void AS 'MODULE_PATHNAME', 'etl_sql_resume' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION etl.resume(text) IS
'Lets a schedule start runs again, from its next slot on: what was due meanwhile is not made up for.
schedule: its name, or backfill:n. chore:name begins a chore (conditions, calendars, retention, deadlines, deliveries) again that was parked after crashing the server three times in a row. Default: every parked chore; and ends etl.pause() of the whole database, and the pause in which a database restored from a dump or copied by CREATE DATABASE … TEMPLATE comes up, leaving single schedules paused that were; where there is none, every paused schedule.
Returns nothing. Errors: ET002 when it is not defined; 42501 unless the caller owns it or is a member of etl_operator (for all: the latter).
Example: SELECT etl.resume();';

CREATE PROCEDURE etl.tick()
	AS 'MODULE_PATHNAME', 'etl_sql_tick' LANGUAGE C;
COMMENT ON PROCEDURE etl.tick() IS
'Does here what the scheduler and its workers do where etl is preloaded: looks at files and conditions, queues what is due, leads every queued run, does the chores (alerts, deadlines). One job of pg_cron that calls it once a minute drives all schedules; notify events need the scheduler.
A run that fails is reported in etl.runs and by a NOTICE, not by an error. Errors: ET014 inside a transaction block.
Example: SELECT cron.schedule(''etl'', ''* * * * *'', ''CALL etl.tick()'');';

CREATE FUNCTION etl.backfill(selector text, since timestamptz, until timestamptz, step interval DEFAULT NULL,
	reprocess text DEFAULT 'missing', dry_run boolean DEFAULT false)
	RETURNS TABLE (run_id bigint, since timestamptz, until timestamptz, nodes text[], status text)
	AS 'MODULE_PATHNAME', 'etl_sql_backfill' LANGUAGE C VOLATILE ROWS 30;
COMMENT ON FUNCTION etl.backfill(text, timestamptz, timestamptz, interval, text, boolean) IS
'Queues runs that build an interval of the past, step by step, one after another and below all other runs.
selector: nodes, of which at least one must build by intervals (an incremental model with event_time and batch_size). since, until: the interval, half-open. step: length of one run, default the whole interval.
reprocess: missing (default: what no earlier backfill of this selector and interval has done), failed (what it tried without success) or all. dry_run: only says what would be queued.
Returns a row for each step; nodes: those that build the interval; status: queued, planned (dry run), or what became of the step before, with its run. etl.pause(''backfill:n'') pauses it; etl.runs shows how far it is.
Errors: ET001 when no node can build an interval, or for wrong arguments; 42501 for nodes of others without etl_operator.
Example: SELECT * FROM etl.backfill(''mart.hourly_sales'', ''2026-01-01'', ''2026-02-01'', ''1 day'', dry_run => true);';

-- ====================================================================
-- worker
-- ====================================================================

CREATE FUNCTION etl.status() RETURNS TABLE (process text, pid int, since timestamptz, state text, detail text)
	AS 'MODULE_PATHNAME', 'etl_sql_status' LANGUAGE C VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION etl.status() IS
'Returns the processes of etl: the launcher, and this database''s scheduler and workers.
process: launcher, scheduler or task; also chore, for periodic work that is parked. pid: of the process, NULL when it is not there. since: when it came into this state.
state: of the launcher running, restarting, standby, not preloaded; of the scheduler starting, running, waiting (runs are queued and no worker is free), idle (library and extension differ in version), paused (the database was copied or restored, see etl.resume), restarting, stopped (a statement needs the database), absent; of a task starting, idle, busy, leaving; of a chore parked.
detail: what it does, and its last error.
Example: SELECT process, state, detail FROM etl.status();';

CREATE FUNCTION etl.trim_history(dry_run boolean DEFAULT false)
	RETURNS TABLE (relation text, rows bigint, partitions int)
	AS 'MODULE_PATHNAME', 'etl_sql_trim_history' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION etl.trim_history(boolean) IS
'Removes runs with their tasks, check results and log entries that are older than etl.history_max_age or beyond the newest etl.history_max_runs; and log entries, check results, alerts and deliveries that are older or beyond the newest etl.history_max_entries of their kind. Workers do so once an hour, and so does CALL etl.tick(). Runs that have not ended stay, and so do alerts that are open, deliveries that wait, and the newest result of every check.
dry_run: only say what would go, default false.
Returns the rows of each kind, and how many partitions went whole. Errors: 42501 unless the caller is a member of etl_admin.
Example: SELECT * FROM etl.trim_history(dry_run => true);';

-- ====================================================================
-- views
-- ====================================================================

CREATE VIEW etl.streams AS
	SELECT s.target, s.source, etl.redact(s.options) AS options, s.format, s.columns, s.key, s.mode, s.event_time,
		s.schema_policy, s.contract, s.tags, s.description, s.version, s.owner, s.defined_at
	FROM etl.stream AS s
	WHERE etl._may_read(s.target);
COMMENT ON VIEW etl.streams IS
'Streams as defined; passwords and tokens written in clear text in options are shown as ***. Visible to whoever may read the relation.
Example: SELECT target, source, mode, key FROM etl.streams;';

CREATE VIEW etl.loads AS
	SELECT l.load_id, l.run_id, l.target, l.origin, l.status, l.rows_read, l.rows_loaded, l.rows_updated,
		l.rows_unchanged, l.rows_deduplicated, l.rows_discarded, l.rows_rejected, l.rows_deleted, l.bytes_read,
		l.cursor, l.started_at, l.finished_at, l.rows_late
	FROM etl.load AS l
	WHERE pg_catalog.pg_has_role('etl_operator', 'USAGE') OR pg_catalog.pg_has_role('etl_auditor', 'USAGE')
		OR etl._may_read(l.target);
COMMENT ON VIEW etl.loads IS
'One row per committed load: rows_read = rows_loaded + rows_updated + rows_unchanged + rows_deduplicated + rows_discarded + rows_rejected. Status succeeded, superseded when its file was loaded again, unloaded, or expired when retention removed it. cursor: where the stream continued after it. rows_late: of the records read, those whose event is older than the watermark of the stream''s contract allows.
Example: SELECT origin, rows_read, rows_loaded, rows_rejected FROM etl.loads ORDER BY load_id DESC LIMIT 10;';

CREATE VIEW etl.rejects AS
	SELECT r.reject_id, r.target, r.load_id, r.run_id, r.origin, r.position, etl._record(r.raw) AS record, r.raw,
		r.record_size,
		r.reasons, r.status, r.rejected_at, r.closed_at
	FROM etl.reject AS r
	WHERE pg_catalog.pg_has_role('etl_steward', 'USAGE') OR etl._owns(r.target);
COMMENT ON VIEW etl.rejects IS
'Records that could not land or failed a quarantining check. raw: byte for byte (of a row that a unique check moved, or of a model: the row as JSON); record: the same as text, invalid bytes and NUL as \xHH; of one above etl.max_record_size the first 64 kB. reasons: all of them, as check, column, value and message. position: line or number of the record in its origin. Status open, replayed, discarded or superseded. Visible to the owner of the node and to etl_steward.
Example: SELECT origin, position, reasons->0->>''message'' FROM etl.rejects WHERE status = ''open'';';

CREATE VIEW etl.schema_changes AS
	SELECT c.event_id, c.target, c.load_id, c.change, c.column_name, c.old_type, c.new_type, c.changed_at,
		a.affected_models, a.affected_columns
	FROM etl.schema_change AS c
	CROSS JOIN LATERAL (
		WITH RECURSIVE below(target, column_name) AS (
			SELECT e.target, e.column_name FROM etl.column_edge AS e
			WHERE e.source = c.target AND e.source_column = c.column_name
			UNION
			SELECT e.target, e.column_name FROM below AS b
			JOIN etl.column_edge AS e ON e.source = b.target AND e.source_column = b.column_name)
		SELECT coalesce(pg_catalog.array_agg(DISTINCT b.target ORDER BY b.target), '{}') AS affected_models,
			coalesce(pg_catalog.array_agg(b.target || '.' || pg_catalog.quote_ident(b.column_name)
				ORDER BY b.target, b.column_name), '{}') AS affected_columns
		FROM below AS b) AS a
	WHERE etl._may_read(c.target);
COMMENT ON VIEW etl.schema_changes IS
'What loads changed of their relations: table_created, table_adopted, column_added, type_widened, and what the schema policy dropped: field_discarded, value_discarded. load_id: the load that brought it; old_type, new_type: before and after. affected_models, affected_columns: what is made of the column, by lineage, as it is now.
Example: SELECT changed_at, target, change, column_name, new_type, affected_models FROM etl.schema_changes;';

CREATE VIEW etl.pools AS
	SELECT p.name, p.slots, p.description, p.owner, p.defined_at
	FROM etl.pool AS p;
COMMENT ON VIEW etl.pools IS
'Pools as defined: at most slots of the nodes that name the pool are at work at once.';

CREATE VIEW etl.runs AS
	SELECT r.run_id, r.selector, r.trigger, r.trigger_name,
		CASE WHEN r.status = 'running' AND NOT etl._run_alive(r.run_id) THEN 'interrupted' ELSE r.status END AS status,
		r.queued_at, r.started_at, r.finished_at, r.nodes_total,
		coalesce(t.succeeded, r.nodes_succeeded) AS nodes_succeeded, coalesce(t.failed, r.nodes_failed) AS nodes_failed,
		coalesce(t.skipped, r.nodes_skipped) AS nodes_skipped, coalesce(t.written, r.rows_written) AS rows_written,
		coalesce(t.rejected, r.rows_rejected) AS rows_rejected, r.error, r.requested_by
	FROM etl.run AS r
		-- the row of a run at work is written once a second; its tasks are as they are
		LEFT JOIN LATERAL (
			SELECT (count(*) FILTER (WHERE l.status = 'succeeded'))::int AS succeeded,
				(count(*) FILTER (WHERE l.status = 'failed'))::int AS failed,
				(count(*) FILTER (WHERE l.status = 'skipped'))::int AS skipped,
				(sum(l.rows_inserted + l.rows_updated + l.rows_deleted))::bigint AS written,
				(sum(l.rows_rejected))::bigint AS rejected
			FROM (SELECT DISTINCT ON (k.node) k.* FROM etl.task AS k WHERE k.run_id = r.run_id
				ORDER BY k.node, k.task_id DESC) AS l) AS t ON r.status = 'running'
	WHERE r.requested_by = current_user
		OR pg_catalog.pg_has_role('etl_operator', 'USAGE') OR pg_catalog.pg_has_role('etl_auditor', 'USAGE')
		OR EXISTS (SELECT FROM etl.task AS t WHERE t.run_id = r.run_id AND etl._may_read(t.node));
COMMENT ON VIEW etl.runs IS
'One row per run. A run whose process is gone shows as interrupted. Visible: one''s own, those with a readable node, and to etl_operator and etl_auditor all.';

CREATE VIEW etl.tasks AS
	SELECT t.task_id, t.run_id, t.node, t.kind, t.action, t.reason,
		CASE WHEN t.status IN ('queued', 'running') AND NOT etl._run_alive(t.run_id)
			AND NOT EXISTS (SELECT FROM etl.run AS q WHERE q.run_id = t.run_id AND q.status = 'queued')
			THEN 'interrupted' ELSE t.status END AS status,
		t.attempt, t.started_at, t.finished_at, t.rows_inserted, t.rows_updated, t.rows_deleted,
		t.rows_rejected, t.sqlstate, t.error, t.detail, t.hint, t.skipped_because
	FROM etl.task AS t
	WHERE pg_catalog.pg_has_role('etl_operator', 'USAGE') OR pg_catalog.pg_has_role('etl_auditor', 'USAGE')
		OR etl._may_read(t.node);
COMMENT ON VIEW etl.tasks IS
'One row per node and attempt of a run: what was done, how many rows, and the error with its original SQLSTATE.';

CREATE VIEW etl.logs AS
	SELECT l.logged_at, l.level, l.run_id, l.node, l.message, l.detail
	FROM etl.log AS l
	WHERE pg_catalog.pg_has_role('etl_operator', 'USAGE') OR pg_catalog.pg_has_role('etl_auditor', 'USAGE')
		OR etl._may_read(l.node);
COMMENT ON VIEW etl.logs IS
'What runs reported, oldest first by logged_at.';

CREATE VIEW etl.freshness AS
	SELECT n.target, n.last_loaded_at, n.last_event_time,
		etl._now() - n.last_loaded_at AS age, p.freshness AS sla,
		CASE
			WHEN a.node IS NOT NULL THEN 'under_investigation'
			WHEN n.last_loaded_at IS NULL AND n.last_status IS DISTINCT FROM 'failed' THEN 'never_loaded'
			WHEN n.last_status = 'failed' THEN 'failed'
			WHEN n.incomplete IS NOT NULL THEN 'delayed'
			WHEN etl._now() - n.last_loaded_at > p.freshness THEN 'delayed'
			ELSE 'up_to_date'
		END AS state
	FROM (
		SELECT s.target,
			(SELECT pg_catalog.max(l.finished_at) FROM etl.load AS l WHERE l.target = s.target AND l.status = 'succeeded') AS last_loaded_at,
			-- of a stream that each load replaces, only the last one's rows are there
			(SELECT pg_catalog.max(l.last_event_time) FROM etl.load AS l WHERE l.target = s.target AND l.status = 'succeeded'
				AND (s.mode <> 'replace' OR l.load_id = (SELECT pg_catalog.max(x.load_id) FROM etl.load AS x
					WHERE x.target = s.target AND x.status = 'succeeded'))) AS last_event_time,
			(SELECT t.status FROM etl.task AS t WHERE t.node = s.target AND t.status IN ('succeeded', 'failed')
				ORDER BY t.task_id DESC LIMIT 1) AS last_status,
			NULL::text AS incomplete
		FROM etl.stream AS s
		UNION ALL
		SELECT m.target,
			(SELECT x.last_success_at FROM etl.node_state AS x WHERE x.target = m.target),
			NULL,
			(SELECT t.status FROM etl.task AS t WHERE t.node = m.target AND t.status IN ('succeeded', 'failed')
				ORDER BY t.task_id DESC LIMIT 1),
			(SELECT x.incomplete FROM etl.node_state AS x WHERE x.target = m.target)
		FROM etl.model AS m
	) AS n
	LEFT JOIN (SELECT x.node, pg_catalog.min(x.freshness) AS freshness FROM etl._sla_nodes() AS x GROUP BY x.node) AS p
		ON p.node = n.target
	LEFT JOIN (SELECT DISTINCT w.node FROM etl.alert_node AS w JOIN etl.alert AS l USING (alert_id)
		WHERE l.acknowledged_at IS NOT NULL AND l.resolved_at IS NULL) AS a ON a.node = n.target
	WHERE etl._may_read(n.target);
COMMENT ON VIEW etl.freshness IS
'How old what one sees is: per stream its last load, per model its last publication; sla: the shortest freshness that is promised of it (etl.define_sla); state up_to_date, delayed (older than that, or built on an input that did not succeed), failed (the last try failed), never_loaded, or under_investigation (somebody has acknowledged an alert about it). last_event_time: the greatest value of the event_time of a stream that its loads landed (a date or timestamp without zone is read in the option timezone; infinite ones do not count); null for models, which keep no count of it.
Example: SELECT target, age, last_event_time FROM etl.freshness WHERE state <> ''up_to_date'';';

CREATE VIEW etl.intervals AS
	SELECT i.model AS target, i.since, i.until, i.status, i.reason, i.rows, i.run_id, i.attempts, i.error, i.sqlstate, i.done_at
	FROM etl.model_interval AS i
	WHERE etl._may_read(i.model);
COMMENT ON VIEW etl.intervals IS
'The interval ledger: a row for each slice [since, until) of the event time of a model with batch_size that was due or built. Of a date or timestamp without zone it is the wall time, read as UTC. status: done, due (with its reason) or failed (with its error; the next run tries it again). rows: how many its last build wrote, NULL when it was built with the whole. attempts: failed ones in a row.
Example: SELECT since, until, status, reason FROM etl.intervals WHERE target = ''mart.hourly_sales'' AND status <> ''done'';';

CREATE VIEW etl.slas AS
	SELECT s.name, s.selector, s.freshness, s.finish_by, s.start_by, s.max_duration, s.timezone, s.description,
		s.version, s.owner, s.defined_at
	FROM etl.sla AS s;
COMMENT ON VIEW etl.slas IS
'What is promised of nodes, as defined.
Example: SELECT name, selector, finish_by, timezone FROM etl.slas;';

CREATE VIEW etl.channels AS
	SELECT c.name, c.kind,
		etl.redact(c.options
			|| CASE WHEN pg_catalog.jsonb_typeof(c.options->'url') = 'string' AND c.kind IN ('webhook', 'slack')
				THEN pg_catalog.jsonb_build_object('url',
					pg_catalog.regexp_replace(c.options->>'url', '^([a-z]+://[^/?#]*).+$', '\1/***')) ELSE '{}' END
			|| CASE WHEN pg_catalog.jsonb_typeof(c.options->'routing_key') = 'string'
				THEN pg_catalog.jsonb_build_object('routing_key', '***') ELSE '{}' END) AS options,
		CASE WHEN c.failures > 0 THEN 'failing' WHEN c.delivered_at IS NULL THEN 'unused' ELSE 'working' END AS state,
		c.delivered_at, c.problem, c.version, c.owner, c.defined_at
	FROM etl.channel AS c;
COMMENT ON VIEW etl.channels IS
'Where alerts are delivered to, as defined, without secrets: of the url of a webhook only the host is shown. state: unused, working, or failing, with the problem of the last try; delivered_at: when something last arrived.
Example: SELECT name, kind, state, problem FROM etl.channels;';

CREATE VIEW etl.alert_rules AS
	SELECT r.name, r.events, r.channels, r.selector, r.severity, r.options, r.version, r.owner, r.defined_at
	FROM etl.alert_rule AS r;
COMMENT ON VIEW etl.alert_rules IS
'Who is told of what, as defined by etl.define_alert; what fired is in etl.alerts.
Example: SELECT name, events, channels, selector FROM etl.alert_rules;';

CREATE VIEW etl.alerts AS
	SELECT a.alert_id, a.rule, a.event, a.severity,
		CASE WHEN a.resolved_at IS NOT NULL THEN 'resolved' WHEN a.acknowledged_at IS NOT NULL THEN 'acknowledged'
			WHEN a.silence_id IS NOT NULL THEN 'silenced' ELSE 'firing' END AS state,
		a.object, a.what, a.since, a.error, a.cause, a.remedy, a.others, a.occurrences, a.run_id, a.last_at,
		a.acknowledged_at, a.acknowledged_by, a.note, a.silence_id, a.escalated_at, a.resolved_at
	FROM etl.alert AS a
	WHERE pg_catalog.pg_has_role('etl_operator', 'USAGE') OR pg_catalog.pg_has_role('etl_auditor', 'USAGE')
		OR (a.object_kind = 'node' AND etl._may_read(a.object));
COMMENT ON VIEW etl.alerts IS
'What fired, one row as long as it lasts. state: firing, acknowledged, silenced or resolved. what: what happened, to which object; since: when it began; error: without values of the data; cause: what is likely behind it; remedy: what to do; others: how many nodes the same cause keeps from being done; occurrences: how often it happened meanwhile; last_at: the last time. Visible: of nodes that one may read, and to etl_operator and etl_auditor all.
Example: SELECT since, severity, what, remedy FROM etl.alerts WHERE state = ''firing'' ORDER BY since;';

CREATE VIEW etl.deliveries AS
	SELECT o.delivery_id, o.channel, o.alert_id, o.message, o.status, o.attempts, o.created_at,
		CASE WHEN o.status = 'waiting' THEN o.next_try END AS next_try, o.ended_at, o.error, o.remedy
	FROM etl.outbox AS o
	WHERE pg_catalog.pg_has_role('etl_operator', 'USAGE') OR pg_catalog.pg_has_role('etl_auditor', 'USAGE');
COMMENT ON VIEW etl.deliveries IS
'What was, or is to be, delivered to channels. message: firing, again, escalated, acknowledged, resolved or digest. status: waiting, delivered or dead (given up; etl.redeliver tries it again). error, remedy: of the last try.
Example: SELECT channel, message, attempts, error, remedy FROM etl.deliveries WHERE status <> ''delivered'';';

CREATE VIEW etl.silences AS
	SELECT s.silence_id, s.object, s.event, s.rule, s.starts_at, s.ends_at, s.reason, s.author
	FROM etl.silence AS s;
COMMENT ON VIEW etl.silences IS
'For which objects nobody is told of alerts, and until when; NULL in event or rule means any.
Example: SELECT object, ends_at, reason, author FROM etl.silences;';

CREATE VIEW etl.sla_results AS
	SELECT r.sla, r.node, r.measure, r.due_at, r.met, r.done_at
	FROM etl.sla_result AS r
	WHERE etl._may_read(r.node);
COMMENT ON VIEW etl.sla_results IS
'What became of each deadline. measure: freshness, finish_by, start_by or max_duration. met: in time. done_at: when it was met, or made good; NULL while it is missed. A day on which a node was fresh all the time is one row.
Example: SELECT node, due_at, done_at - due_at AS late FROM etl.sla_results WHERE NOT met;';

CREATE FUNCTION etl.sla_report(since timestamptz DEFAULT pg_catalog.now() - interval '30 days', until timestamptz DEFAULT pg_catalog.now())
RETURNS TABLE (sla text, deadlines bigint, met bigint, share_met numeric, worst_node text, worst_late interval,
	mean_time_to_recover interval, tries bigint, success_rate numeric)
LANGUAGE sql STABLE ROWS 10
BEGIN ATOMIC
	SELECT s.sla, s.deadlines, s.met, pg_catalog.round(s.met::numeric / s.deadlines, 4), w.node, w.late,
		s.mean_time_to_recover, t.tries, pg_catalog.round(t.succeeded::numeric / nullif(t.tries, 0), 4)
	FROM (SELECT r.sla, pg_catalog.count(*) AS deadlines, pg_catalog.count(*) FILTER (WHERE r.met) AS met,
			pg_catalog.avg(r.done_at - r.due_at) FILTER (WHERE NOT r.met) AS mean_time_to_recover,
			pg_catalog.array_agg(DISTINCT r.node) AS nodes
		FROM etl.sla_results AS r
		WHERE r.due_at >= sla_report.since AND r.due_at < sla_report.until
		GROUP BY r.sla) AS s
	LEFT JOIN LATERAL (SELECT r.node, coalesce(r.done_at, etl._now()) - r.due_at AS late
		FROM etl.sla_results AS r
		WHERE r.sla = s.sla AND NOT r.met AND r.due_at >= sla_report.since AND r.due_at < sla_report.until
		ORDER BY 2 DESC, r.node LIMIT 1) AS w ON true
	LEFT JOIN LATERAL (SELECT pg_catalog.count(*) AS tries, pg_catalog.count(*) FILTER (WHERE k.status = 'succeeded') AS succeeded
		FROM etl.tasks AS k
		WHERE k.node = ANY (s.nodes) AND k.status IN ('succeeded', 'failed')
			AND k.finished_at >= sla_report.since AND k.finished_at < sla_report.until) AS t ON true
	ORDER BY s.sla;
END;
COMMENT ON FUNCTION etl.sla_report(timestamptz, timestamptz) IS
'Tells how promises were kept, of nodes that one may read.
since, until: the time, half-open; default the last 30 days.
Returns a row for each promise with a deadline in it: how many deadlines, how many were met in time, the share; the node that was latest and by how much (still growing while it is missed); the mean time from a missed deadline to its being made good; tries of the nodes, and the share of them that succeeded.
Example: SELECT sla, share_met, worst_node, worst_late FROM etl.sla_report();';

CREATE VIEW etl.schedules AS
	SELECT s.name, s.selector, s.cron, s.every, s.on_event, s.timezone, s.overlap, s.misfire, s.params, s.options,
		s.paused OR NOT etl._schedules_run() AS paused,
		s.description, CASE WHEN NOT s.paused AND etl._schedules_run() THEN s.next_due END AS next_due, s.last_due,
		coalesce(s.problem, (SELECT e.error FROM etl.schedule_event AS e
			WHERE e.schedule = s.name AND e.error IS NOT NULL ORDER BY e.number LIMIT 1)) AS problem,
		s.version, s.owner, s.defined_at
	FROM etl.schedule AS s;
COMMENT ON VIEW etl.schedules IS
'Schedules as defined. paused: by itself, or because all of this database are. next_due: the slot that comes next, null while it is paused and where only events start it; last_due: the newest slot that was started or skipped. problem: why its condition, calendar or selector could not be evaluated lately; null when it could.
Example: SELECT name, cron, timezone, next_due FROM etl.schedules WHERE NOT paused ORDER BY next_due;';

CREATE VIEW etl.schedule_slots AS
	SELECT o.schedule, o.due_at, o.status, o.run_id, o.reason, o.decided_at
	FROM etl.schedule_slot AS o;
COMMENT ON VIEW etl.schedule_slots IS
'What became of each slot of a schedule, and of each event: fired (run_id), or skipped and why. Streams with delivery: stream stand here as stream:name.
Example: SELECT due_at, reason FROM etl.schedule_slots WHERE status = ''skipped'' ORDER BY due_at DESC;';

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

CREATE VIEW etl.checks AS
	SELECT c.target, c.name, c.kind, c.columns, c.options, c.on_fail, c.dimension, c.description, c.version,
		c.owner, c.defined_at
	FROM etl.quality_check AS c
	WHERE etl._may_read(c.target) OR pg_catalog.pg_has_role(current_user,
		(SELECT r.oid FROM pg_catalog.pg_roles AS r WHERE r.rolname = c.owner), 'USAGE');
COMMENT ON VIEW etl.checks IS
'Quality rules as defined, on relations that one may read.
Example: SELECT target, name, kind, on_fail FROM etl.checks ORDER BY target, name;';

CREATE VIEW etl.unit_tests AS
	SELECT t.target, t.name, t.given, t.expect, t.options, t.description, t.version, t.owner, t.defined_at
	FROM etl.unit_test AS t
	WHERE etl._may_read(t.target) OR pg_catalog.pg_has_role(current_user,
		(SELECT r.oid FROM pg_catalog.pg_roles AS r WHERE r.rolname = t.owner), 'USAGE');
COMMENT ON VIEW etl.unit_tests IS
'Unit tests as defined, of models that one may read.
Example: SELECT target, name, description FROM etl.unit_tests ORDER BY target, name;';

CREATE VIEW etl.check_results AS
	SELECT r.run_id, r.target, r.check_name, r.kind, r.dimension, r.on_fail, r.status, r.evaluated, r.failed,
		r.value, r.threshold, r.detail, r.checked_at
	FROM etl.check_result AS r
	WHERE etl._may_read(r.target);
COMMENT ON VIEW etl.check_results IS
'What each check found each time: in a run, or by etl.check (run_id is null).
Example: SELECT check_name, status, evaluated, failed FROM etl.check_results WHERE target = ''clean.orders'' ORDER BY checked_at DESC;';

CREATE VIEW etl.quality_scores AS
	SELECT t.target, s.dimension, s.score, s.checks, s.failed, s.coverage
	FROM (SELECT DISTINCT c.target FROM etl.checks AS c) AS t,
		LATERAL etl.quality_score(t.target) AS s;
COMMENT ON VIEW etl.quality_scores IS
'etl.quality_score of every relation with checks that one may read.
Example: SELECT target, score, coverage FROM etl.quality_scores WHERE dimension = ''overall'' ORDER BY score;';

CREATE VIEW etl.models AS
SELECT target, query, materialized, key, strategy, event_time, batch_size, lookback, options, tags, description,
	settings, resolved, version, owner, defined_at,
	(SELECT s.built_version FROM etl.node_state AS s WHERE s.target = m.target) AS served_version,
	(SELECT s.sample FROM etl.node_state AS s WHERE s.target = m.target) AS sample
FROM etl.model AS m
WHERE etl._may_read(target);
COMMENT ON VIEW etl.models IS
'Models as defined; resolved: whether every input exists and the query was analyzed. served_version: the version that readers see; another one than version until the newest definition is built, and as long as its build fails. sample: in an environment, the part of its inputs that its rows were built of ("1%", "empty", or shares by relation), its own or that of a model it reads; null: all of them. Visible: those one may read or owns.
Example: SELECT target, materialized, version FROM etl.models;';

CREATE VIEW etl.definition_versions AS
SELECT v.kind, v.name, nullif(v.part, '') AS part, v.version, v.change, v.owner, v.author, v.defined_at,
	v.kind = 'model' AND v.version = coalesce(s.built_version, 0) AS served,
	k.relation AS kept, etl._definition(v.kind, v.definition) AS definition
FROM etl.definition_version AS v
	LEFT JOIN etl.node_state AS s ON s.target = v.name
	LEFT JOIN (SELECT target, version, max(relation) AS relation FROM etl.kept GROUP BY target, version) AS k
		ON v.kind = 'model' AND k.target = v.name AND k.version = v.version
WHERE v.kind NOT IN ('stream', 'model', 'check') OR etl._may_read(v.name)
	OR EXISTS (SELECT FROM pg_catalog.pg_roles AS r
		WHERE r.rolname = v.owner AND pg_catalog.pg_has_role(r.oid, 'USAGE'));
COMMENT ON VIEW etl.definition_versions IS
'Every version of every definition. kind: source, stream, model, check, schedule, sla, channel, alert, pool or secret. name: its name or target; part: the check of a target. change: created, updated, dropped, or what else made it. author: who defined it; owner: whose it is. served: the rows (or the view) that readers see are of this version; a newer one has not been built, or its build fails. kept: the table that holds rows of this version (option keep_versions of models). definition: the SQL that gives this version; passwords and tokens in it are ***.
Example: SELECT version, author, defined_at, served, definition FROM etl.definition_versions WHERE name = ''mart.daily_sales'' ORDER BY version;';

CREATE VIEW etl.environments AS
SELECT n.environment, e.owner, n.kind, n.target, nullif(n.part, '') AS part, n.node, n.direct, n.base_version
FROM etl.environment AS e JOIN etl.environment_node AS n ON n.environment = e.name
WHERE etl._may_read(n.node);
COMMENT ON VIEW etl.environments IS
'What is in each environment (SET etl.environment). kind: stream, model or check; target: its name in production; node: its name in the environment; direct: it was defined there otherwise than in production, else it was copied, since it reads what was; base_version: the version of production''s definition that it was made of, 0 for none.
Example: SELECT target, node, direct FROM etl.environments WHERE environment = ''pr_42'';';

CREATE VIEW etl.progress AS
SELECT run_id, node, phase, rows_done, bytes_done, bytes_total, rows_per_second, started_at, eta
FROM etl._progress()
WHERE pg_catalog.pg_has_role('etl_operator', 'USAGE') OR etl._may_read(node);
COMMENT ON VIEW etl.progress IS
'What is at work now, and how far it has come, to the second. phase: loading, building, building indexes. bytes_done of bytes_total: of the file that is read, or of the tables that a query scans; NULL where nobody knows. eta: when the work ends at its present speed; NULL where nobody knows.
Example: SELECT node, phase, rows_done, eta - now() AS left FROM etl.progress;';

CREATE VIEW etl.dependencies AS
SELECT node, depends_on
FROM etl.dependency
WHERE etl._may_read(node);
COMMENT ON VIEW etl.dependencies IS
'What each model reads: relations of its query, those behind views that etl does not manage and inside SQL functions, and option depends_on.
Example: SELECT depends_on FROM etl.dependencies WHERE node = ''mart.daily_sales'';';

CREATE VIEW etl.column_lineage AS
SELECT target, column_name, source, source_column, transformation
FROM etl.column_edge
WHERE etl._may_read(target);
COMMENT ON VIEW etl.column_lineage IS
'Where each column of a model comes from, one step up. transformation: identity, transformation, aggregation (the value), join, filter, group, sort, window, conditional (what decides about it), opaque (a function that etl cannot look into; source_column * then).
Example: SELECT source, source_column, transformation FROM etl.column_lineage WHERE target = ''mart.daily_sales'' AND column_name = ''amount'';';

-- ====================================================================
-- roles and privileges
-- ====================================================================

-- Cluster-wide roles, without login.  A role that happens to have such a name
-- already, and through which somebody could act, is not given rights unasked.
DO $$
DECLARE
	wanted text;
	obstacle text;
	ours CONSTANT text[] := ARRAY['etl_viewer', 'etl_operator', 'etl_developer', 'etl_admin', 'etl_steward', 'etl_auditor'];
BEGIN
	FOREACH wanted IN ARRAY ours
	LOOP
		IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = wanted) THEN
			EXECUTE pg_catalog.format('CREATE ROLE %I NOLOGIN', wanted);
			CONTINUE;
		END IF;
		CONTINUE WHEN coalesce(nullif(pg_catalog.current_setting('etl.adopt_roles', true), ''), 'off')::boolean;

		SELECT CASE
				WHEN r.rolcanlogin THEN 'It can log in.'
				ELSE (SELECT 'It has the member ' || pg_catalog.quote_ident(m.rolname) || '.'
					FROM pg_catalog.pg_auth_members AS a JOIN pg_catalog.pg_roles AS m ON m.oid = a.member
					WHERE a.roleid = r.oid AND m.rolname <> ALL (ours)
						ORDER BY m.rolname LIMIT 1)
			END INTO obstacle
		FROM pg_catalog.pg_roles AS r WHERE r.rolname = wanted;
		IF obstacle IS NOT NULL THEN
			RAISE EXCEPTION USING
				ERRCODE = 'ET013',
				MESSAGE = pg_catalog.format('role "%s" exists already and is in use', wanted),
				DETAIL = obstacle || ' The extension would give it rights.',
				HINT = 'Rename that role, or SET etl.adopt_roles = on if its members shall have these rights.';
		END IF;
	END LOOP;
END
$$;

GRANT etl_viewer TO etl_operator, etl_developer;
GRANT etl_operator, etl_developer TO etl_admin;

REVOKE ALL ON SCHEMA etl FROM PUBLIC;
REVOKE ALL ON ALL ROUTINES IN SCHEMA etl FROM PUBLIC;
GRANT USAGE ON SCHEMA etl TO etl_viewer, etl_steward, etl_auditor;

DO $$
DECLARE
	routine record;
	grantees text;
	-- who besides etl_admin, who is a member of all of these
	viewers CONSTANT text[] := ARRAY['options', 'json_schema', 'validate_json', 'compare_json_schemas', 'plan', 'compile', 'explain_run', 'last_run_id', 'param', 'lineage',
		'quality_score', 'draw', 'sla_report', 'profile', 'dedupe', 'as_of', 'duplicates', 'show', 'status', 'next_runs'];
	-- what the views call
	for_views CONSTANT text[] := ARRAY['_may_read', '_owns', '_record', '_run_alive', '_progress', '_schedules_run', '_sla_nodes', '_now', 'redact'];
	operators CONSTANT text[] := ARRAY['acknowledge', 'resolve_alert', 'silence', 'unsilence', 'test_channel', 'redeliver', 'run', 'submit', 'wait', 'cancel', 'retry', 'mark', 'check', 'test', 'pause', 'resume', 'tick', 'backfill', 'replay', 'discard', 'reload', 'reset', 'reset_intervals', 'unload', 'ingest'];
	stewards CONSTANT text[] := ARRAY['replay', 'discard', 'erase', 'validate', 'options'];
	admins CONSTANT text[] := ARRAY['define_secret', 'drop_secret', 'trim_history'];
BEGIN
	FOR routine IN
		SELECT p.oid::pg_catalog.regprocedure::text AS signature, p.proname::text AS name,
			p.prokind = 'p' AS is_procedure, p.prorettype = 'pg_catalog.internal'::pg_catalog.regtype AS is_handler
		FROM pg_catalog.pg_proc AS p
		WHERE p.pronamespace = 'etl'::pg_catalog.regnamespace AND p.prokind IN ('f', 'p', 'a')
	LOOP
		CONTINUE WHEN routine.is_handler;
		grantees := CASE
			WHEN routine.name = ANY (admins) THEN 'etl_admin'
			WHEN routine.name = ANY (for_views) THEN 'etl_viewer, etl_steward, etl_auditor'
			WHEN routine.name = ANY (viewers) THEN 'etl_viewer'
			WHEN routine.name = ANY (operators) THEN 'etl_operator, etl_developer'
			ELSE 'etl_developer'
		END;
		IF routine.name = ANY (stewards) THEN
			grantees := grantees || ', etl_steward';
		END IF;
		EXECUTE pg_catalog.format('GRANT EXECUTE ON ROUTINE %s TO %s', routine.signature, grantees);
	END LOOP;

	FOR routine IN
		SELECT c.oid::pg_catalog.regclass::text AS name, c.relname
		FROM pg_catalog.pg_class AS c
		WHERE c.relnamespace = 'etl'::pg_catalog.regnamespace AND c.relkind = 'v'
	LOOP
		-- else a cheap function in a query's WHERE is called with rows that the view hides
		EXECUTE pg_catalog.format('ALTER VIEW %s SET (security_barrier)', routine.name);
		EXECUTE pg_catalog.format('GRANT SELECT ON %s TO etl_viewer, etl_auditor%s', routine.name,
			CASE WHEN routine.relname IN ('rejects', 'streams', 'models', 'checks', 'check_results') THEN ', etl_steward' END);
	END LOOP;
END
$$;

-- ====================================================================
-- pg_dump: all state travels with the data; the partitions of history
-- are no members of the extension and are dumped as they are
-- ====================================================================
DO $$
DECLARE
	relation text;
BEGIN
	FOREACH relation IN ARRAY ARRAY['source', 'stream', 'model', 'quality_check', 'unit_test', 'secret', 'dependency',
		'column_edge', 'load', 'cursor', 'file', 'ingestion', 'reject', 'consumed', 'frozen_key', 'change_set', 'change', 'model_interval',
		'node_state', 
		'schema_change', 'stream_dialect', 'housekeeping', 'chore', 'pool', 'instance', 'schedule', 'schedule_slot', 'schedule_event',
		'sla', 'sla_result', 'channel', 'alert_rule', 'alert_open', 'alert_report', 'alert_node', 'silence', 'outbox',
		'alert_id_seq', 'delivery_id_seq', 'silence_id_seq', 'run_id_seq', 'task_id_seq', 'load_id_seq',
		'reject_id_seq', 'event_id_seq', 'change_set_id_seq']
	LOOP
		PERFORM pg_catalog.pg_extension_config_dump(('etl.' || relation)::pg_catalog.regclass, '');
	END LOOP;
END
$$;
