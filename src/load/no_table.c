/*-------------------------------------------------------------------------
 *
 * no_table.c
 *    A load whose relation does not exist, and shall not be made.
 *
 * The schema policy for tables says what becomes of its records: each is
 * discarded or a reject, which can be replayed when the relation is there.
 * The load and its file count as read.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"

#include "common/names.h"
#include "load/pull.h"

bool
etl_attempt_has_no_table(const EtlAttempt *attempt)
{
	EtlPolicy	policy = attempt->pull->options->tables;

	return policy != ETL_EVOLVE && policy != ETL_FREEZE &&
		   !OidIsValid(etl_name_relation(attempt->pull->stream->target));
}

/*
 * refuse_record counts a record as the policy says; what is no record is a
 * reject in any case.
 */
static void
refuse_record(EtlLanding *landing, const EtlRecord *record, bool bad)
{
	EtlReasons	reasons = {0};

	landing->load->rows_read++;
	if (bad)
		etl_reasons_add(&reasons, record->problem_code, record->problem_field, NULL, record->problem);
	else if (landing->options->tables != ETL_QUARANTINE)
	{
		landing->load->rows_discarded++;
		return;
	}
	else
		etl_reasons_add(&reasons, "schema", NULL, NULL,
						psprintf("relation \"%s\" does not exist, and the stream's schema_policy for tables "
								 "is quarantine", landing->stream->target));
	etl_rejects_add(landing->rejects, record->position, record->raw, record->raw_length,
					record->raw_size, &reasons);
}

/*
 * refuse_item reads one item to its end.
 */
static EtlFile
refuse_item(EtlAttempt *attempt, EtlItem *item)
{
	EtlPull    *pull = attempt->pull;
	EtlLanding *landing = attempt->landing;
	EtlItemReader *reader = etl_item_reader_open(pull, item, etl_item_is_file(item));
	EtlRead    *input = etl_load_unpack(&reader->read, pull->options, item->origin);
	EtlFile		file = {.uri = item->origin, .size = item->size, .mtime = item->mtime};
	EtlRecord	record = {0};
	EtlRecordState state;
	int64		last = landing->position_base;

	landing->origin = item->origin;
	landing->decoder =
		etl_landing_decoder(pull->stream, pull->options, input, item->records_path, item->origin);
	while ((state = etl_decoder_next(landing->decoder, &record)) != ETL_RECORD_END)
	{
		MemoryContext old = MemoryContextSwitchTo(landing->batch);

		record.position += landing->position_base;
		last = record.position;
		refuse_record(landing, &record, state == ETL_RECORD_BAD);
		MemoryContextSwitchTo(old);
		MemoryContextReset(landing->batch);
		CHECK_FOR_INTERRUPTS();
	}
	etl_unpacked_end(input);
	etl_landing_keep_fields(landing);
	etl_decoder_close(landing->decoder);
	landing->decoder = NULL;
	landing->position_base = last;
	file.hash = etl_item_reader_finish(reader);
	landing->load->bytes_read += reader->bytes;
	return file;
}

EtlFile
etl_attempt_without_table(EtlAttempt *attempt)
{
	EtlLanding *landing = attempt->landing;
	EtlFile		file = {0};
	ListCell   *cell;

	landing->batch = AllocSetContextCreate(landing->context, "etl batch", ALLOCSET_DEFAULT_SIZES);
	landing->rejects = etl_rejects_begin(landing);
	foreach(cell, attempt->items)
		file = refuse_item(attempt, lfirst(cell));
	etl_rejects_verdict(landing->rejects, true);
	etl_rejects_end(landing->rejects);
	landing->load->first_block = landing->load->last_block = 0;
	return file;
}
