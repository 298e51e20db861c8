/*-------------------------------------------------------------------------
 *
 * land.c
 *    Decoded records into rows: the one path that every record takes.
 *
 * A record ends as a row handed to the writer, as a discarded row, or as a
 * reject with all its reasons; each is counted, so that the accounting of
 * the load closes by construction.  NOT NULL, CHECK and quality checks are
 * evaluated here, before the row is written, so that a violation is a reject
 * and not an error.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "commands/comment.h"
#include "executor/executor.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/typcache.h"

#include "common/errors.h"
#include "common/json.h"
#include "load/land.h"

/*
 * check_null gives a domain a null.  'arg' is its OID.
 */
static void
check_null(void *arg)
{
	domain_check((Datum) 0, true, *(Oid *) arg, NULL, NULL);
}

/*
 * takes_null tells whether a column of a type may have nulls: a domain may
 * refuse them.
 */
static bool
takes_null(Oid type)
{
	ErrorData  *error;

	if (get_typtype(type) != TYPTYPE_DOMAIN || !DomainHasConstraints(type))
		return true;
	error = etl_subxact(check_null, &type);
	if (error != NULL && !etl_fault_of_row(error))
		etl_rethrow(error);
	return error == NULL;
}

/*
 * own_column gives the place of a column that etl fills by itself, and raises
 * ET013 when it cannot hold the numbers of loads and rows.
 */
static AttrNumber
own_column(const EtlLanding *landing, Form_pg_attribute att)
{
	if (att->atttypid != INT8OID || att->attgenerated)
		ereport(ERROR,
				(errcode(ETL_ERR_NOT_MANAGED),
				 errmsg("column \"%s\" of \"%s\" is %s, not bigint", NameStr(att->attname),
						landing->stream->target,
						att->attgenerated ? "generated" : format_type_be(att->atttypid)),
				 errdetail("etl notes there which load and which record of it a row is of."),
				 errhint("Rename that column: with the option adopt, one of this name and type is added.")));
	return att->attnum;
}

/*
 * read_columns describes the relation's columns, etl's own apart.
 */
static void
read_columns(EtlLanding *landing)
{
	TupleDesc	desc = RelationGetDescr(landing->rel);
	struct EtlLandingState *state = landing->state;
	List	   *declared = etl_columns_parse(landing->stream->columns);

	landing->columns = palloc0(sizeof(EtlColumn) * desc->natts);
	state->not_null = palloc(sizeof(int) * desc->natts);
	state->failed = palloc0(sizeof(bool) * desc->natts);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);
		EtlColumn  *column = &landing->columns[landing->ncolumns];

		if (att->attisdropped)
			continue;
		if (strcmp(NameStr(att->attname), ETL_LOAD_ID_COLUMN) == 0)
			landing->load_id_attnum = own_column(landing, att);
		else if (strcmp(NameStr(att->attname), ETL_ROW_COLUMN) == 0)
			landing->row_attnum = own_column(landing, att);
		else if (strcmp(NameStr(att->attname), ETL_LOADED_AT_COLUMN) == 0 && att->atttypid == TIMESTAMPTZOID)
			landing->loaded_at_attnum = att->attnum;
		else if (!att->attgenerated && att->attidentity != ATTRIBUTE_IDENTITY_ALWAYS)
		{
			column->attnum = att->attnum;
			column->name = pstrdup(NameStr(att->attname));
			column->original = GetComment(RelationGetRelid(landing->rel), RelationRelationId, att->attnum);
			column->type = att->atttypid;
			column->typmod = att->atttypmod;
			column->not_null = att->attnotnull || !takes_null(att->atttypid);
			column->declared = etl_column_declared(declared, column->name);
			column->guards_time = column->type == DATEOID && !column->declared;
			column->coercer = etl_coercer_make(att->atttypid, att->atttypmod, &landing->options->coerce);
			column->soft = etl_coercer_is_soft(column->coercer);
			column->is_text = etl_coercer_is_text(column->coercer);
			state->hard = state->hard || !column->soft;
			column->default_value = etl_computed_default(landing, att);
			if (column->not_null)
				state->not_null[state->nnot_null++] = landing->ncolumns;
			landing->ncolumns++;
		}
	}
}

void
etl_landing_begin(EtlLanding *landing, Oid relid)
{
	MemoryContext old = MemoryContextSwitchTo(landing->context);
	struct EtlLandingState *state = palloc0(sizeof(struct EtlLandingState));

	landing->state = state;
	landing->batch = AllocSetContextCreate(landing->context, "etl batch", ALLOCSET_DEFAULT_SIZES);
	state->held_context = AllocSetContextCreate(landing->context, "etl held records",
												ALLOCSET_DEFAULT_SIZES);
	landing->rel = table_open(relid, RowExclusiveLock);
	state->estate = CreateExecutorState();
	state->fit = etl_fit_begin(landing->rel);
	read_columns(landing);
	etl_computed_begin(landing);
	landing->checks = etl_checks_prepare(landing->stream->target, RelationGetDescr(landing->rel));
	landing->check_rows = etl_checks_has_rows(landing->checks);
	landing->rejects = etl_rejects_begin(landing);
	landing->writer = etl_load_writer_begin(landing);
	if (landing->replay == NULL &&
		(etl_checks_may_move(landing->checks) || etl_load_writer_may_refuse(landing->writer)))
		landing->originals = etl_originals_begin();
	etl_event_time_begin(landing);
	etl_watermark_begin(landing);
	MemoryContextSwitchTo(old);
}

/* ---- one record ---- */

typedef enum Outcome
{
	KEEP,
	DISCARD
} Outcome;

/*
 * judge_misfit applies the schema policy to a value that does not fit and
 * returns whether the row is still wanted; the column stays null.
 */
static Outcome
judge_misfit(EtlLanding *landing, int c, const EtlValue *value, const char *reason,
			 EtlReasons *reasons)
{
	EtlColumn  *column = &landing->columns[c];
	const char *remedy;

	switch (etl_drift_misfit(landing, column, value, &remedy))
	{
		case ETL_DISCARD_ROW:
			return DISCARD;
		case ETL_DISCARD_VALUE:
			return KEEP;
		default:
			landing->state->failed[c] = true;
			if (remedy != NULL)
				reason = psprintf("%s; to keep such values: %s", reason, remedy);
			etl_reasons_add(reasons, "type", column->name, value->text, reason);
			return KEEP;
	}
}

/*
 * set_value coerces one value into the slot.
 */
static inline Outcome
set_value(EtlLanding *landing, TupleTableSlot *slot, int c, const EtlValue *value, const EtlHeld *held,
		  EtlReasons *reasons)
{
	EtlColumn  *column = &landing->columns[c];
	int			i = column->attnum - 1;
	const char *reason;

	if (value->kind == ETL_VALUE_NULL)
		return KEEP;
	if (column->is_text && value->roomy && value->length <= VARATT_SHORT_MAX - VARHDRSZ_SHORT)
	{
		/* the short form, where it stands: the row is formed before the next record is read */
		SET_VARSIZE_SHORT(value->text - 1, value->length + VARHDRSZ_SHORT);
		slot->tts_values[i] = PointerGetDatum(value->text - 1);
		slot->tts_isnull[i] = false;
		return KEEP;
	}
	if (column->soft || held == NULL)
		reason = etl_coerce(column->coercer, value, &slot->tts_values[i], &slot->tts_isnull[i]);
	else
	{
		slot->tts_values[i] = held->values[c];
		slot->tts_isnull[i] = held->nulls[c];
		reason = held->reasons[c];
	}
	/* an inferred date would lose the time of day that a later value has */
	if (reason == NULL && unlikely(column->guards_time) && value->length > 10 &&
		memchr(value->text, ':', value->length) != NULL)
		reason = psprintf("value has a time of day, the column is a date: \"%s\"", value->text);
	if (likely(reason == NULL))
		return KEEP;
	slot->tts_isnull[i] = true;
	return judge_misfit(landing, c, value, reason, reasons);
}

/*
 * unknown_field applies the schema policy to a value without a column.
 */
static Outcome
unknown_field(EtlLanding *landing, int f, const EtlValue *value, EtlReasons *reasons)
{
	int			n;
	const char *field = etl_decoder_fields(landing->decoder, &n)[f];

	switch (etl_drift_unknown_field(landing, field))
	{
		case ETL_DISCARD_ROW:
			return DISCARD;
		case ETL_DISCARD_VALUE:
			landing->map[f] = -2;
			return KEEP;
		default:
			etl_reasons_add(reasons, "schema", field, value->text, "field has no column in the relation");
			return KEEP;
	}
}

/*
 * patch_missing sets the columns that a patch names and the record lacks.
 */
static void
patch_missing(EtlLanding *landing, TupleTableSlot *slot, int nvalues, EtlReasons *reasons)
{
	ListCell   *cell;

	foreach(cell, etl_json_keys(landing->replay->patch))
	{
		const char *key = lfirst(cell);
		EtlValue	value = {ETL_VALUE_NULL, "", 0};
		int			c;

		for (c = 0; c < landing->ncolumns; c++)
			if (strcmp(landing->columns[c].name, key) == 0)
				break;
		if (c == landing->ncolumns)
			continue;
		for (int f = 0; f < nvalues && c >= 0; f++)
			if (landing->map[f] == c)
				c = -1;
		if (c >= 0)
			(void) set_value(landing, slot, c, etl_patch_value(landing, key, c, &value, &value),
							 NULL, reasons);
	}
}

/*
 * set_values fills the slot from the record.
 */
static Outcome
set_values(EtlLanding *landing, TupleTableSlot *slot, const EtlRecord *record, const EtlHeld *held,
		   EtlReasons *reasons)
{
	if (unlikely(record->nvalues > landing->nmapped))
		etl_drift_map(landing, record->nvalues);

	for (int f = 0; f < record->nvalues; f++)
	{
		const EtlValue *value = &record->values[f];
		int			c = landing->map[f];
		Outcome		outcome;

		if (likely(c >= 0))
			outcome = set_value(landing, slot, c, value, held, reasons);
		else if (c == -2 || value->kind == ETL_VALUE_NULL)
			continue;
		else
			outcome = unknown_field(landing, f, value, reasons);
		if (unlikely(outcome == DISCARD))
			return DISCARD;
	}
	if (landing->replay != NULL && landing->replay->patch != NULL)
		patch_missing(landing, slot, record->nvalues, reasons);
	return KEEP;
}

/*
 * set_path_values fills the columns that come from the item's path.
 */
static Outcome
set_path_values(EtlLanding *landing, TupleTableSlot *slot, EtlReasons *reasons)
{
	for (int i = 0; i < list_length(landing->options->path_columns); i++)
	{
		EtlValue	value = {ETL_VALUE_TEXT, landing->path_values[i], 0};
		int			c = landing->path_map[i];

		if (value.text == NULL || c < 0)
			continue;
		value.length = strlen(value.text);
		if (set_value(landing, slot, c, &value, NULL, reasons) == DISCARD)
			return DISCARD;
	}
	return KEEP;
}

/*
 * judge_row evaluates NOT NULL, CHECK and quality checks on a filled slot.
 */
static void
judge_row(EtlLanding *landing, TupleTableSlot *slot, EtlReasons *reasons)
{
	struct EtlLandingState *state = landing->state;

	for (int i = 0; i < state->nnot_null; i++)
	{
		int			c = state->not_null[i];

		if (unlikely(slot->tts_isnull[landing->columns[c].attnum - 1] && !state->failed[c]))
			etl_reasons_add(reasons, "not_null", landing->columns[c].name, NULL,
							"null value in a column that is not nullable");
	}
	etl_computed_check(landing, slot, reasons);
	if (unlikely(state->fit != NULL))
		etl_fit_check(state->fit, landing->rel, slot, reasons);

	/* a row that is rejected anyway is not in the change that checks evaluate */
	if (landing->check_rows && reasons->n == 0)
	{
		Jsonb	   *quarantine = NULL;

		if (etl_checks_row(landing->checks, slot, &quarantine) == ETL_ROW_QUARANTINE)
			etl_reasons_add_all(reasons, quarantine);
	}
}

/*
 * finish_row fills in what does not come from the record, judges the row and
 * hands it to the writer.
 */
static Outcome
finish_row(EtlLanding *landing, TupleTableSlot *slot, const EtlRecord *record, EtlReasons *reasons)
{
	Outcome		outcome = KEEP;
	bool		whole;

	if (landing->options->path_columns != NIL && set_path_values(landing, slot, reasons) == DISCARD)
		return DISCARD;
	whole = etl_computed_fill(landing, slot, reasons);
	ExecStoreVirtualTuple(slot);
	if (unlikely(landing->watermark != DT_NOBEGIN) && whole && !etl_watermark_pass(landing, slot, reasons))
		outcome = reasons->n == 0 ? DISCARD : KEEP;
	else if (likely(whole))
		judge_row(landing, slot, reasons);
	if (unlikely(outcome == DISCARD || reasons->n > 0))
	{
		memset(landing->state->failed, 0, landing->ncolumns);
		return outcome;
	}
	if (unlikely(landing->originals != NULL))
		etl_originals_keep(landing->originals, landing->load->load_id, landing->origin, record);
	etl_load_writer_put(landing->writer, record);
	return KEEP;
}

/*
 * count_refused counts a record that is no row: a discarded one, or a reject.
 */
static void
count_refused(EtlLanding *landing, const EtlRecord *record, Outcome outcome, EtlReasons *reasons)
{
	if (outcome == DISCARD)
		landing->load->rows_discarded++;
	else if (reasons->n > 0)
		etl_rejects_add(landing->rejects, record->position, record->raw, record->raw_length,
						record->raw_size, reasons);
}

/*
 * set_loaded_at gives a row the time of its load, where the relation has a
 * column for it.
 */
static inline void
set_loaded_at(EtlLanding *landing, TupleTableSlot *slot)
{
	if (landing->loaded_at_attnum <= 0)
		return;
	slot->tts_values[landing->loaded_at_attnum - 1] = TimestampTzGetDatum(landing->load->started_at);
	slot->tts_isnull[landing->loaded_at_attnum - 1] = false;
}

/*
 * etl_land_record takes one record to its end.
 */
void
etl_land_record(EtlLanding *landing, const EtlRecord *record, bool bad, const EtlHeld *held)
{
	EtlLoad    *load = landing->load;
	EtlReasons	reasons = {0};
	Outcome		outcome = KEEP;

	load->rows_read++;
	if (unlikely(bad))
		etl_reasons_add(&reasons, record->problem_code, record->problem_field,
						record->raw_sha256 ? psprintf("sha256:%s", record->raw_sha256) : NULL,
						record->problem);
	else
	{
		TupleTableSlot *slot = etl_load_writer_slot(landing->writer);

		memset(slot->tts_isnull, true, slot->tts_tupleDescriptor->natts);
		slot->tts_values[landing->load_id_attnum - 1] =
			Int64GetDatum(landing->replay ? landing->replay->load_id : load->load_id);
		slot->tts_isnull[landing->load_id_attnum - 1] = false;
		slot->tts_values[landing->row_attnum - 1] = Int64GetDatum(record->position);
		slot->tts_isnull[landing->row_attnum - 1] = false;
		set_loaded_at(landing, slot);
		outcome = set_values(landing, slot, record, held, &reasons);
		if (outcome == KEEP && likely(landing->looks_on == 0))
			outcome = finish_row(landing, slot, record, &reasons);
	}
	if (unlikely(landing->looks_on > 0))
	{
		memset(landing->state->failed, 0, landing->ncolumns);
		etl_drift_look_on(landing);
		return;
	}
	count_refused(landing, record, outcome, &reasons);
}

/*
 * etl_land_is_plain: see land.h.  NOT NULL is the helper's affair.
 */
bool
etl_land_is_plain(EtlLanding *landing)
{
	struct EtlLandingState *state = landing->state;

	return landing->options->path_columns == NIL && landing->originals == NULL && !landing->check_rows &&
		   landing->watermark == DT_NOBEGIN &&
		   !state->defaults && state->nconstraints == 0 && state->ngenerated == 0 &&
		   etl_load_writer_takes_tuples(landing->writer);
}

/*
 * etl_land_tuple: see land.h.
 */
void
etl_land_tuple(EtlLanding *landing, HeapTuple tuple, const EtlRecord *record)
{
	TupleTableSlot *slot = etl_load_writer_slot(landing->writer);
	EtlReasons	reasons = {0};
	Outcome		outcome;

	landing->load->rows_read++;
	if (unlikely(landing->looks_on > 0))
	{
		etl_drift_look_on(landing);
		return;
	}
	heap_deform_tuple(tuple, slot->tts_tupleDescriptor, slot->tts_values, slot->tts_isnull);
	set_loaded_at(landing, slot);
	outcome = finish_row(landing, slot, record, &reasons);
	count_refused(landing, record, outcome, &reasons);
}

/* ---- the end ---- */

/*
 * account_moved counts a row that a set check moved: it is one of the load.
 * Returns whether it makes a new reject; a replayed record has one already.
 */
static bool
account_moved(EtlLanding *landing, EtlReject *reject)
{
	EtlLoad    *load = landing->load;

	reject->target = landing->stream->target;
	reject->run_id = load->run_id;
	if (reject->origin == NULL)
		reject->origin = load->origin;
	if (load->rows_loaded > 0)
		load->rows_loaded--;
	else
	{
		/* with the record goes the row that it updated */
		load->rows_updated--;
		load->rows_deleted++;
	}
	load->rows_rejected++;
	return landing->replay == NULL || !etl_landed_take_back(landing->replay, reject);
}

/*
 * set_checks evaluates the checks of the whole relation, stores the rows
 * they quarantined, keeps the results and raises ET011 when one blocks.
 */
static void
set_checks(EtlLanding *landing)
{
	EtlLoad    *load = landing->load;
	List	   *quarantined = NIL;
	List	   *rejects = NIL;
	MemoryContext old;
	ListCell   *cell;

	/* a replay brings rows of former loads */
	if (landing->replay == NULL)
		etl_checks_set_load(landing->checks, load->load_id);
	else
		etl_landed_tell(landing->replay, landing->checks);
	etl_checks_set(landing->checks, RelationGetRelid(landing->rel), &quarantined);
	if (landing->originals != NULL)
	{
		etl_originals_restore(landing->originals, quarantined, etl_records_are_rows(landing->options));
		etl_originals_end(landing->originals);
	}
	foreach(cell, quarantined)
		if (account_moved(landing, lfirst(cell)))
			rejects = lappend(rejects, lfirst(cell));
	etl_rejects_store(rejects);
	if (quarantined != NIL)
		etl_event_time_recount(landing);

	old = MemoryContextSwitchTo(landing->context);
	landing->check_results = etl_checks_results(landing->checks, load->run_id);
	MemoryContextSwitchTo(old);
	etl_checks_verdict(landing->checks);
	etl_check_results_store(landing->check_results);
}

/*
 * end_load judges the limit of rejects and completes the accounting.
 */
static void
end_load(EtlLanding *landing)
{
	EtlLoad    *load = landing->load;

	etl_rejects_verdict(landing->rejects, true);
	load->last_event_time = etl_event_time_end(landing);
	if (load->first_block >= 0)
		load->relfilenode = EtlRelFileNumber(landing->rel);
	else
		load->first_block = load->last_block = 0;
}

/*
 * etl_landing_next: see landing.h.
 */
void
etl_landing_next(EtlLanding *landing, EtlLoad *load)
{
	etl_load_writer_flush(landing->writer);
	end_load(landing);
	landing->load = load;
	landing->last_event = DT_NOBEGIN;
	landing->position_base = 0;
	landing->fields = NIL;
}

/*
 * etl_landing_end writes what is left, applies a merge, evaluates the checks
 * and the limit of rejects.
 */
void
etl_landing_end(EtlLanding *landing)
{
	if (landing->looks_on > 0)
		etl_drift_restart(landing);
	etl_load_writer_end(landing->writer);
	set_checks(landing);
	end_load(landing);
	etl_rejects_end(landing->rejects);
	etl_watermark_end(landing);
	FreeExecutorState(landing->state->estate);
	table_close(landing->rel, NoLock);
}
