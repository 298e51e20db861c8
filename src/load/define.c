/*-------------------------------------------------------------------------
 *
 * define.c
 *    Defining and dropping streams.
 *
 * Whatever can be judged without data is judged here, so that a run meets
 * only what the data brings.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "parser/parse_func.h"
#include "parser/parse_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"

#include "catalog/definition.h"
#include "catalog/environment.h"
#include "catalog/landing.h"
#include "catalog/schedule.h"
#include "common/arguments.h"
#include "common/errors.h"
#include "common/json.h"
#include "common/names.h"
#include "common/options.h"
#include "common/parse.h"
#include "common/run_as.h"
#include "common/texts.h"
#include "connector/connector.h"
#include "decode/format.h"
#include "load/children.h"

PG_FUNCTION_INFO_V1(etl_sql_define_stream);
PG_FUNCTION_INFO_V1(etl_sql_drop_stream);

/*
 * etl_format_of_path guesses the format of a file stream from the ending of its
 * path; NULL when that says nothing.
 */
char *
etl_format_of_path(const char *path)
{
	static const struct
	{
		const char *ending;
		const char *format;
	} endings[] = {{".csv", "csv"},		  {".tsv", "csv"},		{".txt", "csv"}, {".json", "json"},
				   {".ndjson", "ndjson"}, {".jsonl", "ndjson"}, {".xml", "xml"}};
	char	   *name = path ? pstrdup(path) : pstrdup("");
	static const char *const packed[] = {".pgp", ".gpg", ".asc", ".gz", ".zst", ".lz4", ".bz2", ".xz"};

	for (int i = 0; i < lengthof(packed); i++)
	{
		int			rest = strlen(name) - strlen(packed[i]);

		if (rest > 0 && strcmp(name + rest, packed[i]) == 0)
			name[rest] = '\0';
	}
	for (int i = 0; i < lengthof(endings); i++)
	{
		int			rest = strlen(name) - strlen(endings[i].ending);

		if (rest >= 0 && strcmp(name + rest, endings[i].ending) == 0)
			return pstrdup(endings[i].format);
	}
	return NULL;
}

/*
 * resolve_format gives the stream the format it was told, or that its path
 * tells.
 */
static void
resolve_format(EtlStream *stream, const EtlConnector *connector)
{
	if (stream->format == NULL)
		stream->format = connector->needs_network || strcmp(connector->name, "push") == 0 ?
							 pstrdup("json") :
							 etl_format_of_path(etl_json_get_text(stream->options, "path"));
	if (stream->format == NULL)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("the format of stream \"%s\" cannot be told from its path", stream->target),
				 errhint("Pass format => 'csv', 'json', 'ndjson', or another of docs/formats.md.")));
	if (etl_format_find(stream->format) == NULL)
	{
		StringInfoData names;

		initStringInfo(&names);
		for (const EtlFormat *format = NULL; (format = etl_format_next(format)) != NULL;)
			appendStringInfo(&names, "%s%s", names.len ? ", " : "", format->name);
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("invalid format \"%s\"", stream->format),
				 errhint("The formats are: %s.", names.data)));
	}
}

/*
 * add_defs appends the options of one table, those known already apart.
 */
static void
add_defs(EtlOptionDef *all, int *n, const EtlOptionDef *defs)
{
	for (; defs && defs->name; defs++)
	{
		bool		known = false;

		for (int i = 0; i < *n; i++)
			known = known || strcmp(all[i].name, defs->name) == 0;
		if (!known)
			all[(*n)++] = *defs;
	}
	all[*n].name = NULL;
}

/*
 * count_defs counts the options of a table.
 */
static int
count_defs(const EtlOptionDef *defs)
{
	int			n = 0;

	while (defs && defs[n].name)
		n++;
	return n;
}

/*
 * check_options raises ET001 for a key that neither the connector nor the
 * format nor landing knows.
 */
static void
check_options(const EtlStream *stream, const EtlSource *source, const EtlConnector *connector)
{
	const EtlFormat *format = etl_format_find(stream->format);
	const EtlOptionDef *tables[4] = {
		connector->stream_options,
		format->options,
		etl_stream_options,
		connector->needs_network ? NULL : etl_stream_file_options};
	int			total = 1;
	int			n = 0;
	EtlOptionDef *all;

	for (int i = 0; i < 4; i++)
		total += count_defs(tables[i]);
	all = palloc0(sizeof(EtlOptionDef) * total);
	for (int i = 0; i < 4; i++)
		add_defs(all, &n, tables[i]);
	etl_options_check(stream->options, source->connector, all, NULL);
	if (format->check != NULL)
		format->check(stream->options);
	connector->validate(source->options, stream->options, stream->format);
}

/*
 * check_mode raises ET001 for combinations that make no sense.
 */
static void
check_mode(const EtlStream *stream)
{
	const char *on_change = etl_json_get_text(stream->options, "on_change");
	bool		merge = strcmp(stream->mode, "merge") == 0;

	if (!merge && strcmp(stream->mode, "append") != 0 && strcmp(stream->mode, "replace") != 0)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("invalid mode \"%s\"", stream->mode),
				 errhint("Use append, merge or replace.")));
	if (merge && stream->key == NIL)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("stream \"%s\" merges and needs a key", stream->target),
				 errhint("Pass key => '{id}', or mode => 'append' to keep every record.")));
	if (merge && on_change != NULL && strcmp(on_change, "replace") == 0)
		ereport(
			ERROR,
			(errcode(ETL_ERR_DEFINITION),
			 errmsg("option \"on_change\" cannot be \"replace\" on a merge stream"),
			 errdetail(
				 "A changed file is merged; which rows its former content brought is not kept."),
			 errhint("Leave it out, or keep the history in an append stream and its current state "
					 "in a model.")));
}

/*
 * check_columns raises an error for a column list that cannot make a table,
 * and for a key that cannot identify its rows.
 */
static void
check_columns(const EtlStream *stream)
{
	List	   *names = NIL;
	ListCell   *cell;

	foreach(cell, stream->key)
		if (strcmp(lfirst(cell), ETL_LOAD_ID_COLUMN) == 0 || strcmp(lfirst(cell), ETL_ROW_COLUMN) == 0)
			ereport(ERROR, (errcode(ETL_ERR_DEFINITION),
							errmsg("column \"%s\" cannot be part of a key", (char *) lfirst(cell)),
							errdetail("etl gives it anew to every record that it reads."),
							errhint("Name the columns of the record that identify it.")));

	foreach(cell, etl_columns_parse(stream->columns))
	{
		ColumnDef  *column = lfirst(cell);
		Oid			type;
		int32		typmod;

		if (!IsA(column, ColumnDef))
			continue;
		typenameTypeIdAndMod(NULL, column->typeName, &type, &typmod);
		if (get_typtype(type) == TYPTYPE_PSEUDO)
			ereport(ERROR,
					(errcode(ETL_ERR_DEFINITION),
					 errmsg("column \"%s\" cannot have the pseudo-type %s", column->colname,
							format_type_be(type))));
		if (etl_name_is_system_column(column->colname))
			ereport(ERROR, (errcode(ETL_ERR_DEFINITION),
							errmsg("column \"%s\" has the name of a system column", column->colname),
							errhint("Choose another name.")));
		if (etl_name_among(stream->key, column->colname) &&
			!OidIsValid(lookup_type_cache(type, TYPECACHE_EQ_OPR)->eq_opr))
			ereport(ERROR,
					(errcode(ETL_ERR_DEFINITION),
					 errmsg("column \"%s\" cannot be part of a key", column->colname),
					 errdetail("Values of type %s cannot be compared.", format_type_be(type)),
					 errhint("Use jsonb instead of json, or another column.")));
		names = lappend(names, column->colname);
	}
	if (etl_name_twice(names) != NULL)
		ereport(ERROR, (errcode(ETL_ERR_DEFINITION),
						errmsg("argument \"columns\" declares column \"%s\" twice", etl_name_twice(names))));
}

/*
 * etl_stream_judge: see landing.h.
 */
void
etl_stream_judge(EtlStream *stream, const EtlSource *source, const EtlConnector *connector)
{
	resolve_format(stream, connector);
	check_options(stream, source, connector);
}

/*
 * same_json compares two documents.
 */
static bool
same_json(const Jsonb *a, const Jsonb *b)
{
	return strcmp(etl_json_text(a), etl_json_text(b)) == 0;
}

/*
 * is_as_in_production tells whether a stream is defined just so already, a
 * format that is not given apart.
 */
static bool
is_as_in_production(const EtlStream *stream)
{
	EtlStream  *old = etl_stream_find(stream->target);

	return old != NULL && strcmp(old->source, stream->source) == 0 &&
		   same_json(old->options, stream->options) &&
		   (stream->format == NULL || etl_same_text(old->format, stream->format)) &&
		   etl_same_text(old->columns, stream->columns) && etl_same_texts(old->key, stream->key) &&
		   strcmp(old->mode, stream->mode) == 0 && etl_same_text(old->event_time, stream->event_time) &&
		   etl_same_text(old->schema_policy, stream->schema_policy) &&
		   same_json(old->contract, stream->contract) && etl_same_texts(old->tags, stream->tags) &&
		   etl_same_text(old->description, stream->description);
}

/*
 * enter_environment gives a stream its name in the session's environment;
 * false when it is as in production and not part of it: then what production
 * has landed is read, and nothing is fetched again.
 */
static bool
enter_environment(EtlStream *stream)
{
	char	   *node = etl_environment_name_of(stream->target);

	if (etl_node_owner(node) == NULL && is_as_in_production(stream))
		return false;
	etl_environment_begin(node);
	stream->target = node;
	return true;
}

/*
 * note_environment stores that a stream is part of the environment.
 */
static void
note_environment(char *target, const EtlStream *stream)
{
	EtlEnvironmentNode node = {.kind = "stream", .target = target, .node = stream->target, .direct = true};
	EtlJsonBuilder *builder = etl_json_object_begin();
	Jsonb	   *stored = etl_definition_json("stream", stream->target, NULL);
	ListCell   *cell;

	foreach(cell, etl_json_keys(stored))
		if (strcmp(lfirst(cell), "target") == 0)
			etl_json_add_text(builder, lfirst(cell), target);
		else
			etl_json_add(builder, lfirst(cell), etl_json_get(stored, lfirst(cell)));
	node.definition = etl_json_object_end(builder);
	node.base_version = etl_definition_version("stream", target, NULL);
	etl_environment_node_store(&node);
}

Datum
etl_sql_define_stream(PG_FUNCTION_ARGS)
{
	EtlStream	stream = {0};
	EtlSource  *source;
	EtlStream  *old;
	EtlLoadOptions *options;
	const EtlConnector *connector;
	const char *result;
	char	   *given = NULL;	/* in an environment: its name in production */
	char	   *policy;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("a stream needs a target and a source")));
	stream.target = etl_name_of_target(etl_arg_text(fcinfo, 0));
	stream.source = etl_arg_text(fcinfo, 1);
	stream.options = PG_ARGISNULL(2) ? etl_json_parse("{}") : PG_GETARG_JSONB_P(2);
	stream.format = etl_arg_text(fcinfo, 3);
	stream.columns = etl_arg_text(fcinfo, 4);
	stream.key = etl_arg_columns(fcinfo, 5, "key");
	stream.mode = PG_ARGISNULL(6) ? pstrdup("append") : etl_arg_text(fcinfo, 6);
	stream.event_time = etl_arg_nonempty(fcinfo, 7, "event_time");
	policy = etl_arg_text(fcinfo, 8);
	stream.schema_policy = policy ? policy : pstrdup("evolve");
	stream.contract = PG_ARGISNULL(9) ? etl_json_parse("{}") : PG_GETARG_JSONB_P(9);
	stream.tags = etl_arg_tags(fcinfo, 10);
	stream.description = etl_arg_text(fcinfo, 11);
	stream.settings = etl_settings_capture();
	if (etl_environment_on())
	{
		given = stream.target;
		if (!enter_environment(&stream))
			PG_RETURN_TEXT_P(cstring_to_text("unchanged"));
	}

	/* members of the role that owns a stream may redefine it; it stays that role's */
	old = etl_stream_find(stream.target);
	if (old != NULL)
		etl_stream_refuse_child(old, "redefined");
	if (old != NULL)
		etl_check_owner(old->owner, "stream", stream.target);
	stream.owner = old ? old->owner : GetUserNameFromId(GetUserId(), false);
	if (old == NULL && OidIsValid(etl_name_relation(stream.target)))
		etl_check_owns_relation(stream.owner, etl_name_relation(stream.target));
	if (etl_model_find(stream.target) != NULL)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("\"%s\" is a model", stream.target),
				 errhint("A node is either a stream or a model: drop the model, or choose another name.")));

	source = etl_source_get(stream.source);
	connector = etl_connector_find(source->connector);
	etl_stream_judge(&stream, source, connector);
	etl_contract_check(&stream);
	check_mode(&stream);
	check_columns(&stream);
	options = etl_load_options_read(&stream);
	if (old != NULL)
		etl_contract_compare(old, &stream);
	if (given != NULL && options->child_tables)
		ereport(
			ERROR,
			(errcode(ETL_ERR_DEFINITION),
			 errmsg("stream \"%s\" has child tables, which an environment cannot have of its own",
					given),
			 errhint("Leave the stream as it is in production, whose child tables the environment "
					 "reads.")));
	result = etl_stream_store(&stream);
	etl_children_define(&stream, options);
	if (given != NULL)
		note_environment(given, &stream);
	else
		etl_stream_store_event(stream.target, stream.contract);
	PG_RETURN_TEXT_P(cstring_to_text(result));
}

/* ---- drop ---- */

/*
 * drop_models drops the models that read a stream, or refuses.
 */
static void
drop_models(const EtlStream *stream, bool cascade, bool drop_relation)
{
	List	   *models = etl_stream_models(stream->target);
	Oid			types[3] = {TEXTOID, BOOLOID, BOOLOID};
	ListCell   *cell;

	if (models == NIL)
		return;
	if (!cascade)
		ereport(ERROR,
				(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
				 errmsg("cannot drop stream \"%s\" because model %s reads it", stream->target,
						(char *) linitial(models)),
				 errdetail("%d models read it.", list_length(models)),
				 errhint("Drop them first, or pass cascade => true.")));
	foreach(cell, models)
	{
		/* one may have gone with another */
		if (etl_model_find(lfirst(cell)) != NULL)
			OidFunctionCall3(LookupFuncName(list_make2(makeString("etl"), makeString("drop_model")), 3,
											types, false),
							 CStringGetTextDatum(lfirst(cell)), BoolGetDatum(true),
							 BoolGetDatum(drop_relation));
	}
}

/*
 * drop_stream drops a stream and what lands with it.
 */
static bool
drop_stream(const EtlStream *stream, bool cascade, bool drop_relation)
{
	ListCell   *cell;

	etl_check_owner(stream->owner, "stream", stream->target);
	foreach(cell, etl_stream_children(stream->target))
		(void) drop_stream(lfirst(cell), cascade, drop_relation);
	drop_models(stream, cascade, drop_relation);

	/* a table that stays keeps its ledger: defined again, the stream goes on */
	if (drop_relation)
	{
		EtlRunAs	as;

		if (etl_node_state_get(stream->target)->created)
		{
			etl_run_as_begin(&as, stream->owner, NULL);
			etl_relation_sql(psprintf("DROP TABLE IF EXISTS %s", stream->target));
			etl_run_as_end(&as);
		}
		etl_stream_state_delete(stream->target);
	}
	foreach(cell, etl_checks_of(stream->target))
		(void) etl_definition_delete("quality_check", stream->target, ((EtlCheck *) lfirst(cell))->name);
	if (etl_stream_parent(stream) != NULL)
		etl_dependencies_store(stream->target, NIL);
	etl_stream_store_event(stream->target, NULL);
	return etl_definition_delete("stream", stream->target, NULL);
}

Datum
etl_sql_drop_stream(PG_FUNCTION_ARGS)
{
	char	   *name = etl_arg_required(fcinfo, 0, "name");
	bool		cascade = !PG_ARGISNULL(1) && PG_GETARG_BOOL(1);
	bool		drop_relation = !PG_ARGISNULL(2) && PG_GETARG_BOOL(2);
	EtlStream  *stream = etl_stream_find(etl_environment_resolve(etl_name_canonical(name)));

	PG_RETURN_BOOL(stream != NULL && drop_stream(stream, cascade, drop_relation));
}
