/*-------------------------------------------------------------------------
 *
 * reject.c
 *    Records that could not land: their reasons, their bytes, their limit.
 *
 * Rejects are written in the load's own subtransaction, in batches of
 * bounded size.  What was seen is also summed up by reason, so that a load
 * that fails for too many of them can say why although nothing of it stays.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "common/errors.h"
#include "common/json.h"
#include "load/landing.h"

/* small batches stay in memory that malloc keeps */
#define MAX_PENDING		  256
#define MAX_PENDING_BYTES (4 * 1024 * 1024)
#define MAX_SUMMARY		  8
#define MAX_SHOWN_VALUE	  1024

/* How often a check rejected, and the first time it did. */
typedef struct Seen
{
	char	   *check;
	char	   *column;
	char	   *message;
	char	   *origin;
	int64		position;
	int64		count;
} Seen;

struct EtlRejects
{
	EtlLanding *landing;
	MemoryContext pending_context;
	List	   *pending;		/* EtlReject * */
	Size		bytes;
	MemoryContext context;
	Seen		seen[MAX_SUMMARY];
	int			nseen;
};

/* ---- reasons ---- */

/*
 * add_member appends one text member to the object being built.
 */
static void
add_member(EtlReasons *reasons, const char *key, const char *value, int length)
{
	JsonbValue	item;

	item.type = jbvString;
	item.val.string.val = unconstify(char *, key);
	item.val.string.len = strlen(key);
	(void) pushJsonbValue(&reasons->state, WJB_KEY, &item);
	if (value == NULL)
		item.type = jbvNull;
	else
	{
		item.val.string.val = pnstrdup(value, length);
		item.val.string.len = length;
	}
	(void) pushJsonbValue(&reasons->state, WJB_VALUE, &item);
}

void
etl_reasons_add(EtlReasons *reasons, const char *check, const char *column, const char *value,
				const char *message)
{
	int			length = value ? strlen(value) : 0;

	if (reasons->state == NULL)
	{
		(void) pushJsonbValue(&reasons->state, WJB_BEGIN_ARRAY, NULL);
		reasons->first_check = check;
		reasons->first_column = column;
		reasons->first_message = message;
	}
	if (length > MAX_SHOWN_VALUE)
		length = pg_mbcliplen(value, length, MAX_SHOWN_VALUE);
	(void) pushJsonbValue(&reasons->state, WJB_BEGIN_OBJECT, NULL);
	add_member(reasons, "check", check, strlen(check));
	add_member(reasons, "column", column, column ? strlen(column) : 0);
	add_member(reasons, "value", value, length);
	add_member(reasons, "message", message, strlen(message));
	(void) pushJsonbValue(&reasons->state, WJB_END_OBJECT, NULL);
	reasons->n++;
}

/*
 * etl_reasons_add_all appends the elements of an array of reasons.
 */
void
etl_reasons_add_all(EtlReasons *reasons, const Jsonb *array)
{
	uint32		n = JB_ROOT_COUNT(array);

	if (reasons->state == NULL)
	{
		JsonbValue *first = getIthJsonbValueFromContainer(unconstify(JsonbContainer *, &array->root), 0);
		Jsonb	   *reason = first && first->type == jbvBinary ? JsonbValueToJsonb(first) : NULL;

		(void) pushJsonbValue(&reasons->state, WJB_BEGIN_ARRAY, NULL);
		reasons->first_check = reason ? etl_json_get_text(reason, "check") : NULL;
		reasons->first_column = reason ? etl_json_get_text(reason, "column") : NULL;
		reasons->first_message = reason ? etl_json_get_text(reason, "message") : NULL;
	}
	for (uint32 i = 0; i < n; i++)
	{
		(void) pushJsonbValue(&reasons->state, WJB_ELEM,
							  getIthJsonbValueFromContainer(unconstify(JsonbContainer *, &array->root), i));
		reasons->n++;
	}
}

Jsonb *
etl_reasons_end(EtlReasons *reasons)
{
	return JsonbValueToJsonb(pushJsonbValue(&reasons->state, WJB_END_ARRAY, NULL));
}

/* ---- the rejects of a load ---- */

EtlRejects *
etl_rejects_begin(EtlLanding *landing)
{
	EtlRejects *rejects = MemoryContextAllocZero(landing->context, sizeof(EtlRejects));

	rejects->landing = landing;
	rejects->context = landing->context;
	rejects->pending_context = AllocSetContextCreate(landing->context, "etl pending rejects",
													 ALLOCSET_DEFAULT_SIZES);
	return rejects;
}

/*
 * sum_up counts the first reason of a reject under its check and column.
 */
static void
sum_up(EtlRejects *rejects, const EtlReasons *reasons, int64 position)
{
	const char *check = reasons->first_check ? reasons->first_check : "";
	const char *column = reasons->first_column ? reasons->first_column : "";
	MemoryContext old;
	Seen	   *seen;

	for (int i = 0; i < rejects->nseen; i++)
	{
		seen = &rejects->seen[i];
		if (strcmp(seen->check, check) == 0 && strcmp(seen->column, column) == 0)
		{
			seen->count++;
			return;
		}
	}
	if (rejects->nseen == MAX_SUMMARY)
		return;
	old = MemoryContextSwitchTo(rejects->context);
	seen = &rejects->seen[rejects->nseen++];
	seen->check = pstrdup(check);
	seen->column = pstrdup(column);
	seen->message = pstrdup(reasons->first_message ? reasons->first_message : "");
	seen->origin = pstrdup(rejects->landing->origin);
	seen->position = position;
	seen->count = 1;
	MemoryContextSwitchTo(old);
}

void
etl_rejects_add(EtlRejects *rejects, int64 position, const char *raw, int raw_length,
				int64		raw_size, EtlReasons *reasons)
{
	EtlLanding *landing = rejects->landing;
	MemoryContext old;
	EtlReject  *reject;

	landing->load->rows_rejected++;
	if (landing->replay != NULL)
	{
		old = MemoryContextSwitchTo(landing->context);
		landing->replay->reasons = etl_reasons_end(reasons);
		MemoryContextSwitchTo(old);
		return;
	}

	sum_up(rejects, reasons, position);
	old = MemoryContextSwitchTo(rejects->pending_context);
	reject = palloc0(sizeof(EtlReject));
	reject->target = landing->stream->target;
	reject->load_id = landing->load->load_id;
	reject->run_id = landing->load->run_id;
	reject->origin = unconstify(char *, landing->origin);
	reject->position = position;
	reject->raw = palloc(raw_length + 1);
	memcpy(reject->raw, raw, raw_length);
	reject->raw_length = raw_length;
	reject->record_size = raw_size;
	reject->reasons = etl_reasons_end(reasons);
	rejects->pending = lappend(rejects->pending, reject);
	rejects->bytes += raw_length + VARSIZE(reject->reasons) + sizeof(EtlReject);
	MemoryContextSwitchTo(old);

	if (list_length(rejects->pending) >= MAX_PENDING || rejects->bytes >= MAX_PENDING_BYTES)
		etl_rejects_flush(rejects);
}

void
etl_rejects_flush(EtlRejects *rejects)
{
	MemoryContext old;

	etl_rejects_verdict(rejects, false);
	if (rejects->pending == NIL)
		return;
	old = MemoryContextSwitchTo(rejects->pending_context);
	etl_rejects_store(rejects->pending);
	MemoryContextSwitchTo(old);
	rejects->pending = NIL;
	rejects->bytes = 0;
	MemoryContextReset(rejects->pending_context);
}

/*
 * summary lists what was seen, one line a reason.
 */
static char *
summary(EtlRejects *rejects)
{
	StringInfoData out;

	initStringInfo(&out);
	for (int i = 0; i < rejects->nseen; i++)
	{
		Seen	   *seen = &rejects->seen[i];

		appendStringInfo(&out, "%s" INT64_FORMAT " × %s%s%s: first at %s:" INT64_FORMAT ", %s.",
						 i ? "\n" : "", seen->count, seen->check, *seen->column ? " " : "",
						 seen->column, seen->origin, seen->position,
						 seen->message ? seen->message : "");
	}
	return out.data;
}

void
etl_rejects_verdict(EtlRejects *rejects, bool at_end)
{
	EtlLanding *landing = rejects->landing;
	const EtlThreshold *limit = &landing->options->max_rejects;
	EtlLoad    *load = landing->load;

	/* a share is known only at the end, a count as soon as it is passed */
	if (!limit->given || landing->replay != NULL || (limit->is_share && !at_end))
		return;
	if (load->rows_rejected == 0 ||
		!etl_threshold_exceeded(limit, load->rows_rejected, load->rows_read))
		return;
	ereport(ERROR,
			(errcode(ETL_ERR_TOO_MANY_REJECTS),
			 errmsg("too many rejects in the load of \"%s\" from %s: " INT64_FORMAT
					" of " INT64_FORMAT " records%s",
					load->target, load->origin, load->rows_rejected, load->rows_read,
					at_end ? "" : " read so far"),
			 errdetail("%s", summary(rejects)),
			 errhint("Nothing of this load was kept. Correct the source or the column types, or"
					 " raise the stream's option max_rejects (%s).",
					 etl_json_get_text(landing->stream->options, "max_rejects"))));
}
