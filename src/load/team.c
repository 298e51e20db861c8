/*-------------------------------------------------------------------------
 *
 * team.c
 *    One load on two processes: its leader.
 *
 * The leader asks for a helper where the run may use one more process and a
 * worker is free, and works alone otherwise.  While the helper decodes, the
 * leader reads ahead, inserts and judges; it never waits for longer than a
 * second without looking for interrupts.  A helper that ends before its work
 * is done fails the load, which is rolled back as after any error; however
 * the leader ends, the helper sees the segment marked and stops.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "common/errors.h"
#include "common/guc.h"
#include "common/progress.h"
#include "load/land.h"
#include "load/load.h"
#include "load/team.h"

/* a worker that is warm comes at once, a new process in some hundredths of a second */
#define PATIENCE_MS 2000

const EtlTeamService *etl_team_service = NULL;

/* ---- rings ---- */

static char *
block_at(EtlTeam *team, EtlTeamRing *ring, uint64 number)
{
	return (char *) team + ring->offset + number % ETL_TEAM_BLOCKS * team->block_size;
}

char *
etl_team_room(EtlTeam *team, EtlTeamRing *ring)
{
	bool		full;

	SpinLockAcquire(&team->mutex);
	full = ring->written - ring->read == ETL_TEAM_BLOCKS;
	SpinLockRelease(&team->mutex);
	return full ? NULL : block_at(team, ring, ring->written);
}

void
etl_team_publish(EtlTeam *team, EtlTeamRing *ring, Size used)
{
	SpinLockAcquire(&team->mutex);
	ring->used[ring->written % ETL_TEAM_BLOCKS] = used;
	ring->written++;
	SpinLockRelease(&team->mutex);
	ConditionVariableBroadcast(&team->moved);
}

char *
etl_team_next(EtlTeam *team, EtlTeamRing *ring, Size *used)
{
	bool		empty;

	SpinLockAcquire(&team->mutex);
	empty = ring->written == ring->read;
	*used = ring->used[ring->read % ETL_TEAM_BLOCKS];
	SpinLockRelease(&team->mutex);
	return empty ? NULL : block_at(team, ring, ring->read);
}

void
etl_team_release(EtlTeam *team, EtlTeamRing *ring)
{
	uint64		left;

	SpinLockAcquire(&team->mutex);
	ring->read++;
	left = ring->written - ring->read;
	SpinLockRelease(&team->mutex);

	/* who waits for room is woken for several blocks at once */
	if (left <= ETL_TEAM_BLOCKS / 2)
		ConditionVariableBroadcast(&team->moved);
}

void
etl_team_sleep(EtlTeam *team)
{
	CHECK_FOR_INTERRUPTS();
	(void) ConditionVariableTimedSleep(&team->moved, 1000, PG_WAIT_EXTENSION);
}

/* ---- the segment ---- */

/* What the helper must know, gathered before the size of the segment is known. */
typedef struct Parts
{
	StringInfoData bytes;
} Parts;

/*
 * add_part appends bytes for the segment, aligned; where they begin behind
 * the struct.
 */
static Size
add_part(Parts *parts, const void *bytes, Size length)
{
	Size		offset = MAXALIGN(sizeof(EtlTeam)) + parts->bytes.len;

	appendBinaryStringInfo(&parts->bytes, bytes, length);
	while (parts->bytes.len % MAXIMUM_ALIGNOF != 0)
		appendStringInfoChar(&parts->bytes, '\0');
	return offset;
}

/*
 * describe fills in what the helper must know.
 */
static void
describe(EtlLanding *landing, EtlTeam *team, Parts *parts)
{
	const EtlStream *stream = landing->stream;
	TupleDesc	desc = RelationGetDescr(landing->rel);
	FormData_pg_attribute *attributes = palloc0(sizeof(FormData_pg_attribute) * desc->natts);
	EtlTeamColumn *columns = palloc0(sizeof(EtlTeamColumn) * Max(landing->ncolumns, 1));

	for (int i = 0; i < desc->natts; i++)
		memcpy(&attributes[i], TupleDescAttr(desc, i), ATTRIBUTE_FIXED_PART_SIZE);
	for (int i = 0; i < landing->ncolumns; i++)
	{
		columns[i].attnum = landing->columns[i].attnum;
		columns[i].not_null = landing->columns[i].not_null;
		columns[i].guards_time = landing->columns[i].guards_time;
	}
	team->block_size = (Size) etl_parallel_load_block_kb * 1024;
	team->load_id = landing->load->load_id;
	team->position_base = landing->position_base;
	team->max_record_kb = etl_max_record_size_kb;
	team->wants_raw = !etl_land_is_plain(landing);
	team->sure_length = landing->state->fit != NULL ? ETL_SURE_TO_FIT : MaxAllocSize;
	team->load_id_attnum = landing->load_id_attnum;
	team->row_attnum = landing->row_attnum;
	team->natts = desc->natts;
	team->ncolumns = landing->ncolumns;
	initStringInfo(&parts->bytes);
	team->attributes = add_part(parts, attributes, sizeof(FormData_pg_attribute) * desc->natts);
	team->columns = add_part(parts, columns, sizeof(EtlTeamColumn) * landing->ncolumns);
	team->owner = add_part(parts, stream->owner, strlen(stream->owner) + 1);
	team->origin = add_part(parts, landing->origin, strlen(landing->origin) + 1);
	team->stream_options = add_part(parts, stream->options, VARSIZE(stream->options));
	if (stream->settings != NULL)
		team->settings = add_part(parts, stream->settings, VARSIZE(stream->settings));
	team->in.offset = MAXALIGN(sizeof(EtlTeam)) + parts->bytes.len;
	team->out.offset = team->in.offset + team->block_size * ETL_TEAM_BLOCKS;
}

/*
 * on_detach tells the helper that its leader has gone.
 */
static void
on_detach(dsm_segment *segment, Datum arg)
{
	EtlTeam    *team = dsm_segment_address(segment);

	ConditionVariableCancelSleep();
	SpinLockAcquire(&team->mutex);
	team->left = true;
	if (team->helper == ETL_HELPER_AWAITED)
		team->helper = ETL_HELPER_REFUSED;
	SpinLockRelease(&team->mutex);
	ConditionVariableBroadcast(&team->moved);
}

/*
 * make_segment makes the segment; NULL where there may be no more of them.
 */
static dsm_segment *
make_segment(EtlLanding *landing)
{
	EtlTeam    *plan = palloc0(sizeof(EtlTeam));
	Parts		parts;
	dsm_segment *segment;
	EtlTeam    *team;

	describe(landing, plan, &parts);
	segment = dsm_create(plan->out.offset + plan->block_size * ETL_TEAM_BLOCKS,
						 DSM_CREATE_NULL_IF_MAXSEGMENTS);
	if (segment == NULL)
		return NULL;
	team = dsm_segment_address(segment);
	memcpy(team, plan, sizeof(EtlTeam));
	memcpy((char *) team + MAXALIGN(sizeof(EtlTeam)), parts.bytes.data, parts.bytes.len);
	SpinLockInit(&team->mutex);
	ConditionVariableInit(&team->moved);
	on_dsm_detach(segment, on_detach, (Datum) 0);
	return segment;
}

/* ---- the helper, seen from here ---- */

static EtlTeamHelper
helper_state(EtlTeam *team)
{
	EtlTeamHelper state;

	SpinLockAcquire(&team->mutex);
	state = team->helper;
	SpinLockRelease(&team->mutex);
	return state;
}

/*
 * has_come waits until the helper has come; false when it does not.
 */
static bool
has_come(EtlTeam *team)
{
	TimestampTz give_up = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), PATIENCE_MS);
	bool		come;

	while (helper_state(team) == ETL_HELPER_AWAITED && GetCurrentTimestamp() < give_up)
		etl_team_sleep(team);
	ConditionVariableCancelSleep();
	SpinLockAcquire(&team->mutex);
	come = team->helper != ETL_HELPER_AWAITED && team->helper != ETL_HELPER_GONE;
	if (!come)
		team->helper = ETL_HELPER_REFUSED;
	SpinLockRelease(&team->mutex);
	return come;
}

/*
 * raise_its_error raises what ended the helper's work before its end.
 */
static void
raise_its_error(EtlLanding *landing, EtlTeam *team, EtlTeamHelper state)
{
	const EtlTeamError *error = &team->error;

	if (state == ETL_HELPER_UNABLE)
	{
		landing->alone = true;
		etl_drift_restart(landing);
	}
	if (state == ETL_HELPER_GONE)
		ereport(ERROR,
				(errcode(ERRCODE_ADMIN_SHUTDOWN),
				 errmsg("the process that decoded \"%s\" has ended", landing->origin),
				 errdetail("Nothing of the load was committed."),
				 errhint("Run the stream again.")));
	if (state == ETL_HELPER_FAILED)
		ereport(ERROR,
				(errcode(error->code), errmsg_internal("%s", error->message),
				 error->detail[0] ? errdetail_internal("%s", error->detail) : 0,
				 error->hint[0] ? errhint("%s", error->hint) : 0));
}

/* ---- what comes from it ---- */

/* The leader's work on one item. */
typedef struct Work
{
	EtlLanding *landing;
	EtlTeam    *team;
	EtlRead    *input;
	bool		plain;			/* rows need no judgement */
	MemoryContext context;		/* of one message */
	StringInfoData parts;		/* of a message larger than a block */
} Work;

/*
 * take_fields maps the fields of the file and tells the helper.
 */
static void
take_fields(Work *work, EtlTeamMessage *message)
{
	EtlLanding *landing = work->landing;
	EtlTeam    *team = work->team;
	char	   *name = ETL_TEAM_BODY(message);
	List	   *names = NIL;

	for (int i = 0; i < team->nfields; i++, name += strlen(name) + 1)
		names = lappend(names, name);
	landing->decoder = etl_decoder_of_fields(names, landing->origin);
	if (landing->options->header_matches)
		etl_landing_check_header(landing);
	etl_drift_map(landing, team->nfields);
	memcpy(team->map, landing->map, sizeof(int) * team->nfields);
	SpinLockAcquire(&team->mutex);
	team->mapped = true;
	SpinLockRelease(&team->mutex);
	ConditionVariableBroadcast(&team->moved);
}

/*
 * take_row lands a row that the helper has formed.
 */
static void
take_row(Work *work, EtlTeamMessage *message)
{
	EtlLanding *landing = work->landing;
	HeapTupleHeader data = (HeapTupleHeader) ETL_TEAM_BODY(message);
	HeapTupleData tuple = {.t_len = message->length, .t_data = data};
	EtlRecord	record = {0};
	MemoryContext old;

	if (work->plain)
	{
		landing->load->rows_read++;
		if (unlikely(landing->looks_on > 0))
		{
			etl_drift_look_on(landing);
			return;
		}
		etl_load_writer_put_tuple(landing->writer, data, message->length);
		return;
	}
	record.position = message->position;
	record.raw = ETL_TEAM_BODY(message) + MAXALIGN(message->length);
	record.raw_length = message->raw_length;
	record.raw_size = message->raw_size;
	old = MemoryContextSwitchTo(landing->batch);
	etl_land_tuple(landing, &tuple, &record);
	MemoryContextSwitchTo(old);
}

/*
 * take_text returns the text at '*next' and goes behind it.
 */
static char *
take_text(char **next)
{
	char	   *text = *next;

	*next += strlen(text) + 1;
	return text;
}

/*
 * take_record lands a record as if it had been decoded here.
 */
static void
take_record(Work *work, EtlTeamMessage *message)
{
	EtlTeamRecord *sent = (EtlTeamRecord *) ETL_TEAM_BODY(message);
	EtlTeamValue *values = (EtlTeamValue *) ((char *) sent + MAXALIGN(sizeof(EtlTeamRecord)));
	char	   *next = (char *) (values + sent->nvalues);
	EtlRecord	record = {0};

	record.position = message->position;
	record.raw_length = message->raw_length;
	record.raw_size = message->raw_size;
	record.raw = next;
	next += message->raw_length + 1;
	if (sent->bad)
	{
		record.problem = take_text(&next);
		record.problem_code = take_text(&next);
	}
	if (sent->has_problem_field)
		record.problem_field = take_text(&next);
	if (sent->has_sha256)
		record.raw_sha256 = take_text(&next);
	record.nvalues = sent->nvalues;
	record.values = palloc0(sizeof(EtlValue) * Max(sent->nvalues, 1));
	for (int i = 0; i < sent->nvalues; i++)
	{
		record.values[i].kind = values[i].kind;
		record.values[i].length = values[i].length;
		record.values[i].text = next;
		next += values[i].length + 1;
	}
	etl_land_take(work->landing, &record, sent->bad);
}

/*
 * take_message does what a message asks for.
 */
static void
take_message(Work *work, EtlTeamMessage *message)
{
	MemoryContext old;

	switch ((EtlTeamKind) message->kind)
	{
		case ETL_TEAM_FIELDS:
			take_fields(work, message);
			return;
		case ETL_TEAM_ROW:
			take_row(work, message);
			break;
		case ETL_TEAM_RECORD:
			old = MemoryContextSwitchTo(work->context);
			take_record(work, message);
			MemoryContextSwitchTo(old);
			MemoryContextReset(work->context);
			break;
		case ETL_TEAM_PART:
		case ETL_TEAM_LAST_PART:
			appendBinaryStringInfo(&work->parts, ETL_TEAM_BODY(message), message->length);
			if (message->kind == ETL_TEAM_PART)
				return;
			take_message(work, (EtlTeamMessage *) work->parts.data);
			/* a batch may hold the row where it stands */
			etl_load_writer_flush(work->landing->writer);
			resetStringInfo(&work->parts);
			return;
	}
	etl_progress_rows++;
	etl_progress_check();
}

/*
 * take_block lands what is in a block and gives it back.
 */
static void
take_block(Work *work, char *block, Size used)
{
	for (char *p = block; p < block + used; p += ((EtlTeamMessage *) p)->size)
		take_message(work, (EtlTeamMessage *) p);
	/* rows are inserted from where they stand */
	etl_load_writer_flush(work->landing->writer);
	etl_team_release(work->team, &work->team->out);
}

/*
 * read_ahead fills the blocks that have room with bytes of the file.
 */
static bool
read_ahead(Work *work)
{
	EtlTeam    *team = work->team;
	bool		any = false;
	char	   *block;

	while (!team->in_ended && (block = etl_team_room(team, &team->in)) != NULL)
	{
		Size		used = 0;
		Size		n = 1;

		while (used < team->block_size && n > 0)
			used += n = work->input->read(work->input->arg, block + used, team->block_size - used);
		if (used > 0)
			etl_team_publish(team, &team->in, used);
		if (n == 0)
		{
			SpinLockAcquire(&team->mutex);
			team->in_ended = true;
			SpinLockRelease(&team->mutex);
			ConditionVariableBroadcast(&team->moved);
		}
		any = true;
	}
	return any;
}

/*
 * work_along lands the item with the helper.
 */
static void
work_along(Work *work)
{
	EtlTeam    *team = work->team;

	for (;;)
	{
		EtlTeamHelper state = helper_state(team);
		bool		moved = read_ahead(work);
		Size		used;
		char	   *block = etl_team_next(team, &team->out, &used);

		if (block != NULL)
		{
			ConditionVariableCancelSleep();
			take_block(work, block, used);
			continue;
		}
		/* its state was read before: what it has written by then is taken */
		if (state == ETL_HELPER_DONE)
			break;
		if (state != ETL_HELPER_AT_WORK)
			raise_its_error(work->landing, team, state);
		if (!moved)
			etl_team_sleep(team);
	}
	ConditionVariableCancelSleep();
}

/*
 * may_share tells whether a load may be shared at all.  What reads user's
 * types or reshapes records stays with the leader.
 */
static bool
may_share(EtlLanding *landing)
{
	return etl_team_service != NULL && landing->driver != NULL && !landing->driver->atomic &&
		   landing->driver->has_room != NULL && !landing->alone && landing->replay == NULL &&
		   landing->item_size >= (int64) etl_parallel_load_min_kb * 1024 &&
		   strcmp(landing->stream->format, "csv") == 0 && !landing->options->pushed &&
		   !etl_landing_reshapes(landing->options) && !landing->state->hard &&
		   landing->driver->has_room(landing->driver);
}

/*
 * etl_team_land: see landing.h.
 */
bool
etl_team_land(EtlLanding *landing, EtlRead *input, int64 *last)
{
	Work		work = {.landing = landing, .input = input};
	dsm_segment *segment;

	if (!may_share(landing))
		return false;
	segment = make_segment(landing);
	if (segment == NULL)
		return false;
	work.team = dsm_segment_address(segment);
	if (!etl_team_service->request(dsm_segment_handle(segment)) || !has_come(work.team))
	{
		dsm_detach(segment);
		return false;
	}
	work.plain = !work.team->wants_raw;
	work.context = AllocSetContextCreate(CurrentMemoryContext, "etl message", ALLOCSET_DEFAULT_SIZES);
	initStringInfo(&work.parts);
	work_along(&work);
	*last = Max(*last, work.team->last_position);
	dsm_detach(segment);
	return true;
}
