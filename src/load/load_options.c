/*-------------------------------------------------------------------------
 *
 * load_options.c
 *    A stream's options as a struct: what landing itself understands.
 *
 * Connectors and decoders bring their own tables; a stream accepts the union
 * of its connector's, its format's and these.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/child.h"
#include "common/errors.h"
#include "common/json.h"
#include "common/run_as.h"
#include "decode/format.h"
#include "load/landing.h"

/* Options that every stream takes; etl.options('stream') lists them. */
const EtlOptionDef etl_stream_options[] = {
	{"adopt", "boolean", "false",
	 "takes over a table that etl did not create and adds _etl_load_id and _etl_row to it"},
	{"compression", "auto|none|gzip|zstd|lz4|bzip2|xz", "auto",
	 "how the input is compressed; auto looks at its first bytes"},
	{"date_order", "YMD|DMY|MDY", "YMD", "order of the parts of a date that is not ISO 8601"},
	{"decimal", "text", ".", "decimal separator of numbers in text"},
	{"decrypt", "object", NULL,
	 "the input is encrypted with PGP: {\"key\": {\"secret\": name}, \"passphrase\": {\"secret\": name}}; "
	 "key is a secret key as gpg exports it with --armor, passphrase the key's, or the message's where "
	 "there is no key"},
	{"max_expansion", "integer", "1000",
	 "how many times its size a packed input may grow, judged from 64 MB on; 0: no limit"},
	{"immutable", "boolean", "false",
	 "refuses every UPDATE, DELETE and TRUNCATE of the stream's rows but etl's own"},
	{"max_rejects", "threshold", NULL,
	 "count or share of rejects above which a load fails whole"},
	{"nested", "any", NULL,
	 "what becomes of objects and lists inside JSON records: jsonb, one column; flatten, a column a__b "
	 "for each value of a.b; table, the same, and each list a child table stream__a with a row for each "
	 "element; or an object of paths and these words, * for all others. Without it: jsonb"},
	{"partition_by", "day|week|month", NULL,
	 "partitions by the moment (UTC) at which a row's load began, which is the column _etl_loaded_at"},
	{"pool", "text", NULL,
	 "pool of etl.define_pool: at most as many of its nodes as it has slots are at work at once"},
	{"retention", "any", NULL,
	 "how long loads are kept: {\"max_age\": duration, \"max_loads\": count, \"archive\": schema for the "
	 "partitions that go}; see etl.expire"},
	{"task_timeout", "duration", NULL, "how long one pull may take; then it fails with 57014"},
	{"thousands", "text", NULL, "thousands separator of numbers in text"},
	{"transform", "any", NULL,
	 "what becomes of fields before anything is stored: drop, {\"hash\": {\"secret\": name}} "
	 "(HMAC-SHA-256, in hex), {\"cast\": type}, {\"derive\": SQL expression over the other fields, as "
	 "text}. A field inside what is nested is named by its path, a.b"},
	{"timezone", "text", "UTC", "zone in which timestamps without one are read"},
	{NULL}};

/* Options of streams whose items are files. */
const EtlOptionDef etl_stream_file_options[] = {
	{"on_change", "replace|append|error", "replace",
	 "what happens when a file that was loaded has changed"},
	{"path_columns", "any", NULL,
	 "columns from the path: hive takes every folder name=value of the option path, a list of names "
	 "those, an object of names and regular expressions what the first group of each matches"},
	{NULL}};

/*
 * policy_word reads one word of schema_policy.
 */
static EtlPolicy
policy_word(const char *word)
{
	static const char *const words[] = {
		"evolve", "freeze", "discard_row", "discard_value", "quarantine"};

	for (int i = 0; i < lengthof(words); i++)
		if (strcmp(word, words[i]) == 0)
			return (EtlPolicy) i;
	ereport(ERROR,
			(errcode(ETL_ERR_DEFINITION),
			 errmsg("invalid schema_policy \"%s\"", word),
			 errhint("Use evolve, freeze, discard_row, discard_value or quarantine, or an object of"
					 " them with the keys tables, columns and data_type.")));
}

/*
 * read_policy fills the three policies from a word or JSON text.
 */
static void
read_policy(EtlLoadOptions *options, const char *text)
{
	Jsonb	   *policy;
	ListCell   *cell;

	options->tables = ETL_EVOLVE;
	if (text[strspn(text, " \t\n")] != '{')
	{
		options->columns = options->data_type = policy_word(text);
		return;
	}
	options->columns = options->data_type = ETL_EVOLVE;
	policy = etl_json_parse(text);
	foreach(cell, etl_json_keys(policy))
	{
		const char *key = lfirst(cell);
		const char *value = etl_json_get_text(policy, key);
		EtlPolicy	word = policy_word(value ? value : "null");

		if (strcmp(key, "columns") == 0)
			options->columns = word;
		else if (strcmp(key, "data_type") == 0)
			options->data_type = word;
		else if (strcmp(key, "tables") == 0)
			options->tables = word;
		else
			ereport(ERROR,
					(errcode(ETL_ERR_DEFINITION),
					 errmsg("unknown key \"%s\" in schema_policy", key),
					 errhint("Its keys are tables, columns and data_type.")));
	}
}

/*
 * hive_names lists the names of the folders name=value in a path.
 */
static List *
hive_names(const char *path)
{
	char	   *copy = pstrdup(path ? path : "");
	char	   *rest = NULL;
	List	   *names = NIL;

	for (char *part = strtok_r(copy, "/", &rest); part != NULL; part = strtok_r(NULL, "/", &rest))
	{
		char	   *member = strrchr(part, '!');
		char	   *equals;

		/* the first folder within an archive stands behind its mark */
		part = member ? member + 1 : part;
		equals = strchr(part, '=');
		/* the last part is the file, and a name is no pattern */
		if (*rest == '\0' || equals == NULL || equals == part)
			continue;
		*equals = '\0';
		if (strpbrk(part, "*?[") == NULL)
			names = lappend(names, part);
	}
	if (names == NIL)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("option \"path\" has no folder name=value for \"path_columns\": \"hive\""),
				 errhint("Name the folders: {\"path\": \"year=*/month=*/*.csv\", \"path_columns\": "
						 "\"hive\"}.")));
	return names;
}

/*
 * read_path_columns reads a list of names, or an object of names and patterns.
 */
static List *
read_path_columns(const Jsonb *options)
{
	Jsonb	   *value = etl_json_get(options, "path_columns");
	bool		patterns = value != NULL && etl_json_kind(value) == 'o';
	bool		hive = value != NULL && etl_json_kind(value) == 's' &&
				strcmp(etl_json_bare_text(value), "hive") == 0;
	List	   *columns = NIL;
	List	   *names;
	ListCell   *cell;

	if (value == NULL)
		return NIL;
	if (!patterns && !hive && etl_json_kind(value) != 'a')
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("invalid value for option \"path_columns\""),
				 errhint("Give hive, a list of names, or an object of names and regular expressions.")));

	names = hive	 ? hive_names(etl_json_get_text(options, "path")) :
			patterns ? etl_json_keys(value) :
					   etl_json_get_list(options, "path_columns");
	foreach(cell, names)
	{
		EtlPathColumn *column = palloc(sizeof(EtlPathColumn));

		column->name = lfirst(cell);
		column->folder = !patterns;
		column->pattern = patterns ? etl_json_get_text(value, column->name) :
									 psprintf("(?:^|[/!])%s=([^/]*)(?:/|$)", column->name);
		if (column->pattern == NULL)
			ereport(ERROR,
					(errcode(ETL_ERR_DEFINITION),
					 errmsg("no pattern for path column \"%s\"", column->name)));
		(void) etl_path_value(column, "");	/* raises for a pattern that is none */
		columns = lappend(columns, column);
	}
	return columns;
}

EtlLoadOptions *
etl_load_options_read(const EtlStream *stream)
{
	EtlLoadOptions *options = palloc0(sizeof(EtlLoadOptions));
	const char *on_change = etl_json_get_text(stream->options, "on_change");
	const char *compression = etl_json_get_text(stream->options, "compression");
	const char *header = etl_json_get_text(stream->options, "header");
	const EtlFormat *format = etl_format_find(stream->format);
	EtlRunAs	as;

	etl_coerce_options_read(&options->coerce, stream->options);
	read_policy(options, stream->schema_policy);
	if (on_change != NULL && strcmp(on_change, "append") == 0)
		options->on_change = ETL_ON_CHANGE_APPEND;
	else if (on_change != NULL && strcmp(on_change, "error") == 0)
		options->on_change = ETL_ON_CHANGE_ERROR;
	options->max_rejects = etl_option_threshold("max_rejects",
												etl_json_get_text(stream->options, "max_rejects"));
	options->compression = compression ? compression : "auto";
	options->max_expansion = etl_max_expansion(stream->options);
	etl_decrypt_read(options, stream->options);
	options->path_columns = read_path_columns(stream->options);
	options->adopt = etl_json_get_bool(stream->options, "adopt", false);
	options->is_json = format->is_json;
	options->keeps_header = format->keeps_header;
	options->header_matches = !format->is_json && header != NULL && strcmp(header, "match") == 0;
	options->header = format->is_json || (header ? strcmp(header, "false") != 0 : format->named);
	/* expressions mean what they meant where they were defined */
	etl_run_as_begin(&as, stream->owner, stream->settings);
	options->transform = etl_transform_read(stream->options);
	etl_run_as_end(&as);
	options->nested = etl_json_get(stream->options, "nested");
	if (options->nested != NULL && !options->is_json)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("option \"nested\" needs a JSON format"),
				 errhint("The values of a CSV file are text: derive what is inside one with the option "
						 "transform.")));
	if (options->nested != NULL)
	{
		etl_nested_check(options->nested);
		options->child_tables = etl_nested_has_tables(options->nested);
	}
	etl_watermark_read(options, stream);
	etl_zone_read(options, stream);
	options->json_schema = options->is_json ? etl_json_get(stream->contract, "json_schema") : NULL;
	options->merge = strcmp(stream->mode, "merge") == 0;
	/* the rows of a child are replaced with those of its parent */
	options->replace = strcmp(stream->mode, "replace") == 0 && etl_stream_parent(stream) == NULL;
	return options;
}
