/*-------------------------------------------------------------------------
 *
 * source.c
 *    Defining and dropping sources, and listing options.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "parser/parse_func.h"
#include "utils/builtins.h"
#include "utils/tuplestore.h"

#include "catalog/child.h"
#include "catalog/connector.h"
#include "catalog/definition.h"
#include "catalog/environment.h"
#include "common/arguments.h"
#include "common/errors.h"
#include "common/json.h"
#include "common/option_sets.h"
#include "common/options.h"
#include "common/parse.h"
#include "common/redact.h"
#include "common/run_as.h"
#include "connector/connector.h"

PG_FUNCTION_INFO_V1(etl_sql_define_source);
PG_FUNCTION_INFO_V1(etl_sql_drop_source);
PG_FUNCTION_INFO_V1(etl_sql_options);
PG_FUNCTION_INFO_V1(etl_sql_redact);

/*
 * streams_of lists the streams of a source, EtlStream *.
 */
static List *
streams_of(const char *source)
{
	List	   *result = NIL;
	ListCell   *cell;

	foreach(cell, etl_stream_all())
	{
		EtlStream  *stream = lfirst(cell);

		/* what lands with another one goes where that goes */
		if (strcmp(stream->source, source) == 0 && etl_stream_parent(stream) == NULL)
			result = lappend(result, stream);
	}
	return result;
}

/*
 * check_streams raises ET001 when an existing stream would not fit the
 * source as it is about to be.
 */
static void
check_streams(const EtlSource *source, const EtlConnector *connector)
{
	EtlSource  *old = etl_source_find(source->name);
	List	   *streams = old ? streams_of(source->name) : NIL;
	ListCell   *cell;

	if (streams != NIL && strcmp(old->connector, source->connector) != 0)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("source \"%s\" has streams, so its connector cannot change", source->name),
				 errdetail("It is \"%s\"; stream %s is fed from it.", old->connector,
						   ((EtlStream *) linitial(streams))->target),
				 errhint("Define a source of another name, and the streams on it.")));
	foreach(cell, streams)
	{
		EtlStream  *stream = lfirst(cell);

		connector->validate(source->options, stream->options, stream->format);
	}
}

/*
 * etl_sql_define_source stores a source once its connector accepts it.
 */
Datum
etl_sql_define_source(PG_FUNCTION_ARGS)
{
	EtlSource	source = {0};
	const EtlConnector *connector;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("a source needs a name and a connector")));
	source.name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	source.connector = text_to_cstring(PG_GETARG_TEXT_PP(1));
	source.options = PG_ARGISNULL(2) ? etl_json_parse("{}") : PG_GETARG_JSONB_P(2);
	source.description = PG_ARGISNULL(3) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(3));
	source.owner = GetUserNameFromId(GetUserId(), false);
	if (source.name[0] == '\0')
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION), errmsg("the name of a source cannot be empty")));

	if (etl_source_find(source.name) != NULL && etl_environment_skips("source", source.name))
		PG_RETURN_TEXT_P(cstring_to_text("unchanged"));

	connector = etl_connector_find(source.connector);
	etl_options_check(source.options, source.connector, connector->source_options, NULL);
	connector->validate(source.options, NULL, NULL);
	check_streams(&source, connector);
	PG_RETURN_TEXT_P(cstring_to_text(etl_source_store(&source)));
}

/*
 * drop_stream drops a stream the way a user does, so that there is one way.
 */
static void
drop_stream(const char *target, bool drop_relation)
{
	Oid			types[3] = {TEXTOID, BOOLOID, BOOLOID};
	Oid			function = LookupFuncName(list_make2(makeString("etl"), makeString("drop_stream")),
								  3, types, false);

	OidFunctionCall3(function, CStringGetTextDatum(target), BoolGetDatum(true),
					 BoolGetDatum(drop_relation));
}

/*
 * etl_sql_drop_source forgets a source, with cascade its streams too.
 */
Datum
etl_sql_drop_source(PG_FUNCTION_ARGS)
{
	char	   *name = etl_arg_required(fcinfo, 0, "name");
	bool		cascade = !PG_ARGISNULL(1) && PG_GETARG_BOOL(1);
	bool		drop_relation = !PG_ARGISNULL(2) && PG_GETARG_BOOL(2);
	EtlSource  *source = etl_source_find(name);
	List	   *streams;
	ListCell   *cell;

	if (source == NULL)
		PG_RETURN_BOOL(false);
	etl_check_owner(source->owner, "source", name);
	streams = streams_of(name);
	if (streams != NIL && !cascade)
		ereport(ERROR, (errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
						errmsg("cannot drop source \"%s\" because stream %s is fed from it", name,
							   ((EtlStream *) linitial(streams))->target),
						errdetail_plural("%d stream is fed from it.", "%d streams are fed from it.",
										 list_length(streams), list_length(streams)),
						errhint("Drop them first, or pass cascade => true; their tables stay "
								"unless drop_relation is true.")));
	foreach(cell, streams)
		drop_stream(((EtlStream *) lfirst(cell))->target, drop_relation);
	PG_RETURN_BOOL(etl_definition_delete("source", name, NULL));
}

/*
 * put_options adds the rows of one option set to a result.
 */
static void
put_options(ReturnSetInfo *result, const EtlOptionDef *def)
{
	for (; def && def->name; def++)
	{
		Datum		values[4] = {CStringGetTextDatum(def->name), CStringGetTextDatum(def->type)};
		bool		nulls[4] = {false, false, def->default_value == NULL, def->description == NULL};

		if (def->default_value)
			values[2] = CStringGetTextDatum(def->default_value);
		if (def->description)
			values[3] = CStringGetTextDatum(def->description);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
}

/*
 * report_no_set raises ET002 for a set of options that does not exist.
 */
static void
report_no_set(const char *of)
{
	List	   *names = etl_connector_names();
	StringInfoData all;
	ListCell   *cell;

	foreach(cell, etl_option_sets())
	{
		EtlOptionSet *set = lfirst(cell);

		if (!etl_name_among(names, set->of))
			names = lappend(names, set->of);
	}
	initStringInfo(&all);
	foreach(cell, names)
		appendStringInfo(&all, "%s%s", all.len > 0 ? ", " : "", (char *) lfirst(cell));
	ereport(ERROR,
			(errcode(ETL_ERR_UNDEFINED),
			 errmsg("there are no options of \"%s\"", of),
			 errhint("Options are listed of: %s.", all.data)));
}

/*
 * etl_sql_options lists the options of a connector, a format, a stream, …
 */
Datum
etl_sql_options(PG_FUNCTION_ARGS)
{
	char	   *of = PG_ARGISNULL(0) ? "" : text_to_cstring(PG_GETARG_TEXT_PP(0));
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	bool		found = false;
	ListCell   *cell;

	InitMaterializedSRF(fcinfo, 0);
	if (etl_connector_handler(of) != NULL)
	{
		const EtlConnector *connector = etl_connector_find(of);

		put_options(result, connector->source_options);
		put_options(result, connector->stream_options);
		found = true;
	}
	foreach(cell, etl_option_sets())
	{
		EtlOptionSet *set = lfirst(cell);

		if (strcmp(set->of, of) == 0)
		{
			put_options(result, set->defs);
			found = true;
		}
	}
	if (!found)
		report_no_set(of);
	return (Datum) 0;
}

/* ---- hiding clear text from views ---- */

/*
 * is_hidden judges a key: by its name, and "value" within "auth".
 */
static bool
is_hidden(const JsonbValue *key, bool in_auth)
{
	return etl_is_sensitive(key->val.string.val, key->val.string.len) ||
		   (in_auth && key->val.string.len == 5 && memcmp(key->val.string.val, "value", 5) == 0);
}

/*
 * redact copies a document, with "***" in place of sensitive strings; a
 * reference {"secret": name} stays as it is.
 */
static Jsonb *
redact(Jsonb *document)
{
	JsonbParseState *state = NULL;
	JsonbIterator *it = JsonbIteratorInit(&document->root);
	JsonbValue	item;
	JsonbValue *result = NULL;
	JsonbIteratorToken token;
	int			depth = 0;
	int			auth_depth = 0; /* depth of the object "auth", 0 outside */
	bool		sensitive = false;
	bool		is_auth = false;
	bool		is_reference = false;

	while ((token = JsonbIteratorNext(&it, &item, false)) != WJB_DONE)
	{
		if (token == WJB_KEY)
		{
			is_reference = item.val.string.len == 6 && memcmp(item.val.string.val, "secret", 6) == 0;
			is_auth = item.val.string.len == 4 && memcmp(item.val.string.val, "auth", 4) == 0;
			sensitive = !is_reference && is_hidden(&item, auth_depth > 0);
		}
		else if ((token == WJB_VALUE || token == WJB_ELEM) && sensitive && item.type != jbvNull)
		{
			item.type = jbvString;
			item.val.string.val = "***";
			item.val.string.len = 3;
		}
		else if (token == WJB_BEGIN_OBJECT || token == WJB_BEGIN_ARRAY)
		{
			depth++;
			if (is_auth && auth_depth == 0)
				auth_depth = depth;
			if (token == WJB_BEGIN_OBJECT)
				sensitive = false;
			is_auth = false;
		}
		else if (token == WJB_END_OBJECT || token == WJB_END_ARRAY)
		{
			if (depth == auth_depth)
				auth_depth = 0;
			depth--;
			sensitive = false;
		}
		/* an array that stands for a scalar is marked in its beginning */
		result = pushJsonbValue(&state, token,
								token < WJB_BEGIN_ARRAY ||
										(token == WJB_BEGIN_ARRAY && item.val.array.rawScalar) ?
									&item :
									NULL);
	}
	return JsonbValueToJsonb(result);
}

/*
 * etl_sql_redact hides passwords and tokens written in clear text in options.
 */
Datum
etl_sql_redact(PG_FUNCTION_ARGS)
{
	PG_RETURN_JSONB_P(redact(PG_GETARG_JSONB_P(0)));
}
