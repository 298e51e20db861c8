/*-------------------------------------------------------------------------
 *
 * reject.c
 *    Records that could not land: their bytes, their sum by reason, their limit.
 *
 * Rejects are written in the load's own subtransaction, in batches of
 * bounded size.  What was seen is also summed up by reason, so that a load
 * that fails for too many of them can say why although nothing of it stays.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "common/errors.h"
#include "common/json.h"
#include "load/landing.h"

#define MAX_SUMMARY	  8
#define VERDICT_EVERY 256		/* rejects */

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
	EtlRejectWriter *writer;	/* NULL: none yet */
	int			unjudged;		/* rejects since the limit was looked at */
	MemoryContext context;
	Seen		seen[MAX_SUMMARY];
	int			nseen;
};

EtlRejects *
etl_rejects_begin(EtlLanding *landing)
{
	EtlRejects *rejects = MemoryContextAllocZero(landing->context, sizeof(EtlRejects));

	rejects->landing = landing;
	rejects->context = landing->context;
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
	EtlReject	reject = {0};

	landing->load->rows_rejected++;
	if (landing->replay != NULL)
	{
		old = MemoryContextSwitchTo(landing->context);
		landing->replay->reasons = etl_reasons_end(reasons);
		MemoryContextSwitchTo(old);
		return;
	}

	sum_up(rejects, reasons, position);
	if (rejects->writer == NULL)
	{
		old = MemoryContextSwitchTo(rejects->context);
		rejects->writer = etl_reject_writer_begin();
		MemoryContextSwitchTo(old);
	}
	reject.target = landing->stream->target;
	reject.load_id = landing->load->load_id;
	reject.run_id = landing->load->run_id;
	reject.origin = unconstify(char *, landing->origin);
	reject.position = position;
	reject.raw = unconstify(char *, raw);
	reject.raw_length = raw_length;
	reject.record_size = raw_size;
	reject.of_row = etl_records_are_rows(landing->options);
	reject.reasons = etl_reasons_end(reasons);
	etl_reject_writer_put(rejects->writer, &reject);
	pfree(reject.reasons);

	if (++rejects->unjudged == VERDICT_EVERY)
	{
		rejects->unjudged = 0;
		etl_rejects_verdict(rejects, false);
	}
}

void
etl_rejects_end(EtlRejects *rejects)
{
	if (rejects->writer != NULL)
		etl_reject_writer_end(rejects->writer);
	rejects->writer = NULL;
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
