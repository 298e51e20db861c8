/*-------------------------------------------------------------------------
 *
 * dbt.c
 *    SQL function import_dbt: the project of a dbt manifest, defined here.
 *
 * The manifest holds SQL that dbt has compiled: no template is left in it.
 * Each entry becomes what it is here by a define function, called with the
 * rights of the caller, or a row that says why it does not.  An entry that
 * cannot be defined takes nothing else with it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"
#include "utils/varlena.h"

#include "catalog/environment.h"
#include "common/driver.h"
#include "common/errors.h"
#include "common/json.h"
#include "common/names.h"
#include "model/model.h"
#include "run/dbt.h"

PG_FUNCTION_INFO_V1(etl_sql_import_dbt);

/* ---- what the entries of a manifest are asked ---- */

bool
etl_dbt_is(const Jsonb *object, const char *key, const char *value)
{
	char	   *text = object ? etl_json_get_text(object, key) : NULL;

	return text != NULL && strcmp(text, value) == 0;
}

Jsonb *
etl_dbt_find(const EtlDbt *dbt, const char *id)
{
	Jsonb	   *node = etl_json_get(dbt->nodes, id);

	return node ? node : dbt->sources ? etl_json_get(dbt->sources, id) :
										NULL;
}

char *
etl_dbt_relation(const Jsonb *node)
{
	char	   *schema = etl_json_get_text(node, "schema");
	char	   *name = etl_json_get_text(node, "alias");

	if (name == NULL)
		name = etl_json_get_text(node, "identifier");
	if (name == NULL)
		name = etl_json_get_text(node, "name");
	return schema && name ? quote_qualified_identifier(schema, name) : NULL;
}

List *
etl_dbt_parents(const Jsonb *node)
{
	Jsonb	   *depends_on = etl_json_get(node, "depends_on");

	return depends_on ? etl_json_get_list(depends_on, "nodes") : NIL;
}

char *
etl_dbt_column(const char *text)
{
	List	   *names;

	if (text == NULL || !SplitIdentifierString(pstrdup(text), '.', &names) || list_length(names) != 1)
		return NULL;
	return linitial(names);
}

char *
etl_dbt_list(List *texts)
{
	StringInfoData list;
	ListCell   *cell;

	initStringInfo(&list);
	appendStringInfoChar(&list, '[');
	foreach(cell, texts)
		appendStringInfo(&list, "%s%s", cell == list_head(texts) ? "" : ", ", etl_json_quote(lfirst(cell)));
	appendStringInfoChar(&list, ']');
	return list.data;
}

/*
 * same_name answers every relation with its canonical name, which has no
 * database in it.
 */
static char *
same_name(const char *name, void *arg)
{
	return pstrdup(name);
}

char *
etl_dbt_query(const char *sql)
{
	EtlModel	model = {0};

	model.query = pstrdup(sql);
	model.owner = GetUserNameFromId(GetUserId(), false);
	return etl_query_rename(&model, same_name, NULL);
}

void
etl_dbt_schema(const char *target)
{
	char	   *schema = etl_name_parse(target)->schema;

	if (etl_environment_on() || OidIsValid(get_namespace_oid(schema, true)))
		return;
	SPI_connect();
	SPI_execute(psprintf("CREATE SCHEMA %s", quote_identifier(schema)), false, 0);
	SPI_finish();
	CommandCounterIncrement();
}

/* ---- rows of the result ---- */

EtlDbtItem *
etl_dbt_item(EtlDbt *dbt, char *id, Jsonb *node)
{
	EtlDbtItem *item = palloc0(sizeof(EtlDbtItem));

	item->dbt = dbt;
	item->id = id;
	item->node = node;
	item->config = etl_json_get(node, "config");
	if (item->config == NULL)
		item->config = etl_json_parse("{}");
	item->target = etl_dbt_relation(node);
	return item;
}

void
etl_dbt_leave(EtlDbtItem *item, char *what)
{
	item->left = lappend(item->left, what);
}

void
etl_dbt_put(EtlDbtItem *item, const char *action, const char *detail)
{
	char	   *kind = etl_json_get_text(item->node, "resource_type");
	StringInfoData text;
	Datum		values[6];
	bool		nulls[6] = {false};
	ListCell   *cell;

	initStringInfo(&text);
	if (detail != NULL)
		appendStringInfoString(&text, detail);
	foreach(cell, item->left)
		appendStringInfo(&text, "%s%s%s", text.len ? "; " : "",
						 cell == list_head(item->left) ? "without counterpart: " : "", (char *) lfirst(cell));
	nulls[1] = kind == NULL;
	nulls[2] = item->target == NULL;
	nulls[3] = item->part == NULL;
	nulls[5] = text.len == 0;
	values[0] = CStringGetTextDatum(item->id);
	values[1] = kind ? CStringGetTextDatum(kind) : (Datum) 0;
	values[2] = item->target ? CStringGetTextDatum(item->target) : (Datum) 0;
	values[3] = item->part ? CStringGetTextDatum(item->part) : (Datum) 0;
	values[4] = CStringGetTextDatum(action);
	values[5] = text.len ? CStringGetTextDatum(text.data) : (Datum) 0;
	tuplestore_putvalues(item->dbt->result->setResult, item->dbt->result->setDesc, values, nulls);
}

typedef struct Definition
{
	const char *sql;
	char	   *answer;
	MemoryContext context;
} Definition;

/*
 * call calls a define function; an argument of etl_subxact.
 */
static void
call(void *arg)
{
	Definition *definition = arg;

	SPI_connect();
	SPI_execute(definition->sql, false, 0);
	definition->answer = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
	definition->answer = MemoryContextStrdup(definition->context, definition->answer);
	SPI_finish();
}

char *
etl_dbt_call(EtlDbtItem *item, const char *sql)
{
	Definition	definition = {sql, NULL, CurrentMemoryContext};
	ErrorData  *error = etl_subxact(call, &definition);

	CommandCounterIncrement();
	if (error != NULL)
		etl_dbt_put(item, "failed",
					psprintf("%s%s%s", error->message, error->detail ? ": " : "",
							 error->detail ? error->detail : ""));
	return definition.answer;
}

void
etl_dbt_define(EtlDbtItem *item, const char *sql, const char *detail)
{
	char	   *answer = etl_dbt_call(item, sql);

	if (answer != NULL)
		etl_dbt_put(item, answer, detail);
}

/* ---- the whole ---- */

/* Kinds of entries, and what becomes of those that are none of here. */
static const struct
{
	const char *kind;
	void		(*import) (EtlDbtItem *item);
	const char *detail;
} kinds[] = {
	{"model", etl_dbt_model, NULL},
	{"snapshot", etl_dbt_model, NULL},
	{"test", etl_dbt_test, NULL},
	{"source", etl_dbt_freshness, NULL},
	{"unit_test", etl_dbt_unit_test, NULL},
	{"seed", NULL,
	 "a manifest does not hold the rows of a seed: models read its table as it stands; define a "
	 "model of kind "
	 "seed with the rows, or a stream of the file"},
	{"analysis", NULL, "a query that nothing builds"},
	{"operation", NULL, "hooks of the project: give them to the models as pre_hook and post_hook"},
	{"exposure", NULL, "what reads the models outside of the database is not defined here"},
	{NULL, NULL, "it has no counterpart"}};

/* Nodes, those first that others rest on. */
static const char *const order[] = {"seed", "model", "snapshot", "test", "analysis", "operation"};

typedef struct Import
{
	EtlDbtItem *item;
	void		(*import) (EtlDbtItem *item);
} Import;

/*
 * import_work imports one entry; an argument of etl_subxact.
 */
static void
import_work(void *arg)
{
	Import	   *work = arg;

	work->import(work->item);
}

/*
 * import_item imports one entry of a kind, or says what it is.  An entry that
 * is not as a manifest's is an error of its own.
 */
static void
import_item(EtlDbtItem *item, const char *kind)
{
	Import		work = {item};
	ErrorData  *error;
	int			i = 0;

	while (kinds[i].kind != NULL && strcmp(kinds[i].kind, kind) != 0)
		i++;
	work.import = kinds[i].import;
	if (work.import == NULL)
	{
		etl_dbt_put(item, "skipped", kinds[i].detail);
		return;
	}
	error = etl_subxact(import_work, &work);
	if (error != NULL)
	{
		item->left = NIL;
		etl_dbt_put(item, "failed", error->message);
	}
}

/*
 * is_known tells whether nodes of a kind have their turn.
 */
static bool
is_known(const char *kind)
{
	for (int i = 0; i < lengthof(order); i++)
		if (strcmp(order[i], kind) == 0)
			return true;
	return false;
}

/*
 * import_all imports the entries of one part of the manifest: those of one
 * kind, those of no known kind (""), or all (NULL).
 */
static void
import_all(EtlDbt *dbt, const Jsonb *entries, const char *kind)
{
	ListCell   *cell;

	foreach(cell, entries ? etl_json_keys(entries) : NIL)
	{
		Jsonb	   *node = etl_json_get(entries, lfirst(cell));
		char	   *of = etl_json_kind(node) == 'o' ? etl_json_get_text(node, "resource_type") : NULL;

		CHECK_FOR_INTERRUPTS();
		if (of != NULL && (kind == NULL || (*kind ? strcmp(of, kind) == 0 : !is_known(of))))
			import_item(etl_dbt_item(dbt, lfirst(cell), node), of);
	}
}

/*
 * import_disabled lists what is disabled.
 */
static void
import_disabled(EtlDbt *dbt, const Jsonb *entries)
{
	ListCell   *cell;

	foreach(cell, entries ? etl_json_keys(entries) : NIL)
	{
		List	   *nodes = etl_json_get_list(entries, lfirst(cell));

		if (nodes != NIL)
			etl_dbt_put(etl_dbt_item(dbt, lfirst(cell), etl_json_parse(linitial(nodes))), "skipped",
						"disabled");
	}
}

/*
 * check_manifest raises ET001 for what is no manifest of dbt 1.8 or later.
 */
static void
check_manifest(const Jsonb *manifest)
{
	Jsonb	   *metadata = etl_json_kind(manifest) == 'o' ? etl_json_get(manifest, "metadata") : NULL;
	char	   *schema = metadata ? etl_json_get_text(metadata, "dbt_schema_version") : NULL;
	char	   *version = schema ? strstr(schema, "/manifest/v") : NULL;

	if (version == NULL || etl_json_kind_of(manifest, "nodes") != 'o')
		ereport(ERROR, (errcode(ETL_ERR_DEFINITION), errmsg("that is no manifest of dbt"),
						errhint("Give the contents of target/manifest.json, which dbt compile "
								"--full-refresh writes.")));
	if (atoi(version + strlen("/manifest/v")) < 12)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("the manifest is of a version of dbt before 1.8"), errdetail("It says %s.", schema),
				 errhint("Compile the project with a later dbt.")));
}

/*
 * etl_sql_import_dbt: see the comment of etl.import_dbt.
 */
Datum
etl_sql_import_dbt(PG_FUNCTION_ARGS)
{
	static const char *const others[] = {"exposures", "metrics", "semantic_models", "saved_queries",
										 "groups"};
	Jsonb	   *manifest;
	EtlDbt		dbt = {0};

	if (PG_ARGISNULL(0))
		ereport(ERROR, (errcode(ETL_ERR_DEFINITION), errmsg("manifest must not be null")));
	manifest = PG_GETARG_JSONB_P(0);
	check_manifest(manifest);
	InitMaterializedSRF(fcinfo, 0);
	dbt.result = (ReturnSetInfo *) fcinfo->resultinfo;
	dbt.nodes = etl_json_get(manifest, "nodes");
	dbt.sources = etl_json_get(manifest, "sources");

	PushActiveSnapshot(GetTransactionSnapshot());
	import_all(&dbt, dbt.sources, NULL);
	for (int i = 0; i < lengthof(order); i++)
		import_all(&dbt, dbt.nodes, order[i]);
	import_all(&dbt, dbt.nodes, "");
	import_all(&dbt, etl_json_get(manifest, "unit_tests"), NULL);
	for (int i = 0; i < lengthof(others); i++)
		import_all(&dbt, etl_json_get(manifest, others[i]), NULL);
	import_disabled(&dbt, etl_json_get(manifest, "disabled"));
	PopActiveSnapshot();
	return (Datum) 0;
}
