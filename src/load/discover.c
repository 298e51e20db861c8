/*-------------------------------------------------------------------------
 *
 * discover.c
 *    etl.test_source and etl.discover: does it work, and what is there.
 *
 * Every step is taken in a subtransaction, so that its error is an answer.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/tuplestore.h"

#include "common/arguments.h"
#include "common/errors.h"
#include "common/json.h"
#include "common/names.h"
#include "load/look.h"

PG_FUNCTION_INFO_V1(etl_sql_test_source);
PG_FUNCTION_INFO_V1(etl_sql_discover);

#define SAMPLE	   1000			/* records */
#define MAX_FILES  100000
#define MAX_GROUPS 200

/* What a sample of the records shows. */
typedef struct Sample
{
	char	   *columns;		/* "id bigint, name text" */
	char	   *key;			/* a column that looks like one; NULL: none */
	char	   *records_path;	/* the array that the records stand in, of a document that is an object */
	int64		records;
	int64		bad;
	char	   *problem;		/* of the first bad one */
} Sample;

/*
 * compare_texts orders a list of char *.
 */
static int
compare_texts(const ListCell *a, const ListCell *b)
{
	return strcmp(lfirst(a), lfirst(b));
}

/*
 * key_field returns the number of the field whose name is that of a key: id,
 * or the first that ends in _id; -1: none.
 */
static int
key_field(const char **fields, int n)
{
	int			found = -1;

	for (int i = 0; i < n; i++)
	{
		char	   *name = etl_snake_case(fields[i]);
		int			length = strlen(name);

		if (strcmp(name, "id") == 0)
			return i;
		if (found < 0 && length > 3 && strcmp(name + length - 3, "_id") == 0)
			found = i;
	}
	return found;
}

/*
 * all_differ tells whether no text comes twice.
 */
static bool
all_differ(List *texts)
{
	list_sort(texts, compare_texts);
	for (int i = 1; i < list_length(texts); i++)
		if (strcmp(list_nth(texts, i - 1), list_nth(texts, i)) == 0)
			return false;
	return true;
}

/*
 * take_sample reads up to SAMPLE records and infers what they hold.
 */
static void
take_sample(EtlLook *look, Sample *sample)
{
	EtlInference *inference;
	StringInfoData columns;
	EtlRecord	record;
	EtlRecordState state;
	List	   *keys = NIL;
	int			key = -1;
	int64		good = 0;
	ListCell   *cell;

	initStringInfo(&columns);

	/* one item says enough: the first that has a record */
	state = etl_look_record(look, &record);
	/* not before: what the dialect says of numbers is found with the item */
	inference = etl_inference_begin(&look->pull.options->coerce, look->pull.options->is_json);
	for (; state != ETL_RECORD_END && sample->records < SAMPLE;
		 state = etl_decoder_next(look->decoder, &record))
	{
		int			n;
		const char **fields = etl_decoder_fields(look->decoder, &n);

		CHECK_FOR_INTERRUPTS();
		sample->records++;
		if (state == ETL_RECORD_BAD)
		{
			if (sample->bad++ == 0)
				sample->problem = psprintf("record " INT64_FORMAT ": %s", record.position, record.problem);
			continue;
		}
		if (good++ == 0)
		{
			key = key_field(fields, n);
			for (int i = 0; i < n && sample->records_path == NULL; i++)
				if (record.values[i].kind == ETL_VALUE_JSON && record.values[i].text[0] == '[' &&
					strpbrk(record.values[i].text, "{") != NULL)
					sample->records_path = pstrdup(fields[i]);
		}
		else
			sample->records_path = NULL;
		if (key >= 0 && record.values[key].kind != ETL_VALUE_NULL)
			keys = lappend(keys, pstrdup(record.values[key].text));
		etl_inference_add(inference, look->decoder, &record);
	}
	if (look->decoder == NULL || good == 0)
		return;
	foreach(cell, etl_inference_end(inference, look->decoder))
	{
		EtlInferredColumn *column = lfirst(cell);

		appendStringInfo(&columns, "%s%s %s", columns.len ? ", " : "", quote_identifier(column->name),
						 format_type_be(column->type));
		if (foreach_current_index(cell) == key && list_length(keys) == good && all_differ(keys))
			sample->key = column->name;
	}
	sample->columns = columns.data;
}

/* ---- etl.test_source ---- */

typedef struct Test
{
	EtlLook    *look;
	const char *source;
	const Jsonb *options;
	char	   *detail;
	char	   *remedy;
	bool		found;			/* an item is there */
} Test;

static void
test_definition(void *arg)
{
	Test	   *test = arg;
	EtlSource  *source = etl_source_get(test->source);

	test->detail = psprintf("connector %s, defined by %s", source->connector, source->owner);
}

static void
test_options(void *arg)
{
	Test	   *test = arg;
	const char *path = etl_json_get_text(test->options, "path");
	EtlSource  *source = etl_source_get(test->source);
	const Jsonb *options = test->options;

	/* without a path it is the root that is tested */
	if (path == NULL && strcmp(source->connector, "file") == 0 &&
		etl_json_get_text(source->options, "root") != NULL)
	{
		EtlJsonBuilder *builder = etl_json_object_begin();
		ListCell   *cell;

		foreach(cell, etl_json_keys(options))
			etl_json_add(builder, lfirst(cell), etl_json_get(options, lfirst(cell)));
		etl_json_add_text(builder, "path", "*");
		options = etl_json_object_end(builder);
		etl_look_define(test->look, test->source, options, "csv");
	}
	else
		etl_look_define(test->look, test->source, options, NULL);
	test->detail = psprintf("format %s", test->look->stream.format);
}

static void
test_open(void *arg)
{
	Test	   *test = arg;

	etl_look_open(test->look);
	test->found = etl_look_item(test->look);
	if (test->found)
		test->detail = psprintf("%s is there", test->look->item->origin);
	else
	{
		char	   *path = etl_json_get_text(test->look->stream.options, "path");

		test->detail = path && !test->look->pull.connector->needs_network ?
						   etl_pull_no_file(&test->look->pull, path) :
						   "there is nothing to read";
		test->remedy = "Look at the path, the settle time and the query: a run would load nothing.";
	}
}

static void
test_read(void *arg)
{
	Test	   *test = arg;
	Sample		sample = {0};

	/* from its beginning */
	etl_look_close(test->look);
	test->look->item = NULL;
	etl_look_open(test->look);
	take_sample(test->look, &sample);
	test->detail = psprintf(INT64_FORMAT " records read, " INT64_FORMAT " of them malformed%s%s",
							sample.records, sample.bad, sample.columns ? "; columns: " : "",
							sample.columns ? sample.columns : "");
	if (sample.bad > 0)
		test->remedy = psprintf("%s; etl.preview shows them. Look at the format and its options.",
								sample.problem);
}

/*
 * put_step appends a row: what was done, whether it went well, and what to do.
 */
static void
put_step(ReturnSetInfo *result, const char *step, const Test *test, const ErrorData *error)
{
	const char *detail = error == NULL		   ? test->detail :
						 error->detail == NULL ? error->message :
												 psprintf("%s: %s", error->message, error->detail);
	const char *remedy = error ? error->hint : test->remedy;
	Datum		values[4];
	bool		nulls[4] = {false, false, detail == NULL, remedy == NULL};

	values[0] = CStringGetTextDatum(step);
	values[1] = BoolGetDatum(error == NULL);
	values[2] = detail ? CStringGetTextDatum(detail) : (Datum) 0;
	values[3] = remedy ? CStringGetTextDatum(remedy) : (Datum) 0;
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

Datum
etl_sql_test_source(PG_FUNCTION_ARGS)
{
	static const struct
	{
		const char *name;
		void		(*work) (void *arg);
	} steps[] = {
		{"source", test_definition}, {"options", test_options}, {"connect", test_open}, {"read", test_read}};
	Test	   *test = palloc0(sizeof(Test));

	test->look = palloc0(sizeof(EtlLook));
	test->source = etl_arg_required(fcinfo, 0, "source");
	test->options = PG_ARGISNULL(1) ? etl_json_parse("{}") : PG_GETARG_JSONB_P(1);
	InitMaterializedSRF(fcinfo, 0);
	PG_TRY();
	{
		for (int i = 0; i < lengthof(steps); i++)
		{
			ErrorData  *error;

			test->detail = test->remedy = NULL;
			error = etl_subxact(steps[i].work, test);
			put_step((ReturnSetInfo *) fcinfo->resultinfo, steps[i].name, test, error);
			if (error != NULL || (steps[i].work == test_open && !test->found))
				break;
		}
	}
	PG_FINALLY();
	{
		etl_look_close(test->look);
	}
	PG_END_TRY();
	return (Datum) 0;
}

/* ---- etl.discover ---- */

/* Files that make one stream: the same folder, the same name but for numbers. */
typedef struct FileGroup
{
	char	   *pattern;		/* relative to the root */
	char	   *first;			/* a file of it */
	char	   *format;
	int64		files;
	int64		bytes;
} FileGroup;

/* One proposal, made in a subtransaction. */
typedef struct Proposal
{
	const char *source;
	const Jsonb *options;
	const char *format;
	Sample		sample;
	EtlDialect *dialect;		/* of CSV; NULL: not found */
} Proposal;

/*
 * sample_source reads a sample of a proposal.  'arg' is a Proposal.
 */
static void
sample_source(void *arg)
{
	Proposal   *proposal = arg;
	EtlLook    *look = palloc0(sizeof(EtlLook));

	PG_TRY();
	{
		etl_look_define(look, proposal->source, proposal->options, proposal->format);
		look->finds_dialect = strcmp(look->stream.format, "csv") == 0;
		etl_look_open(look);
		take_sample(look, &proposal->sample);
	}
	PG_FINALLY();
	{
		proposal->dialect = look->dialect;
		etl_look_close(look);
	}
	PG_END_TRY();
}

/*
 * put_stream appends a row: a stream that could be defined.
 */
static void
put_stream(ReturnSetInfo *result, const char *name, const char *format, const Jsonb *options,
		   const Sample *sample, const char *detail)
{
	Datum		values[6] = {0};
	bool		nulls[6] = {false, false, false, sample->columns == NULL, sample->key == NULL,
					 detail == NULL};

	values[0] = CStringGetTextDatum(name);
	values[1] = CStringGetTextDatum(format);
	values[2] = JsonbPGetDatum(options);
	if (sample->columns)
		values[3] = CStringGetTextDatum(sample->columns);
	if (sample->key)
	{
		Datum		key = CStringGetTextDatum(sample->key);

		values[4] = PointerGetDatum(construct_array(&key, 1, TEXTOID, -1, false, TYPALIGN_INT));
	}
	if (detail)
		values[5] = CStringGetTextDatum(detail);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/*
 * pattern_of replaces the numbers in the name of a file, and what joins them,
 * by stars: orders_2024-05-01.csv → orders_*.csv.
 */
static char *
pattern_of(const char *path)
{
	const char *slash = strrchr(path, '/');
	const char *p = slash ? slash + 1 : path;
	StringInfoData out;

	initStringInfo(&out);
	appendBinaryStringInfo(&out, path, p - path);
	while (*p)
	{
		if (isdigit((unsigned char) *p))
		{
			const char *end = p;

			while (isdigit((unsigned char) *end) ||
				   (strchr("-_:T", *end) && *end && isdigit((unsigned char) end[1])))
				end++;
			appendStringInfoChar(&out, '*');
			p = end;
		}
		else if (strchr("*?[\\", *p))
		{
			appendStringInfoChar(&out, '?');
			p++;
		}
		else
			appendStringInfoChar(&out, *p++);
	}
	return out.data;
}

/*
 * stream_name makes a name of a pattern: raw.orders of in/orders_*.csv, or of
 * the folder when the file has only numbers.
 */
static char *
stream_name(const char *pattern)
{
	const char *slash = strrchr(pattern, '/');
	char	   *name = pstrdup(slash ? slash + 1 : pattern);
	char	   *end = strchr(name, '.');
	char	   *out = name;

	if (end != NULL)
		*end = '\0';
	for (char *in = name; *in; in++)
		if (*in != '*' && *in != '?')
			*out++ = *in;
	*out = '\0';
	while (out > name && strchr("_- ", out[-1]))
		*--out = '\0';
	if (*name == '\0' && slash != NULL)
	{
		char	   *folder = pnstrdup(pattern, slash - pattern);

		slash = strrchr(folder, '/');
		name = pstrdup(slash ? slash + 1 : folder);
	}
	return psprintf("raw.%s", quote_identifier(etl_snake_case(*name ? name : "files")));
}

/*
 * list_groups goes through the files below the root.
 */
static List *
list_groups(EtlLook *look, const char *root)
{
	List	   *groups = NIL;

	for (int n = 0; n < MAX_FILES && etl_look_item(look); n++)
	{
		const char *path = look->item->origin + strlen(root) + (strcmp(root, "/") == 0 ? 0 : 1);
		char	   *format = etl_format_of_path(path);
		char	   *pattern = pattern_of(path);
		FileGroup  *group = NULL;
		ListCell   *cell;

		if (format == NULL)
			continue;
		foreach(cell, groups)
			if (strcmp(((FileGroup *) lfirst(cell))->pattern, pattern) == 0)
				group = lfirst(cell);
		if (group == NULL)
		{
			if (list_length(groups) == MAX_GROUPS)
				continue;
			group = palloc0(sizeof(FileGroup));
			group->pattern = pattern;
			group->first = pstrdup(path);
			group->format = format;
			groups = lappend(groups, group);
		}
		group->files++;
		group->bytes += look->item->size;
	}
	return groups;
}

/*
 * path_option makes the options of a stream of files.
 */
static Jsonb *
path_option(const char *path)
{
	EtlJsonBuilder *builder = etl_json_object_begin();

	etl_json_add_text(builder, "path", path);
	return etl_json_object_end(builder);
}

/*
 * with_dialect adds to options what must be stated to read the files.
 */
static Jsonb *
with_dialect(Jsonb *options, const EtlDialect *dialect)
{
	return dialect ? etl_dialect_options(options, dialect, false) : options;
}

/*
 * tell_dialect adds to a text what the dialect of a file seems to be.
 */
static char *
tell_dialect(const char *detail, const EtlDialect *dialect)
{
	char	   *doubts = dialect ? etl_dialect_doubts(dialect) : NULL;

	if (dialect == NULL)
		return pstrdup(detail);
	return psprintf("%s; %s%s%s", detail, etl_dialect_describe(dialect), doubts ? "; not certain: " : "",
					doubts ? doubts : "");
}

/*
 * discover_files proposes a stream for each group of files below the root.
 */
static void
discover_files(ReturnSetInfo *result, const EtlSource *source)
{
	EtlLook    *look = palloc0(sizeof(EtlLook));
	char	   *root = etl_json_get_text(source->options, "root");
	char		real_root[PATH_MAX];
	List *volatile groups = NIL;
	ListCell   *cell;

	if (root == NULL)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("source \"%s\" has no root that could be looked through", source->name),
				 errhint("Give it the option root, or look at files with etl.preview('%s', "
						 "'{\"path\": \"…\"}').", source->name)));
	PG_TRY();
	{
		etl_look_define(look, source->name, path_option("**/*"), "csv");
		etl_look_open(look);
		/* its existence was judged by the connector */
		groups = realpath(root, real_root) ? list_groups(look, real_root) : NIL;
	}
	PG_FINALLY();
	{
		etl_look_close(look);
	}
	PG_END_TRY();
	foreach(cell, groups)
	{
		FileGroup  *group = lfirst(cell);
		Proposal	proposal = {source->name, path_option(group->first), group->format};
		ErrorData  *error = etl_subxact(sample_source, &proposal);
		char	   *detail = psprintf(INT64_FORMAT " file%s, " INT64_FORMAT " bytes", group->files,
								group->files == 1 ? "" : "s", group->bytes);

		if (error != NULL)
			detail = psprintf("%s; %s cannot be read: %s", detail, group->first, error->message);
		else if (proposal.sample.bad > 0)
			detail = psprintf("%s; " INT64_FORMAT " of " INT64_FORMAT " records of %s are malformed, %s",
							  detail, proposal.sample.bad, proposal.sample.records, group->first,
							  proposal.sample.problem);
		put_stream(result, stream_name(group->pattern), group->format,
				   with_dialect(path_option(group->pattern), proposal.dialect), &proposal.sample,
				   tell_dialect(detail, proposal.dialect));
	}
}

/*
 * discover_answer proposes a stream for what a source answers as it is.
 */
static void
discover_answer(ReturnSetInfo *result, const EtlSource *source)
{
	Proposal	proposal = {source->name, etl_json_parse("{}"), "json"};
	ErrorData  *error = etl_subxact(sample_source, &proposal);
	char	   *detail;

	/* an object around the records */
	if (error == NULL && proposal.sample.records == 1 && proposal.sample.records_path != NULL)
	{
		EtlJsonBuilder *builder = etl_json_object_begin();

		etl_json_add_text(builder, "records", proposal.sample.records_path);
		proposal.options = etl_json_object_end(builder);
		memset(&proposal.sample, 0, sizeof(Sample));
		error = etl_subxact(sample_source, &proposal);
	}
	detail = error ? psprintf("it cannot be read: %s", error->message) :
					 psprintf(INT64_FORMAT " records in the first answer", proposal.sample.records);
	put_stream(result, psprintf("raw.%s", quote_identifier(etl_snake_case(source->name))), "json",
			   proposal.options, &proposal.sample, detail);
}

Datum
etl_sql_discover(PG_FUNCTION_ARGS)
{
	EtlSource  *source = etl_source_get(etl_arg_required(fcinfo, 0, "source"));
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;

	InitMaterializedSRF(fcinfo, 0);
	if (strcmp(source->connector, "file") == 0)
		discover_files(result, source);
	else if (etl_connector_find(source->connector)->needs_network)
		discover_answer(result, source);
	return (Datum) 0;
}
