/*-------------------------------------------------------------------------
 *
 * history.h
 *    What happened: runs, tasks, loads, rejects, cursors, files, results.
 *
 * Called by load/, model/, quality/ and run/.  Rows are written in the
 * transaction of the facts they tell.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_HISTORY_H
#define ETL_HISTORY_H

#include "nodes/pg_list.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

/* ---- loads ---- */

typedef struct EtlLoad
{
	int64		load_id;
	int64		run_id;			/* 0: none */
	char	   *target;
	char	   *origin;
	int64		rows_read;
	int64		rows_loaded;
	int64		rows_updated;
	int64		rows_unchanged;
	int64		rows_deduplicated;
	int64		rows_discarded;
	int64		rows_rejected;
	int64		rows_deleted;
	int64		rows_late;		/* of rows_read: later than the contract's watermark allows */
	int64		bytes_read;
	Jsonb	   *cursor;
	int64		relfilenode;	/* with first/last block: where an append load lies; 0: unknown */
	int64		first_block;
	int64		last_block;
	TimestampTz last_event_time;	/* greatest that it landed; DT_NOBEGIN: none */
	TimestampTz started_at;
	int64		parent_load_id; /* that it landed with; 0: none */
} EtlLoad;

extern int64 etl_load_next_id(void);
/* raises ET017 unless the accounting closes */
extern void etl_load_store(const EtlLoad *load);
/* the ids of 'n' loads in their order, and the rows of append loads of one stream that read the same fields */
extern void etl_load_next_ids(int64 *ids, int n);
extern void etl_loads_store(const EtlLoad *loads, int n, List *fields);
extern void etl_load_set_status(int64 load_id, const char *status);
/* target, origin and status of a load; NULL: there is none */
typedef struct EtlLoadHead
{
	char	   *target;
	char	   *origin;
	char	   *status;
} EtlLoadHead;
/* how far the events of a stream's loads reach; DT_NOBEGIN: not known */
extern TimestampTz etl_loads_last_event(const char *target);
extern EtlLoadHead *etl_load_find(int64 load_id);

extern Jsonb *etl_cursor_get(const char *target);
extern void etl_cursor_set(const char *target, const Jsonb *cursor, int64 load_id);	/* NULL deletes */

typedef struct EtlFile
{
	char	   *uri;
	int64		size;
	TimestampTz mtime;
	char	   *hash;			/* hexadecimal SHA-256 of the stored bytes */
	int64		load_id;
	bool		unloaded;		/* kept out until a reload */
} EtlFile;

extern EtlFile *etl_file_find(const char *target, const char *uri);
extern void etl_file_store(const char *target, const EtlFile *file);
/* of 'uris' (char *), how many the ledger knows; and entries for files that it does not know */
extern int64 etl_files_known(const char *target, List *uris);
extern void etl_files_store(const char *target, const EtlFile *files, int n);
/* the file that a load brought is kept out from now on */
extern void etl_file_unload(const char *target, int64 load_id);
/* uris that are not among 'seen' (char *) and not told to have vanished; those seen are there again */
extern List *etl_files_unseen(const char *target, List *seen);
extern void etl_files_vanish(const char *target, List *uris);

/* ---- rejects ---- */

typedef struct EtlReject
{
	char	   *target;
	int64		load_id;		/* 0: NULL */
	int64		run_id;
	char	   *origin;
	int64		position;
	char	   *raw;			/* bytes of the record (the first 64 kB when too large) */
	int			raw_length;
	int64		record_size;
	Jsonb	   *reasons;		/* [{"check","column","value","message"}] */
	bool		of_row;			/* raw is JSON whatever the stream's format: a row whose record is gone, or pushed */
} EtlReject;

/* reject.c: many at once, straight into the heap and the indexes of etl.reject */

typedef struct EtlRejectWriter EtlRejectWriter;

extern EtlRejectWriter *etl_reject_writer_begin(void);
/* takes copies; the row is written when its batch is full */
extern void etl_reject_writer_put(EtlRejectWriter *writer, const EtlReject *reject);
extern void etl_reject_writer_flush(EtlRejectWriter *writer);
/* makes what was written visible to the commands that follow */
extern void etl_reject_writer_end(EtlRejectWriter *writer);
/* bytes as text, what is none as \xHH */
extern char *etl_bytes_text(const char *bytes, int length);
/* all of that for a list of EtlReject * */
extern void etl_rejects_store(List *rejects);

/* ---- nodes ---- */

typedef struct EtlNodeState
{
	bool		created;
	int			built_version;	/* 0: never built */
	char	   *built_fingerprint;
	int64		publication;
	Jsonb	   *inputs;			/* {"clean.users": 4}: publications of inputs when built */
	int64		rows_changed;
	TimestampTz last_success_at;
	int64		last_run_id;
	char	   *rebuild;		/* why the next build must be a full one; read only here */
	char	   *sample;			/* what of its inputs it was built of; NULL: all */
} EtlNodeState;

struct		EtlRows;
extern void etl_node_state_zero(EtlNodeState *state);
extern void etl_node_state_read(EtlNodeState *state, struct EtlRows *rows, int i);
extern EtlNodeState *etl_node_state_get(const char *target);	/* never NULL: zeroes when unknown */
extern void etl_node_state_set(const char *target, const EtlNodeState *state);
/* the full build that 'reason' asked for is done; another reason that came meanwhile stays */
extern void etl_node_rebuilt(const char *target, const char *reason);

/* ---- runs and tasks ---- */

typedef struct EtlTask
{
	int64		task_id;
	int64		run_id;
	char	   *node;
	const char *kind;			/* stream | model */
	char	   *action;
	char	   *reason;
	const char *status;
	int			attempt;
	TimestampTz started_at;
	TimestampTz finished_at;	/* DT_NOBEGIN: still running */
	int64		rows_inserted;
	int64		rows_updated;
	int64		rows_deleted;
	int64		rows_rejected;
	char	   *sqlstate;
	char	   *error;
	char	   *detail;
	char	   *hint;
	char	   *skipped_because;
} EtlTask;

/* ---- check results ---- */

typedef struct EtlCheckResult
{
	int64		run_id;			/* 0: etl.check, NULL in the view */
	char	   *target;
	char	   *check_name;
	char	   *kind;
	char	   *dimension;
	char	   *on_fail;
	const char *status;			/* pass | warn | fail | error | skipped */
	int64		evaluated;
	int64		failed;
	char	   *value;			/* numeric text, or NULL */
	char	   *threshold;
	char	   *detail;
	double		weight;
} EtlCheckResult;

extern void etl_check_results_store(List *results);	/* EtlCheckResult * */

/* ---- journal ---- */
extern void etl_schema_change_store(const char *target, int64 load_id, const char *change,
									const char *column, const char *old_type, const char *new_type);
extern void etl_log_store(const char *level, int64 run_id, const char *node, const char *message,
						  const char *detail);

#endif							/* ETL_HISTORY_H */
