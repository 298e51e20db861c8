/*-------------------------------------------------------------------------
 *
 * pull.h
 *    What the files of a pull share: the pull, a try of one load, an item's bytes.
 *
 * Included only by src/load/pull.c, attempt.c, children.c, crowd.c, arrivals.c, ledger.c,
 * ingest.c and look.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_LOAD_PULL_H
#define ETL_LOAD_PULL_H

#include "common/cryptohash.h"

#include "connector/connector.h"
#include "load/landing.h"
#include "load/load.h"

/* One pull of one stream. */
typedef struct EtlPull
{
	EtlDriver  *driver;
	const EtlStream *stream;
	EtlLoadOptions *options;
	EtlPullResult *result;
	MemoryContext context;		/* of the pull and its connector */
	const EtlConnector *connector;
	EtlConnectorContext connector_context;
	void	   *state;
	Jsonb	   *cursor;			/* as committed; NULL: none */
	List	   *items;			/* EtlItem *, waiting to be landed */
	int64		bytes;
	bool		crowd;			/* they are small files, each of which becomes a load */
	int			crowds_failed;
	TimestampTz batch_started;
	int64		items_seen;
	int64		items_known;	/* files that were loaded before */
	const EtlLoad *parent;		/* load that this one lands with; NULL: none */
	bool		pushed;			/* by etl.ingest: no cursor, and a load also without records */
	int64		load_id;		/* of the last load */
	bool		finishes;		/* files are archived or deleted after their load */
	List	   *seen;			/* char *: files that were handed out */
	bool		unflushed;		/* loads were committed without waiting for the disk */
	const Jsonb *left_open;		/* options whose dialect was found in this pull; NULL: it was known */
	char	   *dialect;		/* that dialect, in words */
} EtlPull;

/* The items of one load, and what its tries found out. */
typedef struct EtlAttempt
{
	EtlPull    *pull;
	List	   *items;
	Jsonb	   *position;
	MemoryContext context;
	MemoryContext try_context;
	EtlLanding *landing;
	EtlLoad		load;
	bool		infer;
	bool		has_records;	/* inference met one */
	bool		alone;			/* a helper was not able to */
	bool		stage;			/* the indexes of a new relation refused a row */
	int			tries;			/* before this one */
	List	   *widenings;
	int64		rejected_items; /* of child tables */
	bool		nothing;		/* known already, or no record at all */
} EtlAttempt;

/* Bytes of an item as stored, hashed on their way. */
typedef struct EtlItemReader
{
	EtlRead		read;
	EtlPull    *pull;
	EtlItem    *item;
	pg_cryptohash_ctx *hash;
	int64		bytes;
} EtlItemReader;

/* ledger.c: what was read of a file, and whether it was read before */

extern EtlItemReader *etl_item_reader_open(EtlPull *pull, EtlItem *item, bool hash);
extern char *etl_item_reader_finish(EtlItemReader *reader);	/* the SHA-256, NULL without */
extern bool etl_item_is_file(const EtlItem *item);
extern bool etl_ledger_same(const EtlFile *file, const EtlItem *item);
extern bool etl_ledger_same_content(EtlPull *pull, EtlFile *file, EtlItem *item);
extern void etl_ledger_changed(EtlAttempt *attempt, EtlFile *file, EtlItem *item);
extern void etl_ledger_replace_former(EtlAttempt *attempt);

extern void etl_ledger_missing(EtlPull *pull);

/* attempt.c: one load */

extern void etl_pull_check_cursor(EtlPull *pull);	/* raises 40001 */
extern void etl_pull_land(EtlPull *pull, Jsonb *position);
extern void etl_pull_landed(EtlPull *pull, const EtlLoad *load, List *items);	/* NULL: nothing was new */

/* parts of it that crowd.c needs, too */
extern void etl_attempt_begin_load(EtlPull *pull, EtlLoad *load, EtlItem *item);
extern EtlLanding *etl_attempt_landing(EtlAttempt *attempt);
extern Oid etl_attempt_relation(EtlAttempt *attempt);
extern EtlFile etl_attempt_item(EtlAttempt *attempt, EtlItem *item);
extern void etl_attempt_changed(EtlPull *pull, int64 changed, int64 more);

/* no_table.c: whether the records of a load are refused for want of a relation; refusing them */
extern bool etl_attempt_has_no_table(const EtlAttempt *attempt);
extern EtlFile etl_attempt_without_table(EtlAttempt *attempt);

/* crowd.c: small files, committed together */

extern bool etl_crowd_takes(EtlPull *pull, const EtlItem *item);	/* one that the ledger does not know */
extern bool etl_crowd_is_full(EtlPull *pull);
extern void etl_crowd_land(EtlPull *pull);	/* the waiting items, a load each */
/* pull.c: commits a load; one of a file without waiting for the disk, which the end of the pull does */
extern void etl_pull_commit(EtlPull *pull, const EtlItem *item);
/* that no file matches, and what is missing; for a connector that reads files */
extern char *etl_pull_no_file(const EtlPull *pull, const char *path);
/* an item whose load is committed may be archived or deleted */
extern void etl_pull_done(EtlPull *pull, EtlItem *item);

#endif							/* ETL_LOAD_PULL_H */
