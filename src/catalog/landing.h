/*-------------------------------------------------------------------------
 *
 * landing.h
 *    What landing alone asks of the history: locks, headers, rejects again.
 *
 * Called by load/.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_CATALOG_LANDING_H
#define ETL_CATALOG_LANDING_H

#include "nodes/pg_list.h"
#include "utils/jsonb.h"

#include "catalog/sql.h"

/* One load, replay or reset of a stream at a time, until the end of the transaction. */
extern void etl_stream_lock(const char *target);

extern void etl_load_set_fields(int64 load_id, List *fields);	/* char * */
extern List *etl_load_fields(int64 load_id);

/* Open rejects of a load (0: of all loads of the target) become 'status'; how many. */
extern int64 etl_rejects_close(const char *target, int64 load_id, const char *status);
/* of an open one */
/* false: it is not open any more */
extern bool etl_reject_close(const char *target, int64 reject_id, const char *status);
extern void etl_reject_set_reasons(const char *target, int64 reject_id, const Jsonb *reasons);

/*
 * Open rejects of 'target' after reject 'after', at most 'limit', with the
 * columns of the view etl.rejects.
 */
extern EtlRows *etl_rejects_open(const char *target, int64 after, int limit);

/*
 * Rows of former loads came or changed: models that consumed those loads
 * build anew, since no delta by load id shows them.  'reason' names the load,
 * so that no two are the same.
 */
extern void etl_stream_rewritten(const char *target, const char *reason);

/* A load put rows into the relation of a stream and took others out. */
extern void etl_stream_hold(const char *target, int64 rows);

/* Everything etl knows of the loads of a stream's files or cursor, NULL: all origins; how many files. */
extern int64 etl_stream_forget(const char *target, const char *origin);

/*
 * The next load of a stream without files replaces what is there: rows of
 * loads up to the one remembered.  take returns that load id once, else 0.
 */
extern void etl_stream_replace_next(const char *target);
extern int64 etl_stream_take_replace(const char *target);
/* loads up to 'load_id' and their open rejects become superseded */
extern void etl_loads_supersede(const char *target, int64 load_id);
/* the open rejects of loads up to 'load_id' become superseded */
extern void etl_rejects_close_until(const char *target, int64 load_id);

/* What an idempotency key of etl.ingest brought; NULL: nothing yet. */
typedef struct EtlIngestion
{
	char	   *hash;			/* hexadecimal SHA-256 of the records */
	int64		load_id;
} EtlIngestion;
extern EtlIngestion *etl_ingestion_find(const char *target, const char *key);
extern void etl_ingestion_store(const char *target, const char *key, const char *hash, int64 load_id);

/*
 * The options of a stream with the dialect that was found for it, which holds
 * as long as the options that left it open are the same; NULL: none.
 */
extern Jsonb *etl_dialect_find(const char *target, const Jsonb *left_open);
extern void etl_dialect_store(const char *target, const Jsonb *left_open, const Jsonb *options);

/* Models that read a stream, char *. */
extern List *etl_stream_models(const char *target);

/* Forgets cursor, ledger and state of a stream whose table is gone; closes its rejects. */
extern void etl_stream_state_delete(const char *target);

#endif							/* ETL_CATALOG_LANDING_H */
