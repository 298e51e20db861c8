/*-------------------------------------------------------------------------
 *
 * item.c
 *    The records of one item, from its decoder to their landing.
 *
 * Each item has a decoder of its own; its fields are mapped to columns anew,
 * and its path may give values, too.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "common/errors.h"
#include "common/guc.h"
#include "common/progress.h"
#include "load/children.h"
#include "load/land.h"

/*
 * etl_land_take: see land.h.
 */
void
etl_land_take(EtlLanding *landing, const EtlRecord *record, bool bad)
{
	struct EtlLandingState *state = landing->state;
	MemoryContext old;

	if (!bad && landing->options->child_tables)
		etl_children_note(landing, record);
	if (state->hard)
		etl_held_add(landing, record, bad);
	else
	{
		old = MemoryContextSwitchTo(landing->batch);
		etl_land_record(landing, record, bad, NULL);
		MemoryContextSwitchTo(old);
	}
	state->seen_bytes += record->raw_length;
	if (++state->seen < ETL_BATCH_ROWS && state->seen_bytes < ETL_BATCH_BYTES)
		return;
	if (state->hard)
		etl_held_land(landing);
	else
		etl_load_writer_flush(landing->writer);
	state->seen = 0;
	state->seen_bytes = 0;
}

/*
 * begin_item forgets the fields of the item before and reads the path.
 */
static void
begin_item(EtlLanding *landing)
{
	MemoryContext old = MemoryContextSwitchTo(landing->context);
	ListCell   *cell;
	int			i = 0;

	landing->nmapped = 0;
	landing->map = NULL;
	for (int c = 0; c < landing->ncolumns; c++)
		landing->columns[c].mapped = false;

	landing->path_values = palloc0(sizeof(char *) * Max(list_length(landing->options->path_columns), 1));
	landing->path_map = palloc0(sizeof(int) * Max(list_length(landing->options->path_columns), 1));
	foreach(cell, landing->options->path_columns)
	{
		landing->path_values[i] = etl_path_value(lfirst(cell), landing->origin);
		landing->path_map[i] = etl_drift_column(landing, ((EtlPathColumn *) lfirst(cell))->name);
		if (landing->path_map[i] >= 0)
			landing->columns[landing->path_map[i]].mapped =
				landing->columns[landing->path_map[i]].ever_mapped = true;
		i++;
	}
	MemoryContextSwitchTo(old);
}

/*
 * folder_value reads the value of a folder as Hive writes it: %2F for bytes
 * that a name cannot have, a word of its own for NULL.
 */
static char *
folder_value(char *value)
{
	char	   *out = value;

	if (strcmp(value, "__HIVE_DEFAULT_PARTITION__") == 0)
		return NULL;
	for (char *in = value; *in; out++)
	{
		unsigned	code;

		if (*in == '%' && isxdigit((unsigned char) in[1]) && isxdigit((unsigned char) in[2]) &&
			sscanf(in + 1, "%2x", &code) == 1 && code != 0)
		{
			*out = (char) code;
			in += 3;
		}
		else
			*out = *in++;
	}
	*out = '\0';
	/* what is no text is no value */
	return pg_verifymbstr(value, out - value, true) ? value : NULL;
}

/*
 * etl_path_value takes the value of a path column from an origin; NULL where
 * its pattern does not match.
 */
char *
etl_path_value(const EtlPathColumn *column, const char *origin)
{
	LOCAL_FCINFO(fcinfo, 2);
	FmgrInfo	flinfo;
	Datum		value;

	fmgr_info(fmgr_internal_function("textregexsubstr"), &flinfo);
	InitFunctionCallInfoData(*fcinfo, &flinfo, 2, DEFAULT_COLLATION_OID, NULL, NULL);
	fcinfo->args[0].value = CStringGetTextDatum(origin);
	fcinfo->args[0].isnull = false;
	fcinfo->args[1].value = CStringGetTextDatum(column->pattern);
	fcinfo->args[1].isnull = false;
	value = FunctionCallInvoke(fcinfo);
	if (fcinfo->isnull)
		return NULL;
	return column->folder ? folder_value(TextDatumGetCString(value)) : TextDatumGetCString(value);
}

bool
etl_records_are_rows(const EtlLoadOptions *options)
{
	return options->pushed || options->transformed || etl_transform_redacts(options->transform);
}

bool
etl_landing_reshapes(const EtlLoadOptions *options)
{
	return options->json_schema != NULL || options->nested != NULL || options->transform != NULL;
}

EtlDecoder *
etl_landing_nested(const EtlLoadOptions *options, EtlDecoder *decoder)
{
	return etl_decoder_flatten(decoder, options->nested,
							   options->child_tables && options->merge && options->transform == NULL,
							   etl_transform_names(options->transform));
}

EtlDecoder *
etl_landing_reshape(const EtlLoadOptions *options, EtlDecoder *decoder)
{
	if (options->transformed)
		return etl_decoder_lists(decoder);
	if (options->json_schema != NULL)
		decoder = etl_decoder_promise(decoder, options->json_schema);
	if (options->nested != NULL)
		decoder = etl_landing_nested(options, decoder);
	if (options->transform != NULL)
		decoder = etl_decoder_transform(decoder, options->transform, options->header, options->is_json,
										etl_records_are_rows(options),
										options->child_tables ? options->nested : NULL, options->merge);
	return decoder;
}

EtlDecoder *
etl_landing_decoder(const EtlStream *stream, const EtlLoadOptions *options, EtlRead *input,
					const char *records_path, const char *origin)
{
	EtlDecodeOptions decode = {0};

	decode.format = stream->format;
	decode.options = stream->options;
	decode.records_path = records_path;
	decode.origin = origin;
	decode.max_record_size = (int64) etl_max_record_size_kb * 1024;
	return etl_landing_reshape(options, etl_decoder_open(input, &decode));
}

/*
 * etl_landing_check_header: see landing.h.
 */
void
etl_landing_check_header(EtlLanding *landing)
{
	int			n;
	int			field = 0;
	const char **fields = etl_decoder_fields(landing->decoder, &n);

	for (int c = 0; c < landing->ncolumns; c++)
	{
		const EtlColumn *column = &landing->columns[c];

		/* only those of the path are mapped before the first record */
		if (column->mapped)
			continue;
		if (field >= n || (strcmp(fields[field], column->name) != 0 &&
						   (column->original == NULL || strcmp(fields[field], column->original) != 0)))
			ereport(ERROR, (errcode(ETL_ERR_PROTOCOL),
							errmsg("header of \"%s\" does not match the columns of %s",
								   landing->origin, landing->stream->target),
							field < n ?
								errdetail("Field %d is \"%s\", the column \"%s\".", field + 1,
										  fields[field], column->name) :
								errdetail("There is no field for the column \"%s\".", column->name),
							errhint("Correct the file, or set the option \"header\" to true: "
									"columns then go by name.")));
		field++;
	}
	if (field < n)
		ereport(ERROR, (errcode(ETL_ERR_PROTOCOL),
						errmsg("header of \"%s\" does not match the columns of %s", landing->origin,
							   landing->stream->target),
						errdetail("Field %d, \"%s\", has no column.", field + 1, fields[field]),
						errhint("Correct the file, or set the option \"header\" to true: columns "
								"then go by name.")));
}

/*
 * etl_landing_item lands every record of one item.  'input' hands out its
 * bytes as stored.
 */
void
etl_landing_item(EtlLanding *landing, EtlRead *input, const char *records_path)
{
	MemoryContext context = AllocSetContextCreate(landing->context, "etl item", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	EtlRecord	record = {0};
	EtlRecordState state;
	int64		last = landing->position_base;
	bool		matched = !landing->options->header_matches;

	begin_item(landing);
	input = etl_load_unpack(input, landing->options, landing->origin);
	if (!etl_team_land(landing, input, &last))
	{
		landing->decoder = etl_landing_decoder(landing->stream, landing->options, input, records_path,
											   landing->origin);
		while ((state = etl_decoder_next(landing->decoder, &record)) != ETL_RECORD_END)
		{
			if (unlikely(!matched))
				etl_landing_check_header(landing);
			matched = true;
			record.position += landing->position_base;
			last = record.position;
			etl_land_take(landing, &record, state == ETL_RECORD_BAD);
			etl_progress_rows++;
			etl_progress_check();
		}
		etl_unpacked_end(input);
	}

	/* the fields' names belong to this decoder */
	if (landing->state->hard)
		etl_held_land(landing);
	etl_landing_keep_fields(landing);
	etl_decoder_close(landing->decoder);
	landing->decoder = NULL;
	landing->position_base = last;
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
}

/*
 * etl_landing_keep_fields keeps the names of a header, which a replay of its
 * records needs.
 */
void
etl_landing_keep_fields(EtlLanding *landing)
{
	MemoryContext old = MemoryContextSwitchTo(landing->context);
	EtlDecoder *decoder = landing->decoder;
	int			n;
	const char **fields;

	/* the header is the file's, whatever becomes of its fields */
	while (etl_decoder_inner(decoder) != NULL)
		decoder = etl_decoder_inner(decoder);
	fields = etl_decoder_fields(decoder, &n);
	if (landing->options->keeps_header && landing->options->header)
	{
		landing->fields = NIL;
		for (int i = 0; i < n; i++)
			landing->fields = lappend(landing->fields, pstrdup(fields[i]));
	}
	MemoryContextSwitchTo(old);
}

/*
 * etl_landing_record lands one record that was decoded elsewhere: a replay.
 */
void
etl_landing_record(EtlLanding *landing, const EtlRecord *record, bool bad)
{
	EtlRecord	patched = *record;

	begin_item(landing);
	if (!bad && landing->replay->patch != NULL)
		etl_land_patch(landing, &patched);
	etl_land_take(landing, &patched, bad);
	if (landing->state->hard)
		etl_held_land(landing);
	etl_load_writer_flush(landing->writer);
}
