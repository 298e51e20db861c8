/*-------------------------------------------------------------------------
 *
 * dialect.c
 *    Dialects of CSV that nobody stated: found once, kept, told.
 *
 * With the option dialect: auto a stream's first file with a record tells its
 * dialect.  What was found is kept with the options that left it open, in the
 * transaction of the load that was read with it, and holds for every later
 * file and for replays: the same definition reads the same bytes the same
 * way.  Other options, or etl.reload of the whole stream, have it found anew.
 * What is not certain stops the run and asks for the option.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "catalog/landing.h"
#include "common/errors.h"
#include "common/json.h"
#include "load/dialect.h"

bool
etl_dialect_is_auto(const EtlStream *stream)
{
	const char *word = etl_json_get_text(stream->options, "dialect");

	return word != NULL && strcmp(word, "auto") == 0 && strcmp(stream->format, "csv") == 0;
}

/*
 * etl_dialect_of_item: see dialect.h.
 */
EtlDialect *
etl_dialect_of_item(EtlPull *pull, EtlItem *item)
{
	MemoryContext context =
		AllocSetContextCreate(CurrentMemoryContext, "etl dialect", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	EtlItemReader *reader = etl_item_reader_open(pull, item, false);
	EtlRead    *input = etl_load_unpack(&reader->read, pull->options, item->origin);
	char	   *sample = palloc(ETL_DIALECT_SAMPLE + 1);
	size_t		length = 0;
	bool		whole = false;
	EtlDialect *found;
	EtlDialect *result = NULL;

	while (length <= ETL_DIALECT_SAMPLE)
	{
		size_t		n = input->read(input->arg, sample + length, ETL_DIALECT_SAMPLE + 1 - length);

		if (n == 0)
		{
			whole = true;
			break;
		}
		length += n;
	}
	found = etl_dialect_detect(sample, Min(length, ETL_DIALECT_SAMPLE), whole, pull->stream->options);
	MemoryContextSwitchTo(old);
	if (found != NULL)
	{
		result = palloc(sizeof(EtlDialect));
		*result = *found;
		result->encoding = found->encoding ? pstrdup(found->encoding) : NULL;
		result->comment = found->comment ? pstrdup(found->comment) : NULL;
	}
	MemoryContextDelete(context);
	return result;
}

/*
 * add_byte adds an option of one byte, NUL: an empty text.
 */
static void
add_byte(EtlJsonBuilder *builder, const char *key, char byte)
{
	char		text[2] = {byte, '\0'};

	etl_json_add_text(builder, key, text);
}

Jsonb *
etl_dialect_options(const Jsonb *options, const EtlDialect *dialect, bool all)
{
	EtlJsonBuilder *builder = etl_json_object_begin();
	ListCell   *cell;

	foreach(cell, etl_json_keys(options))
		if (strcmp(lfirst(cell), "dialect") != 0)
			etl_json_add(builder, lfirst(cell), etl_json_get(options, lfirst(cell)));
	if (!dialect->aspects[ETL_DIALECT_ENCODING].given && (all || strcmp(dialect->encoding, "UTF8") != 0))
		etl_json_add_text(builder, "encoding", dialect->encoding);
	if (!dialect->aspects[ETL_DIALECT_DELIMITER].given && (all || dialect->delimiter != ','))
		add_byte(builder, "delimiter", dialect->delimiter);
	if (!dialect->aspects[ETL_DIALECT_QUOTE].given && (all || dialect->quote != '"'))
		add_byte(builder, "quote", dialect->quote);
	if (dialect->escape != dialect->quote && !etl_json_has(options, "escape"))
		add_byte(builder, "escape", dialect->escape);
	if (!dialect->aspects[ETL_DIALECT_HEADER].given && (all || !dialect->header))
		etl_json_add(builder, "header", etl_json_parse(dialect->header ? "true" : "false"));
	if (!dialect->aspects[ETL_DIALECT_DECIMAL].given && (all || dialect->decimal != '.'))
		add_byte(builder, "decimal", dialect->decimal);
	if (dialect->thousands != '\0' && !etl_json_has(options, "thousands"))
		add_byte(builder, "thousands", dialect->thousands);
	if (dialect->skip_lines > 0 && !etl_json_has(options, "skip_lines"))
		etl_json_add_int64(builder, "skip_lines", dialect->skip_lines);
	if (dialect->comment != NULL && !etl_json_has(options, "comment"))
		etl_json_add_text(builder, "comment", dialect->comment);
	return etl_json_object_end(builder);
}

/*
 * byte_name writes a mark so that it can be seen.
 */
static const char *
byte_name(char byte)
{
	if (byte == '\t')
		return "tab";
	if (byte == ' ')
		return "blank";
	if (byte == '\0')
		return "none";
	return (unsigned char) byte < ' ' ? psprintf("\\x%02x", byte) : psprintf("%c", byte);
}

char *
etl_dialect_describe(const EtlDialect *dialect)
{
	StringInfoData text;

	initStringInfo(&text);
	appendStringInfo(&text, "encoding %s, delimiter %s, quote %s", dialect->encoding,
					 byte_name(dialect->delimiter), byte_name(dialect->quote));
	if (dialect->escape != dialect->quote)
		appendStringInfo(&text, ", escape %s", byte_name(dialect->escape));
	appendStringInfo(&text, ", %s, decimal mark %s", dialect->header ? "a header" : "no header",
					 byte_name(dialect->decimal));
	if (dialect->thousands != '\0')
		appendStringInfo(&text, ", thousands %s", byte_name(dialect->thousands));
	if (dialect->comment != NULL)
		appendStringInfo(&text, ", comments %s", dialect->comment);
	if (dialect->skip_lines > 0)
		appendStringInfo(&text, ", %d line%s above", dialect->skip_lines,
						 dialect->skip_lines == 1 ? "" : "s");
	appendStringInfo(&text, "; confidence %.2f", dialect->confidence);
	return text.data;
}

char *
etl_dialect_doubts(const EtlDialect *dialect)
{
	StringInfoData text;

	initStringInfo(&text);
	for (int i = 0; i < ETL_DIALECT_ASPECTS; i++)
	{
		const EtlDialectAspect *aspect = &dialect->aspects[i];

		if (!aspect->given && aspect->confidence < ETL_DIALECT_SURE)
			appendStringInfo(&text, "%s%s (%.2f%s%s)", text.len ? ", " : "",
							 etl_dialect_aspect_name(i), aspect->confidence,
							 aspect->doubt ? ": " : "", aspect->doubt ? aspect->doubt : "");
	}
	return text.len > 0 ? text.data : NULL;
}

/*
 * with_options copies a stream with other options.
 */
static const EtlStream *
with_options(const EtlStream *stream, Jsonb *options)
{
	EtlStream  *copy = palloc(sizeof(EtlStream));

	*copy = *stream;
	copy->options = options;
	return copy;
}

const EtlStream *
etl_dialect_known(const EtlStream *stream)
{
	Jsonb	   *known = etl_dialect_is_auto(stream) ? etl_dialect_find(stream->target, stream->options) : NULL;

	return known ? with_options(stream, known) : stream;
}

/*
 * raise_doubts raises ET001 for a dialect that nobody should rely on.
 */
static void
raise_doubts(const EtlPull *pull, const EtlItem *item, const EtlDialect *dialect)
{
	char	   *doubts = etl_dialect_doubts(dialect);

	if (doubts == NULL)
		return;
	ereport(ERROR,
			(errcode(ETL_ERR_DEFINITION),
			 errmsg("the dialect of \"%s\" is not certain", item->origin),
			 errdetail("It seems to be: %s. Not certain: %s.", etl_dialect_describe(dialect), doubts),
			 errhint("State these options in the definition of stream %s, after a look with etl.preview;"
					 " what is stated is not doubted.", pull->stream->target)));
}

void
etl_dialect_settle(EtlPull *pull)
{
	MemoryContext old = MemoryContextSwitchTo(pull->context);
	EtlItem    *item = linitial(pull->items);
	EtlDialect *dialect;

	pull->stream = etl_dialect_known(pull->stream);
	if (etl_dialect_is_auto(pull->stream))
	{
		dialect = etl_dialect_of_item(pull, item);
		/* an empty file tells nothing: the next one may */
		if (dialect != NULL)
		{
			raise_doubts(pull, item, dialect);
			pull->left_open = pull->stream->options;
			pull->dialect = psprintf("%s has: %s", item->origin, etl_dialect_describe(dialect));
			pull->stream = with_options(pull->stream,
										etl_dialect_options(pull->stream->options, dialect, true));
		}
	}
	if (!etl_dialect_is_auto(pull->stream))
		pull->options = etl_load_options_read(pull->stream);
	MemoryContextSwitchTo(old);
}

void
etl_dialect_keep(EtlPull *pull)
{
	if (pull->left_open == NULL)
		return;
	etl_dialect_store(pull->stream->target, pull->left_open, pull->stream->options);
	etl_log_store("info", pull->driver->run_id, pull->stream->target,
				  "the dialect was found and is kept for this stream", pull->dialect);
}
