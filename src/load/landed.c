/*-------------------------------------------------------------------------
 *
 * landed.c
 *    The rejects whose records a replay landed, until it is sure of them.
 *
 * A check of the whole relation comes after the last record and may take a
 * row away again; the reject then stays open, with the reasons of now.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "catalog/landing.h"
#include "load/landing.h"

void
etl_landed_add(EtlLanding *landing, int64 reject_id)
{
	EtlReplay  *replay = landing->replay;
	EtlLanded  *entry;

	if (replay->nlanded == replay->room)
	{
		MemoryContext old = MemoryContextSwitchTo(landing->context);

		replay->room = Max(replay->room * 2, 256);
		replay->landed =
			replay->landed ? repalloc_huge(replay->landed, sizeof(EtlLanded) * replay->room) :
							 palloc(sizeof(EtlLanded) * replay->room);
		MemoryContextSwitchTo(old);
	}
	entry = &replay->landed[replay->nlanded++];
	entry->reject_id = reject_id;
	entry->load_id = replay->load_id;
	entry->position = replay->position;
	entry->reasons = NULL;
}

/*
 * compare_landed orders by where a record was first read.
 */
static int
compare_landed(const void *a, const void *b)
{
	const EtlLanded *left = a;
	const EtlLanded *right = b;

	if (left->load_id != right->load_id)
		return left->load_id < right->load_id ? -1 : 1;
	return left->position < right->position ? -1 : left->position > right->position;
}

void
etl_landed_tell(EtlReplay *replay, EtlCheckSet *checks)
{
	Datum	   *load_ids = palloc(sizeof(Datum) * Max(replay->nlanded, 1));
	Datum	   *rows = palloc(sizeof(Datum) * Max(replay->nlanded, 1));

	qsort(replay->landed, replay->nlanded, sizeof(EtlLanded), compare_landed);
	for (int i = 0; i < replay->nlanded; i++)
	{
		load_ids[i] = Int64GetDatum(replay->landed[i].load_id);
		rows[i] = Int64GetDatum(replay->landed[i].position);
	}
	etl_checks_set_rows(checks, replay->nlanded, load_ids, rows);
	pfree(load_ids);
	pfree(rows);
}

bool
etl_landed_take_back(EtlReplay *replay, const EtlReject *reject)
{
	EtlLanded	wanted = {0, reject->load_id, reject->position};
	EtlLanded  *entry = replay->nlanded == 0 ? NULL :
											  bsearch(&wanted, replay->landed, replay->nlanded,
													  sizeof(EtlLanded), compare_landed);

	if (entry == NULL)
		return false;
	entry->reasons = reject->reasons;
	return true;
}

void
etl_landed_close(const EtlReplay *replay, const char *target)
{
	for (int i = 0; i < replay->nlanded; i++)
		if (replay->landed[i].reasons == NULL)
		{
			if (!etl_reject_close(target, replay->landed[i].reject_id, "replayed"))
				ereport(ERROR,
						(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
						 errmsg("reject " INT64_FORMAT " of \"%s\" was closed by another session",
								replay->landed[i].reject_id, target),
						 errdetail("Nothing was replayed."), errhint("Replay again.")));
		}
		else
			etl_reject_set_reasons(target, replay->landed[i].reject_id, replay->landed[i].reasons);
}
