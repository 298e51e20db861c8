/*-------------------------------------------------------------------------
 *
 * decoder.c
 *    What all decoders do alike, and which one a format gets.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "common/errors.h"
#include "decode/decoder.h"
#include "decode/format.h"

#define INPUT_SIZE (256 * 1024)

/*
 * etl_decoder_open begins to decode 'input', already decompressed.
 */
EtlDecoder *
etl_decoder_open(EtlRead *input, const EtlDecodeOptions *options)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "etl decoder",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(context);
	const EtlFormat *format = etl_format_find(options->format);
	EtlDecoder *decoder;

	if (format == NULL)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("unknown format \"%s\"", options->format),
				 errhint("See etl.options() for the formats there are.")));
	decoder = format->open(input, options);
	MemoryContextSwitchTo(caller);
	return decoder;
}

/*
 * etl_decoder_of_fields: see decode.h.
 */
EtlDecoder *
etl_decoder_of_fields(List *names, const char *origin)
{
	EtlDecodeOptions options = {.origin = origin};
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "etl decoder",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(context);
	EtlDecoder *decoder = palloc0(sizeof(EtlDecoder));
	ListCell   *cell;

	etl_decoder_begin(decoder, NULL, &options);
	foreach(cell, names)
		(void) etl_decoder_add_field(decoder, lfirst(cell), strlen(lfirst(cell)));
	MemoryContextSwitchTo(caller);
	return decoder;
}

/*
 * etl_decoder_begin fills in what a decoder of any format has.
 */
void
etl_decoder_begin(EtlDecoder *decoder, EtlRead *input, const EtlDecodeOptions *options)
{
	decoder->context = CurrentMemoryContext;
	decoder->origin = pstrdup(options->origin ? options->origin : "input");
	decoder->max_record = options->max_record_size;
	decoder->position = 1;
	decoder->maxfields = 32;
	decoder->fields = palloc(decoder->maxfields * sizeof(char *));
	decoder->field_lengths = palloc(decoder->maxfields * sizeof(int));
	decoder->values = palloc0(decoder->maxfields * sizeof(EtlValue));
	initStringInfo(&decoder->problem);
	if (input != NULL)
		etl_input_open(&decoder->input, input, INPUT_SIZE);
}

/*
 * etl_decoder_next hands out the next record; its pointers live until the
 * next call.
 */
EtlRecordState
etl_decoder_next(EtlDecoder *decoder, EtlRecord *record)
{
	MemoryContext caller = MemoryContextSwitchTo(decoder->context);
	EtlRecordState state;

	memset(record, 0, sizeof(EtlRecord));
	state = decoder->next(decoder, record);
	record->nvalues = state == ETL_RECORD_OK ? decoder->nfields : 0;
	record->values = decoder->values;
	MemoryContextSwitchTo(caller);
	return state;
}

const char **
etl_decoder_fields(EtlDecoder *decoder, int *n)
{
	*n = decoder->nfields;
	return decoder->fields;
}

int64
etl_decoder_bytes(EtlDecoder *decoder)
{
	while (decoder->inner != NULL)
		decoder = decoder->inner;
	return decoder->input.before + (int64) decoder->input.start;
}

void
etl_decoder_close(EtlDecoder *decoder)
{
	/* the context of a reshaped one lies within that of its inner one */
	while (decoder->inner != NULL)
		decoder = decoder->inner;
	MemoryContextDelete(decoder->context);
}

/*
 * etl_decoder_add_field gives a name the next field number.
 */
int
etl_decoder_add_field(EtlDecoder *decoder, const char *name, int length)
{
	int			n = decoder->nfields;

	if (n == decoder->maxfields)
	{
		decoder->maxfields *= 2;
		decoder->fields = repalloc(decoder->fields, decoder->maxfields * sizeof(char *));
		decoder->field_lengths = repalloc(decoder->field_lengths, decoder->maxfields * sizeof(int));
		decoder->values = repalloc(decoder->values, decoder->maxfields * sizeof(EtlValue));
		memset(decoder->values + n, 0, (decoder->maxfields - n) * sizeof(EtlValue));
	}
	decoder->fields[n] = MemoryContextStrdup(decoder->context, name);
	decoder->field_lengths[n] = length;
	memset(&decoder->values[n], 0, sizeof(EtlValue));
	decoder->values[n].text = "";
	return decoder->nfields++;
}

/*
 * etl_decoder_copy copies a record to where it may be cut up, with zero
 * bytes behind it and room before it.
 */
char *
etl_decoder_copy(EtlDecoder *decoder, const char *bytes, size_t length)
{
	if (length + ETL_PADDING > decoder->work_size)
	{
		if (decoder->work)
			pfree(decoder->work - ETL_PADDING);
		decoder->work = NULL;
		decoder->work_size = Max(length + ETL_PADDING, 8192) * 3 / 2;
		decoder->work = (char *) MemoryContextAllocHuge(decoder->context, decoder->work_size + ETL_PADDING) +
						ETL_PADDING;
	}
	memcpy(decoder->work, bytes, length);
	memset(decoder->work + length, 0, ETL_PADDING);
	return decoder->work;
}

/*
 * etl_decoder_bad makes a reject of the record.  One that is kept whole may
 * still be long: 'raw' is cut like that of a record above the limit.
 */
EtlRecordState
etl_decoder_bad(EtlDecoder *decoder, EtlRecord *record, const char *code, const char *format, ...)
{
	resetStringInfo(&decoder->problem);
	for (;;)
	{
		va_list		args;
		int			needed;

		va_start(args, format);
		needed = appendStringInfoVA(&decoder->problem, format, args);
		va_end(args);
		if (needed == 0)
			break;
		enlargeStringInfo(&decoder->problem, needed);
	}
	record->problem = decoder->problem.data;
	record->problem_code = code;
	return ETL_RECORD_BAD;
}

/*
 * etl_decoder_skip_line passes over the rest of a line that is above the
 * limit and makes a reject of it.
 */
EtlRecordState
etl_decoder_skip_line(EtlDecoder *decoder, EtlRecord *record, bool cr_ends_line)
{
	EtlInput   *input = &decoder->input;

	etl_oversize_begin(&decoder->oversize);
	for (;;)
	{
		const char *begin = input->data + input->start;
		size_t		length = input->end - input->start;
		const char *stop = memchr(begin, '\n', length);

		if (cr_ends_line)
		{
			const char *cr = memchr(begin, '\r', stop ? (size_t) (stop - begin) : length);

			if (cr)
				stop = cr;
		}
		etl_oversize_add(&decoder->oversize, begin, stop ? (size_t) (stop - begin) : length);
		input->start += stop ? (size_t) (stop - begin) : length;
		if (stop || !etl_input_more(input))
			break;
	}
	etl_oversize_end(&decoder->oversize, record);
	record->position = decoder->position++;

	/* the line end itself: LF, CR or both */
	if (cr_ends_line && (input->start < input->end || etl_input_more(input)) &&
		input->data[input->start] == '\r')
		input->start++;
	else
		cr_ends_line = false;
	if ((input->start < input->end || etl_input_more(input)) && input->data[input->start] == '\n')
		input->start++;
	return etl_decoder_bad(decoder, record, "too_large",
						   "record of " INT64_FORMAT " bytes is larger than etl.max_record_size",
						   record->raw_size);
}
