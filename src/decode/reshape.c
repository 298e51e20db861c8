/*-------------------------------------------------------------------------
 *
 * reshape.c
 *    A decoder that gives the records of another one fields of its own.
 *
 * Whoever lands records sees no difference: it asks for fields and records
 * as of any decoder.  A record's values begin as NULL; the function that
 * reshapes puts those that there are.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "decode/decoder.h"

typedef struct Reshaper
{
	EtlDecoder	base;
	EtlReshape	reshape;
	void	   *arg;
} Reshaper;

/*
 * reshape_next hands out the next record of the inner decoder, reshaped.
 */
static EtlRecordState
reshape_next(EtlDecoder *decoder, EtlRecord *record)
{
	Reshaper   *reshaper = (Reshaper *) decoder;
	EtlRecordState state = etl_decoder_next(decoder->inner, record);

	for (int i = 0; i < decoder->nfields; i++)
		decoder->values[i].kind = ETL_VALUE_NULL;
	if (state == ETL_RECORD_END)
		return state;
	return reshaper->reshape(reshaper->arg, decoder, record, state);
}

EtlDecoder *
etl_decoder_reshape(EtlDecoder *inner, EtlReshape reshape, void *arg)
{
	EtlDecodeOptions options = {.origin = inner->origin, .max_record_size = inner->max_record};
	MemoryContext context = AllocSetContextCreate(inner->context, "etl reshaped records",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	Reshaper   *reshaper = palloc0(sizeof(Reshaper));

	etl_decoder_begin(&reshaper->base, NULL, &options);
	reshaper->base.inner = inner;
	reshaper->base.next = reshape_next;
	reshaper->reshape = reshape;
	reshaper->arg = arg;
	MemoryContextSwitchTo(old);
	return &reshaper->base;
}

EtlDecoder *
etl_decoder_inner(EtlDecoder *outer)
{
	return outer->inner;
}

int
etl_decoder_field(EtlDecoder *decoder, const char *name)
{
	for (int i = 0; i < decoder->nfields; i++)
		if (strcmp(decoder->fields[i], name) == 0)
			return i;
	return decoder->nfields < ETL_MAX_FIELDS ? etl_decoder_add_field(decoder, name, strlen(name)) : -1;
}

EtlValue *
etl_decoder_value(EtlDecoder *decoder, int field)
{
	return &decoder->values[field];
}

EtlRecordState
etl_decoder_refuse(EtlDecoder *decoder, EtlRecord *record, const char *code, const char *field,
				   const char *problem)
{
	record->problem_field = field;
	return etl_decoder_bad(decoder, record, code, "%s", problem);
}
