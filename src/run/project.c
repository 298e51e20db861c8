/*-------------------------------------------------------------------------
 *
 * project.c
 *    Deployment of a script: begin_project, end_project, export_definitions.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"

#include "catalog/environment.h"
#include "catalog/project.h"
#include "catalog/version.h"
#include "common/arguments.h"
#include "common/errors.h"
#include "common/json.h"
#include "common/run_as.h"
#include "run/run.h"

PG_FUNCTION_INFO_V1(etl_sql_begin_project);
PG_FUNCTION_INFO_V1(etl_sql_end_project);
PG_FUNCTION_INFO_V1(etl_sql_export_definitions);

/* Of the deployment in this session: some transaction was rolled back since it began. */
static bool failed = false;
/* Whether the present transaction only ends it: that can be tried again. */
static bool ending = false;

/*
 * note_abort notes what ends badly; a callback of every transaction.  What a
 * failed statement was to define must not be taken for what the script no
 * longer defines: psql goes on after an error unless it is told otherwise.
 */
static void
note_abort(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_ABORT && !ending)
		failed = true;
	if (event == XACT_EVENT_ABORT || event == XACT_EVENT_COMMIT)
		ending = false;
}

/*
 * watch_aborts begins anew to note them.
 */
static void
watch_aborts(void)
{
	static bool watching = false;

	if (!watching)
		RegisterXactCallback(note_abort, NULL);
	watching = true;
	failed = ending = false;
}

/*
 * set_project sets the session's project; a rollback sets it back.
 */
static void
set_project(const char *value)
{
	(void) set_config_option("etl.project", value, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SET, true,
							 0, false);
}

/*
 * etl_sql_begin_project: see the comment of etl.begin_project.
 */
Datum
etl_sql_begin_project(PG_FUNCTION_ARGS)
{
	char	   *name = etl_arg_nonempty(fcinfo, 0, "name");
	int64		deployment;
	char	   *owner = name ? etl_project_owner(name, &deployment) : NULL;

	if (name == NULL)
		ereport(ERROR, (errcode(ETL_ERR_DEFINITION), errmsg("a project needs a name")));
	if (etl_environment_skips("project", name))
		PG_RETURN_INT64(0);
	if (owner != NULL)
		etl_check_owner(owner, "project", name);
	deployment = etl_project_begin(name, GetUserNameFromId(GetUserId(), false));
	set_project(psprintf(INT64_FORMAT " %s", deployment, name));
	watch_aborts();
	PG_RETURN_INT64(deployment);
}

/* ---- end_project ---- */

/* What is dropped first, so that nothing is in the way of what follows. */
static const char *const drop_order[] = {"alert", "channel", "sla", "schedule", "unit_test", "check",
										 "model", "stream", "source", "pool", "secret"};

/*
 * level_of tells how far a node is from its roots; the deepest go first.
 */
static int
level_of(EtlGraph *graph, const char *name)
{
	EtlNode    *node = etl_graph_find(graph, name);

	return node ? node->level : 0;
}

/*
 * sorted_stale puts what is to go in the order in which it can.
 */
static List *
sorted_stale(List *stale)
{
	EtlGraph   *graph = etl_graph_load();
	List	   *sorted = NIL;
	ListCell   *cell;

	for (int i = 0; i < lengthof(drop_order); i++)
		for (int level = graph->n; level >= 0; level--)
			foreach(cell, stale)
			{
				EtlProjectItem *item = lfirst(cell);

				if (strcmp(item->kind, drop_order[i]) == 0 && level_of(graph, item->name) == level)
					sorted = lappend(sorted, item);
			}
	return sorted;
}

/*
 * drop_item calls the drop function of an item, with the caller's rights.
 */
static void
drop_item(const EtlProjectItem *item, bool drop_relations)
{
	Oid			types[3] = {TEXTOID, TEXTOID, BOOLOID};
	Datum		values[3] = {CStringGetTextDatum(item->name),
					   CStringGetTextDatum(item->part ? item->part : ""),
					   BoolGetDatum(drop_relations)};
	const char *arguments = item->part						? "$1, $2" :
							strcmp(item->kind, "pool") == 0 ? "$1" :
															  "$1, false, $3";

	SPI_connect();
	SPI_execute_with_args(psprintf("SELECT etl.drop_%s(%s)", item->kind, arguments), 3, types, values,
						  NULL, false, 0);
	SPI_finish();
}

/*
 * put_item adds a row of the result.
 */
static void
put_item(ReturnSetInfo *result, const EtlProjectItem *item, const char *action, const char *detail)
{
	Datum		values[5] = {CStringGetTextDatum(item->kind), CStringGetTextDatum(item->name),
					   item->part ? CStringGetTextDatum(item->part) : (Datum) 0,
					   CStringGetTextDatum(action),
					   detail ? CStringGetTextDatum(detail) : (Datum) 0};
	bool		nulls[5] = {false, false, item->part == NULL, false, detail == NULL};

	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/*
 * what_of_rows tells what becomes of the relation of an item; NULL when it
 * has none.
 */
static const char *
what_of_rows(const EtlProjectItem *item, bool drop_relations)
{
	if (strcmp(item->kind, "stream") != 0 && strcmp(item->kind, "model") != 0)
		return NULL;
	if (!OidIsValid(etl_name_relation(item->name)))
		return "it has no relation";
	return drop_relations ? "with its relation, if etl made it" : "its relation stays";
}

/*
 * etl_sql_end_project: see the comment of etl.end_project.
 */
Datum
etl_sql_end_project(PG_FUNCTION_ARGS)
{
	bool		prune = PG_ARGISNULL(0) || PG_GETARG_BOOL(0);
	bool		dry_run = !PG_ARGISNULL(1) && PG_GETARG_BOOL(1);
	bool		drop_relations = !PG_ARGISNULL(2) && PG_GETARG_BOOL(2);
	bool		alone = !TransactionIdIsValid(GetTopTransactionIdIfAny());
	int64		deployment;
	int64		newest;
	char	   *name = etl_project_at(&deployment);
	char	   *owner = name ? etl_project_owner(name, &newest) : NULL;
	ListCell   *cell;

	InitMaterializedSRF(fcinfo, 0);
	if (etl_environment_on())
		return (Datum) 0;
	ending = alone && !dry_run;
	if (owner == NULL)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION), errmsg("no project has been begun in this session"),
				 errhint("Begin with SELECT etl.begin_project(name), then run the script.")));
	etl_check_owner(owner, "project", name);
	if (newest != deployment)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("project \"%s\" has been begun again since, by another session", name),
				 errhint("Let that one end, or begin again.")));
	if (failed && prune && !dry_run)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("a statement failed since project \"%s\" was begun", name),
				 errdetail("What it was to define would be dropped, as if the script no longer did."),
				 errhint("Run the script again from etl.begin_project on, with psql -v ON_ERROR_STOP=1; "
						 "etl.end_project(prune => false) drops nothing.")));

	foreach(cell, sorted_stale(etl_project_stale(name, deployment, prune && !dry_run)))
	{
		EtlProjectItem *item = lfirst(cell);
		const char *rows = what_of_rows(item, drop_relations);

		if (prune && !dry_run)
			drop_item(item, drop_relations);
		put_item((ReturnSetInfo *) fcinfo->resultinfo, item,
				 !prune ? "stays" : dry_run ? "to be dropped" :
											  "dropped",
				 prune ? rows : "the script no longer defines it");
	}
	if (!dry_run)
	{
		etl_project_end(name);
		set_project("");
	}
	return (Datum) 0;
}

/* ---- export_definitions ---- */

/*
 * may_export tells whether the caller has the rights of a definition's owner.
 */
static bool
may_export(const EtlDefined *defined)
{
	Oid			role = get_role_oid(defined->owner, true);

	return OidIsValid(role) ? has_privs_of_role(GetUserId(), role) : superuser();
}

/*
 * append_settings sets what the definition is read under, where it differs
 * from what the script has set last.
 */
static void
append_settings(StringInfo script, const Jsonb *settings, Jsonb **last)
{
	ListCell   *cell;

	foreach(cell, settings ? etl_json_keys(settings) : NIL)
	{
		char	   *value = etl_json_get_text(settings, lfirst(cell));
		char	   *before = *last ? etl_json_get_text(*last, lfirst(cell)) : NULL;

		/* option "settings", which is exported with the others */
		if (strcmp(lfirst(cell), "settings") == 0)
			continue;
		/* a search path is a list: as one literal it would name one schema */
		if (value != NULL && (before == NULL || strcmp(before, value) != 0))
			appendStringInfo(script, "SELECT pg_catalog.set_config(%s, %s, false);\n",
							 etl_script_literal(lfirst(cell)), etl_script_literal(value));
	}
	if (settings != NULL)
		*last = unconstify(Jsonb *, settings);
}

/*
 * append_definition adds one definition to a script.
 */
static void
append_definition(StringInfo script, const EtlDefined *defined, char **role, Jsonb **settings)
{
	bool		sealed = strcmp(defined->kind->name, "secret") == 0 &&
				  !etl_json_get_text(defined->definition, "file") &&
				  !etl_json_get_text(defined->definition, "env");

	if (strcmp(*role, defined->owner) != 0)
	{
		*role = defined->owner;
		appendStringInfo(script, "SET ROLE %s;\n", quote_identifier(defined->owner));
	}
	append_settings(script, etl_json_get(defined->definition, "settings"), settings);
	if (sealed)
	{
		appendStringInfo(script, "-- the value of this secret is not exported: define it by hand\n"
								 "-- SELECT etl.define_secret(name => %s, value => …);\n\n",
						 quote_literal_cstr(defined->name));
		return;
	}
	if (defined->redacted)
		appendStringInfoString(script, "-- what reads *** here is a secret in clear text: put it in again\n");
	appendStringInfo(script, "%s\n\n", etl_definition_sql(defined->kind->name, defined->definition));
}

/*
 * etl_sql_export_definitions: see the comment of etl.export_definitions.
 */
Datum
etl_sql_export_definitions(PG_FUNCTION_ARGS)
{
	StringInfoData script;
	char	   *caller = GetUserNameFromId(GetUserId(), false);
	char	   *role = caller;
	Jsonb	   *settings = NULL;
	int			others = 0;
	ListCell   *cell;

	initStringInfo(&script);
	appendStringInfoString(
		&script, "-- Definitions of etl: run this script in a database with the extension.\n\n");
	for (const EtlDefinitionKind *kind = etl_definition_kinds; kind->name; kind++)
		foreach(cell, etl_definitions_all(kind))
		{
			EtlDefined *defined = lfirst(cell);

			/* what is tried out beside production is no part of it */
			if (etl_is_environment_node(defined->name))
				continue;
			if (may_export(defined))
				append_definition(&script, defined, &role, &settings);
			else
				others++;
		}
	if (strcmp(role, caller) != 0)
		appendStringInfoString(&script, "RESET ROLE;\n");
	foreach(cell, settings ? etl_json_keys(settings) : NIL)
		if (strcmp(lfirst(cell), "settings") != 0)
			appendStringInfo(&script, "RESET %s;\n", (char *) lfirst(cell));
	if (others > 0)
		appendStringInfo(&script, "-- %d definitions of other roles are not in this script\n", others);
	PG_RETURN_TEXT_P(cstring_to_text(script.data));
}
