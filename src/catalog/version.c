/*-------------------------------------------------------------------------
 *
 * version.c
 *    Every version of every definition.
 *
 * A version is written in the transaction of the definition, whole, with
 * who defined it and when.  Versions of one name only ever rise: what was
 * dropped and is defined again goes on counting, so that a number always
 * means one text.  Of secrets only their names are kept.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/guc.h"

#include "catalog/change.h"
#include "catalog/environment.h"
#include "catalog/project.h"
#include "catalog/sql.h"
#include "catalog/version.h"
#include "common/errors.h"

const char *etl_version_change = NULL;

static const EtlDefinitionArg secret_args[] = {{"name", NULL, 't'},
											   {"file", NULL, 't'},
											   {"env", NULL, 't'},
											   {"allowed_hosts", NULL, 'a'},
											   {"description", NULL, 't'},
											   {NULL}};
static const EtlDefinitionArg pool_args[] = {{"name", NULL, 't'},
											 {"slots", NULL, 't'},
											 {"description", NULL, 't'},
											 {NULL}};
static const EtlDefinitionArg source_args[] = {{"name", NULL, 't'},
											   {"connector", NULL, 't'},
											   {"options", NULL, 'j', "{}"},
											   {"description", NULL, 't'},
											   {NULL}};
static const EtlDefinitionArg stream_args[] = {{"target", NULL, 't'},
											   {"source", NULL, 't'},
											   {"options", NULL, 'j', "{}"},
											   {"format", NULL, 't'},
											   {"columns", NULL, 't'},
											   {"key", NULL, 'a', "[]"},
											   {"mode", NULL, 't', "\"append\""},
											   {"event_time", NULL, 't'},
											   {"schema_policy", NULL, 't', "\"evolve\""},
											   {"contract", NULL, 'j', "{}"},
											   {"tags", NULL, 'a', "[]"},
											   {"description", NULL, 't'},
											   {NULL}};
static const EtlDefinitionArg model_args[] = {{"target", NULL, 't'},
											  {"query", NULL, 't'},
											  {"materialized", NULL, 't', "\"view\""},
											  {"key", NULL, 'a', "[]"},
											  {"strategy", NULL, 't'},
											  {"event_time", NULL, 't'},
											  {"batch_size", NULL, 't'},
											  {"lookback", NULL, 't'},
											  {"options", NULL, 'j', "{}"},
											  {"tags", NULL, 'a', "[]"},
											  {"description", NULL, 't'},
											  {NULL}};
static const EtlDefinitionArg check_args[] = {{"target", NULL, 't'},
											  {"kind", NULL, 't'},
											  {"columns", NULL, 'a', "[]"},
											  {"options", NULL, 'j', "{}"},
											  {"on_fail", NULL, 't', "\"fail\""},
											  {"dimension", NULL, 't'},
											  {"name", NULL, 't'},
											  {"description", NULL, 't'},
											  {NULL}};
static const EtlDefinitionArg unit_test_args[] = {{"target", NULL, 't'},
												  {"name", NULL, 't'},
												  {"given", NULL, 'j'},
												  {"expect", NULL, 'j'},
												  {"options", NULL, 'j', "{}"},
												  {"description", NULL, 't'},
												  {NULL}};
static const EtlDefinitionArg schedule_args[] = {{"name", NULL, 't'},
												 {"selector", NULL, 't', "\"*\""},
												 {"cron", NULL, 't'},
												 {"every", NULL, 't'},
												 {"on_event", NULL, 'j'},
												 {"timezone", NULL, 't', "\"UTC\""},
												 {"overlap", NULL, 't', "\"skip\""},
												 {"misfire", NULL, 't', "\"once\""},
												 {"params", NULL, 'j', "{}"},
												 {"options", NULL, 'j', "{}"},
												 {"paused", "paused_defined", 't', "false"},
												 {"description", NULL, 't'},
												 {NULL}};
static const EtlDefinitionArg sla_args[] = {{"name", NULL, 't'},
											{"selector", NULL, 't'},
											{"freshness", NULL, 't'},
											{"finish_by", NULL, 't'},
											{"start_by", NULL, 't'},
											{"max_duration", NULL, 't'},
											{"timezone", NULL, 't', "\"UTC\""},
											{"description", NULL, 't'},
											{NULL}};
static const EtlDefinitionArg channel_args[] = {{"name", NULL, 't'},
												{"kind", NULL, 't'},
												{"options", NULL, 'j'},
												{NULL}};
static const EtlDefinitionArg alert_args[] = {{"name", NULL, 't'},
											  {"events", NULL, 'a'},
											  {"channels", NULL, 'a'},
											  {"selector", NULL, 't', "\"*\""},
											  {"severity", NULL, 't', "\"warning\""},
											  {"options", NULL, 'j', "{}"},
											  {NULL}};

const EtlDefinitionKind etl_definition_kinds[] = {
	{"secret", "secret", "name", NULL, "{sealed}", secret_args},
	{"pool", "pool", "name", NULL, "{}", pool_args},
	{"source", "source", "name", NULL, "{}", source_args},
	{"stream", "stream", "target", NULL, "{}", stream_args},
	{"model", "model", "target", NULL, "{resolved}", model_args},
	{"check", "quality_check", "target", "name", "{}", check_args},
	{"unit_test", "unit_test", "target", "name", "{}", unit_test_args},
	{"schedule", "schedule", "name", NULL, "{paused}", schedule_args},
	{"sla", "sla", "name", NULL, "{begins_at,judged_until,check_at}", sla_args},
	{"channel", "channel", "name", NULL, "{delivered_at,failures,problem}", channel_args},
	{"alert", "alert_rule", "name", NULL, "{digest_at,no_run_at}", alert_args},
	{NULL}};

const EtlDefinitionKind *
etl_definition_kind(const char *name)
{
	for (const EtlDefinitionKind *kind = etl_definition_kinds; kind->name; kind++)
		if (strcmp(kind->name, name) == 0)
			return kind;
	elog(ERROR, "there is no kind of definition \"%s\"", name);
}

/*
 * where renders the condition that finds a definition: $1 is its name, $2
 * its part.
 */
static char *
where(const EtlDefinitionKind *kind)
{
	return kind->part ? psprintf("t.%s = $1 AND t.%s = $2", kind->key, kind->part) :
						psprintf("t.%s = $1 AND $2 = ''", kind->key);
}

/*
 * params_of begins the parameters of statements about a definition.
 */
static void
params_of(EtlParams *params, const char *name, const char *part)
{
	etl_param_text(params, name);
	etl_param_text(params, part ? part : "");
}

/*
 * must_be_free raises ET001 when a session in an environment would change
 * production.  A source that is new harms nobody.
 */
static void
must_be_free(const char *kind, const char *name, const char *outcome)
{
	bool		of_target = etl_definition_kind(kind)->part != NULL || strcmp(kind, "model") == 0 ||
					 strcmp(kind, "stream") == 0;

	if (!etl_environment_on() || (of_target && etl_environment_has_prefix(name)) ||
		(strcmp(kind, "source") == 0 && strcmp(outcome, "created") == 0))
		return;
	etl_environment_must_be_off(psprintf("%s \"%s\" of production cannot be %s", kind, name, outcome));
}

/*
 * go_on_counting gives a definition that was dropped before the number after
 * its last one.
 */
static void
go_on_counting(const EtlDefinitionKind *kind, const char *name, const char *part)
{
	EtlParams	params = {0};

	params_of(&params, name, part);
	etl_param_text(&params, kind->name);
	etl_sql_exec(psprintf("UPDATE etl.%s AS t SET version = v.last + 1 FROM (SELECT max(version) AS last"
						  " FROM etl.definition_version WHERE kind = $3 AND name = $1 AND part = $2) AS v"
						  " WHERE %s AND v.last >= t.version", kind->table, where(kind)),
				 &params);
}

const char *
etl_defined(const char *kind_name, const char *name, const char *part, const char *outcome)
{
	const EtlDefinitionKind *kind = etl_definition_kind(kind_name);
	EtlParams	params = {0};
	int			level;

	if (strcmp(outcome, "unchanged") != 0)
		must_be_free(kind_name, name, outcome);
	etl_project_has(kind_name, name, part);
	if (strcmp(outcome, "unchanged") == 0)
		return outcome;
	if (strcmp(outcome, "created") == 0)
		go_on_counting(kind, name, part);
	params_of(&params, name, part);
	etl_param_text(&params, kind->name);
	etl_param_text(&params, etl_version_change ? etl_version_change : outcome);
	etl_param_text(&params, GetUserNameFromId(GetUserId(), false));
	level = etl_change_text_begin();
	etl_sql_exec(psprintf("INSERT INTO etl.definition_version (kind, name, part, version, change, owner,"
						  " author, definition) SELECT $3, $1, $2, t.version, $4, t.owner, $5,"
						  " CASE WHEN d ? 'options' AND $3 <> 'check' AND $3 <> 'model' THEN"
						  " jsonb_set(d, '{options}', etl.redact(d -> 'options')) ELSE d END"
						  " FROM etl.%s AS t, LATERAL (SELECT to_jsonb(t) - '%s'::text[]"
						  " - '{version,owner,defined_at}'::text[] AS d) AS j WHERE %s",
						  kind->table, kind->hidden, where(kind)),
				 &params);
	AtEOXact_GUC(false, level);
	return outcome;
}

void
etl_undefined(const char *kind_name, const char *name, const char *part)
{
	const EtlDefinitionKind *kind = etl_definition_kind(kind_name);
	EtlParams	params = {0};

	must_be_free(kind_name, name, "dropped");
	etl_project_lacks(kind_name, name, part);
	etl_environment_node_delete(kind_name, name, part);
	params_of(&params, name, part);
	etl_param_text(&params, kind->name);
	etl_param_text(&params, GetUserNameFromId(GetUserId(), false));
	etl_sql_exec(psprintf("INSERT INTO etl.definition_version (kind, name, part, version, change, owner,"
						  " author) SELECT $3, $1, $2, t.version + 1, 'dropped', t.owner, $4"
						  " FROM etl.%s AS t WHERE %s ON CONFLICT DO NOTHING",
						  kind->table, where(kind)),
				 &params);
}

List *
etl_definitions_all(const EtlDefinitionKind *kind)
{
	int			level = etl_change_text_begin();
	List	   *result = NIL;
	EtlRows    *rows;

	rows = etl_sql_query(
		psprintf("SELECT t.%s AS name, %s AS part, t.owner, s.safe AS definition,"
				 " s.safe <> j.d AS redacted FROM etl.%s AS t,"
				 " LATERAL (SELECT to_jsonb(t) - '%s'::text[]"
				 " - '{version,owner,defined_at}'::text[] AS d) AS j,"
				 " LATERAL (SELECT CASE WHEN d ? 'options' THEN"
				 " jsonb_set(d, '{options}', etl.redact(d -> 'options')) ELSE d END AS safe) AS s"
				 " ORDER BY t.%s COLLATE \"C\", 2",
				 kind->key, kind->part ? kind->part : "NULL::text", kind->table, kind->hidden,
				 kind->key),
		NULL);
	AtEOXact_GUC(false, level);
	for (int i = 0; i < rows->n; i++)
	{
		EtlDefined *defined = palloc0(sizeof(EtlDefined));

		defined->kind = kind;
		defined->name = etl_row_text(rows, i, "name");
		defined->part = etl_row_text(rows, i, "part");
		defined->owner = etl_row_text(rows, i, "owner");
		defined->definition = etl_row_jsonb(rows, i, "definition");
		defined->redacted = etl_row_bool(rows, i, "redacted");
		result = lappend(result, defined);
	}
	return result;
}

/*
 * read_version makes the struct of the first row; NULL when there is none.
 */
static EtlVersion *
read_version(EtlRows *rows)
{
	EtlVersion *version;

	if (rows->n == 0)
		return NULL;
	version = palloc0(sizeof(EtlVersion));
	version->version = etl_row_int4(rows, 0, "version");
	version->change = etl_row_text(rows, 0, "change");
	version->owner = etl_row_text(rows, 0, "owner");
	version->definition = etl_row_jsonb(rows, 0, "definition");
	return version;
}

EtlVersion *
etl_version_find(const char *kind, const char *name, int version)
{
	EtlParams	params = {0};

	etl_param_text(&params, kind);
	etl_param_text(&params, name);
	etl_param_int4(&params, version);
	return read_version(etl_sql_query("SELECT * FROM etl.definition_version WHERE kind = $1 AND name = $2"
									  " AND part = '' AND version = $3", &params));
}

bool
etl_version_same(const char *kind, const char *name, int a, int b)
{
	EtlParams	params = {0};

	if (a == b)
		return true;
	etl_param_text(&params, kind);
	etl_param_text(&params, name);
	etl_param_int4(&params, a);
	etl_param_int4(&params, b);
	return etl_sql_int8("SELECT count(*) FROM etl.definition_version AS a JOIN etl.definition_version AS b"
						" USING (kind, name, part) WHERE kind = $1 AND name = $2 AND part = ''"
						" AND a.version = $3 AND b.version = $4 AND a.definition = b.definition",
						&params) > 0;
}

EtlVersion *
etl_version_before(const char *kind, const char *name, int version)
{
	EtlParams	params = {0};

	etl_param_text(&params, kind);
	etl_param_text(&params, name);
	etl_param_int4(&params, version);
	return read_version(etl_sql_query("SELECT * FROM etl.definition_version WHERE kind = $1 AND name = $2"
									  " AND part = '' AND version < $3 AND definition IS NOT NULL"
									  " ORDER BY version DESC LIMIT 1", &params));
}
