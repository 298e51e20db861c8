/*-------------------------------------------------------------------------
 *
 * reread.c
 *    Decoding the bytes of one reject again.
 *
 * A record of a file has the names of the file's header, which its load
 * kept; what was pushed or transformed is a row as JSON.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "lib/stringinfo.h"
#include "utils/json.h"

#include "catalog/landing.h"
#include "common/json.h"
#include "load/reread.h"

struct EtlReread
{
	MemoryContext context;
	const EtlLoadOptions *options;
	const char *format;
	Jsonb	   *decoded_as;		/* options of a single record */
	int64		fields_of;		/* load whose header 'fields' is */
	List	   *fields;
};

/* The bytes of a record in memory. */
typedef struct Bytes
{
	EtlRead		read;
	StringInfoData content;
} Bytes;

/*
 * with_names copies options with the names of the fields as header.
 */
static Jsonb *
with_names(const Jsonb *options, List *fields)
{
	EtlJsonBuilder *builder = etl_json_object_begin();
	StringInfoData list;
	ListCell   *cell;

	initStringInfo(&list);
	foreach(cell, fields)
	{
		appendStringInfoString(&list, list.len ? "," : "[");
		escape_json(&list, lfirst(cell));
	}
	appendStringInfoChar(&list, ']');
	foreach(cell, etl_json_keys(options))
		etl_json_add(builder, lfirst(cell), etl_json_get(options, lfirst(cell)));
	etl_json_add(builder, "header", etl_json_parse(list.data));
	return etl_json_object_end(builder);
}

/*
 * of_element copies options so that the root is the record; it was
 * kept in UTF-8.
 */
static Jsonb *
of_element(const Jsonb *options)
{
	EtlJsonBuilder *builder = etl_json_object_begin();
	ListCell   *cell;

	foreach(cell, etl_json_keys(options))
		if (strcmp(lfirst(cell), "records") != 0 && strcmp(lfirst(cell), "encoding") != 0)
			etl_json_add(builder, lfirst(cell), etl_json_get(options, lfirst(cell)));
	etl_json_add_text(builder, "records", ".");
	return etl_json_object_end(builder);
}

EtlReread *
etl_reread_begin(const EtlStream *stream, const EtlLoadOptions *options)
{
	EtlReread  *reread = palloc0(sizeof(EtlReread));
	Jsonb	   *as = stream->options;

	/* the names are those of the file's header; nothing is to be skipped */
	as = etl_json_without(as, "skip_lines");
	as = etl_json_without(as, "records");
	if (strcmp(stream->format, "xml") == 0)
		as = of_element(as);
	/* what became UTF-8 before it was decoded is kept so */
	if (etl_decoder_keeps_utf8(stream->format, as))
		as = etl_json_without(as, "encoding");
	reread->context = CurrentMemoryContext;
	reread->options = options;
	reread->format = stream->format;
	reread->decoded_as = as;
	return reread;
}

/*
 * read_bytes is the EtlRead callback of a record in memory.
 */
static size_t
read_bytes(void *arg, char *buffer, size_t size)
{
	Bytes	   *bytes = arg;
	size_t		n = Min(size, bytes->content.len - bytes->content.cursor);

	memcpy(buffer, bytes->content.data + bytes->content.cursor, n);
	bytes->content.cursor += n;
	return n;
}

EtlDecoder *
etl_reread_open(EtlReread *reread, int64 load_id, bool of_row, bytea *raw, const char *origin)
{
	const EtlLoadOptions *options = reread->options;
	Bytes	   *bytes = palloc0(sizeof(Bytes));
	EtlDecodeOptions decode = {0};
	EtlDecoder *decoder;

	if (load_id != reread->fields_of)
	{
		MemoryContext old = MemoryContextSwitchTo(reread->context);

		reread->fields = etl_load_fields(load_id);
		reread->fields_of = load_id;
		MemoryContextSwitchTo(old);
	}
	bytes->read.read = read_bytes;
	bytes->read.arg = bytes;
	initStringInfo(&bytes->content);
	appendBinaryStringInfo(&bytes->content, VARDATA_ANY(raw), VARSIZE_ANY_EXHDR(raw));
	appendStringInfoChar(&bytes->content, '\n');

	decode.format = of_row ? "ndjson" : reread->format;
	decode.options = of_row ? etl_json_parse("{}") : reread->decoded_as;
	if (!of_row && reread->fields != NIL)
		decode.options = with_names(decode.options, reread->fields);
	decode.origin = origin;
	decode.max_record_size = (int64) bytes->content.len + 1024;
	decoder = etl_decoder_open(&bytes->read, &decode);
	/* what has a row's form was transformed before, and names its lists; what was pushed has them still */
	if (of_row && options->transform != NULL && options->child_tables)
		return etl_decoder_lists(decoder);
	if (of_row && options->transform == NULL && options->nested != NULL)
		return etl_landing_nested(options, decoder);
	return of_row ? decoder : etl_landing_reshape(options, decoder);
}
