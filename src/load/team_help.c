/*-------------------------------------------------------------------------
 *
 * team_help.c
 *    One load on two processes: the helper.
 *
 * A worker that decodes bytes and coerces values for the load of another
 * process.  It reads no table and writes none: it knows the columns from the
 * segment, since the relation may not be committed yet, and works as the
 * stream's owner with its settings.  Its errors are the leader's.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "common/compat.h"
#include "common/errors.h"
#include "common/run_as.h"
#include "load/form.h"
#include "load/load.h"
#include "load/team.h"

#define ROWS_BETWEEN_RESETS 256

typedef struct Helper
{
	EtlTeam    *team;
	MemoryContext row_context;
	TupleDesc	desc;
	EtlTeamColumn *columns;
	EtlCoercer **coercers;
	bool	   *is_text;
	Datum	   *values;			/* of the row at work */
	bool	   *nulls;
	EtlRead		read;
	EtlDecoder *decoder;
	char	   *in;				/* the block that is read, NULL: none */
	Size		in_used;
	Size		in_at;
	char	   *out;			/* the block that is written, NULL: none */
	Size		out_used;
	EtlTeamMessage *large;		/* the message at work, when it fits no block */
} Helper;

/*
 * wait_for_leader sleeps until something moved; an error when the leader has
 * gone, which nobody will read.
 */
static void
wait_for_leader(EtlTeam *team)
{
	bool		left;

	SpinLockAcquire(&team->mutex);
	left = team->left;
	SpinLockRelease(&team->mutex);
	if (left)
		ereport(ERROR,
				(errcode(ERRCODE_OPERATOR_INTERVENTION), errmsg("the load was given up")));
	etl_team_sleep(team);
}

/* ---- to the leader ---- */

/*
 * hand_over gives the block that is written to the leader.
 */
static void
hand_over(Helper *helper)
{
	if (helper->out_used > 0)
		etl_team_publish(helper->team, &helper->team->out, helper->out_used);
	if (helper->out_used > 0)
		helper->out = NULL;
	helper->out_used = 0;
}

/*
 * reserve finds room for so many bytes in a block; at most a block's size.
 */
static char *
reserve(Helper *helper, Size size)
{
	char	   *room;

	if (helper->out != NULL && helper->out_used + size > helper->team->block_size)
		hand_over(helper);
	while (helper->out == NULL)
	{
		helper->out = etl_team_room(helper->team, &helper->team->out);
		if (helper->out == NULL)
			wait_for_leader(helper->team);
		else
			ConditionVariableCancelSleep();
	}
	room = helper->out + helper->out_used;
	helper->out_used += size;
	return room;
}

/*
 * begin_message makes room for a message; end_message sends it.
 */
static EtlTeamMessage *
begin_message(Helper *helper, EtlTeamKind kind, Size body)
{
	Size		size = MAXALIGN(sizeof(EtlTeamMessage)) + MAXALIGN(body);
	EtlTeamMessage *message;

	if (size <= helper->team->block_size)
		message = (EtlTeamMessage *) reserve(helper, size);
	else
		message = helper->large = MemoryContextAllocHuge(helper->row_context, size);
	message->size = size;
	message->kind = kind;
	message->length = body;
	message->raw_length = 0;
	message->raw_size = 0;
	message->position = 0;
	return message;
}

static void
end_message(Helper *helper)
{
	char	   *from = (char *) helper->large;
	Size		room = helper->team->block_size - MAXALIGN(sizeof(EtlTeamMessage));
	Size		left;

	if (helper->large == NULL)
		return;
	left = helper->large->size;
	helper->large = NULL;
	while (left > 0)
	{
		Size		n = Min(left, room);
		EtlTeamMessage *part = begin_message(helper, left > n ? ETL_TEAM_PART : ETL_TEAM_LAST_PART, n);

		memcpy(ETL_TEAM_BODY(part), from, n);
		from += n;
		left -= n;
	}
}

/*
 * send_fields tells the leader what the fields are called and waits for
 * their columns.
 */
static void
send_fields(Helper *helper)
{
	EtlTeam    *team = helper->team;
	int			n;
	const char **fields = etl_decoder_fields(helper->decoder, &n);
	Size		size = 0;
	char	   *to;
	bool		mapped = false;

	for (int i = 0; i < n; i++)
		size += strlen(fields[i]) + 1;
	team->nfields = n;
	to = ETL_TEAM_BODY(begin_message(helper, ETL_TEAM_FIELDS, size));
	for (int i = 0; i < n; i++)
	{
		strcpy(to, fields[i]);
		to += strlen(fields[i]) + 1;
	}
	end_message(helper);
	hand_over(helper);
	while (!mapped)
	{
		SpinLockAcquire(&team->mutex);
		mapped = team->mapped;
		SpinLockRelease(&team->mutex);
		if (!mapped)
			wait_for_leader(team);
	}
	ConditionVariableCancelSleep();
}

/*
 * send_row forms the tuple of the row where the leader finds it.
 */
static void
send_row(Helper *helper, const EtlRecord *record, int64 position, Size length)
{
	bool		wants_raw = helper->team->wants_raw;
	EtlTeamMessage *message = begin_message(helper, ETL_TEAM_ROW,
											MAXALIGN(length) + (wants_raw ? record->raw_length : 0));

	message->length = length;
	message->raw_length = record->raw_length;
	message->raw_size = record->raw_size;
	message->position = position;
	etl_form_write(helper->desc, helper->values, helper->nulls,
				   (HeapTupleHeader) ETL_TEAM_BODY(message), length);
	if (wants_raw)
		memcpy(ETL_TEAM_BODY(message) + MAXALIGN(length), record->raw, record->raw_length);
	end_message(helper);
}

/*
 * put_text writes a text, or a part of one, and its NUL.
 */
static char *
put_text(char *to, const char *text, Size length)
{
	memcpy(to, text, length);
	to[length] = '\0';
	return to + length + 1;
}

/*
 * send_record hands a record back that the leader must judge.
 */
static void
send_record(Helper *helper, const EtlRecord *record, bool bad, int64 position)
{
	int			n = bad ? 0 : record->nvalues;
	Size		size = MAXALIGN(sizeof(EtlTeamRecord)) + sizeof(EtlTeamValue) * n + record->raw_length + 1;
	EtlTeamMessage *message;
	EtlTeamRecord *head;
	EtlTeamValue *values;
	char	   *to;

	for (int i = 0; i < n; i++)
		size += record->values[i].kind == ETL_VALUE_NULL ? 1 : record->values[i].length + 1;
	if (bad)
		size += strlen(record->problem) + strlen(record->problem_code) + 2;
	size += record->problem_field ? strlen(record->problem_field) + 1 : 0;
	size += record->raw_sha256 ? strlen(record->raw_sha256) + 1 : 0;

	message = begin_message(helper, ETL_TEAM_RECORD, size);
	message->raw_length = record->raw_length;
	message->raw_size = record->raw_size;
	message->position = position;
	head = (EtlTeamRecord *) ETL_TEAM_BODY(message);
	head->bad = bad;
	head->nvalues = n;
	head->has_problem_field = record->problem_field != NULL;
	head->has_sha256 = record->raw_sha256 != NULL;
	values = (EtlTeamValue *) ((char *) head + MAXALIGN(sizeof(EtlTeamRecord)));
	to = put_text((char *) (values + n), record->raw, record->raw_length);
	if (bad)
	{
		to = put_text(to, record->problem, strlen(record->problem));
		to = put_text(to, record->problem_code, strlen(record->problem_code));
	}
	if (record->problem_field != NULL)
		to = put_text(to, record->problem_field, strlen(record->problem_field));
	if (record->raw_sha256 != NULL)
		to = put_text(to, record->raw_sha256, strlen(record->raw_sha256));
	for (int i = 0; i < n; i++)
	{
		values[i].kind = record->values[i].kind;
		values[i].length = values[i].kind == ETL_VALUE_NULL ? 0 : record->values[i].length;
		to = put_text(to, values[i].length > 0 ? record->values[i].text : "", values[i].length);
	}
	end_message(helper);
}

/* ---- from the leader ---- */

/*
 * read_bytes is the EtlRead callback: the bytes that the leader has read.
 */
static size_t
read_bytes(void *arg, char *buffer, size_t size)
{
	Helper	   *helper = arg;
	EtlTeam    *team = helper->team;
	size_t		n;

	while (helper->in == NULL)
	{
		bool		ended;

		SpinLockAcquire(&team->mutex);
		ended = team->in_ended;
		SpinLockRelease(&team->mutex);
		helper->in = etl_team_next(team, &team->in, &helper->in_used);
		helper->in_at = 0;
		if (helper->in == NULL && ended)
			return 0;
		if (helper->in == NULL)
		{
			hand_over(helper);
			wait_for_leader(team);
		}
	}
	ConditionVariableCancelSleep();
	n = Min(size, helper->in_used - helper->in_at);
	memcpy(buffer, helper->in + helper->in_at, n);
	helper->in_at += n;
	if (helper->in_at == helper->in_used)
	{
		etl_team_release(team, &team->in);
		helper->in = NULL;
	}
	return n;
}

/* ---- records ---- */

/*
 * set_values coerces a record into the values of the row; false when the
 * leader must judge it.
 */
static bool
set_values(Helper *helper, EtlRecord *record)
{
	EtlTeam    *team = helper->team;

	for (int f = 0; f < record->nvalues; f++)
	{
		EtlValue   *value = &record->values[f];
		int			c = team->map[f];
		int			i;

		if (value->kind == ETL_VALUE_NULL || c == -2)
			continue;
		if (c < 0)
			return false;
		i = helper->columns[c].attnum - 1;
		if (helper->is_text[c] && value->roomy && value->length <= VARATT_SHORT_MAX - VARHDRSZ_SHORT)
		{
			/* as in land.c: the short form, where it stands */
			SET_VARSIZE_SHORT(value->text - 1, value->length + VARHDRSZ_SHORT);
			helper->values[i] = PointerGetDatum(value->text - 1);
			helper->nulls[i] = false;
		}
		else if (etl_coerce(helper->coercers[c], value, &helper->values[i], &helper->nulls[i]) != NULL)
			return false;
		else if (helper->columns[c].guards_time && value->length > 10 &&
				 memchr(value->text, ':', value->length) != NULL)
			return false;
	}
	for (int c = 0; c < team->ncolumns; c++)
		if (helper->columns[c].not_null && helper->nulls[helper->columns[c].attnum - 1])
			return false;
	return true;
}

/*
 * send turns one record into a row or hands it back.
 */
static void
send(Helper *helper, EtlRecord *record, bool bad)
{
	EtlTeam    *team = helper->team;
	int64		position = record->position + team->position_base;

	team->last_position = position;
	if (!bad)
	{
		memset(helper->nulls, true, team->natts);
		helper->values[team->load_id_attnum - 1] = Int64GetDatum(team->load_id);
		helper->nulls[team->load_id_attnum - 1] = false;
		helper->values[team->row_attnum - 1] = Int64GetDatum(position);
		helper->nulls[team->row_attnum - 1] = false;
		if (set_values(helper, record))
		{
			Size		length = etl_form_length(helper->desc, helper->values, helper->nulls);

			if (likely(length <= team->sure_length))
			{
				send_row(helper, record, position, length);
				return;
			}
		}
	}
	send_record(helper, record, bad, position);
}

/*
 * decode turns the whole file into messages.
 */
static EtlTeamHelper
decode(Helper *helper)
{
	EtlRecord	record;
	EtlRecordState state = etl_decoder_next(helper->decoder, &record);
	int			n;
	MemoryContext old;

	helper->team->last_position = helper->team->position_base;
	(void) etl_decoder_fields(helper->decoder, &n);
	if (n > ETL_TEAM_MAX_FIELDS)
		return ETL_HELPER_UNABLE;
	send_fields(helper);
	old = MemoryContextSwitchTo(helper->row_context);
	for (int i = 1; state != ETL_RECORD_END; i++)
	{
		send(helper, &record, state == ETL_RECORD_BAD);
		if (i % ROWS_BETWEEN_RESETS == 0)
		{
			CHECK_FOR_INTERRUPTS();
			MemoryContextReset(helper->row_context);
		}
		state = etl_decoder_next(helper->decoder, &record);
	}
	MemoryContextSwitchTo(old);
	hand_over(helper);
	return ETL_HELPER_DONE;
}

/*
 * begin reads from the segment what there is to do.
 */
static Helper *
begin(EtlTeam *team)
{
	Helper	   *helper = palloc0(sizeof(Helper));
	FormData_pg_attribute *attributes = (FormData_pg_attribute *) ((char *) team + team->attributes);
	Jsonb	   *options = (Jsonb *) ((char *) team + team->stream_options);
	EtlDecodeOptions decode_options = {.format = "csv", .options = options};
	EtlCoerceOptions coerce = {0};

	helper->team = team;
	helper->row_context = AllocSetContextCreate(CurrentMemoryContext, "etl rows", 64 * 1024, 64 * 1024,
												ALLOCSET_DEFAULT_MAXSIZE);
	helper->desc = CreateTemplateTupleDesc(team->natts);
	for (int i = 0; i < team->natts; i++)
	{
		memcpy(TupleDescAttr(helper->desc, i), &attributes[i], ATTRIBUTE_FIXED_PART_SIZE);
		etl_attribute_changed(helper->desc, i);
	}
	helper->columns = (EtlTeamColumn *) ((char *) team + team->columns);
	helper->coercers = palloc(sizeof(EtlCoercer *) * Max(team->ncolumns, 1));
	helper->is_text = palloc(sizeof(bool) * Max(team->ncolumns, 1));
	etl_coerce_options_read(&coerce, options);
	for (int c = 0; c < team->ncolumns; c++)
	{
		Form_pg_attribute att = TupleDescAttr(helper->desc, helper->columns[c].attnum - 1);

		helper->coercers[c] = etl_coercer_make(att->atttypid, att->atttypmod, &coerce);
		helper->is_text[c] = etl_coercer_is_text(helper->coercers[c]);
	}
	helper->values = palloc0(sizeof(Datum) * team->natts);
	helper->nulls = palloc0(sizeof(bool) * team->natts);
	helper->read.read = read_bytes;
	helper->read.arg = helper;
	decode_options.origin = (char *) team + team->origin;
	decode_options.max_record_size = (int64) team->max_record_kb * 1024;
	helper->decoder = etl_decoder_open(&helper->read, &decode_options);
	return helper;
}

/* ---- the job ---- */

/*
 * say sets the state of the helper, unless it has ended already.
 */
static void
say(EtlTeam *team, EtlTeamHelper state)
{
	SpinLockAcquire(&team->mutex);
	if (team->helper == ETL_HELPER_AT_WORK)
		team->helper = state;
	SpinLockRelease(&team->mutex);
	ConditionVariableBroadcast(&team->moved);
}

/*
 * on_detach tells the leader that the helper has gone, however it went.
 */
static void
on_detach(dsm_segment *segment, Datum arg)
{
	ConditionVariableCancelSleep();
	say(dsm_segment_address(segment), ETL_HELPER_GONE);
}

/*
 * join takes the helper's place; false when nobody waits for it any more.
 */
static bool
join(EtlTeam *team)
{
	bool		wanted;

	SpinLockAcquire(&team->mutex);
	wanted = team->helper == ETL_HELPER_AWAITED && !team->left;
	if (wanted)
		team->helper = ETL_HELPER_AT_WORK;
	SpinLockRelease(&team->mutex);
	ConditionVariableBroadcast(&team->moved);
	return wanted;
}

/*
 * work does the job, inside a transaction.
 */
static void
work(dsm_segment *segment)
{
	EtlTeam    *team = dsm_segment_address(segment);
	Jsonb	   *settings = team->settings ? (Jsonb *) ((char *) team + team->settings) : NULL;
	EtlTeamHelper end;
	EtlRunAs	as;

	if (!join(team))
		return;
	on_dsm_detach(segment, on_detach, (Datum) 0);
	PushActiveSnapshot(GetTransactionSnapshot());
	etl_run_as_begin(&as, (char *) team + team->owner, settings);
	end = decode(begin(team));
	etl_run_as_end(&as);
	PopActiveSnapshot();
	say(team, end);
}

/*
 * tell_error gives an error to the leader.
 */
static void
tell_error(EtlTeam *team, const ErrorData *error)
{
	if (team->helper != ETL_HELPER_AT_WORK)
		return;
	team->error.code = error->sqlerrcode;
	strlcpy(team->error.message, error->message ? error->message : "", ETL_TEAM_TEXT);
	strlcpy(team->error.detail, error->detail ? error->detail : "", ETL_TEAM_TEXT);
	strlcpy(team->error.hint, error->hint ? error->hint : "", ETL_TEAM_TEXT);
	say(team, ETL_HELPER_FAILED);
}

/*
 * etl_team_help: see load.h.
 */
void
etl_team_help(dsm_handle handle)
{
	MemoryContext context = CurrentMemoryContext;
	dsm_segment *volatile segment = NULL;

	StartTransactionCommand();
	PG_TRY();
	{
		segment = dsm_attach(handle);
		if (segment != NULL)
		{
			work(segment);
			dsm_detach(segment);
		}
		CommitTransactionCommand();
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		ConditionVariableCancelSleep();
		if (segment != NULL)
			tell_error(dsm_segment_address(segment), error);
		AbortOutOfAnyTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
}
